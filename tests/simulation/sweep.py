"""Many seeds, on all processors; what failed, which rare situations were reached, and how fast it was."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor

import attrs

from tests.simulation.generate import generate
from tests.simulation.simulation import Report, run

CHUNK = 8
"""Seeds that a process takes at once."""

MUST_REACH = (
    "answered from the cache",
    "candidate died in its handshake",
    "channel to the leader was a hint",
    "crash at write step 0",
    "crash at write step 2",
    "crash at write step 5",
    "crash at write step 7",
    "datagram of an older boot dropped",
    "follower left a leader that resigned",
    "gossip declared a node failed",
    "job abandoned by its client",
    "job assigned again",
    "job handed back",
    "job sent again to a new leader",
    "late loop reported",
    "leader fell silent",
    "leader fenced a stale HELLO",
    "leader gave way to a higher heartbeat",
    "leader renewed itself above an accepted epoch",
    "leader resigned for a lost lease",
    "leader without lease gave way to a proposal",
    "leader without lease gave way to an accepted epoch",
    "link queue overflowed",
    "lost lease came back",
    "new cluster gained its votes",
    "new leader attached to a run or a kept result",
    "node drained and stopped",
    "overlap under unbounded drift",
    "promise repeated",
    "repeated datagram dropped",
    "request refused",
    "resignation sent",
    "result of an earlier epoch offered",
    "run cancelled by the leader",
    "socket buffer overflowed",
    "stalled channel went on",
    "storage error seen by the core",
    "stuck channel broke",
    "two in office, one without its lease",
    "voter not eligible",
    "voter with a lost disk regained its vote",
    "worker fenced a stale leader",
    "worker_lost answered",
    "worker's loss counted against a job",
    "write failed",
)
"""Rare situations that a sweep of `ENOUGH` seeds must have been in, or it is blind there."""

ENOUGH = 2000


@attrs.define
class Summary:
    """What a sweep found."""

    seeds: int = 0
    events: int = 0
    epochs: int = 0
    seconds: float = 0.0
    failed: list[Report] = attrs.Factory(list)
    probes: Counter[str] = attrs.Factory(Counter)
    settled_ms: list[int] = attrs.Factory(list)

    def add(self, report: Report) -> None:
        """One more seed."""
        self.seeds += 1
        self.events += report.events
        self.epochs += report.epochs
        self.probes.update(report.probes)
        if report.violation:
            self.failed.append(report)
        else:
            self.settled_ms.append(report.settled_ms)

    @property
    def missed(self) -> list[str]:
        """Situations that had to be reached and were not."""
        return [probe for probe in MUST_REACH if not self.probes[probe]] if self.seeds >= ENOUGH else []


def run_seed(seed: int) -> Report:
    """One seed, from its number alone."""
    return run(generate(seed))


def run_seeds(seeds: list[int]) -> list[Report]:
    """Several, in one process."""
    return [run_seed(seed) for seed in seeds]


def sweep(seeds: Iterable[int], *, processes: int = 0) -> Iterator[Report]:
    """Run them all; reports come in the order of the seeds."""
    todo = list(seeds)
    chunks = [todo[start : start + CHUNK] for start in range(0, len(todo), CHUNK)]
    count = processes or os.cpu_count() or 1
    if count == 1:
        for chunk in chunks:
            yield from run_seeds(chunk)
        return
    with ProcessPoolExecutor(count) as pool:
        for reports in pool.map(run_seeds, chunks):
            yield from reports


def summarize(seeds: Iterable[int], *, processes: int = 0) -> Summary:
    """Run them all and add up."""
    summary = Summary()
    began = time.perf_counter()
    for report in sweep(seeds, processes=processes):
        summary.add(report)
    summary.seconds = time.perf_counter() - began
    return summary


def percentile(values: list[int], share: float) -> int:
    """The value that this share of them does not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0


def as_text(summary: Summary, title: str) -> str:
    """A summary for people, in Markdown."""
    settled = summary.settled_ms
    lines = [
        f"# {title}",
        "",
        "| what | figure |",
        "| --- | --- |",
        f"| seeds | {summary.seeds} |",
        f"| violations | {len(summary.failed)} |",
        f"| events of nodes | {summary.events} |",
        f"| epochs established | {summary.epochs} |",
        f"| healed until settled: median | {percentile(settled, 0.5)} ms |",
        f"| healed until settled: 99 % | {percentile(settled, 0.99)} ms |",
        f"| healed until settled: worst | {max(settled, default=0)} ms |",
        f"| wall time | {summary.seconds:.0f} s |",
        f"| seeds an hour | {3600 * summary.seeds / summary.seconds:.0f} |",
        "",
        "| situation | times |",
        "| --- | --- |",
        *(f"| {probe} | {count} |" for probe, count in sorted(summary.probes.items())),
    ]
    return "\n".join(lines) + "\n"
