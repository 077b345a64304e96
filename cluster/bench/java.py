"""The Java engine against what people would type without it (`javacluster bench`)."""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from cluster.bench import HTTP_ABOVE_BASE, SETTLE_S, Spread, machine
from cluster.bench.programs import WORKLOADS, Workload
from cluster.bench.usage import load
from cluster.bench.ways import Alone, Commands, Gateway, Way
from cluster.local import Layout, LocalCluster

CLIENTS = 8
PAUSE_S = 0.1
"""Between an answer and the next program of a client that sends one now and then, as people and bots do."""
PACES = ((1, 0.0), (CLIENTS, 0.0), (1, PAUSE_S))
"""Clients, and how long each waits after an answer."""
FIRST = WORKLOADS[:2]
"""Of these a started engine gets as many as a cell has before all others: what it learns from some hundred
programs it knows for as long as it runs, so that the other cells show it as it is from then on."""
COLD_SHARE = 5
"""Commands are measured so many times less often: each is some fifty times slower, and as steady."""


class Cell(msgspec.Struct, frozen=True):
    """One way, one workload, one pace.

    Attributes:
        spread: of the answers' times.
        per_s: answers a second.
        cpu_ms: processor milliseconds a job, of everything that the way consists of.
        wrong: answers that were not right.
        pause_s: how long a client waits after an answer.
    """

    way: str
    workload: str
    clients: int
    spread: Spread
    per_s: float
    cpu_ms: float
    wrong: int
    pause_s: float = 0.0


class JavaReport(msgspec.Struct, frozen=True):
    """One run.

    Attributes:
        machine: what it was measured on.
        processors: that it has.
        load: the load average before and after: what else the machine did.
        cells: of engines that have been running for a while.
        memory_mib: by way, while it waits.
        first: of the first programs after the start.
    """

    machine: str
    processors: int
    load: tuple[float, float]
    cells: tuple[Cell, ...]
    memory_mib: dict[str, float]
    first: tuple[Cell, ...]


def measure(jobs: int, base_port: int, say: Callable[[str], None]) -> JavaReport:
    """Measure every way with every workload, one after another and eight at once.

    Ours also with its first programs, and now and then.

    Args:
        jobs: how many a cell has; commands get fewer.
        base_port: of the cluster that is made for it.
        say: told a line at each cell.

    Raises:
        ClusterError: the cluster or the engine did not start.
    """
    before = load()
    first: list[Cell] = []
    cells: list[Cell] = []
    memory: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="javacluster-bench-")))
        directory.chmod(0o755)
        for make in (_commands, _single_file, _alone, _gateway):
            with make(directory, base_port) as way:
                count = max(jobs // COLD_SHARE, CLIENTS) if isinstance(way, Commands) else jobs
                for workload in () if isinstance(way, Commands) else FIRST:
                    first.append(_cell(way, workload, 1, 0.0, count))
                    say(f"{line(first[-1])}, the first since the start")
                for workload in WORKLOADS:
                    for clients, pause_s in PACES[:2] if isinstance(way, Commands) else PACES:
                        cells.append(_cell(way, workload, clients, pause_s, count))
                        say(line(cells[-1]))
                time.sleep(SETTLE_S)
                memory[way.name] = round(way.memory_mib(), 1)
    processors = os.cpu_count() or 1
    return JavaReport(
        f"{machine()}, {platform.release()}",
        processors,
        (before, load()),
        tuple(cells),
        memory,
        tuple(first),
    )


@contextlib.contextmanager
def _commands(_directory: Path, _port: int) -> Iterator[Way]:
    yield Commands(single_file=False)


@contextlib.contextmanager
def _single_file(_directory: Path, _port: int) -> Iterator[Way]:
    yield Commands(single_file=True)


@contextlib.contextmanager
def _alone(directory: Path, _port: int) -> Iterator[Way]:
    way = Alone(directory / "alone")
    try:
        time.sleep(SETTLE_S)
        yield way
    finally:
        way.stop()


@contextlib.contextmanager
def _gateway(directory: Path, port: int) -> Iterator[Way]:
    cluster = LocalCluster(directory / "cluster")
    try:
        cluster.make(Layout(base_port=port, http_port=port + HTTP_ABOVE_BASE))
        cluster.start()
        cluster.wait_until_serving()
        time.sleep(SETTLE_S)
        yield Gateway(cluster)
    finally:
        cluster.down()


def _cell(way: Way, workload: Workload, clients: int, pause_s: float, count: int) -> Cell:
    seed = secrets.token_hex(4)
    todo = [f"{seed}x{number}" for number in range(count)]
    seconds: list[float] = []
    wrong: list[str] = []
    lock = threading.Lock()

    def client() -> None:
        while True:
            with lock:
                if not todo:
                    return
                tag = todo.pop()
            begin = time.perf_counter()
            said = way.perform(workload, tag)
            took = time.perf_counter() - begin
            with lock:
                seconds.append(took)
                if workload.expected(tag) not in said:
                    wrong.append(said)
            time.sleep(pause_s)

    cpu, begin = way.cpu_s(), time.perf_counter()
    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - begin
    cpu = way.cpu_s() - cpu
    return Cell(
        way.name,
        workload.name,
        clients,
        Spread.of(seconds),
        round(count / took, 1),
        round(cpu / count * 1000, 1),
        len(wrong),
        pause_s,
    )


def line(cell: Cell) -> str:
    """One for people."""
    alone = "now and then" if cell.pause_s else "one after another"
    clients = alone if cell.clients == 1 else f"{cell.clients} clients"
    wrong = f", {cell.wrong} WRONG" if cell.wrong else ""
    return (
        f"{cell.workload:27s} {cell.way:14s} {clients:17s} p50 {cell.spread.p50_ms:8.1f} ms  "
        f"p90 {cell.spread.p90_ms:8.1f}  p99 {cell.spread.p99_ms:8.1f}  {cell.per_s:6.1f}/s  "
        f"{cell.cpu_ms:7.1f} ms CPU{wrong}"
    )
