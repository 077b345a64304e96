"""Many seeds, on all processors; what failed, which rare situations were reached, and how fast it was."""

from __future__ import annotations

import gc
import hashlib
import os
import subprocess
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from cluster.core import node
from tests.simulation.generate import generate
from tests.simulation.probes import MUST_REACH, RARE
from tests.simulation.simulation import Report, run

CHUNK = 8
"""Seeds that a process takes at once."""

PART = 200
"""Seeds of a line in a progress file."""

K = TypeVar("K")

ENOUGH = 2000
MANY = 20_000

ROOT = Path(__file__).parent.parent.parent
COMMIT = "commit.txt"
"""In a compiled copy: of which commit it is."""

_CODE = ("cluster", "cluster/core", "cluster/net", "cluster/wire", "tests/simulation")
"""Where all is that a run loads: nodes write with the product's own store."""


class Summary(msgspec.Struct):
    """What a sweep found; goes to a file and back.

    Attributes:
        cpu_s: processor time of the runs; `seconds`: time on the wall, which others may have had a share of.
        settled_ms: how many seeds settled this long after the healing.
    """

    seeds: int = 0
    events: int = 0
    epochs: int = 0
    cpu_s: float = 0.0
    seconds: float = 0.0
    failed: list[Report] = []
    probes: dict[str, int] = {}
    settled_ms: dict[int, int] = {}

    def add(self, report: Report) -> None:
        """One more seed."""
        self.seeds += 1
        self.events += report.events
        self.epochs += report.epochs
        self.cpu_s += report.cpu_s
        _count(self.probes, report.probes)
        if report.violation:
            self.failed.append(report)
        else:
            _count(self.settled_ms, {report.settled_ms: 1})

    def join(self, other: Summary) -> None:
        """Another part of the same sweep."""
        self.seeds += other.seeds
        self.events += other.events
        self.epochs += other.epochs
        self.cpu_s += other.cpu_s
        self.seconds += other.seconds
        self.failed += other.failed
        _count(self.probes, other.probes)
        _count(self.settled_ms, other.settled_ms)

    @property
    def missed(self) -> list[str]:
        """Situations that had to be reached and were not."""
        wanted = (MUST_REACH if self.seeds >= ENOUGH else ()) + (RARE if self.seeds >= MANY else ())
        return [probe for probe in wanted if not self.probes.get(probe)]


def _count(into: dict[K, int], more: dict[K, int]) -> None:
    for key, count in more.items():
        into[key] = into.get(key, 0) + count


def run_seed(seed: int) -> Report:
    """One seed, from its number alone."""
    return run(generate(seed))


def run_seeds(seeds: list[int]) -> list[Report]:
    """Several, in one process; rubbish is collected between them, which saves a tenth of the time."""
    gc.disable()
    try:
        return [run_seed(seed) for seed in seeds]
    finally:
        gc.enable()
        gc.collect()


def sweep(seeds: Iterable[int], *, processes: int = 0) -> Iterator[Report]:
    """Run them all; reports come in the order of the seeds."""
    todo = list(seeds)
    chunks = [todo[start : start + CHUNK] for start in range(0, len(todo), CHUNK)]
    count = min(processes or os.cpu_count() or 1, len(chunks))
    if count <= 1:
        for chunk in chunks:
            yield from run_seeds(chunk)
        return
    with ProcessPoolExecutor(count) as pool:
        for reports in pool.map(run_seeds, chunks):
            yield from reports


class Part(msgspec.Struct):
    """A line of a progress file: `count` seeds from `first` on, of this code, and what they showed."""

    first: int
    count: int
    code: str
    summary: Summary


def sources() -> list[Path]:
    """The files of cores, store and simulator: all that a history may hang on."""
    return sorted(path for folder in _CODE for path in ROOT.glob(f"{folder}/*.py"))


def code() -> str:
    """A name for these files as they are: what they showed holds for no others."""
    digest = hashlib.sha256()
    for path in sources():
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def machine_code() -> bool:
    """Whether this is the compiled copy."""
    return str(node.__file__).endswith(".so")


def built() -> str:
    """Of which commit, where that is known, and whether the cores are machine code."""
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    kept = ROOT / COMMIT
    commit = kept.read_text(encoding="utf-8") if kept.exists() else asked.stdout.strip()
    kind = "compiled" if machine_code() else "interpreted"
    return f"{commit}, {kind}" if commit else kind


def sweep_on(first: int, seeds: int, progress: Path, *, processes: int = 0) -> Iterator[Summary]:
    """A sweep that can be broken off at any time and goes on where it was.

    Each part of `PART` seeds is a line in the file; the parts that are there already come first.
    """
    of = code()
    done = read_parts(progress, of)
    for start in range(first, first + seeds, PART):
        count = min(PART, first + seeds - start)
        if (start, count) in done:
            yield done[start, count]
            continue
        part = Summary()
        began = time.perf_counter()
        for report in sweep(range(start, start + count), processes=processes):
            part.add(report)
        part.seconds = time.perf_counter() - began
        with progress.open("ab") as file:
            file.write(msgspec.json.encode(Part(start, count, of, part)) + b"\n")
        yield part


def read_parts(progress: Path, of: str) -> dict[tuple[int, int], Summary]:
    """The parts that are done, by first seed and count; a last line that is torn is cut off.

    Raises:
        ValueError: it is no progress file, or one of other code.
    """
    text = progress.read_bytes() if progress.exists() else b""
    whole = text[: text.rfind(b"\n") + 1]
    try:
        parts = [msgspec.json.decode(line, type=Part) for line in whole.splitlines()]
    except msgspec.MsgspecError as error:
        raise ValueError(f"{progress} is no progress file of this sweep ({error}): name another") from error
    if any(part.code != of for part in parts):
        raise ValueError(f"{progress} is of other code than this: name another file, or delete it")
    if whole != text:
        progress.write_bytes(whole)
    return {(part.first, part.count): part.summary for part in parts}


def percentile(values: dict[int, int], share: float) -> int:
    """The value that this share of them does not exceed; 0 of none."""
    left = share * sum(values.values())
    for value in sorted(values):
        left -= values[value]
        if left <= 0:
            return value
    return 0


def as_text(summary: Summary, title: str) -> str:
    """A summary for people, in Markdown."""
    settled = summary.settled_ms
    lines = [
        f"# {title}",
        "",
        "| what | figure |",
        "| --- | --- |",
        f"| code | {built()} |",
        f"| seeds | {summary.seeds} |",
        f"| violations | {len(summary.failed)} |",
        f"| events of nodes | {summary.events} |",
        f"| epochs established | {summary.epochs} |",
        f"| healed until settled: median | {percentile(settled, 0.5)} ms |",
        f"| healed until settled: 99 % | {percentile(settled, 0.99)} ms |",
        f"| healed until settled: worst | {max(settled, default=0)} ms |",
        f"| wall time | {summary.seconds:.0f} s |",
        f"| processor time | {summary.cpu_s:.0f} s, {1000 * summary.cpu_s / summary.seeds:.0f} ms a seed |",
        f"| seeds an hour of two processors | {7200 * summary.seeds / max(summary.cpu_s, 0.001):.0f} |",
        "",
        "| situation | times |",
        "| --- | --- |",
        *(f"| {probe} | {count} |" for probe, count in sorted(summary.probes.items())),
    ]
    return "\n".join(lines) + "\n"
