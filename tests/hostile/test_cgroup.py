"""What control groups do for a node that may divide one (S3): `make hostile-cgroup2` shows it."""

from __future__ import annotations

import time

import pytest

from cluster.java.flags import program_allowance
from cluster.limits import MIB, Limits
from cluster.wire.jobs import Verdict
from tests.hostile.catalogue import UNSAFE
from tests.support.java_driver import ANSWER_S, JavaDriver, main_class, program

BOUNDS = program_allowance(Limits()).cell


@pytest.fixture(autouse=True)
def _delegated(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--delegated"):
        pytest.skip("no node has a control group of its own here: make hostile-cgroup2")


def test_the_node_is_in_a_leaf_and_each_machine_in_a_cell_with_its_limits(java: JavaDriver) -> None:
    """The kernel's own files are read, as they are while a program runs."""
    group = java.group()
    assert group.name == "node"
    job = java.submit(program(main_class("Thread.sleep(100000);"), wall_s=30.0))
    cell = next(path for path in java.cells() if path.name.startswith("run-"))
    pids = {int(word) for word in (cell / "cgroup.procs").read_text().split()}
    assert pids <= set(java.machines())
    told = {name: (cell / name).read_text().strip() for name in ("memory.max", "pids.max", "cpu.max")}
    assert told == {
        "memory.max": str(BOUNDS.memory_bytes),
        "pids.max": str(BOUNDS.processes),
        "cpu.max": "100000 100000",
    }
    assert int((group / "cpu.weight").read_text()) > int((cell.parent / "cpu.weight").read_text())
    java.send(op="cancel", id=job)
    assert java.read().id == job


def test_the_kernel_ends_what_outgrows_its_cell_and_that_is_a_memory_limit(java: JavaDriver) -> None:
    """M4, too fast for the watchdog: one call touches more than there is."""
    size = 900 * MIB
    run = java.run(
        main_class(UNSAFE + f"unsafe.setMemory(unsafe.allocateMemory({size}L), {size}L, (byte) 1);"),
        cpu_s=60.0,
        wall_s=120.0,
    )
    assert (run.verdict, run.detail) == (Verdict.MEMORY_LIMIT, "native")
    assert 256 * MIB < run.peak_memory_bytes <= BOUNDS.memory_bytes


def test_memory_that_is_reserved_and_never_touched_costs_nothing(java: JavaDriver) -> None:
    """Where RLIMIT_DATA is all there is, it does."""
    size = 2048 * MIB
    run = java.run(main_class(UNSAFE + f"System.out.print(unsafe.allocateMemory({size}L) != 0);"), cpu_s=20.0)
    assert (run.verdict, run.stdout) == (Verdict.OK, b"true")


def test_a_program_has_one_processor_however_many_threads_it_starts(java: JavaDriver) -> None:
    """T3: what the kernel grants in a period, and one period more."""
    body = "for (int i = 0; i < 8; i++) new Thread(() -> { while (true) { } }).start();"
    run = java.run(main_class(body), cpu_s=60.0, wall_s=2.0)
    assert (run.verdict, run.detail) == (Verdict.TIME_LIMIT, "wall")
    assert run.cpu_s <= run.wall_s + 0.5


def test_nothing_of_a_program_is_left_in_the_groups(java: JavaDriver) -> None:
    """S5: many at once, and then only what waits."""
    jobs = {java.submit(program(main_class("System.exit(3);"), cpu_s=20.0)) for _ in range(6)}
    assert {java.read().id for _ in range(6)} == jobs
    deadline = time.monotonic() + ANSWER_S  # noqa: TID251  (a test that waits for real processes)
    while len(java.cells()) > 1 + 1 + 1:  # the compiler, perhaps its spare, the waiting one
        assert time.monotonic() < deadline, java.cells()  # noqa: TID251
        time.sleep(0.05)
