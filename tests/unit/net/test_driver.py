"""Events in, effects out, one timer, and nothing that stops it (architecture A4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from cluster.core import effects as fx
from cluster.core import events as ev
from cluster.core.record import Record
from cluster.errors import StorageError
from cluster.identity import NodeId
from cluster.net.driver import Driver, Ports
from cluster.wire.jobs import Job, Program, Verdict
from cluster.wire.messages import AttemptKey, Ping, Progressed, Resign
from tests.conftest import LoggedFailures

RECORD = Record("c", 1, "ff00", boot=5)
JOB = Job("ab" * 16, 100, Program(()))


class Broken(Exception):
    """Raised on purpose."""


class ScriptedCore:
    """Answers each event from a table, and remembers what it was asked."""

    def __init__(self) -> None:
        self.deadline: float | None = None
        self.calls: list[tuple[Any, float]] = []
        self.answers: dict[Any, fx.Effects | Exception] = {}

    def _answer(self, what: Any, now: float) -> fx.Effects:
        self.calls.append((what, now))
        answer = self.answers.get(what, ())
        if isinstance(answer, Exception):
            raise answer
        return answer

    def start(self, now: float) -> fx.Effects:
        return self._answer("start", now)

    def receive(self, event: ev.Event, now: float) -> fx.Effects:
        return self._answer(event, now)

    def tick(self, now: float) -> fx.Effects:
        return self._answer("tick", now)

    def next_deadline(self) -> float | None:
        return self.deadline

    @property
    def asked(self) -> list[Any]:
        return [what for what, _ in self.calls]


class World:
    """All ports of a driver; each call becomes a line in `done`."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.core = ScriptedCore()
        self.done: list[Any] = []
        self.writing: list[Deferred[None]] = []
        self.store_write: Callable[[], Deferred[None]] = self._write_later
        self.on_start_run: Callable[[], None] = lambda: None
        self.on_send: Callable[[], None] = lambda: None
        ports = Ports(
            datagrams=self._Part(self, "datagram"),
            channels=self._Part(self, "channel"),
            store=self._Part(self, "store"),
            runs=self._Part(self, "run"),
            answer=self.done.append,
            log=self.done.append,
            show=self.done.append,
            stopped=lambda: self.done.append("stopped"),
        )
        self.driver = Driver(self.core, self.clock, ports)

    def _write_later(self) -> Deferred[None]:
        self.writing.append(Deferred())
        return self.writing[-1]

    class _Part:
        def __init__(self, world: World, name: str) -> None:
            self._world = world
            self._name = name

        def __getattr__(self, method: str) -> Any:
            def call(*args: Any) -> Any:
                self._world.done.append((f"{self._name}.{method}", *args))
                if method == "send":
                    self._world.on_send()
                if method == "start":
                    self._world.on_start_run()
                return self._world.store_write() if method == "write" else None

            return call


@pytest.fixture
def world() -> World:
    return World()


def test_effects_are_performed_in_order(world: World) -> None:
    answer = fx.Answer(1, "a", None)  # type: ignore[arg-type]
    progress = fx.ShowProgress((1,), Progressed(1, 1, AttemptKey("a", 1, 1)))
    log = fx.Log(fx.Level.SUMMARY, "hello")
    world.core.answers["start"] = (
        fx.Send(NodeId(2), Resign(1)),
        fx.SendFrame(7, Ping(1)),
        fx.Dial(NodeId(2)),
        fx.HangUp("why"),
        fx.Close(7, "why"),
        fx.StartRun(JOB, 9.0),
        fx.StopRun("a"),
        fx.RepeatProgress("a"),
        progress,
        answer,
        log,
        fx.Stopped(),
    )
    world.driver.start()
    assert world.done == [
        ("datagram.send", NodeId(2), Resign(1)),
        ("channel.send", 7, Ping(1)),
        ("channel.dial", NodeId(2)),
        ("channel.hang_up", "why"),
        ("channel.close", 7, "why"),
        ("run.start", JOB, 9.0),
        ("run.stop", "a"),
        ("run.repeat", "a"),
        progress,
        answer,
        log,
        "stopped",
    ]


def test_the_core_is_never_re_entered(world: World) -> None:
    """What an effect causes waits until the effects before it are done."""
    first, second = ev.CapacityChanged(1), ev.CapacityChanged(2)
    world.core.answers[first] = (fx.Send(NodeId(2), Resign(1)), fx.Dial(NodeId(2)))
    world.core.answers[second] = (fx.Dial(NodeId(3)),)
    world.on_send = lambda: world.driver.feed(second)
    world.driver.start()
    world.driver.feed(first)
    assert world.done[1:] == [("channel.dial", NodeId(2)), ("channel.dial", NodeId(3))]
    assert world.core.asked == ["start", first, second]


def test_there_is_exactly_one_timer_at_the_cores_deadline(world: World) -> None:
    world.core.deadline = 1.0
    world.driver.start()
    for slots in range(5):
        world.core.deadline = 0.5
        world.driver.feed(ev.CapacityChanged(slots))
    assert [call.getTime() for call in world.clock.getDelayedCalls()] == [0.5]
    world.core.deadline = None
    world.clock.advance(0.5)
    assert world.core.asked[-1] == "tick"
    assert world.clock.getDelayedCalls() == []


def test_the_clock_is_read_when_the_core_is_asked(world: World) -> None:
    world.driver.start()
    world.clock.advance(3.0)
    world.driver.feed(ev.CapacityChanged(1))
    assert world.core.calls[-1] == (ev.CapacityChanged(1), 3.0)


def test_n4_what_depends_on_the_disk_leaves_after_the_write_and_before_the_core_hears_of_it(
    world: World,
) -> None:
    world.core.answers["start"] = (
        fx.Persist(RECORD, 1, (fx.Send(NodeId(2), Resign(1)),)),
        fx.Dial(NodeId(3)),
    )
    world.driver.start()
    assert world.done == [("store.write", RECORD), ("channel.dial", NodeId(3))]
    order: list[str] = []
    world.on_send = lambda: order.append(f"sent, core heard {world.core.asked}")
    world.writing[0].callback(None)
    assert order == ["sent, core heard ['start']"]
    assert world.core.asked[-1] == ev.Persisted(1)


def test_n4_what_waited_for_the_disk_is_done_before_the_core_hears_what_that_caused(world: World) -> None:
    """The rule for all effects holds for these too: such a run may end, or such a channel break, at once."""
    caused = ev.CapacityChanged(2)
    world.core.answers["start"] = (
        fx.Persist(RECORD, 1, (fx.Send(NodeId(2), Resign(1)), fx.Dial(NodeId(2)))),
    )
    world.core.answers[caused] = (fx.Dial(NodeId(3)),)
    world.on_send = lambda: world.driver.feed(caused)
    world.driver.start()
    world.writing[0].callback(None)
    assert world.done[2:] == [("channel.dial", NodeId(2)), ("channel.dial", NodeId(3))]
    assert world.core.asked == ["start", caused, ev.Persisted(1)]


def test_n4_nothing_leaves_after_a_failed_write(world: World, logged_failures: LoggedFailures) -> None:
    world.core.answers["start"] = (fx.Persist(RECORD, 1, (fx.Send(NodeId(2), Resign(1)),)),)
    world.driver.start()
    world.writing[0].errback(StorageError("disk full"))
    assert world.done == [("store.write", RECORD)]
    assert world.core.asked[-1] == ev.PersistFailed(1, "disk full")
    assert world.driver.counters["persist_failures"] == 1
    assert logged_failures.take() == []


def test_a_store_that_raises_is_a_failed_write(world: World) -> None:
    world.core.answers["start"] = (fx.Persist(RECORD, 1),)
    world.store_write = lambda: fail(Broken("no"))
    world.driver.start()
    assert world.core.asked[-1] == ev.PersistFailed(1, "no")


def test_a_write_that_is_done_at_once_works_too(world: World) -> None:
    world.core.answers["start"] = (fx.Persist(RECORD, 1, (fx.Dial(NodeId(2)),)), fx.Dial(NodeId(3)))
    world.store_write = lambda: succeed(None)
    world.driver.start()
    assert world.done[1:] == [("channel.dial", NodeId(2)), ("channel.dial", NodeId(3))]
    assert world.core.asked == ["start", ev.Persisted(1)]


def test_an_effect_that_raises_is_logged_and_the_rest_goes_on(
    world: World, logged_failures: LoggedFailures
) -> None:
    def broken() -> None:
        raise Broken

    world.on_send = broken
    world.core.deadline = 1.0
    world.core.answers["start"] = (fx.Send(NodeId(2), Resign(1)), fx.Dial(NodeId(3)))
    world.driver.start()
    assert world.done[-1] == ("channel.dial", NodeId(3))
    assert world.driver.counters["effect_errors"] == 1
    assert len(world.clock.getDelayedCalls()) == 1
    assert len(logged_failures.take(Broken)) == 1


def test_a_run_that_can_not_be_started_is_finished(world: World, logged_failures: LoggedFailures) -> None:
    def broken() -> None:
        raise Broken

    world.core.answers["start"] = (fx.StartRun(JOB, 1.0),)
    world.on_start_run = broken
    world.driver.start()
    event = world.core.asked[-1]
    assert isinstance(event, ev.RunFinished)
    assert (event.job, event.outcome.verdict) == (JOB.id, Verdict.INTERNAL_ERROR)
    logged_failures.take(Broken)


def test_a_core_that_raises_at_each_tick_is_asked_again_and_does_not_spin(
    world: World, logged_failures: LoggedFailures
) -> None:
    world.core.deadline = 0.0
    world.core.answers["tick"] = Broken()
    world.driver.start()
    for _ in range(10):
        world.clock.advance(0.1)
    assert 5 <= world.core.asked.count("tick") <= 12
    assert world.driver.counters["core_errors"] == len(logged_failures.take(Broken))
    del world.core.answers["tick"]
    world.clock.advance(0.2)
    assert len(world.clock.getDelayedCalls()) == 1


def test_an_event_that_the_core_can_not_take_does_not_put_its_deadline_off(
    world: World, logged_failures: LoggedFailures
) -> None:
    world.core.answers[ev.CapacityChanged(1)] = Broken()
    world.core.deadline = 0.1
    world.driver.start()
    world.clock.advance(0.05)
    world.driver.feed(ev.CapacityChanged(1))
    assert [call.getTime() for call in world.clock.getDelayedCalls()] == [0.1]
    logged_failures.take(Broken)


def test_a_deadline_that_stays_past_is_not_a_busy_loop(world: World) -> None:
    world.core.deadline = -1.0
    world.driver.start()
    world.clock.advance(0)
    assert world.core.asked == ["start", "tick"]
    (call,) = world.clock.getDelayedCalls()
    assert call.getTime() > 0


def test_g4_a_late_timer_is_told_to_the_core_before_anything_else(world: World) -> None:
    world.core.deadline = 1.0
    world.driver.start()
    world.clock.advance(1.2)
    lagged, tick = world.core.asked[-2:]
    assert isinstance(lagged, ev.LoopLagged)
    assert lagged.seconds == pytest.approx(0.2)
    assert tick == "tick"
    assert world.driver.lag_max_s == pytest.approx(0.2)
    assert world.driver.counters["lags"] == 1


def test_g4_after_a_pause_the_lag_comes_before_the_datagrams_that_waited(world: World) -> None:
    """A process that was stopped finds its socket full before its timers fire."""
    world.core.deadline = 1.0
    world.driver.start()
    world.clock.rightNow = 3.0
    world.driver.feed(ev.CapacityChanged(1))
    assert world.core.asked[-2:] == [ev.LoopLagged(2.0), ev.CapacityChanged(1)]
    world.clock.advance(0)
    assert world.driver.counters["lags"] == 1, "one pause is one lag"


def test_a_timer_in_time_is_no_lag(world: World) -> None:
    world.core.deadline = 1.0
    world.driver.start()
    world.clock.advance(1.01)
    assert world.core.asked == ["start", "tick"]


def test_a_stopped_driver_does_nothing_any_more(world: World) -> None:
    world.core.deadline = 1.0
    world.core.answers["start"] = (fx.Persist(RECORD, 1, (fx.Dial(NodeId(2)),)),)
    world.driver.start()
    world.driver.stop()
    world.driver.feed(ev.CapacityChanged(1))
    world.writing[0].callback(None)
    assert world.core.asked == ["start"]
    assert world.done == [("store.write", RECORD)]
    assert world.clock.getDelayedCalls() == []
