"""The drill's pure parts: what a seed decides, what counts as a violation, the logs, the picture."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from cluster.drill import history, picture
from cluster.drill.account import Account, Strike, judge
from cluster.drill.load import Request, Try, program
from cluster.drill.schedule import CUTS, DECK, GATEWAYS, TWO_PEERS, Hit, Kind, faults, severed

NOTHING = history.History((), (), ())
OFFSET = 1000.0
"""UTC minus the monotonic clock in these tests."""


def right(number: int = 1, begin: float = 10.0, end: float = 11.0, *before: Try, job: str = "") -> Request:
    last = Try(0, begin, end, 200, "answer", job=job or f"job{number}")
    return Request(0, number, "answer", (*before, last))


def refused(retry_after: str = "1", said: str = "12 jobs wait already: try again later") -> Try:
    return Try(0, 9.0, 9.1, 503, said, retry_after)


def broken(gateway: int = 0, begin: float = 9.0, end: float = 9.5) -> Try:
    return Try(gateway, begin, end, 0, "ConnectionResetError")


def judged(*requests: Request, strikes: Sequence[Strike] = (), story: history.History = NOTHING) -> Account:
    return judge(requests, strikes, story, OFFSET)


# --- the schedule ----------------------------------------------------------------------------------


def test_a_seed_decides_the_whole_schedule() -> None:
    first, again, other = (
        list(itertools.islice(faults(seed, peers=5, gateways=2, cuts=True), 40)) for seed in (7, 7, 8)
    )
    assert first == again != other
    assert [fault.number for fault in first] == list(range(1, 41))


def test_every_kind_comes_up_in_each_deal() -> None:
    deal = sum(times for _, times in DECK)
    assert {fault.kind for fault in itertools.islice(faults(3, peers=5, gateways=2, cuts=True), deal)} == set(
        Kind
    )


def test_a_small_cluster_is_never_struck_below_what_it_needs() -> None:
    deal = faults(3, peers=3, gateways=1, cuts=True)
    kinds = {fault.kind for fault in itertools.islice(deal, 100)}
    assert kinds == set(Kind) - TWO_PEERS - GATEWAYS


def test_where_the_network_cant_be_cut_it_is_not() -> None:
    kinds = {fault.kind for fault in itertools.islice(faults(3, peers=5, gateways=2, cuts=False), 100)}
    assert kinds == set(Kind) - CUTS


NODES = range(7)
HIT = Hit(leader=2, follower=4, gateway=6)


@pytest.mark.parametrize("kind", sorted(CUTS))
def test_a_cut_takes_links_of_those_it_strikes_and_no_others(kind: Kind) -> None:
    struck, links = severed(kind, HIT, NODES)
    assert links
    assert all(len({sender, receiver} & struck) in {1, 2} for sender, receiver in links)
    assert all(sender != receiver for sender, receiver in links)
    if kind is not Kind.CUT_LINK:
        assert all((sender in struck) != (receiver in struck) for sender, receiver in links)


def test_a_cut_one_way_leaves_the_other() -> None:
    others = {node for node in NODES if node != HIT.leader}
    assert severed(Kind.MUTE_LEADER, HIT, NODES)[1] == {(HIT.leader, node) for node in others}
    assert severed(Kind.DEAF_LEADER, HIT, NODES)[1] == {(node, HIT.leader) for node in others}
    both = severed(Kind.CUT_LEADER, HIT, NODES)[1]
    assert both == {pair for node in others for pair in ((HIT.leader, node), (node, HIT.leader))}


def test_a_split_leaves_a_majority_with_a_gateway() -> None:
    struck, links = severed(Kind.SPLIT, HIT, NODES)
    assert struck == {2, 4, 6}
    assert len(links) == 2 * 3 * 4


# --- the account -----------------------------------------------------------------------------------


def test_right_answers_are_no_violation() -> None:
    account = judged(right(1), right(2))
    assert (account.sent, account.answered, account.violations) == (2, 2, ())
    assert account.latency is not None
    assert account.latency.p50_ms == 1000


def test_a_refusal_that_says_why_and_when_is_honest() -> None:
    given_up = Request(0, 2, "answer", (refused(),))
    account = judged(right(1, 10.0, 11.0, refused()), given_up)
    assert (account.answered, account.refused, account.violations) == (1, 1, ())


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (Request(0, 5, "answer", (Try(0, 1, 2, 200, "another"),)), "wrong answer"),
        (Request(0, 5, "answer", (Try(0, 1, 2, 400, "answer"),)), "wrong answer"),
        (Request(0, 5, "answer", (Try(0, 1, 62, 504, "no outcome within 60 s"),)), "was lost"),
        (Request(0, 5, "answer", (broken(),)), "was lost"),
        (right(5, 10.0, 11.0, refused(retry_after="")), "without Retry-After"),
        (right(5, 10.0, 11.0, refused(said="")), "without Retry-After"),
        (right(5, 10.0, 11.0, broken()), "gateway 0 was well"),
    ],
)
def test_whatever_breaks_a_promise_is_named(request_: Request, what: str) -> None:
    violations = judged(request_).violations
    assert violations
    assert any(what in text and "request 5" in text for text in violations)


def test_a_connection_may_end_with_its_own_gateway_and_no_other() -> None:
    request = right(1, 10.0, 11.0, broken(gateway=6))
    for node, excused in ((6, True), (0, False)):
        strike = Strike(node, "SIGKILL", 9.4, 12.0)
        assert (judged(request, strikes=[strike]).violations == ()) is excused


def test_one_job_answers_one_request() -> None:
    account = judged(right(1, job="same"), right(2, job="same"))
    assert account.doubled == 1
    assert "same" in account.violations[0]


def test_a_second_run_needs_a_worker_that_was_struck() -> None:
    runs = (history.Start("aa", 1, OFFSET + 10, (3, 1)), history.Start("aa", 2, OFFSET + 12, (3, 2)))
    story = history.History((), (), runs)
    struck = judged(strikes=[Strike(1, "SIGKILL", 11.0, 15.0)], story=story)
    assert (struck.reruns, struck.unexplained_reruns, struck.violations) == (1, 0, ())
    for strikes in ([], [Strike(2, "SIGKILL", 11.0, 15.0)], [Strike(1, "SIGKILL", 13.0, 15.0)]):
        account = judged(strikes=strikes, story=story)
        assert (account.reruns, account.unexplained_reruns, len(account.violations)) == (0, 1, 1)


def test_a_failover_lasts_until_another_leader_assigns_and_a_later_request_is_answered() -> None:
    strikes = [Strike(3, "SIGKILL", 20.0, 25.0, leader=True), Strike(4, "SIGKILL", 30.0, 35.0)]
    assigned = (
        history.Start("aa", 3, OFFSET + 19.9),
        history.Start("bb", 5, OFFSET + 20.4),
        history.Start("cc", 5, OFFSET + 21.0),
    )
    account = judged(
        right(1, 19.5, 20.2), right(2, 20.1, 20.6), strikes=strikes, story=history.History((), assigned, ())
    )
    assert account.to_assignment is not None
    assert account.to_answer is not None
    assert account.to_assignment.p50_ms == pytest.approx(400, abs=0.1)
    assert account.to_answer.p50_ms == pytest.approx(600, abs=0.1)


@pytest.mark.parametrize(("other", "alone"), [(20.0, False), (21.0, False), (30.0, True)])
def test_a_leader_lost_with_another_node_is_told_apart(other: float, alone: bool) -> None:
    strikes = [Strike(3, "SIGKILL", 20.0, 25.0, leader=True), Strike(4, "SIGKILL", other, other + 5)]
    assigned = (history.Start("bb", 5, OFFSET + 20.4),)
    account = judged(right(), strikes=strikes, story=history.History((), assigned, ()))
    assert (account.to_assignment is not None, account.double_to_assignment is None) == (alone, alone)


def test_a_job_cancelled_with_its_gateway_may_run_again() -> None:
    """W9: its gateway was cut off for long, and sends the job again when it is back."""
    runs = (
        history.Start("aaaaaaaa", 1, OFFSET + 20, (1, 1)),
        history.Start("aaaaaaaa", 2, OFFSET + 28, (2, 1)),
    )
    asked = right(1, 20.0, 29.0, job="aaaaaaaa" + 24 * "0")
    story = history.History((), (), runs)
    struck = judged(asked, strikes=[Strike(0, "cut off gateway", 21.0, 27.0)], story=story)
    assert (struck.reruns, struck.violations) == (1, ())
    assert judged(asked, story=story).unexplained_reruns == 1


# --- the load --------------------------------------------------------------------------------------


def test_programs_are_distinct_and_so_are_their_answers() -> None:
    programs = [program(1, number) for number in range(50)]
    assert len({source for source, _ in programs}) == len({answer for _, answer in programs}) == 50


# --- the history -----------------------------------------------------------------------------------


def test_the_logs_tell_who_led_and_what_ran(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    (log / "verbose.log").write_text(
        "2026-01-01T00:00:01.000Z 3: leading epoch 4\n"
        "2026-01-01T00:00:01.500Z 3: -> 2 Gossip job leading epoch\n"
        "2026-01-01T00:00:02.000Z 3: job 0123abcd assigned to server 2, attempt 1, epoch 4\n"
        "2026-01-01T00:00:05.000Z 3: no longer leading epoch 4: stopping\n"
        "half a line"
    )
    (log / "verbose.log.1").write_text(
        "2026-01-01T00:00:00.500Z 3: running job 0123abcd, attempt 1, epoch 3\n"
    )
    found = history.read([tmp_path])
    assert [(r.node, r.epoch, r.end and r.end - r.begin) for r in found.reigns] == [(3, 4, 4.0)]
    assert [(a.job, a.node) for a in found.assigned] == [("0123abcd", 3)]
    assert [(run.job, run.node) for run in found.runs] == [("0123abcd", 3)]
    assert found.reruns() == []


def test_runs_of_one_job_are_paired_in_the_order_of_sending() -> None:
    sent = ((3, 30.0, (2, 1)), (1, 40.0, (1, 1)), (2, 20.0, (1, 2)))
    runs = tuple(history.Start("aa", node, at, sending) for node, at, sending in sent)
    pairs = history.History((), (), runs).reruns()
    assert [(first.node, second.node) for first, second in pairs] == [(1, 2), (2, 3)]


def test_a_stopped_worker_that_runs_an_old_sending_late_is_explained() -> None:
    late = history.Start("aa", 1, OFFSET + 15, (3, 1))
    story = history.History((), (), (late, history.Start("aa", 2, OFFSET + 12, (3, 2))))
    assert judged(strikes=[Strike(1, "SIGSTOP", 10.0, 15.0)], story=story).violations == ()
    assert judged(strikes=[Strike(2, "SIGSTOP", 10.0, 15.0)], story=story).violations


# --- the picture -----------------------------------------------------------------------------------


def test_the_picture_is_well_formed_and_shows_everything() -> None:
    line = picture.Timeline(
        "a <title> & more",
        60.0,
        {1: "peer 1", 2: "peer 2"},
        [history.Reign(1, 1, 0.0), history.Reign(2, 2, 20.5, 40.0)],
        [Strike(1, "SIGKILL", 20.0, 25.0, leader=True)],
        [picture.Mark(1, "kill -9 leader", 20.0, 25.0)],
        [right(1, 10.0, 11.0, refused()), Request(0, 2, "answer", (broken(),))],
    )
    root = ET.fromstring(picture.draw(line))  # noqa: S314 - our own text
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"a <title> & more", "peer 2", "1: kill -9 leader, 20 to 25 s"} <= texts
    tips = {element.text for element in root.iter("{http://www.w3.org/2000/svg}title")}
    assert {"node 1 leads epoch 1", "node 2 leads epoch 2", "SIGKILL, node 1"} <= tips
