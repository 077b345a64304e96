"""Control groups: where the node's is, whether it may be divided, what a cell's files say (S3)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted.internet.defer import Deferred, fail, succeed

from cluster.java import cells
from cluster.java.cells import LEAF, MACHINES, Cell, Subtree, divide
from cluster.java.cgroup import OPTIONAL, Bounds, Toll, limits_of, locate, obstacle, toll_of
from cluster.java.flags import compiler_allowance, program_allowance, resident_limit
from cluster.limits import MIB, Limits

V1 = "36 24 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
WHOLE = "30 24 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup2 rw,nsdelegate"
PART = "99 30 0:26 /system.slice/j.service /sys/fs/cgroup/system.slice/j.service rw - cgroup2 cgroup2 rw"
HYBRID = "31 24 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"


@pytest.mark.parametrize(
    ("own", "mounts", "expected"),
    [
        ("0::/system.slice/j.service\n", [WHOLE], "/sys/fs/cgroup/system.slice/j.service"),
        ("0::/system.slice/j.service\n", [PART, WHOLE], "/sys/fs/cgroup/system.slice/j.service"),
        ("0::/system.slice/j.service/node\n", [WHOLE, PART], "/sys/fs/cgroup/system.slice/j.service/node"),
        ("4:memory:/a\n0::/\n", [V1, HYBRID], "/sys/fs/cgroup/unified"),
        ("4:memory:/a\n", [V1], None),
        ("0::/x\n", [V1], None),
        ("", [WHOLE], None),
    ],
)
def test_the_nodes_own_group_is_found_where_it_is_mounted_closest(
    own: str, mounts: list[str], expected: str | None
) -> None:
    found = locate(own, "\n".join(mounts))
    assert found == (None if expected is None else Path(expected))


@pytest.mark.parametrize(
    ("controllers", "members", "words"),
    [
        ("cpuset cpu io memory pids", "7", ""),
        ("cpu memory pids", "", ""),
        ("memory pids", "7", "no cpu controller"),
        ("", "7", "no cpu, memory, pids controller"),
        ("cpu memory pids", "7 8 9", "2 other processes"),
    ],
)
def test_a_group_is_divided_only_if_it_is_the_nodes_alone(controllers: str, members: str, words: str) -> None:
    found = obstacle(controllers, members, 7)
    assert found == words or (words and words in found and "Delegate" in found)


def test_a_cell_bounds_memory_without_swap_threads_and_processor_time() -> None:
    assert limits_of(Bounds(100 * MIB, 80, 1.5)) == {
        "memory.max": str(100 * MIB),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "80",
        "cpu.max": "150000 100000",
    }
    assert limits_of(Bounds(1, 1))["cpu.max"] == "max 100000"


def test_a_program_may_use_all_that_it_was_promised_at_once() -> None:
    """Its memory file systems count as its memory; the watchdog's bound of what is resident is inside."""
    limits = Limits(memory_bytes=256 * MIB, tmp_bytes=64 * MIB, processes=64)
    allowance = program_allowance(limits)
    assert allowance.cell.memory_bytes >= resident_limit(limits) + 64 * MIB
    assert allowance.cell.processes == 64 + 24
    assert allowance.cell.processors == 1
    assert not {"data", "nproc"} & set(allowance.always)
    assert compiler_allowance(512 * MIB).cell.processors == 0


def test_the_kernels_counts_become_a_toll() -> None:
    events = "low 0\nhigh 0\nmax 31\noom 2\noom_kill 1\noom_group_kill 1\n"
    stat = "usage_usec 1500000\nuser_usec 1\nsystem_usec 2\n"
    assert toll_of(events, "max 3\n", stat, "4096\n") == Toll(1, 3, 4096, 1.5)
    assert toll_of("", "", "", "") == Toll()


@given(st.lists(st.text(), min_size=4, max_size=4))
def test_no_text_is_too_strange_to_be_read(texts: list[str]) -> None:
    assert toll_of(*texts).out_of_memory >= 0


def _at_once(work: Callable[..., Any], *args: object) -> Deferred[Any]:
    try:
        return succeed(work(*args))
    except OSError as error:
        return fail(error)


@pytest.fixture
def group(tmp_path: Path) -> Path:
    """A delegated group: the files that are written to, on a file system without a kernel behind it."""
    _files(tmp_path, "cgroup.procs", "cgroup.subtree_control", "cgroup.controllers")
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "cgroup.procs").write_text(f"{os.getpid()}\n")
    for name in (LEAF, MACHINES):
        _files(tmp_path / name, "cgroup.procs", "cgroup.subtree_control", "cpu.weight")
    return tmp_path


def _files(directory: Path, *names: str) -> None:
    directory.mkdir(exist_ok=True)
    for name in names:
        (directory / name).write_text("")


def test_the_node_moves_into_a_leaf_and_outweighs_its_machines(group: Path) -> None:
    """W12; the kernel allows a divided group no processes of its own."""
    assert divide(group, os.getpid()) == ""
    assert (group / LEAF / "cgroup.procs").read_text() == str(os.getpid())
    for divided in (group, group / MACHINES):
        assert (divided / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    weights = [int((group / name / "cpu.weight").read_text()) for name in (LEAF, MACHINES)]
    assert weights[0] > weights[1]


def test_a_group_that_can_not_be_divided_keeps_its_process_and_says_why(group: Path) -> None:
    (group / MACHINES / "cpu.weight").unlink()
    (group / "cgroup.procs").write_text("")
    assert "cpu.weight" in divide(group, os.getpid())
    assert (group / "cgroup.procs").read_text() == str(os.getpid())


def test_a_group_shared_with_others_is_left_alone(group: Path) -> None:
    (group / LEAF / "cgroup.procs").write_text("1\n")
    assert "1 other processes" in divide(group, os.getpid())
    assert (group / "cgroup.subtree_control").read_text() == ""


def test_a_cell_that_can_not_be_made_is_an_error_and_nothing_is_left(tmp_path: Path) -> None:
    """On a file system that has no files of its own in a new directory."""
    (tmp_path / MACHINES).mkdir()
    subtree = Subtree(tmp_path, _at_once)
    cell = subtree.cell("run", Bounds(1, 1))
    errors: list[object] = []
    cell.admit(7).addErrback(lambda failure: errors.append(failure.type))
    assert errors == [FileNotFoundError]
    subtree.give_up(cell)
    assert list((tmp_path / MACHINES).iterdir()) == []


@pytest.mark.parametrize("missing", sorted(limits_of(Bounds(1, 1))))
def test_a_kernel_without_swap_has_cells_and_one_without_a_bound_that_is_needed_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """S3: a machine is let in only where memory, threads and processor time are bounded."""
    written, errors = list[str](), list[object]()

    def write(path: Path, _value: str) -> None:
        if path.name == missing:
            raise FileNotFoundError(path)
        written.append(path.name)

    monkeypatch.setattr(cells, "_write", write)
    (tmp_path / MACHINES).mkdir()
    Subtree(tmp_path, _at_once).cell("run", Bounds(1, 1)).admit(7).addErrback(errors.append)
    assert ("cgroup.procs" in written, errors == []) == (missing in OPTIONAL, missing in OPTIONAL)


def test_a_cell_that_was_never_made_counts_nothing_and_is_gone_at_once(tmp_path: Path) -> None:
    subtree = Subtree(tmp_path, _at_once)
    cell = subtree.cell("run", Bounds(1, 1))
    assert (cell.toll(), cell.cpu_s()) == (Toll(), 0.0)
    subtree.give_up(cell)
    assert subtree.settled().called


def test_every_cell_has_a_name_of_its_own(tmp_path: Path) -> None:
    subtree = Subtree(tmp_path, _at_once)
    cells: list[Cell] = [subtree.cell("run", Bounds(1, 1)) for _ in range(3)]
    assert len({cell.path for cell in cells}) == 3
