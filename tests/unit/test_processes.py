"""Only processes that we started are ever signalled, whatever became of their pids."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cluster.errors import EnvironmentFault
from cluster.processes import Port, Process, bury, require_free, spawn, stop, wait_until

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
DEAF = [
    sys.executable,
    "-c",
    "from signal import *; signal(SIGTERM, SIG_IGN); import time; print('up', flush=True); time.sleep(600)",
]
PARENT = [sys.executable, "-c", f"import subprocess; subprocess.run({SLEEP!r})"]


class Started:
    """Starts processes whose output says when they are ready; ends them with the test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.all: list[Process] = []

    def __call__(self, arguments: list[str]) -> Process:
        """Start one and wait until it says that it is up."""
        output = self.directory / f"{len(self.all)}.log"
        process = spawn(arguments, self.directory, output)
        self.all.append(process)
        assert wait_until(lambda: "up" in output.read_text(), 30)
        return process


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    """A `Started` that leaves nothing."""
    started = Started(tmp_path)
    yield started
    stop(started.all, 0)


def test_a_process_is_itself_until_it_ends(started: Started) -> None:
    process = started(SLEEP)
    assert process.alive()
    assert stop([process], 30) == ()
    assert not process.alive()
    assert not process.send(signal.SIGKILL)


def test_another_process_with_the_same_pid_is_left_alone(started: Started) -> None:
    process = started(SLEEP)
    earlier = msgspec.structs.replace(process, start=process.start - 1)
    other_boot = msgspec.structs.replace(process, boot="another")
    assert not earlier.alive()
    assert stop([earlier, other_boot], 30) == ()
    assert process.alive()


def test_one_that_does_not_listen_is_killed_and_named(started: Started) -> None:
    process = started(DEAF)
    assert stop([process], 0.2) == (process,)
    assert not process.alive()


def test_a_stopped_process_can_be_ended(started: Started) -> None:
    process = started(SLEEP)
    process.send(signal.SIGSTOP)
    assert stop([process], 30) == ()


def test_what_a_process_leaves_in_its_session_ends_with_it(started: Started) -> None:
    parent = started(PARENT)
    (child,) = parent.session()
    stop([parent], 30)
    assert wait_until(lambda: not child.alive(), 30)


def test_what_a_killed_process_leaves_is_ended_by_its_name_alone(started: Started) -> None:
    """S1: bubblewrap sleeps for ever where its node is killed while it makes a sandbox."""
    parent = started(PARENT)
    (child,) = parent.session()
    program = Path(f"/proc/{child.pid}/exe").readlink().name
    assert bury(parent, program) == (), "it lives"
    parent.send(signal.SIGKILL)
    assert wait_until(lambda: not parent.alive(), 30)
    assert bury(parent, "bwrap") == ()
    assert bury(msgspec.structs.replace(parent, boot="another"), program) == ()
    assert child.alive()
    assert bury(parent, program) == (child,)
    assert wait_until(lambda: not child.alive(), 30)


def test_a_taken_port_is_named_with_its_owner() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = Port("127.0.0.1", "tcp", taken.getsockname()[1])
        with pytest.raises(EnvironmentFault) as caught:
            require_free([port])
    assert f"tcp port {port.number} of 127.0.0.1 is taken by pid {os.getpid()}" in str(caught.value)
    require_free([port])


def test_a_taken_datagram_port_is_found_too() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = Port("127.0.0.1", "udp", taken.getsockname()[1])
        assert port.taken()
        assert str(os.getpid()) in port.owner()


def test_a_program_that_is_not_there_is_the_machines_fault(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="no-such-program"):
        spawn(["no-such-program"], tmp_path, tmp_path / "log")
