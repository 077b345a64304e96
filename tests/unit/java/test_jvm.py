"""A virtual machine as a process: what is known of it, and when."""

from __future__ import annotations

import resource
import signal
import subprocess

import pytest

from twisted.internet.defer import Deferred

from cluster.java.jvm import Jvm
from cluster.java.sandbox import GATE, INFO, Place


def test_no_bound_is_set_before_the_machines_number_is_known() -> None:
    """To the kernel the number 0 is whoever asks: the node would bound, and in the end kill, itself."""
    before = resource.getrlimit(resource.RLIMIT_CPU)
    Jvm(confined=True).bound_cpu(1.0)
    assert resource.getrlimit(resource.RLIMIT_CPU) == before


def test_the_number_is_taken_when_it_has_come_whole() -> None:
    jvm = Jvm(confined=True)
    jvm.childDataReceived(INFO, b'{\n    "child-pid": 4194')
    assert jvm.pid == 0
    jvm.childDataReceived(INFO, b"3999\n}\n")
    assert jvm.pid == 41943999


class _Pipes:
    """The transport of a bubblewrap that has not answered."""

    pid = 4_194_305  # no such process

    def __init__(self) -> None:
        self.signals: list[str] = []

    def signalProcess(self, name: str) -> None:  # noqa: N802
        self.signals.append(name)


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


def test_who_asks_twice_gets_the_whole_group_killed() -> None:
    jvm = Jvm(confined=True)
    group = subprocess.Popen(
        ["sh", "-c", "sleep 60 & echo made; wait"], process_group=0, stdout=subprocess.PIPE
    )
    assert group.stdout is not None
    assert group.stdout.readline() == b"made\n"
    jvm.transport = pipes = _Pipes()  # type: ignore[assignment]
    pipes.pid = group.pid
    jvm.kill()
    jvm.kill()
    assert group.wait(10) == -signal.SIGKILL
    assert group.stdout.read() == b""  # the sleeper held it open


class _Gate:
    """A cell that lets in when the test says so."""

    def __init__(self) -> None:
        self.let_in: Deferred[None] = Deferred()

    def admit(self, _pid: int) -> Deferred[None]:
        return self.let_in


@pytest.mark.parametrize("fault", [None, OSError(28, "No space left on device")])
def test_a_machine_waits_at_its_gate_until_its_control_group_has_it(fault: OSError | None) -> None:
    """S3: its limits hold before it does anything."""
    jvm, gate, opened = Jvm(confined=True), _Gate(), list[bytes]()
    jvm.transport = pipes = _Pipes()  # type: ignore[assignment]
    pipes.writeToChild = lambda fd, data: opened.append(b"%d %s" % (fd, data))  # type: ignore[attr-defined]
    jvm.place = Place(None, lambda: None, gate)  # type: ignore[arg-type]
    child = subprocess.Popen(["sleep", "60"])
    try:
        jvm.childDataReceived(INFO, b'{ "child-pid": %d }' % child.pid)
        assert opened == []
        if fault is None:
            gate.let_in.callback(None)
            assert opened == [b"%d ." % GATE]
        else:
            gate.let_in.errback(fault)
            assert child.wait(10) == -signal.SIGKILL
            assert "No space left" in jvm.complaint
    finally:
        child.kill()
        child.wait(10)
