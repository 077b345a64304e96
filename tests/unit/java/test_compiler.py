"""The warm compiler: losing it loses no job, and a source that breaks two is blamed (J1)."""

from __future__ import annotations

import errno
import struct
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from cluster.java.cgroup import Toll
from cluster.java.compiler import SPARE_AFTER_S, UNAVAILABLE, Compiler
from cluster.java.compiler_process import ABANDONED_S, GROWN, LOOK_AFTER_S, SLOW_S, WARM_ROUNDS
from cluster.java.flags import OUT_OF_MEMORY
from cluster.java.frames import CRASHED, SUCCEEDED, Answer
from cluster.java.jvm import Jvm, Usage
from cluster.java.rehearsal import PROGRAMS
from cluster.java.sandbox import STDERR, STDIN, STDOUT
from cluster.limits import MIB
from cluster.wire.jobs import Source
from tests.unit.java.fakes import FakeJvm

SOURCE = (Source("", "class A {}"),)


class Machine:
    """One compiler process as the compiler under test sees it."""

    def __init__(self, real: Jvm) -> None:
        self.fake = FakeJvm()
        self.real = real
        self.fake.on_data = lambda fd, data: real.on_data(fd, data)  # noqa: PLW0108  (it changes later)
        self.fake.ended = real.ended
        real.write = self.fake.write  # type: ignore[method-assign]
        real.kill = self.fake.kill  # type: ignore[method-assign]
        real.usage = self.fake.usage  # type: ignore[method-assign]

    def number(self) -> int:
        """Of the last request."""
        data, last = self.fake.written[STDIN], 0
        while data:
            length, last = struct.unpack(">II", data[:8])
            data = data[4 + length :]
        return last

    def answer(self, status: int = SUCCEEDED) -> None:
        """The last request's."""
        body = struct.pack(">IB", self.number(), status) + b"\0" * 16
        self.fake.say(STDOUT, struct.pack(">I", len(body)) + body)

    def warm(self) -> None:
        """Answer every rehearsal."""
        for _ in range(WARM_ROUNDS * len(PROGRAMS)):
            self.answer()


class Scene:
    """A compiler with a clock, the machines it started, and what came of the compilations."""

    def __init__(self, recycle_after: int = 100) -> None:
        self.clock = Clock()
        self.machines: list[Machine] = []
        self.capacity: list[bool] = []
        self.results: list[Any] = []
        self.compiler = Compiler(self.clock, self.spawn, confined=True, recycle_after=recycle_after)
        self.compiler.on_ready = self.capacity.append
        self.compiler.start()

    def spawn(self, jvm: Jvm) -> None:
        self.machines.append(Machine(jvm))
        jvm.write = self.machines[-1].fake.write  # type: ignore[method-assign]

    def compile(self, limit_s: float = 10.0, remaining_s: float = 60.0) -> Any:
        return self.compiler.compile(SOURCE, limit_s, remaining_s).addBoth(self.results.append)


def test_it_is_ready_after_its_rehearsals_and_not_before() -> None:
    scene = Scene()
    assert scene.capacity == []
    scene.machines[0].warm()
    assert scene.capacity == [True]


def test_a_compilation_waits_for_the_compiler() -> None:
    scene = Scene()
    scene.compile()
    scene.machines[0].warm()
    assert scene.results == []
    scene.machines[0].answer()
    assert scene.results[0].status == SUCCEEDED


def test_losing_the_compiler_loses_no_job() -> None:
    scene = Scene()
    scene.machines[0].warm()
    scene.compile()
    scene.compile()
    scene.machines[0].fake.end()
    assert scene.capacity == [True, False]
    scene.machines[1].warm()
    assert scene.capacity == [True, False, True]
    scene.machines[1].answer()
    scene.machines[1].answer()
    assert [answer.status for answer in scene.results] == [SUCCEEDED, SUCCEEDED]


def test_a_source_that_ends_two_compilers_is_to_blame() -> None:
    scene = Scene()
    scene.compile()
    for machine in range(2):
        scene.machines[machine].warm()
        scene.machines[machine].fake.end(1)
    assert isinstance(scene.results[0], Answer)
    assert scene.results[0].status == CRASHED


def test_a_source_that_fills_a_compilers_heap_is_to_blame_at_once() -> None:
    """It would take down the spare as well, and every other node's compilers."""
    scene = spared()
    scene.compile()
    scene.compile()
    scene.machines[0].fake.end(OUT_OF_MEMORY)
    scene.machines[1].answer()
    first, second = scene.results
    assert (first.status, first.crash) == (CRASHED, "the compiler ran out of memory on this source")
    assert second.status == SUCCEEDED
    assert scene.capacity == [True]
    told = scene.compiler.snapshot()
    assert (told.crashes, told.lost) == (1, 1)


def test_a_source_whose_compilers_something_killed_is_not_to_blame() -> None:
    """R2: somebody else gets the job; an answer would be kept and be wrong."""
    scene = Scene()
    scene.compile()
    for machine in range(2):
        scene.machines[machine].warm()
        scene.machines[machine].fake.end(signal=9)
    assert scene.results == [UNAVAILABLE]
    assert scene.compiler.snapshot().crashes == 0


def test_a_source_that_fills_its_compilers_control_groups_is_to_blame() -> None:
    """The kernel kills for that, too; each node that got it would lose its compilers."""
    scene = Scene()
    scene.compile()
    for machine in range(2):
        scene.machines[machine].warm()
        scene.machines[machine].real.toll = Toll(out_of_memory=1)
        scene.machines[machine].fake.end(signal=9)
    assert scene.results[0].status == CRASHED


def test_a_compilation_over_its_limit_is_ended_and_the_next_one_served() -> None:
    scene = Scene()
    scene.machines[0].warm()
    scene.compile(limit_s=1.0)
    scene.compile()
    scene.clock.advance(1.0)
    assert scene.machines[0].fake.kills
    scene.machines[0].fake.end()
    assert scene.results == ["compile"]
    scene.machines[1].warm()
    scene.machines[1].answer()
    assert len(scene.results) == 2


def spared() -> Scene:
    """With a spare that is warm."""
    scene = Scene()
    scene.machines[0].warm()
    scene.clock.advance(SPARE_AFTER_S)
    assert not scene.compiler.snapshot().spare
    scene.machines[1].warm()
    assert scene.compiler.snapshot().spare
    return scene


def test_after_a_time_out_or_crash_the_spare_serves_at_once() -> None:
    """J1: nobody waits for a start, and the node keeps its slots."""
    scene = spared()
    scene.compile(limit_s=1.0)
    scene.compile()
    scene.clock.advance(1.0)
    scene.machines[0].fake.end()
    scene.machines[1].answer()
    assert (scene.results[0], scene.results[1].status) == ("compile", SUCCEEDED)
    scene.machines[2].warm()
    scene.compile()
    scene.machines[1].fake.end(1)
    scene.machines[2].answer()
    assert scene.results[2].status == SUCCEEDED
    assert scene.capacity == [True]
    assert len(scene.machines) == 4, "the next spare is starting"


def test_a_spare_that_is_killed_is_replaced() -> None:
    scene = spared()
    scene.machines[1].fake.end()
    scene.machines[2].warm()
    assert scene.compiler.snapshot().spare
    assert scene.compiler.snapshot().lost == 1


def test_who_waits_behind_a_slow_compilation_gets_the_spare() -> None:
    """J1: a source that takes its whole limit holds up nobody for so long, and one at a time does."""
    scene = spared()
    scene.compile()
    scene.clock.advance(SLOW_S)
    assert scene.compiler.snapshot().spare, "nobody waits"
    scene.compile()
    scene.machines[1].answer()
    assert [answer.status for answer in scene.results] == [SUCCEEDED]
    assert scene.machines[0].fake.kills == 0
    scene.compile()
    scene.clock.advance(SLOW_S)
    scene.compile()
    assert len(scene.results) == 1, "a second slow one is waited for"
    scene.machines[0].answer()
    assert len(scene.results) == 2
    assert scene.machines[0].fake.kills == 1
    scene.machines[0].fake.end()
    scene.machines[2].warm()
    scene.machines[2].answer()
    scene.machines[1].answer()
    assert [answer.status for answer in scene.results] == [SUCCEEDED] * 4
    assert scene.capacity == [True]


def test_a_slow_compilation_that_was_left_alone_has_its_limit_still() -> None:
    scene = spared()
    scene.compile()
    scene.compile()
    scene.clock.advance(SLOW_S)
    scene.machines[1].answer()
    scene.clock.advance(8.0)
    assert scene.machines[0].fake.kills
    scene.machines[0].fake.end()
    assert scene.results[1] == "compile"
    assert scene.machines[1].fake.kills == 0


def test_the_jobs_deadline_ends_its_waiting() -> None:
    scene = Scene()
    scene.compile(remaining_s=1.0)
    scene.clock.advance(1.0)
    assert scene.results == ["expired"]


def test_a_cancelled_compilation_leaves_the_queue() -> None:
    scene = Scene()
    waiting = scene.compile()
    waiting.cancel()
    assert isinstance(scene.results[0], Failure)
    assert scene.results[0].check(CancelledError)
    assert scene.compiler.snapshot().queued == 0


def test_a_compilation_that_its_client_left_is_ended_soon() -> None:
    """W9, S5: its slot is somebody else's already, who would wait for all of its limit."""
    scene = spared()
    left = scene.compile()
    scene.compile()
    left.cancel()
    scene.clock.advance(ABANDONED_S / 2)
    assert scene.machines[0].fake.kills == 0, "it may end by itself"
    scene.clock.advance(ABANDONED_S / 2)
    assert scene.machines[0].fake.kills == 1
    scene.machines[0].fake.end()
    scene.machines[1].answer()
    assert isinstance(scene.results[0], Failure)
    assert [answer.status for answer in scene.results[1:]] == [SUCCEEDED]
    assert scene.capacity == [True]
    assert len(scene.machines) == 3, "the next spare is starting"
    told = scene.compiler.snapshot()
    assert (told.abandoned, told.lost, told.timeouts, told.crashes) == (1, 0, 0, 0)


def test_a_compilation_that_its_client_left_and_that_ends_in_time_costs_nothing() -> None:
    scene = spared()
    left = scene.compile()
    scene.compile()
    left.cancel()
    scene.machines[0].answer()
    scene.clock.advance(ABANDONED_S)
    assert scene.machines[0].fake.kills == 0, "what it compiles now is somebody else's"
    scene.machines[0].answer()
    assert scene.results[1].status == SUCCEEDED
    assert scene.compiler.snapshot().abandoned == 0
    assert len(scene.machines) == 2


def test_a_slow_compilation_that_was_left_alone_and_is_left_is_ended_too() -> None:
    scene = spared()
    left = scene.compile()
    scene.compile()
    scene.clock.advance(SLOW_S)
    left.cancel()
    scene.clock.advance(ABANDONED_S)
    assert (scene.machines[0].fake.kills, scene.machines[1].fake.kills) == (1, 0)
    scene.machines[0].fake.end()
    scene.machines[1].answer()
    assert scene.results[1].status == SUCCEEDED
    assert len(scene.machines) == 3


def test_a_second_try_that_waits_or_is_made_is_left_like_the_first() -> None:
    scene = Scene()
    scene.machines[0].warm()
    waiting, tried = scene.compile(), scene.compile()
    scene.machines[0].fake.end(signal=9)
    waiting.cancel()
    assert scene.compiler.snapshot().queued == 1
    scene.machines[1].warm()
    scene.machines[1].fake.end(signal=9)
    scene.machines[2].warm()
    tried.cancel()
    scene.compile()
    scene.clock.advance(ABANDONED_S)
    assert scene.machines[2].fake.kills == 1
    scene.machines[2].fake.end()
    scene.machines[3].warm()
    scene.machines[3].answer()
    assert [type(result) for result in scene.results] == [Failure, Failure, Answer]
    assert scene.compiler.snapshot().abandoned == 1


def test_a_compilation_that_was_left_and_whose_compiler_dies_is_not_tried_again() -> None:
    scene = spared()
    scene.compile().cancel()
    scene.machines[0].fake.end(signal=9)
    scene.clock.advance(ABANDONED_S)
    assert scene.compiler.snapshot().queued == 0
    scene.compile()
    scene.machines[1].answer()
    assert scene.results[1].status == SUCCEEDED


def test_a_worn_compiler_serves_until_its_spare_is_warm() -> None:
    scene = Scene(recycle_after=1)
    first = scene.machines[0]
    first.warm()
    scene.compile()
    first.answer()
    scene.compile()
    first.answer()
    spare = scene.machines[1]
    assert first.fake.kills == 0
    spare.warm()
    assert first.fake.kills
    scene.compile()
    first.fake.end()
    spare.answer()
    assert len(scene.results) == 3
    assert scene.capacity == [True]
    assert scene.compiler.snapshot().recycles == 1


def grown(scene: Scene, by: float) -> Machine:
    """The active compiler after an answer that left it with that many times the memory of its beginning."""
    first = scene.machines[0]
    first.fake.used = Usage(resident=80 * MIB)
    first.warm()
    scene.compile()
    first.fake.used = Usage(resident=int(by * 80 * MIB))
    first.answer()
    return first


def test_a_compiler_that_grew_serves_until_its_spare_is_warm() -> None:
    """J1: what large sources leave in it is not kept for good."""
    scene = Scene()
    first = grown(scene, GROWN + 0.1)
    scene.clock.advance(LOOK_AFTER_S)
    scene.compile()
    first.answer()
    assert len(scene.machines) == 2
    assert first.fake.kills == 0
    scene.machines[1].warm()
    assert first.fake.kills == 1
    scene.compile()
    first.fake.end()
    scene.machines[1].answer()
    assert [answer.status for answer in scene.results] == [SUCCEEDED] * 3
    assert scene.capacity == [True]
    told = scene.compiler.snapshot()
    assert (told.recycles, told.lost) == (1, 0)


def test_a_compiler_that_grew_and_has_a_spare_is_replaced_while_nobody_waits() -> None:
    scene = Scene()
    scene.machines[0].fake.used = Usage(resident=80 * MIB)
    scene.machines[0].warm()
    scene.clock.advance(SPARE_AFTER_S)
    scene.machines[1].warm()
    scene.compile()
    scene.machines[0].fake.used = Usage(resident=800 * MIB)
    scene.machines[0].answer()
    assert scene.machines[0].fake.kills == 0
    scene.clock.advance(LOOK_AFTER_S)
    assert scene.machines[0].fake.kills == 1


def test_a_compiler_that_grew_as_ordinary_work_has_it_is_kept() -> None:
    scene = Scene()
    first = grown(scene, GROWN)
    scene.clock.advance(LOOK_AFTER_S)
    assert len(scene.machines) == 1
    assert first.fake.kills == 0


def test_a_host_that_tells_no_memory_keeps_its_compiler() -> None:
    scene = Scene()
    scene.machines[0].fake.used = None
    scene.machines[0].warm()
    scene.compile()
    scene.machines[0].fake.used = Usage(resident=800 * MIB)
    scene.machines[0].answer()
    scene.clock.advance(LOOK_AFTER_S)
    assert len(scene.machines) == 1


def test_nobody_waits_for_a_look_at_the_memory() -> None:
    """It comes after the answer, and once for all answers of a moment."""
    scene = Scene()
    first = grown(scene, 1.0)
    looks = first.fake.looks
    for _ in range(10):
        scene.compile()
        first.answer()
    assert len(scene.results) == 11
    assert first.fake.looks == looks
    scene.clock.advance(LOOK_AFTER_S)
    assert first.fake.looks == looks + 1
    scene.clock.advance(10 * LOOK_AFTER_S)
    assert first.fake.looks == looks + 1, "nothing was compiled since"


def test_a_compiler_that_crashed_is_replaced() -> None:
    scene = Scene()
    scene.machines[0].warm()
    scene.compile()
    scene.machines[0].answer(CRASHED)
    assert len(scene.machines) == 2
    scene.machines[1].warm()
    assert scene.machines[0].fake.kills


def troubled(scene: Scene) -> list[str]:
    """What is said of trouble from here on."""
    told: list[str] = []
    scene.compiler.on_trouble = told.append
    return told


def test_a_host_without_memory_is_tried_until_there_is_some() -> None:
    """It says what is missing, and never gives up for what may pass."""
    scene = Scene()
    hopeless: list[bool] = []
    scene.compiler.on_hopeless = lambda: hopeless.append(True)
    told = troubled(scene)
    for number in range(5):
        scene.machines[number].fake.say(STDERR, b"Cannot allocate memory (errno=12)")
        scene.machines[number].fake.end(1)
        scene.clock.advance(10.0)
    assert told == ["Cannot allocate memory (errno=12)"] * 5
    assert hopeless == []
    scene.machines[5].warm()
    assert told[-1] == ""
    assert scene.capacity == [True]


def test_a_compiler_that_the_kernel_kills_is_started_again() -> None:
    scene = Scene()
    told = troubled(scene)
    for number in range(3):
        scene.machines[number].fake.end(signal=9)
        scene.clock.advance(10.0)
    assert told == ["the compiler was killed while it started"] * 3
    assert len(scene.machines) == 4


def test_what_no_time_mends_is_told_after_the_second_try() -> None:
    scene = Scene()
    hopeless: list[bool] = []
    scene.compiler.on_hopeless = lambda: hopeless.append(True)
    for number in range(2):
        scene.machines[number].fake.say(STDERR, b"No permissions to create a new namespace")
        scene.machines[number].fake.end(1)
        scene.clock.advance(10.0)
    assert hopeless == [True]
    assert len(scene.machines) == 2


def test_what_may_pass_is_no_reason_to_give_up_at_what_may_not() -> None:
    """Only the second failure of the lasting kind is hopeless."""
    scene = Scene()
    hopeless: list[bool] = []
    scene.compiler.on_hopeless = lambda: hopeless.append(True)
    for number, said in enumerate([b"Cannot allocate memory", b"Cannot allocate memory", b"no such thing"]):
        scene.machines[number].fake.say(STDERR, said)
        scene.machines[number].fake.end(1)
        scene.clock.advance(10.0)
    assert hopeless == []
    scene.machines[3].fake.say(STDERR, b"no such thing")
    scene.machines[3].fake.end(1)
    assert hopeless == [True]


def worn(scene: Scene) -> Machine:
    """An active compiler that is due to be replaced, and goes on serving."""
    scene.machines[0].warm()
    scene.compile()
    scene.machines[0].answer()
    return scene.machines[0]


def test_a_spare_that_does_not_start_is_no_trouble_while_the_old_one_serves() -> None:
    scene = Scene(recycle_after=1)
    told = troubled(scene)
    active = worn(scene)
    told.clear()
    for number in range(1, 8):
        scene.compile()
        active.answer()
        scene.machines[number].fake.end(signal=9)
        scene.clock.advance(60.0)
    assert told == []
    assert len(scene.results) == 8
    scene.machines[8].warm()
    active.fake.end()
    assert scene.capacity == [True]
    scene.machines[8].fake.end(signal=9)
    scene.machines[9].fake.end(signal=9)
    assert told == ["the compiler was killed while it started"]
    scene.clock.advance(0.5)
    assert len(scene.machines) == 11, "the spare that was ready ended the long pauses"


def test_a_host_that_refuses_processes_is_not_asked_by_every_job() -> None:
    """One chain of tries with growing pauses, however many jobs come."""
    scene = Scene(recycle_after=1)
    asked: list[float] = []

    def refuse(jvm: Jvm) -> None:  # noqa: ARG001  (its name is the protocol's)
        asked.append(scene.clock.seconds())
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    scene.compiler._spawn = refuse  # the host changes its mind
    active = worn(scene)
    for _ in range(20):
        scene.compile()
        active.answer()
    assert asked == [0.0]
    scene.clock.pump([0.25] * 6)
    assert asked == [0.0, 0.5, 1.5]
    active.fake.end()
    assert asked == [0.0, 0.5, 1.5, 1.5], "now one is needed"
    scene.clock.pump([0.5] * 60)
    assert asked[4:] == [5.5, 13.5, 23.5], "and no second chain of tries began"


def test_jobs_do_not_wait_for_a_compiler_that_can_not_be_started() -> None:
    scene = Scene()
    scene.machines[0].warm()
    scene.machines[0].fake.end()
    scene.compile()
    assert scene.results == [], "it may be there again at once"
    scene.machines[1].fake.say(STDERR, b"fork: Resource temporarily unavailable")
    scene.machines[1].fake.end(1)
    assert scene.results == [UNAVAILABLE]


def test_a_source_whose_compiler_was_lost_goes_before_those_that_came_after_it() -> None:
    """J1: it has waited longest."""
    scene = Scene()
    order: list[str] = []
    scene.machines[0].warm()
    for name in ("first", "second"):
        scene.compile().addCallback(lambda _, name=name: order.append(name))
    scene.machines[0].fake.end()
    scene.machines[1].warm()
    scene.machines[1].answer()
    assert order == ["first"]


def test_a_jobs_deadline_ends_its_compilation_though_its_limit_is_longer() -> None:
    """W4: nobody waits for it any more, and others may; it is told as what it is."""
    scene = Scene()
    scene.machines[0].warm()
    scene.compile(limit_s=10.0, remaining_s=5.0)
    scene.clock.advance(4.9)
    assert scene.machines[0].fake.kills == 0
    scene.clock.advance(0.1)
    assert scene.machines[0].fake.kills
    scene.machines[0].fake.end()
    assert scene.results == ["expired"]


def test_an_answer_to_another_question_is_given_to_nobody() -> None:
    """R2: a compiler that answers late or twice is no compiler."""
    scene = Scene()
    scene.machines[0].warm()
    scene.compile()
    stale = struct.pack(">IB", scene.machines[0].number() - 1, SUCCEEDED) + b"\0" * 16
    scene.machines[0].fake.say(STDOUT, struct.pack(">I", len(stale)) + stale)
    assert (scene.results, scene.machines[0].fake.kills) == ([], 1)
    scene.machines[0].fake.end()
    scene.machines[1].warm()
    scene.machines[1].answer()
    assert scene.results[0].status == SUCCEEDED


def test_a_compiler_that_was_slow_once_is_not_slow_for_ever() -> None:
    """J1: only who waits behind a slow compilation gets the spare."""
    scene = Scene()
    scene.machines[0].warm()
    scene.clock.advance(SPARE_AFTER_S)
    scene.machines[1].warm()
    scene.compile()
    scene.clock.advance(SLOW_S)
    scene.machines[0].answer()
    scene.compile()
    scene.compile()
    scene.machines[0].answer()
    scene.machines[0].answer()
    assert len(scene.results) == 3
    assert (scene.machines[0].fake.kills, len(scene.machines)) == (0, 2)
