"""A Java virtual machine's flags, computed from limits (J6)."""

from __future__ import annotations

import math

import attrs

from cluster.java.cgroup import Bounds
from cluster.limits import MIB, Limits

MEMORY_MIN = 32 * MIB
"""A virtual machine does not start usefully in less: a smaller limit gets this much."""

STACK_BYTES = MIB
"""Of every Java thread: as plain `java` gives on 64-bit Linux, so that recursion goes as deep."""

OVERHEAD_BYTES = 64 * MIB
"""What the virtual machine itself may take beside the memory that the program was promised."""

JVM_THREADS = 24
"""Threads of the virtual machine's own, granted beside the program's."""

START_CPU_S = 10
"""Seconds of processor time that starting and warming may take, on the slowest machine."""

COMPILER_THREADS = 64

OUT_OF_MEMORY = 3
"""Exit status with which `ExitOnOutOfMemoryError` ends a compiler whose heap or metaspace is full;
nothing else does."""

_REGIONS = 24
"""Into about as many equal parts the heap is divided; what is larger than half of one fills whole ones."""
_REGION_MAX = 32 * MIB

CLASSES_BYTES = 48 * MIB
"""Size of the memory file system that holds a program's own classes."""
SHM_BYTES = MIB

DESCRIPTORS = 512
"""Open files of one sandboxed process."""


@attrs.frozen
class Budget:
    """How a program's memory is divided: bytes for each part of the virtual machine."""

    heap: int
    region: int
    metaspace: int
    direct: int
    code: int


def budget(memory_bytes: int) -> Budget:
    """Divide a memory limit; `maxMemory` shows the heap's part, three quarters of it in whole regions."""
    memory = max(memory_bytes, MEMORY_MIN)
    side = max(memory // 8, 16 * MIB)
    heap = memory * 3 // 4
    region = MIB
    while 2 * region * _REGIONS <= heap and region < _REGION_MAX:
        region *= 2
    return Budget(
        heap=heap // region * region,
        region=region,
        metaspace=min(side, 256 * MIB),
        direct=side,
        code=min(max(memory // 8, 16 * MIB), 64 * MIB),
    )


_COMMON = (
    "-Xshare:auto",
    "-XX:-UsePerfData",
    "-XX:+DisableAttachMechanism",
    "-XX:-UseContainerSupport",
    "-XX:ErrorFile=/dev/null",
    "-Dfile.encoding=UTF-8",
    "-Dsun.stdout.encoding=UTF-8",
    "-Dsun.stderr.encoding=UTF-8",
    "-Dstdout.encoding=UTF-8",
    "-Dstderr.encoding=UTF-8",
    "-Duser.timezone=UTC",
    "-Duser.language=",
    "-Duser.country=",
    "-Djava.awt.headless=true",
)


_PATIENT = (
    "-XX:Tier3InvocationThreshold=2000",
    "-XX:Tier3MinInvocationThreshold=1000",
    "-XX:Tier3CompileThreshold=10000",
)
"""Methods are compiled to machine code after ten times as many calls as usual: for a short program that costs
more than it gains. Loops are compiled as soon as ever."""

_ARCHIVE = ("-XX:+UnlockDiagnosticVMOptions", "-XX:ArchiveRelocationMode=0")
"""The archive is mapped where it was made for: at another address every pointer in it had to be changed."""


_COLLECTOR = (
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=5000",
    "-XX:InitiatingHeapOccupancyPercent=100",
    "-XX:-G1UseAdaptiveIHOP",
)
"""A program's: on JDK 17 no other takes the objects that an archive of classes holds ready (decision 12).

Nobody waits for one of its pauses, and a short life never earns back what is done to shorten them.
"""

_SPEAKS_APART = ("-XX:+DisplayVMOutputToStderr", "-Xlog:disable", "-Xlog:all=warning:stderr")
"""What the machine itself has to say, such as why it does not start, is no answer on its output."""


def archive_flags() -> tuple[str, ...]:
    """Flags for making the archive: those that it depends on."""
    return ("-XX:-UsePerfData", "-XX:TieredStopAtLevel=1", *_heap(budget(Limits().memory_bytes)), *_ARCHIVE)


def _heap(parts: Budget) -> tuple[str, ...]:
    """All of it from the start: a heap that grows is collected each time before it does."""
    return (*_COLLECTOR, f"-Xmx{parts.heap}", f"-Xms{parts.heap}", f"-XX:G1HeapRegionSize={parts.region}")


def program_flags(limits: Limits, processors: int = 1) -> tuple[str, ...]:
    """Flags for a program's virtual machine.

    Args:
        limits: only the memory counts here; time, output and threads are watched from outside.
        processors: what `availableProcessors` shows.
    """
    parts = budget(limits.memory_bytes)
    return (
        *_heap(parts),
        *_COMMON,
        *_ARCHIVE,
        *_PATIENT,
        "-XX:TieredStopAtLevel=1",
        f"-Xss{STACK_BYTES}",
        f"-XX:MaxMetaspaceSize={parts.metaspace}",
        f"-XX:CompressedClassSpaceSize={parts.metaspace}",
        f"-XX:MaxDirectMemorySize={parts.direct}",
        f"-XX:ReservedCodeCacheSize={parts.code}",
        f"-XX:ActiveProcessorCount={processors}",
        "-Djava.io.tmpdir=/tmp",
        "-Duser.home=/tmp",
    )


def compiler_flags(memory_bytes: int) -> tuple[str, ...]:
    """Flags for the compiler's virtual machine.

    It lives long, but only the quick one of its own compilers works: the other's work would come in the very
    minutes in which people wait, for a gain that small programs never earn back.
    """
    heap = max(memory_bytes * 5 // 8, 64 * MIB) // MIB * MIB
    return (
        "-XX:+UseSerialGC",
        *_COMMON,
        "-XX:TieredStopAtLevel=1",
        f"-Xmx{heap}",
        f"-Xms{min(heap, 32 * MIB)}",
        f"-XX:MaxMetaspaceSize={max(memory_bytes // 4, 64 * MIB)}",
        "-XX:ReservedCodeCacheSize=64m",
        "-XX:ActiveProcessorCount=1",
        "-XX:+ExitOnOutOfMemoryError",
        *_SPEAKS_APART,
        "--add-exports=jdk.compiler/com.sun.tools.javac.api=ALL-UNNAMED",
        "--add-exports=jdk.compiler/com.sun.tools.javac.code=ALL-UNNAMED",
        "--add-exports=jdk.compiler/com.sun.tools.javac.util=ALL-UNNAMED",
    )


def data_limit(limits: Limits) -> int:
    """RLIMIT_DATA, in bytes: heap, metaspace, direct and native memory and the threads' stacks together."""
    stacks = (limits.processes + JVM_THREADS) * STACK_BYTES
    return max(limits.memory_bytes, MEMORY_MIN) + OVERHEAD_BYTES + stacks + 32 * MIB


def resident_limit(limits: Limits) -> int:
    """Bytes of resident memory past which the watchdog ends a run."""
    return max(limits.memory_bytes, MEMORY_MIN) + OVERHEAD_BYTES


@attrs.frozen
class Allowance:
    """The kernel's own limits of one virtual machine (S3).

    Attributes:
        kind: what it is, in a word.
        always: limits of the process by the names that `prlimit` has for them, in its units.
        alone: further ones, where no control group bounds memory and threads.
        cell: the control group's, where there is one.
        tmp_bytes: size of its `/tmp`.
    """

    kind: str
    always: dict[str, int]
    alone: dict[str, int]
    cell: Bounds
    tmp_bytes: int


def program_allowance(limits: Limits, processors: int = 1) -> Allowance:
    """A program's.

    Processor time is only a last resort: the watchdog ends a program sooner. What a program writes to its
    memory file systems is its memory to a control group, and it may fill them beside what it was promised.
    """
    threads = limits.processes + JVM_THREADS
    return Allowance(
        kind="run",
        always={
            "cpu": math.ceil(limits.cpu_s) + START_CPU_S,
            "nofile": DESCRIPTORS,
            "fsize": max(limits.tmp_bytes, 64 * MIB),
            "core": 0,
        },
        alone={"data": data_limit(limits), "nproc": threads},
        cell=Bounds(
            resident_limit(limits) + limits.tmp_bytes + SHM_BYTES + CLASSES_BYTES, threads, processors
        ),
        tmp_bytes=limits.tmp_bytes,
    )


def compiler_allowance(memory_bytes: int) -> Allowance:
    """The compiler's, which lives long: its time is bounded one compilation at a time."""
    memory = memory_bytes + OVERHEAD_BYTES
    return Allowance(
        kind="compiler",
        always={"nofile": DESCRIPTORS, "fsize": 64 * MIB, "core": 0},
        alone={"data": memory + 128 * MIB, "nproc": COMPILER_THREADS},
        cell=Bounds(memory, COMPILER_THREADS),
        tmp_bytes=MIB,
    )
