"""Thousands of mixed jobs on one node, a tenth of them hostile: does anything grow (`javacluster soak`)?"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import msgspec

from cluster.bench.driver import RunnerProcess
from cluster.bench.programs import WORKLOADS
from cluster.bench.usage import descriptors, memory_mib, tree
from cluster.errors import Unavailable
from cluster.limits import MIB, Limits
from cluster.wire.jobs import Program, Source, Verdict

IN_FLIGHT = 4
"""Jobs at once: the node has two slots, so that it is never without work."""
SETTLED_S = 60.0
"""How long a node may take until all of its machines wait again."""
GROWTH = 1.25
"""The last samples may be so many times the first, which leaves room for a compiler's own heap to breathe."""
SLACK = {
    "threads": 8,
    "descriptors": 8,
    "processes": 4,
    "mounts": 0,
    "node_mib": 12,
    "total_mib": 60,
    "files": 0,
}
"""And so much more, absolutely."""

_BODY = "public class NAME { public static void main(String[] a) throws Throwable { BODY } }"
_MEAN = Limits(wall_s=2.0, cpu_s=0.3, output_bytes=64 * 1024)


@attrs.frozen
class Hostile:
    """A program that means harm, and the verdicts that are right for it."""

    text: str
    right: frozenset[Verdict]


def _hostile(body: str, *right: Verdict) -> Hostile:
    return Hostile(_BODY.replace("BODY", body), frozenset(right))


HOSTILE = (
    _hostile("while (true) {}", Verdict.TIME_LIMIT),
    _hostile(
        "for (int i = 0; i < 32; i++) new Thread(() -> { while (true) {} }).start();", Verdict.TIME_LIMIT
    ),
    _hostile(
        "var l = new java.util.ArrayList<byte[]>(); while (true) l.add(new byte[1 << 20]);",
        Verdict.MEMORY_LIMIT,
    ),
    _hostile(
        "for (int i = 0; i < 9999; i++) "
        "new Thread(() -> { try { Thread.sleep(99999); } catch (Exception e) {} }).start();",
        Verdict.MEMORY_LIMIT,
    ),
    _hostile("while (true) System.out.println(1234567);", Verdict.OUTPUT_LIMIT),
    _hostile(
        "for (int n = 0; ; n++) "
        'java.nio.file.Files.write(java.nio.file.Path.of("/tmp/" + n), new byte[1 << 20]);',
        Verdict.RUNTIME_ERROR,
        Verdict.TIME_LIMIT,
    ),
    _hostile('new ProcessBuilder("/bin/sh").start();', Verdict.RUNTIME_ERROR),
    _hostile('new java.net.Socket("127.0.0.1", 22);', Verdict.RUNTIME_ERROR),
    _hostile("System.exit(137);", Verdict.RUNTIME_ERROR),
    _hostile("Runtime.getRuntime().halt(3);", Verdict.RUNTIME_ERROR),
    _hostile("throw new Error();", Verdict.RUNTIME_ERROR),
    _hostile(
        'var f = sun.misc.Unsafe.class.getDeclaredField("theUnsafe"); f.setAccessible(true); '
        "((sun.misc.Unsafe) f.get(null)).putInt(0L, 1);",
        Verdict.SIGNALLED,
    ),
    Hostile(
        "class NAME { int x = " + "(" * 20_000 + "1" + ")" * 20_000 + "; }",
        frozenset({Verdict.COMPILE_ERROR}),
    ),
)


class Sample(msgspec.Struct, frozen=True):
    """What a resting node holds.

    Attributes:
        threads: of all its processes.
        descriptors: of the node itself.
        mounts: as the node's own namespace shows them.
        node_mib: of the node's own process.
        total_mib: of all its processes.
        files: below its state directory.
        p50_ms: of the harmless jobs since the last sample.
    """

    jobs: int
    seconds: float
    threads: int
    descriptors: int
    processes: int
    mounts: int
    node_mib: float
    total_mib: float
    files: int
    p50_ms: float


class SoakReport(msgspec.Struct, frozen=True):
    """One soak.

    Attributes:
        wrong: verdicts that were not right, as text, at most a hundred.
        grown: what was larger at the end than may be; empty when all is flat.
    """

    samples: tuple[Sample, ...]
    wrong: tuple[str, ...]
    grown: tuple[str, ...]


def soak(jobs: int, every: int, seed: int, say: Callable[[str], None]) -> SoakReport:
    """Run them all.

    Args:
        jobs: how many.
        every: after how many the node is left to rest and measured.
        seed: of their order.
        say: told a line at each look.

    Raises:
        ClusterError: the node did not start, or stopped answering.
    """
    with tempfile.TemporaryDirectory(prefix="javacluster-soak-") as directory:
        Path(directory).chmod(0o755)
        run = _Soak(Path(directory), seed)
        samples, wrong = [], list[str]()
        try:
            samples.append(run.rest())
            say(as_line(samples[-1]))
            for done in range(every, jobs + 1, every):
                wrong += run.perform(every)
                samples.append(run.rest())
                say(as_line(samples[-1]) + (f"  {len(wrong)} WRONG" if wrong else ""))
                if done + every > jobs:
                    break
        finally:
            run.stop()
    return SoakReport(tuple(samples), tuple(wrong[:100]), tuple(_grown(samples)))


class _Soak:
    """One node under it."""

    def __init__(self, directory: Path, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311  (an order, not a secret)
        self._directory = directory
        self._began = time.monotonic()
        self._done = 0
        self._times: list[float] = []
        self._node = RunnerProcess(directory, slots=2)
        if not self._node.start.started:
            raise Unavailable(self._node.start.text)

    def perform(self, count: int) -> list[str]:
        """Run so many; the verdicts that were wrong."""
        wrong: list[str] = []
        waiting: dict[str, tuple[str, frozenset[Verdict], bool]] = {}
        for number in range(count + IN_FLIGHT):
            if number < count:
                program, right, harmless = self._next(self._done + number)
                waiting[self._node.submit(program)] = (program.sources[0].text[:200], right, harmless)
            if number >= IN_FLIGHT - 1 and waiting:
                answer = self._node.read()
                text, right, harmless = waiting.pop(answer.id)
                outcome = answer.outcome
                if outcome is None or outcome.verdict not in right:
                    told = outcome.verdict if outcome else "nothing"
                    wrong.append(f"{told} instead of {', '.join(right)}: {text}")
                elif harmless:
                    self._times.append(answer.took_s)
        self._done += count
        return wrong

    def _next(self, number: int) -> tuple[Program, frozenset[Verdict], bool]:
        tag = f"s{number}"
        if self._random.random() < 0.1:  # noqa: PLR2004
            hostile = self._random.choice(HOSTILE)
            return (
                Program((Source("", hostile.text.replace("NAME", tag)),), limits=_MEAN),
                hostile.right,
                False,
            )
        workload = self._random.choices(WORKLOADS[:4], (60, 25, 5, 10))[0]
        right = Verdict.OK if workload.compiles else Verdict.COMPILE_ERROR
        return Program((Source("", workload.source(tag)),)), frozenset({right}), workload.compiles

    def rest(self) -> Sample:
        """Wait until nothing is being done, and look."""
        deadline = time.monotonic() + SETTLED_S
        while time.monotonic() < deadline:
            told = self._node.snapshot().snapshot or {}
            if told["running"] == 0 and told["rehearsed"] == 2 and told["compiler_spare"]:  # noqa: PLR2004
                break
            time.sleep(0.1)
        below = tree([self._node.pid])
        times, self._times = self._times, []
        return Sample(
            jobs=self._done,
            seconds=round(time.monotonic() - self._began, 1),
            threads=sum(process.threads for process in below),
            descriptors=descriptors(self._node.pid),
            processes=len(below),
            mounts=len(Path(f"/proc/{self._node.pid}/mounts").read_text().splitlines()),
            node_mib=round(_own_mib(self._node.pid), 1),
            total_mib=round(memory_mib([self._node.pid]), 1),
            files=sum(1 for _ in self._directory.rglob("*")),
            p50_ms=round(statistics.median(times) * 1000, 1) if times else 0.0,
        )

    def stop(self) -> None:
        """End the node."""
        self._node.stop()


def _own_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / MIB
    return 0.0


def _grown(samples: list[Sample]) -> Iterator[str]:
    """The last third against the third after the first sample, by their medians: a trend, not a moment."""
    third = len(samples) // 3
    if not third:
        return
    for name, slack in SLACK.items():
        early = statistics.median(getattr(sample, name) for sample in samples[1 : 1 + third])
        late = statistics.median(getattr(sample, name) for sample in samples[-third:])
        if late > early * GROWTH + slack:
            yield f"{name}: {early:g} at first, {late:g} at last"


def as_line(sample: Sample) -> str:
    """For people."""
    return (
        f"{sample.jobs:6d} jobs {sample.seconds:7.0f} s  threads {sample.threads:4d}  "
        f"descriptors {sample.descriptors:3d}  processes {sample.processes:2d}  mounts {sample.mounts:3d}  "
        f"node {sample.node_mib:6.1f} MiB  all {sample.total_mib:6.1f} MiB  files {sample.files:2d}  "
        f"p50 {sample.p50_ms:6.1f} ms"
    )
