"""Measures what a leader's death costs, and the first answer and the cache beside it.

The cluster is made for it, on ports of its own and in a temporary directory, and is gone afterwards.
"""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from cluster import client
from cluster.bench import HTTP_ABOVE_BASE, SETTLE_S, Spread, hits, machine
from cluster.bench.usage import cpu_seconds
from cluster.errors import RemoteProtocolError, Unavailable
from cluster.local import GATEWAY, Layout, LocalCluster
from cluster.processes import wait_until

CACHED_REQUESTS = 200
CONNECTIONS = (1, 4)
"""Clients that ask for the same answer at once."""

RECOVERY_S = 30.0
"""How long the next answer, or a killed peer's return, may take before that is an error."""

RETRY_S = 0.01

PROGRAM = 'public class Hello {{ public String run() {{ return "hello {tag}"; }} }}'


class Report(msgspec.Struct, frozen=True):
    """One run.

    Attributes:
        machine: what it was measured on.
        first_answer_s: from a first `up`, which prepares the JDK unless it is kept, to the first answer.
        later_answer_s: the same of the cluster when it is started again.
        hello: distinct programs, one after another.
        cached: the same program again and again.
        cached_per_s: their rate, one client, a connection each.
        hits: the same from connections that stay open.
        leader_killed: from the leader's SIGKILL to the answer to a program sent at once; None if not tried.
        lost: answers that were wrong or never came.
    """

    machine: str
    first_answer_s: float
    later_answer_s: float
    hello: Spread
    cached: Spread
    cached_per_s: float
    hits: tuple[hits.Hits, ...]
    leader_killed: Spread | None
    lost: int


def measure(kills: int, programs: int, base_port: int, say: Callable[[str], None]) -> Report:
    """Make a cluster, measure it, and leave nothing of it.

    Raises:
        ClusterError: it did not start, or did not come back.
    """
    with tempfile.TemporaryDirectory(prefix="javacluster-bench-") as directory:
        cluster = LocalCluster(Path(directory) / "cluster")
        try:
            return _measure(cluster, kills, programs, base_port, say)
        finally:
            cluster.down()


def _first_wrong(cluster: LocalCluster) -> int:
    """Start it; how many of its first answers, of which there is one, are wrong."""
    cluster.start()
    cluster.wait_until_serving()
    return 0 if _answers(cluster.gateway_url, "first") else 1


def _measure(
    cluster: LocalCluster, kills: int, programs: int, base_port: int, say: Callable[[str], None]
) -> Report:
    say("starting a cluster of one gateway and three peers, twice")
    begin = time.perf_counter()
    cluster.make(Layout(base_port=base_port, http_port=base_port + HTTP_ABOVE_BASE))
    lost = _first_wrong(cluster)
    first = time.perf_counter() - begin
    cluster.down()
    begin = time.perf_counter()
    lost += _first_wrong(cluster)
    later = time.perf_counter() - begin

    gateway = cluster.gateway_url
    time.sleep(SETTLE_S)
    say(f"{programs} distinct programs")
    hello, wrong = _timed(gateway, [f"n{number}" for number in range(programs)])
    lost += wrong
    say(f"the same program {CACHED_REQUESTS} times, a connection each, and {hits.ANSWERS} times on open ones")
    cached, wrong = _timed(gateway, ["n0"] * CACHED_REQUESTS)
    lost += wrong

    kept = _hits(cluster)
    lost += sum(one.wrong for one in kept)

    killed = []
    for number in range(kills):
        killed.append(_kill_leader(cluster, f"k{number}"))
        say(f"leader killed, {number + 1} of {kills}: answered after {killed[-1] * 1000:.0f} ms")
    return Report(
        machine(),
        round(first, 2),
        round(later, 2),
        Spread.of(hello),
        Spread.of(cached),
        round(len(cached) / sum(cached), 1),
        kept,
        Spread.of(killed) if killed else None,
        lost,
    )


def _hits(cluster: LocalCluster) -> tuple[hits.Hits, ...]:
    """The first program again and again, through both interfaces, from one client and from a few."""
    address = urlsplit(cluster.gateway_url)
    gateway = [process.pid for process in cluster.processes() if process.id == GATEWAY]
    source = PROGRAM.format(tag="n0")
    bodies = {
        "/compileandrun": hits.post("/compileandrun", "text/x-java-source", source.encode()),
        "/v1/run": hits.post("/v1/run", "application/json", msgspec.json.encode({"source": source})),
    }
    return tuple(
        hits.measure(
            (address.hostname or "", address.port or 80),
            connections,
            path,
            request,
            b"hello n0",
            lambda: cpu_seconds(gateway),
        )
        for path, request in bodies.items()
        for connections in CONNECTIONS
    )


def _timed(gateway: str, tags: list[str]) -> tuple[list[float], int]:
    """Seconds for each answer, and how many were wrong."""
    seconds, wrong = [], 0
    for tag in tags:
        begin = time.perf_counter()
        wrong += not _answers(gateway, tag)
        seconds.append(time.perf_counter() - begin)
    return seconds, wrong


def _answers(gateway: str, tag: str) -> bool:
    """Whether the right answer came."""
    try:
        return client.run(gateway, PROGRAM.format(tag=tag).encode()).text == f"hello {tag}"
    except (Unavailable, RemoteProtocolError):
        return False


def _kill_leader(cluster: LocalCluster, tag: str) -> float:
    """Seconds without an answer; afterwards the killed peer is back."""
    leader = cluster.wait_until_serving(RECOVERY_S).leader
    assert leader is not None  # noqa: S101 - what `wait_until_serving` waits for
    begin = time.perf_counter()
    cluster.kill(leader, signal.SIGKILL)
    while not _answers(cluster.gateway_url, tag):
        if time.perf_counter() - begin > RECOVERY_S:
            raise Unavailable(f"no right answer within {RECOVERY_S:g} s of the leader's death")
        time.sleep(RETRY_S)
    seconds = time.perf_counter() - begin
    # What was killed must first be missed, or the wait below would take its last words for life.
    wait_until(lambda: client.look(cluster.gateway_url).leader not in {None, leader}, RECOVERY_S)
    cluster.start(leader)
    cluster.wait_until_serving(RECOVERY_S)
    return seconds


def as_lines(report: Report) -> list[str]:
    """For people."""
    lines = [
        report.machine,
        f"first answer after `up`      {report.first_answer_s:.2f} s",
        f"the same after the next      {report.later_answer_s:.2f} s",
        f"hello, one after another     {_shown(report.hello)}",
        f"answered from the cache      {_shown(report.cached)}, {report.cached_per_s:g}/s",
    ]
    for one in report.hits:
        who = "1 open connection" if one.connections == 1 else f"{one.connections} open connections"
        lines.append(
            f"  {one.path}, {who}: {one.per_s:,.0f}/s, {one.cpu_ms:.2f} ms of the gateway's processor each, "
            f"{_shown(one.waited)}"
        )
    if report.leader_killed:
        lines.append(f"leader killed to next answer {_shown(report.leader_killed)}")
    lines.append(f"answers wrong or lost        {report.lost}")
    return lines


def _shown(spread: Spread) -> str:
    return f"p50 {spread.p50_ms:g} ms, p99 {spread.p99_ms:g} ms, max {spread.max_ms:g} ms (n={spread.count})"
