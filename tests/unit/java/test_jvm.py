"""A virtual machine as a process: what is known of it, and when."""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.python.failure import Failure

from cluster.java.bounds import NICE, bound
from cluster.java.halfmade import end_abandoned, end_holders
from cluster.java.jvm import Jvm, files_in, usage_of
from cluster.java.place import Place
from cluster.java.sandbox import CONTROL, INFO
from cluster.limits import MIB
from tests.support.halfmade import HalfMade


def test_no_bound_is_set_before_the_machines_number_is_known() -> None:
    """To the kernel the number 0 is whoever asks: the node would bound, and in the end kill, itself."""
    before = resource.getrlimit(resource.RLIMIT_CPU)
    Jvm(confined=True).bound_cpu(1.0)
    assert resource.getrlimit(resource.RLIMIT_CPU) == before


def test_the_kernels_bound_is_set_from_outside_and_leaves_the_watchdog_the_first_word() -> None:
    """S3: whole seconds, rounded up, and one more (`OneShot` adds what the start took)."""
    child = subprocess.Popen(["sleep", "60"])
    jvm = Jvm(confined=True)
    try:
        jvm.childDataReceived(INFO, b'{ "child-pid": %d }' % child.pid)
        jvm.bound_cpu(9.5)
        assert resource.prlimit(child.pid, resource.RLIMIT_CPU) == (11, 11)
    finally:
        child.kill()
        child.wait()


def test_the_number_is_taken_when_it_has_come_whole() -> None:
    jvm = Jvm(confined=True)
    jvm.childDataReceived(INFO, b'{\n    "child-pid": 4194')
    assert jvm.pid == 0
    jvm.childDataReceived(INFO, b"3999\n}\n")
    assert jvm.pid == 41943999


def test_a_machine_is_known_to_be_gone_before_anybody_told() -> None:
    """Nobody reaps it here; and what is written to a pipe that broke is lost without a word."""
    child = subprocess.Popen(["sleep", "60"])
    jvm = Jvm(confined=True)
    jvm.transport = pipes = _Pipes()  # type: ignore[assignment]
    jvm.childDataReceived(INFO, b'{ "child-pid": %d }' % child.pid)
    assert not jvm.gone()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert jvm.gone()
    pipes.broken = True
    jvm.write(CONTROL, b"late")
    child.wait()


class _Pipes:
    """The transport of a bubblewrap that has not answered."""

    pid = 4_194_305  # no such process

    def __init__(self) -> None:
        self.signals: list[str] = []
        self.written: list[bytes] = []
        self.broken = False

    def signalProcess(self, name: str) -> None:  # noqa: N802
        self.signals.append(name)

    def writeToChild(self, child_fd: int, data: bytes) -> None:  # noqa: N802
        if self.broken:
            raise KeyError(child_fd)
        self.written.append(b"%d %s" % (child_fd, data))


def test_a_bubblewrap_that_has_not_answered_is_not_killed_before_its_child_can_be() -> None:
    """Its death alone would leave the half-made machine waiting for ever."""
    jvm = Jvm(confined=True)
    jvm.transport = pipes = _Pipes()  # type: ignore[assignment]
    jvm.kill()
    assert pipes.signals == []
    child = subprocess.Popen(["sleep", "60"])
    try:
        jvm.childDataReceived(INFO, b'{ "child-pid": %d }' % child.pid)
        assert child.wait(10) == -signal.SIGKILL
    finally:
        child.kill()
    assert pipes.signals == []


def test_who_asks_twice_gets_bubblewrap_killed_with_its_children() -> None:
    jvm = Jvm(confined=True)
    parent = subprocess.Popen(["sh", "-c", "sleep 60 & echo made; wait"], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"made\n"
    jvm.transport = pipes = _Pipes()  # type: ignore[assignment]
    pipes.pid = parent.pid
    jvm.kill()
    jvm.kill()
    assert parent.wait(10) == -signal.SIGKILL
    assert parent.stdout.read() == b""  # the sleeper held it open


@pytest.fixture
def made(tmp_path: Path) -> Iterator[HalfMade]:
    half = HalfMade(tmp_path)
    yield half
    half.end()


@pytest.mark.parametrize("first", ["its end is told", "its number is not"])
def test_what_a_killed_bubblewrap_has_half_made_is_ended(made: HalfMade, first: str) -> None:
    """J2, S5: it would wait for ever and hold the pipes open, so that its job would wait as well."""
    jvm = Jvm(confined=True)
    jvm.transport = made  # type: ignore[assignment]
    made.kill_bubblewrap()
    assert made.outer.stdout is not None
    assert select.select([made.outer.stdout], [], [], 0.05)[0] == [], "a child is left that holds the pipe"
    if first == "its end is told":
        jvm.processExited(Failure(ProcessTerminated(signal=9)))
        jvm.childConnectionLost(INFO)
    else:
        jvm.childConnectionLost(INFO)
        jvm.processExited(Failure(ProcessTerminated(signal=9)))
    assert select.select([made.outer.stdout], [], [], 10)[0]
    assert made.outer.stdout.read() == b""


def test_a_number_that_comes_after_the_end_of_bubblewrap_is_of_a_machine_to_be_ended() -> None:
    """The child was made, and may not have had the time to tie its life to bubblewrap's."""
    jvm = Jvm(confined=True)
    jvm.transport = _Pipes()  # type: ignore[assignment]
    child = subprocess.Popen(["sleep", "60"])
    try:
        jvm.processExited(Failure(ProcessTerminated(signal=9)))
        jvm.childDataReceived(INFO, b'{ "child-pid": %d }' % child.pid)
        assert child.wait(10) == -signal.SIGKILL
    finally:
        child.kill()
        child.wait(10)


def test_nobody_else_that_holds_a_pipe_is_ended(made: HalfMade) -> None:
    """A node that is about to start another machine holds them for a moment, in a child of its own."""
    other = subprocess.Popen(["sleep", "60"], stdin=made.outer.stdout)
    try:
        assert made.outer.stdout is not None
        made.kill_bubblewrap()
        assert end_holders([made.outer.stdout.fileno()]) == 1
        assert other.poll() is None
    finally:
        other.kill()
        other.wait(10)


def test_what_a_killed_node_has_half_made_is_ended(made: HalfMade, tmp_path: Path) -> None:
    """S5: known by what it was to start from, and by a parent that is no bubblewrap any more."""
    assert end_abandoned(tmp_path) == 0, "its bubblewrap lives, and so may its node"
    made.kill_bubblewrap()
    assert end_abandoned(tmp_path / "harness") == 0
    assert end_abandoned(tmp_path.with_name(tmp_path.name[:-1])) == 0
    assert made.alive(), "another's, of a directory with nearly the same name"
    assert end_abandoned(tmp_path) == 1
    assert made.gone()


class _Gate:
    """A cell that lets in when the test says so."""

    def __init__(self) -> None:
        self.let_in: Deferred[None] = Deferred()

    def admit(self, _pid: int) -> Deferred[None]:
        return self.let_in


@pytest.mark.parametrize("fault", [None, OSError(28, "No space left on device")])
def test_a_machine_waits_at_its_gate_until_its_control_group_has_it(fault: OSError | None) -> None:
    """S3: its limits hold before it does anything."""
    jvm, gate = Jvm(confined=True), _Gate()
    jvm.transport = _Pipes()  # type: ignore[assignment]
    waits, ours = os.pipe()
    jvm.place = Place(cell=gate, gate=ours)  # type: ignore[arg-type]
    child = subprocess.Popen(["sleep", "60"])
    try:
        jvm.childDataReceived(INFO, b'{ "child-pid": %d }' % child.pid)
        assert select.select([waits], [], [], 0)[0] == []
        if fault is None:
            gate.let_in.callback(None)
            assert os.read(waits, 2) == b"."
        else:
            gate.let_in.errback(fault)
            assert child.wait(10) == -signal.SIGKILL
            assert "No space left" in jvm.complaint
    finally:
        child.kill()
        child.wait(10)
        jvm.place.leave_gate()
        os.close(waits)


def test_a_machines_limits_and_priority_hold_before_its_gate_opens() -> None:
    """S3, W12. The gate is read by the child itself, which tells what it finds."""
    jvm = Jvm(confined=True)
    jvm.transport = _Pipes()  # type: ignore[assignment]
    waits, ours = os.pipe()
    script = "read _; nice; ulimit -n; ulimit -Hn; ulimit -c; ulimit -t"
    with subprocess.Popen(["bash", "-c", script], stdin=waits, stdout=subprocess.PIPE, text=True) as child:
        jvm.place = Place(limits={"nofile": 500, "core": 0, "cpu": 7}, gate=ours)
        jvm.childDataReceived(INFO, b'{ "child-pid": %d }' % child.pid)
        os.close(waits)
        said, _ = child.communicate(timeout=10)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert said.split() == [str(min(own + NICE, 19)), "500", "500", "0", "7"]


def test_a_limit_is_never_raised() -> None:
    with subprocess.Popen(["bash", "-c", "ulimit -n 300; echo; read _"], stdin=-1, stdout=-1) as child:
        assert child.stdout is not None
        child.stdout.readline()
        bound(child.pid, {"nofile": 500, "core": 0})
        assert resource.prlimit(child.pid, resource.RLIMIT_NOFILE) == (300, 300)
        child.communicate(b"\n")


def test_a_machine_of_which_no_descriptor_could_be_had_is_killed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not bubblewrap in its place, which would leave it waiting at its gate."""

    def none_left(_pid: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", none_left)
    jvm = Jvm(confined=True)
    jvm.transport = pipes = _Pipes()  # type: ignore[assignment]
    with subprocess.Popen(["sleep", "60"]) as child:
        jvm.childDataReceived(INFO, b'{ "child-pid": %d }' % child.pid)
        jvm.kill()
        assert child.wait(10) == -signal.SIGKILL
    assert pipes.signals == []


def test_a_machine_that_cannot_be_limited_never_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3: no limits, no program."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(resource, "prlimit", refuse)
    jvm = Jvm(confined=True)
    jvm.transport = _Pipes()  # type: ignore[assignment]
    waits, ours = os.pipe()
    jvm.place = Place(limits={"core": 0}, gate=ours)
    with subprocess.Popen(["sleep", "60"]) as child:
        jvm.childDataReceived(INFO, b'{ "child-pid": %d }' % child.pid)
        assert child.wait(10) == -signal.SIGKILL
    assert "can't limit it: " in jvm.complaint
    assert select.select([waits], [], [], 0)[0] == []
    jvm.place.leave_gate()
    os.close(waits)


_BOUND_ANOTHERS = """
import subprocess
from cluster.java.bounds import bound, give_way, may_bound_others, may_renice_others
child = subprocess.Popen(["setpriv", "--reuid=65534", "sh", "-c", "echo; read _"], stdin=-1, stdout=-1)
child.stdout.readline()
def able(what, *how):
    try:
        what(child.pid, *how)
    except PermissionError:
        return False
    return True
renice, limit = able(give_way), able(bound, {"core": 0})
child.kill()
assert (may_renice_others(), may_bound_others()) == (renice, limit), (renice, limit)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's process is needed")
@pytest.mark.parametrize("lost", ["-sys_nice", "-sys_resource"])
def test_a_node_knows_whether_it_may_bound_other_users_processes(lost: str) -> None:
    """Root with all rights may; root in a container lacks some."""
    for rights in ([], [f"--bounding-set={lost}"]):
        argv = ["setpriv", "--inh-caps=-all", *rights, sys.executable, "-c", _BOUND_ANOTHERS]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


_SPARSE = """
import mmap, sys
held = mmap.mmap(-1, 8 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ)
if hasattr(mmap, "MADV_NOHUGEPAGE"):
    held.madvise(mmap.MADV_NOHUGEPAGE)
for at in range(0, len(held), 2 << 20):
    held[at]
print("held", flush=True)
sys.stdin.read()
"""
"""Memory of which nothing was written: the kernel has one page of zeros for all of it, and tables."""


def test_the_tables_of_what_was_only_read_count_as_resident() -> None:
    """S3: 4,096 pages of 4 KiB that are in no other count."""
    with subprocess.Popen(
        [sys.executable, "-c", _SPARSE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        used = usage_of(child.pid)
        pages = int(Path(f"/proc/{child.pid}/statm").read_text().split()[1])
        child.kill()
    assert used is not None
    assert used.resident - pages * resource.getpagesize() > 15 * MIB


def test_files_are_counted_where_a_confined_program_can_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3; that the places of a real one are seen is the hostile catalogue's matter (F6)."""
    monkeypatch.setattr("cluster.java.jvm.MEMORY_PLACES", ("/dev/shm", "/nowhere"))  # noqa: S108
    before = files_in(os.getpid())
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        for number in range(1000):
            (Path(directory) / str(number)).touch()
        assert files_in(os.getpid()) - before > 900  # others' come and go
    assert files_in(4_194_305) == 0
