"""Machines are started one at a time, never in a program's way, and rehearse while the host is idle (J2)."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

import attrs
import pytest

from twisted.internet.error import ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from cluster.java.archive import STEPS
from cluster.java.frames import WARM_ORDER
from cluster.java.jvm import Jvm
from cluster.java.place import Place
from cluster.java.pool import ADOPT, AFTER_S, CALM_S, DEAD, LOOK_S, PATIENCE_S, RunnerPool
from cluster.java.sandbox import CHANNEL, CONTROL
from cluster.limits import MIB, Limits

CAPS = Limits()


@attrs.define
class Pipes:
    """The transport of a process that does as the test says."""

    written: dict[int, bytes] = attrs.Factory(dict)
    killed: bool = False
    pid: int = 0

    def writeToChild(self, child: int, data: bytes) -> None:  # noqa: N802
        self.written[child] = self.written.get(child, b"") + data

    def signalProcess(self, _name: str) -> None:  # noqa: N802
        self.killed = True


class Scene:
    """A pool whose processes are scripted."""

    def __init__(self, size: int = 2) -> None:
        self.clock = Clock()
        self.started: list[Jvm] = []
        self.idle = True
        self.pool = RunnerPool(self.clock, self, size, CAPS, lambda: self.idle)  # type: ignore[arg-type]
        self.confined = True

    def spawn(self, jvm: Jvm, _java: Sequence[str], _bounds: Sequence[str], **_view: Any) -> Place:
        jvm.transport = Pipes()  # type: ignore[assignment]
        self.started.append(jvm)
        return Place()

    def say(self, which: int, kind: bytes) -> None:
        self.started[which].childDataReceived(CHANNEL, kind + bytes(4))
        self.clock.advance(0)

    def orders(self, which: int) -> bytes:
        pipes: Any = self.started[which].transport
        return bytes(pipes.written.get(CONTROL, b""))

    def taken(self) -> None:
        """Full, but for the machine that a job has taken."""
        self.full()
        self.pool.begin()
        self.pool.take(CAPS)

    def full(self) -> None:
        """Fill it, without any rehearsal."""
        self.idle = False
        self.pool.fill()
        for which in range(2):
            self.clock.advance(0)
            self.say(which, b"R")


def test_machines_start_one_after_the_other() -> None:
    scene = Scene()
    scene.pool.fill()
    scene.clock.advance(0)
    assert len(scene.started) == 1
    scene.say(0, b"R")
    assert len(scene.started) == 2
    scene.say(1, b"R")
    assert len(scene.started) == 2
    assert scene.pool.snapshot().waiting == 2


def test_a_machine_that_dies_between_its_job_and_its_program_counts_as_lost() -> None:
    """J2: it waited, whether or not a job had chosen it; nobody else counts it."""
    scene = Scene()
    scene.full()
    taken = scene.pool.take(Limits(memory_bytes=64 * MIB))
    assert not taken.handed
    scene.started[2].processEnded(Failure(ProcessTerminated(signal=9)))
    assert scene.pool.snapshot().lost == 1


def test_a_machine_that_nobody_wants_any_more_is_not_lost() -> None:
    scene = Scene()
    scene.full()
    scene.pool.take(Limits(memory_bytes=64 * MIB)).cancel()
    scene.started[2].processEnded(Failure(ProcessTerminated(signal=9)))
    assert scene.pool.snapshot().lost == 0


def test_a_taken_machine_is_replaced_when_its_job_is_done() -> None:
    scene = Scene()
    scene.taken()
    scene.clock.advance(PATIENCE_S / 2)
    assert len(scene.started) == 2
    scene.pool.end()
    scene.clock.advance(0)
    assert len(scene.started) == 2, "its answer leaves first"
    scene.clock.advance(AFTER_S)
    assert len(scene.started) == 3


def test_a_host_with_a_processor_to_spare_replaces_it_at_once() -> None:
    scene = Scene()
    scene.taken()
    scene.idle = True
    scene.clock.advance(0)
    assert len(scene.started) == 2, "the program gets its machine first"
    scene.clock.advance(AFTER_S)
    assert len(scene.started) == 3


def test_a_long_job_holds_the_replacement_back_for_a_moment_only() -> None:
    scene = Scene()
    scene.taken()
    scene.clock.advance(PATIENCE_S)
    assert len(scene.started) == 3


def test_the_rehearsal_waits_for_an_idle_host_and_finishes_one_machine_first() -> None:
    scene = Scene()
    scene.full()
    scene.clock.advance(LOOK_S)
    assert scene.orders(0) + scene.orders(1) == b""
    scene.idle = True
    scene.clock.advance(LOOK_S)
    for step in range(1, STEPS + 1):
        assert scene.orders(0) == WARM_ORDER * step
        assert scene.orders(1) == b""
        scene.say(0, b"W")
    assert scene.orders(1) == WARM_ORDER
    assert scene.pool.snapshot().rehearsed == 1


def test_the_most_rehearsed_machine_that_rests_is_taken_first() -> None:
    scene = Scene()
    scene.full()
    scene.idle = True
    scene.clock.advance(LOOK_S)
    scene.say(0, b"W")  # and its second step begins
    assert scene.pool.take(CAPS).warmed == 0
    assert scene.pool.take(CAPS).warmed == 1
    assert scene.pool.snapshot().warm_starts == 2


def test_an_empty_pool_is_a_cold_start_and_counted() -> None:
    """J2."""
    scene = Scene()
    scene.pool.take(CAPS)
    assert scene.pool.snapshot().cold_starts == 1
    assert len(scene.started) == 1


def adopting() -> tuple[Scene, list[str]]:
    """A pool that has just taken on a shape which programs asked for, and its troubles from now on."""
    scene, told = Scene(), list[str]()
    scene.pool.on_trouble = told.append
    scene.full()
    for _ in range(ADOPT):
        scene.pool.take(Limits(memory_bytes=64 * MIB))
    scene.clock.advance(PATIENCE_S)
    return scene, told


def test_the_waiting_machines_take_the_shape_that_programs_ask_for() -> None:
    scene = Scene()
    scene.full()
    other = Limits(memory_bytes=64 * MIB)
    for _ in range(ADOPT):
        scene.pool.take(other)
    assert scene.pool.snapshot().waiting == 0
    scene.clock.advance(PATIENCE_S)
    scene.say(2 + ADOPT, b"R")
    scene.pool.take(other)
    assert (scene.pool.snapshot().warm_starts, scene.pool.snapshot().cold_starts) == (1, ADOPT)


def test_a_shape_in_which_no_machine_starts_is_given_up_again() -> None:
    """Programs could take every node's slots with it; trouble is what the node's own shape meets."""
    scene, told = adopting()
    for number in range(2):
        scene.started[2 + ADOPT + number].processEnded(Failure(ProcessTerminated(1)))
        scene.clock.advance(1.0)
    assert told == []
    scene.say(2 + ADOPT + 2, b"R")
    scene.pool.take(CAPS)
    assert scene.pool.snapshot().warm_starts == 1


def test_a_machine_that_dies_waiting_is_counted_and_replaced() -> None:
    scene = Scene()
    scene.full()
    scene.started[0].processEnded(Failure(ConnectionError()))
    assert (scene.pool.snapshot().waiting, scene.pool.snapshot().lost) == (1, 1)
    scene.clock.advance(1.0)
    assert len(scene.started) == 3


def test_nobody_rehearses_until_the_node_has_been_without_work_for_a_while() -> None:
    """J2: under load, processor time goes to programs and to the machines that they need."""
    scene = Scene()
    scene.full()
    scene.idle = True
    scene.pool.begin()
    scene.clock.advance(10 * CALM_S)
    scene.pool.end()
    scene.clock.pump([CALM_S / 10] * 9)
    assert scene.orders(0) + scene.orders(1) == b""
    scene.clock.advance(CALM_S / 5)
    assert scene.orders(0) == WARM_ORDER


def test_a_host_that_can_start_no_machine_says_so_until_it_can() -> None:
    scene = Scene()
    told: list[str] = []
    scene.pool.on_trouble = told.append
    spawn = scene.spawn

    def refuse(*_: Any, **__: Any) -> Place:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    scene.spawn = refuse  # type: ignore[method-assign]
    with pytest.raises(BlockingIOError):
        scene.pool.take(CAPS)
    assert told == ["no process can be started: [Errno 11] Resource temporarily unavailable"]
    scene.clock.advance(3.0)
    assert len(told) == 1, "once"
    scene.spawn = spawn  # type: ignore[method-assign]
    scene.clock.advance(1.0)
    assert len(told) == 1, "one that starts is no proof yet"
    scene.say(0, b"R")
    assert told[-1] == ""


def test_a_full_pool_is_no_trouble_though_a_strangers_process_was_refused_once() -> None:
    """Nothing is left to be started that could prove it: the slots come back, though not at once."""
    scene = Scene()
    told: list[str] = []
    scene.full()
    scene.idle = True
    scene.clock.advance(LOOK_S)
    for which in range(2):
        for _ in range(STEPS):
            scene.say(which, b"W")
    assert scene.pool.snapshot().rehearsed == 2
    scene.pool.on_trouble = told.append

    def refuse(*_: Any, **__: Any) -> Place:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    scene.spawn = refuse  # type: ignore[method-assign]
    scene.pool.begin()
    with pytest.raises(BlockingIOError):
        scene.pool.take(Limits(memory_bytes=64 * MIB))
    scene.pool.end()
    scene.clock.pump([0.05] * 10)
    assert told == ["no process can be started: [Errno 11] Resource temporarily unavailable"]
    scene.clock.pump([0.05] * 12)
    assert told[1:] == [""]


def test_machines_that_die_while_they_start_are_trouble_unless_another_waits() -> None:
    scene = Scene()
    told: list[str] = []
    scene.pool.on_trouble = told.append
    scene.full()
    scene.started[0].processEnded(Failure(ProcessTerminated(1)))
    scene.clock.advance(2.0)
    scene.started[2].processEnded(Failure(ProcessTerminated(1)))
    scene.clock.advance(2.0)
    scene.started[3].processEnded(Failure(ProcessTerminated(1)))
    assert told == [], "one still waits"
    scene.started[1].processEnded(Failure(ProcessTerminated(1)))
    scene.clock.advance(2.0)
    scene.started[4].processEnded(Failure(ProcessTerminated(1)))
    assert told == ["a virtual machine was killed while it started"]


def test_programs_of_another_shape_now_and_then_change_nothing() -> None:
    """J2: only in a row are they the rule."""
    scene = Scene()
    scene.full()
    for limits in (*[Limits(memory_bytes=64 * MIB)] * (ADOPT - 1), CAPS, Limits(memory_bytes=64 * MIB)):
        scene.pool.take(limits)
    assert (scene.pool.snapshot().waiting, scene.pool.snapshot().warm_starts) == (1, 1)


def test_a_shape_that_was_given_up_says_nothing_of_the_nodes_own() -> None:
    """Decision 9: that is in trouble after deaths of its own, as many as ever."""
    scene, told = adopting()
    for number in range(2 * DEAD):
        assert told == []
        scene.started[2 + ADOPT + number].processEnded(Failure(ProcessTerminated(1)))
        scene.clock.advance(1.0)
    assert told == ["a virtual machine was killed while it started"]
