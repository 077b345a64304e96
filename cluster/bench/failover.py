"""Measures how soon work goes on after a loss, again and again, by the nodes' own logs.

Struck is the leader, or a worker with a job: killed, asked to stop, or cut off in silence as a host that
vanishes is. What counts is the time from the strike to the first job that is assigned because of it, and how
many answers were wrong or never came. All nodes are processes of this machine, so their logs tell one time.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import enum
import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec

from cluster import client, namespaces
from cluster.bench import HTTP_ABOVE_BASE, Spread, machine
from cluster.errors import ClusterError, RemoteProtocolError, Unavailable
from cluster.limits import MIB
from cluster.local import Layout, LocalCluster
from cluster.processes import wait_until

RECOVERY_S = 30.0
"""How long work may take to go on before that is an error."""

RETURN_S = 120.0
"""And how long a node that was struck may take until it is ready again: it warms its virtual machines."""

SETTINGS = {"work.slots": 2, "log.rotate_bytes": 512 * MIB, "gateway.allow_anonymous": True}

PROGRAM = """public class Sleep {{ public String run() throws Exception {{
Thread.sleep({milliseconds}); return "{tag}"; }} }}"""

_LINE = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (\d+): (.*)$")
_ASSIGNED = re.compile(r"job [0-9a-f]{8} assigned to server (\d+), attempt (\d+), epoch (\d+)$")
_GONE = re.compile(r"worker (\d+) is gone with [1-9]\d* jobs")


class Kind(enum.StrEnum):
    """What is done to whom."""

    KILL = "leader killed"
    VANISH = "leader's host vanishes"
    HAND_OVER = "leader asked to stop"
    KILL_WORKER = "worker killed"
    VANISH_WORKER = "worker's host vanishes"


CUT = (Kind.VANISH, Kind.VANISH_WORKER)
WORKER = (Kind.KILL_WORKER, Kind.VANISH_WORKER)
SLEEP_MS = {Kind.KILL_WORKER: 1500, Kind.VANISH_WORKER: 5000}
"""How long the job of a worker that is struck runs: longer than the loss takes to be noticed."""


class Line(msgspec.Struct, frozen=True):
    """A line of a node's summary log; seconds of UTC."""

    at: float
    node: int
    text: str


class Result(msgspec.Struct, frozen=True):
    """One kind of loss.

    Attributes:
        assigned: from the strike to the first job assigned by the next leader, or to another worker.
        noticed: (workers) from the leader's noticing the loss to that.
        wrong: answers that were wrong or never came.
    """

    kind: Kind
    assigned: Spread
    noticed: Spread | None
    wrong: int


class Report(msgspec.Struct, frozen=True):
    """One run; `left_out`: kinds that this machine can't play, and why."""

    machine: str
    peers: int
    results: tuple[Result, ...]
    left_out: str = ""


def measure(
    kinds: Sequence[Kind], times: int, peers: int, base_port: int, say: Callable[[str], None]
) -> Report:
    """Make a cluster, strike it, and leave nothing of it.

    Raises:
        ClusterError: it did not start, or did not come back.
    """
    lacking = namespaces.missing()
    played = [kind for kind in kinds if not (lacking and kind in CUT)]
    layout = Layout(peers, base_port, base_port + HTTP_ABOVE_BASE, dict(SETTINGS))
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="javacluster-bench-"))
        if not lacking:
            network = stack.enter_context(namespaces.namespaces(layout.ids()))
            layout = msgspec.structs.replace(layout, network=network)
        cluster = LocalCluster(Path(directory) / "cluster")
        stack.callback(cluster.down)
        say(f"starting a cluster of one gateway and {peers} peers")
        cluster.make(layout)
        cluster.start()
        cluster.wait_until_serving()
        failover = _Failover(cluster, say)
        results = tuple(failover.measure(kind, times) for kind in played)
    left = ", ".join(kind for kind in kinds if kind not in played)
    return Report(machine(), peers, results, f"{left}: {lacking}" if left else "")


class _Failover:
    """Strikes one cluster."""

    def __init__(self, cluster: LocalCluster, say: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._layout = cluster.layout
        self._say = say

    def measure(self, kind: Kind, times: int) -> Result:
        """The same loss many times, the cluster whole again before each."""
        assigned: list[float] = []
        noticed: list[float] = []
        wrong = 0
        for number in range(times):
            tag = f"{kind.name.lower()} {number}"
            strike = self._strike_worker if kind in WORKER else self._strike_leader
            took, seen, right = strike(kind, tag)
            assigned.append(took)
            noticed += seen
            wrong += not right
            self._say(
                f"{kind}, {number + 1} of {times}: the next job was assigned after {took * 1000:.0f} ms"
            )
        return Result(kind, Spread.of(assigned), Spread.of(noticed) if noticed else None, wrong)

    def _strike_leader(self, kind: Kind, tag: str) -> tuple[float, list[float], bool]:
        view = self._cluster.wait_until_serving(RETURN_S)
        leader, epoch = view.leader, view.epoch
        assert leader is not None  # noqa: S101 - what `wait_until_serving` waits for
        with self._struck(kind, leader) as begin, self._asked(tag, 0) as answer:
            first = self._first(begin, lambda line: (_sending(line) or (0, 0, 0))[2] > epoch)
            return first.at - begin, [], answer.result() == tag

    def _strike_worker(self, kind: Kind, tag: str) -> tuple[float, list[float], bool]:
        self._cluster.wait_until_serving(RETURN_S)
        asked_at = time.time()
        with self._asked(tag, SLEEP_MS[kind]) as answer:
            given = self._first(asked_at, lambda line: _sending(line) is not None)
            worker = (_sending(given) or (0, 0, 0))[0]
            with self._struck(kind, worker) as begin:
                again = self._first(begin, lambda line: _sending(line) is not None)
                gone = [line for line in self._lines(begin) if _GONE.match(line.text)]
                right = answer.result() == tag
        return again.at - begin, [again.at - line.at for line in gone[:1]], right

    # --- strikes ---------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _struck(self, kind: Kind, node: int) -> Iterator[float]:
        """Strike a node; gives the time of it; afterwards the node is back."""
        network, nodes = self._layout.network, self._layout.ids()
        others = [other for other in nodes if other != node]
        links = [link for other in others for link in ((node, other), (other, node))]
        begin = time.time()
        if kind in CUT:
            assert network is not None  # noqa: S101  (`measure` leaves out what needs one)
            namespaces.cut(network, links)
            begin = time.time()  # the last of the rules is in force; the first a few milliseconds longer
        else:
            self._cluster.kill(node, signal.SIGTERM if kind is Kind.HAND_OVER else signal.SIGKILL)
        yield begin
        if kind in CUT:
            assert network is not None  # noqa: S101
            namespaces.heal(network, nodes)
        else:
            wait_until(lambda: not self._runs(node), RECOVERY_S)
            self._cluster.start(node)
        if not wait_until(lambda: self._is_back(node), RETURN_S):
            raise Unavailable(f"node {node} did not come back within {RETURN_S:g} s")

    def _runs(self, node: int) -> bool:
        return any(process.pid for process in self._cluster.processes() if process.id == node)

    def _is_back(self, node: int) -> bool:
        """Whether it follows the leader that the gateway follows; it may be the leader itself."""
        try:
            view = client.look(self._cluster.gateway_url)
            own = client.look(self._cluster.http_url(node))
        except (Unavailable, RemoteProtocolError):
            return False
        return own.ready and own.leader is not None and (own.leader, own.epoch) == (view.leader, view.epoch)

    @contextlib.contextmanager
    def _asked(self, tag: str, milliseconds: int) -> Iterator[Future[str]]:
        """A client sends a program now; gives its answer to come."""
        source = PROGRAM.format(milliseconds=milliseconds, tag=tag).encode()

        def ask() -> str:
            try:
                return client.run(self._cluster.gateway_url, source).text
            except ClusterError as error:
                return f"{type(error).__name__}: {error}"

        with ThreadPoolExecutor(1) as pool:
            yield pool.submit(ask)

    # --- logs ------------------------------------------------------------------------------------------

    def _first(self, since: float, matches: Callable[[Line], bool]) -> Line:
        """The earliest line like this; it may not be there at once."""
        found: list[Line] = []

        def look() -> bool:
            found[:] = [line for line in self._lines(since) if matches(line)]
            return bool(found)

        if not wait_until(look, RECOVERY_S):
            raise Unavailable(f"no job was assigned within {RECOVERY_S:g} s")
        return min(found, key=lambda line: line.at)

    def _lines(self, since: float) -> list[Line]:
        """What the nodes' summary logs say since then, in order of time."""
        found = []
        for node in self._layout.ids():
            file = self._cluster.node_directory(node) / "log" / "summary.log"
            for text in file.read_text(encoding="utf-8", errors="replace").splitlines():
                if parts := _LINE.match(text):
                    at = dt.datetime.fromisoformat(parts[1]).timestamp()
                    if at >= since - 0.001:  # the logs' times are cut to milliseconds
                        found.append(Line(at, int(parts[2]), parts[3]))
        return sorted(found, key=lambda line: line.at)


def _sending(line: Line) -> tuple[int, int, int] | None:
    """Worker, attempt and epoch of a job that this line says was assigned."""
    found = _ASSIGNED.match(line.text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def joined(old: Report, new: Report) -> Report:
    """Kinds measured in several runs, one after another: the newest of each."""
    fresh = {result.kind for result in new.results}
    results = (*(result for result in old.results if result.kind not in fresh), *new.results)
    order = list(Kind)
    return msgspec.structs.replace(new, results=tuple(sorted(results, key=lambda r: order.index(r.kind))))


def as_page(report: Report) -> str:
    """The table, in Markdown."""
    lines = [
        "# How soon work goes on after a loss",
        "",
        "Written by `javacluster bench --part failover --kills 50 --output docs/benchmarks`.",
        f"{report.machine}; one gateway and {report.peers} peers, each a process in a network namespace of",
        "its own. Milliseconds from the strike to the first job that the next leader assigns, or another",
        "worker gets; *noticed* counts from the leader's noticing the worker's loss.",
        "",
        "| loss | times | p50 | p99 | worst | noticed p50 | noticed worst | answers wrong or lost |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for result in report.results:
        spread, seen = result.assigned, result.noticed
        noticed = f"{seen.p50_ms:.0f} | {seen.max_ms:.0f}" if seen else " | "
        lines.append(
            f"| {result.kind} | {spread.count} | {spread.p50_ms:.0f} | {spread.p99_ms:.0f} "
            f"| {spread.max_ms:.0f} | {noticed} | {result.wrong} |"
        )
    if report.left_out:
        lines += ["", f"Left out: {report.left_out}."]
    return "\n".join(lines) + "\n"
