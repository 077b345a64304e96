"""One run: its deadlines, its streams, and that its answer comes only after its end (R2, R3, S3, S5)."""

from __future__ import annotations

import struct

import pytest

from twisted.internet.task import Clock

from cluster.java.cgroup import Toll
from cluster.java.entry import Entry
from cluster.java.flags import data_limit
from cluster.java.frames import NONCE_BYTES, WARM_ORDER
from cluster.java.jvm import Usage
from cluster.java.oneshot import DYING_S, START_S, WATCH_S, OneShot, Task
from cluster.java.sandbox import CHANNEL, CONTROL, STDERR, STDIN, STDOUT
from cluster.limits import MIB, Limits
from cluster.wire.jobs import Input, Run, Verdict
from tests.unit.java.fakes import FakeJvm

READY = b"R\x00\x00\x00\x00"


class Scene:
    """A clock, a virtual machine, and one run."""

    def __init__(self, remaining_s: float = 60.0, **limits: float) -> None:
        self.clock = Clock()
        self.jvm = FakeJvm()
        self.one = OneShot(self.clock, self.jvm)
        self.limits = Limits(**{"wall_s": 2.0, "cpu_s": 1.0, "output_bytes": 8, **limits})  # type: ignore[arg-type]  # a test's own numbers
        self.results: list[Run] = []
        task = Task(Entry("A", "run"), {"A": b"class"}, Input(("x",), b"in"), self.limits)
        self.one.run(task, remaining_s).addCallback(self.results.append)

    def ready(self) -> None:
        self.jvm.say(CHANNEL, READY)

    def record(self, kind: bytes, payload: bytes = b"") -> None:
        at = 1 + NONCE_BYTES * (kind == b"E")
        nonce = self.jvm.written[CONTROL][at : at + NONCE_BYTES]
        self.jvm.say(CHANNEL, kind + struct.pack(">I", NONCE_BYTES + len(payload)) + nonce + payload)

    @property
    def result(self) -> Run:
        (run,) = self.results
        assert self.clock.getDelayedCalls() == []
        return run


def test_a_program_is_handed_over_when_the_machine_waits_for_it() -> None:
    scene = Scene()
    assert scene.jvm.written == {}
    scene.jvm.used = Usage(cpu_s=0.25)
    scene.ready()
    assert scene.jvm.written[STDIN] == b"in"
    assert b"class" in scene.jvm.written[CONTROL]
    assert sorted(scene.jvm.closed) == [STDIN, CONTROL]
    assert scene.jvm.bound == 0.25 + 1.0, "what its start took is not the program's"
    assert scene.jvm.looks == 1


def test_the_answer_waits_for_the_end_of_the_process() -> None:
    """S5: a value alone frees no slot."""
    scene = Scene()
    scene.ready()
    scene.jvm.say(STDOUT, b"text")
    scene.record(b"V", b"value")
    assert scene.results == []
    scene.jvm.end(0)
    assert (scene.result.verdict, scene.result.value, scene.result.stdout) == (Verdict.OK, b"value", b"text")


@pytest.mark.parametrize(
    ("remaining_s", "expected"), [(60.0, (Verdict.TIME_LIMIT, "wall")), (1.0, (Verdict.EXPIRED, ""))]
)
def test_the_nearer_of_wall_limit_and_deadline_ends_it(
    remaining_s: float, expected: tuple[Verdict, str]
) -> None:
    scene = Scene(remaining_s)
    scene.ready()
    scene.clock.pump([0.05] * 60)
    assert scene.jvm.kills
    scene.jvm.end()
    assert (scene.result.verdict, scene.result.detail) == expected


def test_processor_time_before_the_program_is_not_its_own() -> None:
    scene = Scene()
    scene.jvm.used = Usage(cpu_s=5.0)
    scene.ready()
    scene.jvm.used = Usage(cpu_s=5.9)
    scene.clock.advance(0.1)
    assert scene.jvm.kills == 0
    scene.jvm.used = Usage(cpu_s=6.1)
    scene.clock.advance(0.1)
    assert scene.jvm.kills
    scene.jvm.end()
    assert (scene.result.verdict, scene.result.detail) == (Verdict.TIME_LIMIT, "cpu")
    assert scene.result.cpu_s == pytest.approx(1.1)


def test_a_job_s_deadline_does_not_wait_for_a_machine_that_starts() -> None:
    """W4: it counts from when the job was asked to run, not from when its program began."""
    scene = Scene(1.0)
    scene.clock.advance(0.9)
    scene.ready()
    scene.clock.advance(0.15)
    assert scene.jvm.kills
    scene.jvm.end()
    assert scene.result.verdict is Verdict.EXPIRED


def test_a_program_that_ended_past_its_processor_time_before_anybody_looked_is_late() -> None:
    """R2: the answer says how much it used, and must not say that this was within the limit."""
    scene = Scene(cpu_s=0.01)
    scene.ready()
    scene.jvm.used = Usage(cpu_s=0.03)
    scene.record(b"D")
    scene.jvm.end(0)
    assert (scene.result.verdict, scene.result.detail) == (Verdict.TIME_LIMIT, "cpu")
    assert scene.result.exit_code == 0


def test_memory_that_the_kernel_keeps_for_files_counts() -> None:
    """S3: an empty file is a thousand bytes of the kernel's, in no process's memory and beyond no size."""
    scene = Scene()
    scene.ready()
    scene.jvm.used, scene.jvm.files = Usage(resident=100 * MIB), 100 * MIB
    scene.clock.advance(0.1)
    assert scene.jvm.kills == 0
    scene.jvm.files = 300 * MIB
    scene.clock.advance(0.1)
    scene.jvm.end()
    assert (scene.result.verdict, scene.result.detail) == (Verdict.MEMORY_LIMIT, "native")


def test_resident_memory_over_the_limit_ends_it() -> None:
    scene = Scene()
    scene.ready()
    scene.jvm.used = Usage(resident=400 * MIB, peak=400 * MIB)
    scene.clock.advance(0.1)
    scene.jvm.end()
    assert (scene.result.verdict, scene.result.detail) == (Verdict.MEMORY_LIMIT, "native")
    assert scene.result.peak_memory_bytes == 400 * MIB


@pytest.mark.parametrize(("descriptor", "name"), [(STDOUT, "stdout"), (STDERR, "stderr")])
def test_output_over_the_limit_is_cut_and_ends_it(descriptor: int, name: str) -> None:
    scene = Scene()
    scene.ready()
    scene.jvm.say(descriptor, b"12345678")
    assert scene.jvm.kills == 0
    scene.jvm.say(descriptor, b"9")
    assert scene.jvm.kills
    scene.jvm.say(descriptor, b"more")
    scene.jvm.end()
    assert (scene.result.verdict, scene.result.detail) == (Verdict.OUTPUT_LIMIT, name)
    assert getattr(scene.result, name) == b"12345678"
    assert getattr(scene.result, f"{name}_truncated")


def test_the_first_cause_is_the_one_that_counts() -> None:
    scene = Scene()
    scene.ready()
    scene.one.cancel()
    scene.jvm.say(STDOUT, b"123456789")
    scene.jvm.end()
    assert scene.result.verdict is Verdict.CANCELLED


def test_cancelling_before_the_hand_over_is_cancelled_too() -> None:
    scene = Scene()
    scene.one.cancel()
    scene.ready()
    assert CONTROL not in scene.jvm.written
    scene.jvm.end()
    assert scene.result.verdict is Verdict.CANCELLED


def test_a_machine_that_does_not_start_is_our_failure_and_says_why() -> None:
    scene = Scene()
    scene.jvm.say(STDERR, b"no such thing")
    scene.clock.advance(START_S)
    assert scene.jvm.kills
    scene.jvm.end()
    assert scene.result.verdict is Verdict.INTERNAL_ERROR
    assert "no such thing" in scene.result.message
    assert not scene.one.handed


def test_a_machine_that_never_waits_for_its_program_says_how_long_it_was_waited_for() -> None:
    scene = Scene()
    scene.clock.advance(START_S)
    scene.jvm.end()
    assert "did not answer for 60 s" in scene.result.message


@pytest.mark.parametrize(
    ("code", "said", "number"), [(137, "it was killed", 9), (159, "it said nothing and ended with 159", None)]
)
def test_a_machine_that_dies_without_a_word_is_told_by_how_it_ended(
    code: int, said: str, number: int | None
) -> None:
    scene = Scene()
    scene.jvm.end(code)
    assert (scene.result.message, scene.result.signal) == (
        f"the virtual machine did not start: {said}",
        number,
    )


def test_a_program_that_comes_during_a_step_of_the_rehearsal_waits_for_its_end() -> None:
    """J2."""
    waiting = OneShot(Clock(), jvm := FakeJvm())
    jvm.say(CHANNEL, READY)
    waiting.warm()
    waiting.run(Task(Entry("A", "run"), {}, Input(), Limits()), 60.0)
    before = waiting.handed, jvm.written[CONTROL]
    jvm.say(CHANNEL, b"W" + bytes(4))
    assert (before, waiting.handed, waiting.warmed) == ((False, WARM_ORDER), True, 1)


def test_a_machine_that_died_while_it_waited_is_given_no_program() -> None:
    """The program may have another then: it has not run, and nothing of it was struck."""
    scene = Scene()
    scene.jvm.killed = True
    scene.ready()
    assert scene.jvm.written == {}
    scene.jvm.end(137)
    assert scene.result.verdict is Verdict.INTERNAL_ERROR
    assert (scene.one.handed, scene.one.struck) == (False, False)


def test_a_flood_on_the_launchers_channel_ends_the_run_at_once() -> None:
    """A program that dug up the nonce costs its node two looks, not one for each record."""
    scene = Scene()
    scene.ready()
    looks = scene.jvm.looks
    for _ in range(100):
        scene.record(b"E")
    assert scene.jvm.kills
    assert scene.jvm.looks - looks <= 3
    scene.jvm.end()
    assert (scene.result.verdict, scene.result.signal) == (Verdict.RUNTIME_ERROR, 9)
    assert "channel" in scene.result.message


def test_a_control_group_knows_the_use_to_the_end() -> None:
    """S3: also of what ended without a last look; what was used before the program is not its own."""
    scene = Scene()
    scene.jvm.used, scene.jvm.cell_used = Usage(cpu_s=5.0, peak=MIB), 4.0
    scene.ready()
    scene.jvm.used = None  # it is gone before anybody looks
    scene.jvm.toll = Toll(cpu_s=4.75, peak=77 * MIB)
    scene.jvm.end(0)
    assert scene.result.cpu_s == pytest.approx(0.75)
    assert scene.result.peak_memory_bytes == 77 * MIB


def test_what_the_kernel_killed_for_its_memory_ran_out_of_it() -> None:
    """R2: the evidence is the kernel's own count."""
    scene = Scene()
    scene.ready()
    scene.jvm.toll = Toll(out_of_memory=1)
    scene.jvm.end(137)
    assert (scene.result.verdict, scene.result.detail) == (Verdict.MEMORY_LIMIT, "native")


def test_threads_that_outlive_a_main_that_died_of_memory_have_a_moment() -> None:
    """R2: they could go on for ever, and what it died of would be told as whatever ended them."""
    scene = Scene(wall_s=60.0)
    scene.ready()
    scene.record(b"X", b"hjava.lang.OutOfMemoryError")
    assert scene.jvm.kills == 0, "what it prints of its death may still arrive"
    scene.clock.advance(DYING_S)
    assert scene.jvm.kills
    scene.jvm.end()
    assert (scene.result.verdict, scene.result.detail) == (Verdict.MEMORY_LIMIT, "heap")


def test_a_program_near_its_processor_time_is_looked_at_again_when_that_may_be_used_up() -> None:
    """S3, R2: what is told as the limit is not passed by as much as two looks are apart."""
    scene = Scene()
    scene.ready()
    scene.jvm.used = Usage(cpu_s=0.97)
    scene.clock.advance(WATCH_S)
    scene.jvm.used = Usage(cpu_s=1.01)
    scene.clock.advance(WATCH_S / 2)
    assert scene.jvm.kills
    scene.jvm.end()
    assert (scene.result.verdict, scene.result.detail) == (Verdict.TIME_LIMIT, "cpu")


def test_a_value_as_long_as_any_output_may_be_is_believed() -> None:
    """R1: the longest message of an exception is no bound for it."""
    scene = Scene(output_bytes=MIB)
    scene.ready()
    scene.record(b"V", b"v" * MIB)
    scene.jvm.end(0)
    assert (scene.result.verdict, len(scene.result.value or b"")) == (Verdict.OK, MIB)


def test_processor_time_that_was_seen_is_not_taken_back() -> None:
    """R1: the kernel's coarser count, where its finer one can't be had, may be behind."""
    scene = Scene()
    scene.ready()
    scene.jvm.used = Usage(cpu_s=0.5)
    scene.clock.advance(WATCH_S)
    scene.jvm.used = Usage(cpu_s=0.49)
    scene.clock.advance(WATCH_S)
    scene.jvm.end(0)
    assert scene.result.cpu_s == 0.5


@pytest.mark.parametrize(("share", "verdict"), [(0.95, Verdict.MEMORY_LIMIT), (0.85, Verdict.RUNTIME_ERROR)])
def test_a_machine_that_gave_up_with_its_memory_full_ran_out_of_it(share: float, verdict: Verdict) -> None:
    """R2, S3: without a control group, the last look is the evidence."""
    scene = Scene()
    scene.ready()
    scene.jvm.used = Usage(data=int(share * data_limit(scene.limits)))
    scene.clock.advance(WATCH_S)
    scene.jvm.end(1)
    assert scene.result.verdict is verdict


@pytest.mark.parametrize(("used", "struck"), [(0.95, False), (0.85, True)])
def test_a_kill_near_the_processor_time_is_the_kernels_and_an_earlier_one_is_not(
    used: float, struck: bool
) -> None:
    """R2, S3: RLIMIT_CPU stands behind the watchdog."""
    scene = Scene()
    scene.ready()
    scene.jvm.used = Usage(cpu_s=used)
    scene.clock.advance(WATCH_S)
    scene.jvm.end(137)
    expected = (Verdict.SIGNALLED, "") if struck else (Verdict.TIME_LIMIT, "cpu")
    assert (scene.result.verdict, scene.result.detail, scene.one.struck) == (*expected, struck)
