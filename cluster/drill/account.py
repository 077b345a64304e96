"""The account of a drill: what became of every request, and whether the promises held (W5-W9; pure).

A violation is anything that the documentation does not allow: an answer that is wrong, late beyond the
deadline or missing; a refusal that does not say why or when to come back; a connection that broke although
nothing had happened to its gateway; one job's answer given to two requests; a job started a second time
although the node that ran it was well.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from cluster.bench import Spread
from cluster.drill.history import History
from cluster.drill.load import Request, Try
from cluster.drill.schedule import Kind

OK = 200
GATEWAY_TIMEOUT = 504
TRY_LATER = frozenset({429, 503})

SLACK_S = 0.5
"""How far a log's clock and ours may differ, and how soon before its end a stricken node may falter."""

SOON_S = 1.5
"""A node that is struck so soon after a leader is lost together with it."""

SHOWN_MAX = 50
"""Violations listed; beyond it they are only counted."""


class Strike(msgspec.Struct, frozen=True):
    """Something happened to a node, and at `end` it was well again; monotonic seconds.

    Attributes:
        signal: its name, or what was cut.
        leader: it led when it was struck.
    """

    node: int
    signal: str
    begin: float
    end: float
    leader: bool = False


class Account(msgspec.Struct, frozen=True):
    """What a drill showed.

    Attributes:
        sent: requests; each is exactly one of answered (rightly), refused, lost and wrong.
        refusals: tries that were refused, by the reason's first words.
        cut: tries that ended with their gateway.
        doubled: job ids that more than one request was answered with.
        reruns: jobs started again after their worker was gone: at-least-once at work, no violation.
        unexplained_reruns: those whose worker was well.
        latency: of right answers, from the first try.
        to_leading: from the kill of a leader, and of nobody else, until another leads; to_assignment: to the
            first assignment by another, which takes a job that waits; to_answer: to the end of the first
            right answer to a request sent after the kill.
        double_to_assignment: the same where another node was lost just before or with it: its jobs wait a
            second for a report that never comes (W7).
        asked_to_leading: from a leader's being asked to stop until another leads (W10).
        cut_to_leading: from a leader's being cut off from everybody, without a sign, until another leads.
        violations: in words; none means that the drill passed.
    """

    sent: int
    answered: int
    refused: int
    lost: int
    wrong: int
    doubled: int
    cut: int
    refusals: dict[str, int]
    reruns: int
    unexplained_reruns: int
    latency: Spread | None
    to_leading: Spread | None
    to_assignment: Spread | None
    to_answer: Spread | None
    double_to_assignment: Spread | None
    asked_to_leading: Spread | None
    cut_to_leading: Spread | None
    violations: tuple[str, ...]


def judge(
    requests: Sequence[Request], strikes: Sequence[Strike], history: History, utc_offset: float
) -> Account:
    """Judge every request and every run; `utc_offset` is UTC minus the monotonic clock."""
    violations: list[str] = []
    ends: Counter[str] = Counter()
    refusals: Counter[str] = Counter()
    cut = 0
    for request in requests:
        ends[_end_of(request)] += 1
        if (text := _wrong_end(request)) is not None:
            violations.append(text)
        for tried in request.tries:
            if tried.status == 0:
                cut += 1
                if not any(_explains(strike, tried) for strike in strikes):
                    violations.append(
                        f"request {request.number}: gateway {tried.gateway} was well, but {tried.said}"
                    )
            elif tried.status in TRY_LATER:
                refusals[" ".join(tried.said.split()[:4])] += 1
                if not (tried.retry_after.isdigit() and tried.said):
                    violations.append(
                        f"request {request.number}: {tried.status} without Retry-After or reason"
                    )
    doubled = _doubled(requests)
    violations.extend(f"job {job} was the answer to requests {numbers}" for job, numbers in doubled.items())
    reruns = history.reruns()
    owners = {tried.job[:8]: tried.gateway for request in requests for tried in request.tries if tried.job}
    unexplained = [
        f"job {first.job} was sent to node {first.node}, which was well, and again to node {second.node}"
        for first, second in reruns
        if not any(
            strike.node in {first.node, owners.get(first.job)}
            and strike.begin + utc_offset <= max(first.at, second.at) + SLACK_S
            and strike.end + utc_offset >= min(first.at, second.at) - SLACK_S
            for strike in strikes
        )
    ]
    violations.extend(unexplained)
    kills = [strike for strike in strikes if strike.leader and strike.signal == "SIGKILL"]
    asked = [strike for strike in strikes if strike.leader and strike.signal == "SIGTERM"]
    cuts = [strike for strike in strikes if strike.leader and strike.signal == Kind.CUT_LEADER]
    single = [strike for strike in kills if _is_alone(strike, strikes)]
    double = [strike for strike in kills if strike not in single]
    to_leading, to_assignment, to_answer = failovers(requests, single, history, utc_offset)
    _, double_to_assignment, _ = failovers(requests, double, history, utc_offset)
    asked_to_leading, _, _ = failovers(requests, asked, history, utc_offset)
    cut_to_leading, _, _ = failovers(requests, cuts, history, utc_offset)
    latency = [request.end - request.begin for request in requests if request.answered_rightly]
    return Account(
        sent=len(requests),
        answered=ends["answered"],
        refused=ends["refused"],
        lost=ends["lost"],
        wrong=ends["wrong"],
        doubled=len(doubled),
        cut=cut,
        refusals=dict(refusals.most_common()),
        reruns=len(reruns) - len(unexplained),
        unexplained_reruns=len(unexplained),
        latency=_spread(latency),
        to_leading=_spread(to_leading),
        to_assignment=_spread(to_assignment),
        to_answer=_spread(to_answer),
        double_to_assignment=_spread(double_to_assignment),
        asked_to_leading=_spread(asked_to_leading),
        cut_to_leading=_spread(cut_to_leading),
        violations=tuple(violations),
    )


def _is_alone(strike: Strike, strikes: Iterable[Strike]) -> bool:
    """Whether no other node was away, or was struck soon after."""
    return not any(
        other is not strike and other.begin < strike.begin + SOON_S and other.end > strike.begin
        for other in strikes
    )


def failovers(
    requests: Sequence[Request], strikes: Iterable[Strike], history: History, utc_offset: float
) -> tuple[list[float], list[float], list[float]]:
    """Seconds from each of these until another leads, assigns a job, and a client is answered."""
    to_leading, to_assignment, to_answer = [], [], []
    for strike in strikes:
        killed = strike.begin + utc_offset
        led = [reign.begin - killed for reign in history.reigns if reign.begin >= killed]
        assigned = [a.at - killed for a in history.assigned if a.at >= killed and a.node != strike.node]
        answered = [r.end - strike.begin for r in requests if r.answered_rightly and r.begin >= strike.begin]
        to_leading.extend(sorted(led)[:1])
        to_assignment.extend(sorted(assigned)[:1])
        to_answer.extend(sorted(answered)[:1])
    return to_leading, to_assignment, to_answer


def _end_of(request: Request) -> str:
    last = request.tries[-1]
    if request.answered_rightly:
        return "answered"
    if last.status in TRY_LATER:
        return "refused"
    return "lost" if last.status in {0, GATEWAY_TIMEOUT} else "wrong"


def _wrong_end(request: Request) -> str | None:
    last = request.tries[-1]
    match _end_of(request):
        case "lost":
            return f"request {request.number} was lost: {last.status or 'no answer'}, {last.said}"
        case "wrong":
            return f"request {request.number}: wrong answer, {last.status}: {last.said[:200]}"
        case _:
            return None


def _explains(strike: Strike, tried: Try) -> bool:
    """Whether its gateway was struck while the try lasted."""
    return strike.node == tried.gateway and strike.begin <= tried.end + SLACK_S and strike.end >= tried.begin


def _doubled(requests: Iterable[Request]) -> dict[str, list[int]]:
    numbers: dict[str, list[int]] = defaultdict(list)
    for request in requests:
        for tried in request.tries:
            if tried.job and tried.status == OK:
                numbers[tried.job].append(request.number)
    return {job: found for job, found in numbers.items() if len(found) > 1}


def _spread(seconds: list[float]) -> Spread | None:
    return Spread.of(seconds) if seconds else None


def as_lines(account: Account) -> list[str]:
    """For people."""
    lines = [
        f"requests            {account.sent}",
        f"answered rightly    {account.answered}",
        f"refused honestly    {account.refused}",
        f"lost {account.lost}, wrong {account.wrong}, doubled {account.doubled}",
        f"ran again           {account.reruns} with a cause, {account.unexplained_reruns} without",
        f"tries cut short     {account.cut}, with their gateway",
    ]
    lines.extend(f"tries refused       {count}: {reason} ..." for reason, count in account.refusals.items())
    for title, spread in (
        ("latency", account.latency),
        ("leader killed, another leads", account.to_leading),
        ("leader killed, next assignment", account.to_assignment),
        ("leader killed, next answer", account.to_answer),
        ("leader and another killed, next assignment", account.double_to_assignment),
        ("leader asked to stop, another leads", account.asked_to_leading),
        ("leader cut off, another leads", account.cut_to_leading),
    ):
        if spread is not None:
            figures = f"p50 {spread.p50_ms:.0f} ms, p99 {spread.p99_ms:.0f} ms, max {spread.max_ms:.0f} ms"
            lines.append(f"{title:<44}{figures} (n={spread.count})")
    shown = account.violations[:SHOWN_MAX]
    lines.extend(f"VIOLATION: {text}" for text in shown)
    if len(account.violations) > SHOWN_MAX:
        lines.append(f"... and {len(account.violations) - SHOWN_MAX} more violations")
    lines.append("no violation" if not account.violations else f"{len(account.violations)} violations")
    return lines
