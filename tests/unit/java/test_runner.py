"""A node's Java side: what its host lacks costs it slots, never its life, and no job its answer (W10, S4)."""

from __future__ import annotations

import errno
import signal
import struct
import subprocess
from collections.abc import Callable, Generator, Iterable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from twisted.internet.defer import CancelledError, succeed
from twisted.internet.error import ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from cluster.config import JavaSettings, SandboxSettings
from cluster.errors import EnvironmentFault
from cluster.java import cells, choices, jdk
from cluster.java.cells import Cell
from cluster.java.cgroup import Bounds
from cluster.java.classes import CompiledClasses
from cluster.java.entry import Entry, NoEntry, choosing
from cluster.java.frames import CRASHED, SUCCEEDED, Answer
from cluster.java.jvm import Jvm
from cluster.java.place import Place
from cluster.java.runner import AGAIN_MAX_S, AGAIN_S, TRIES, JavaRunner
from cluster.java.sandbox import INFO
from cluster.java.threads import in_thread
from cluster.limits import MIB, Limits
from cluster.wire.jobs import Input, Job, Outcome, Program, Source, Verdict, deterministic
from tests.unit.java.test_pool import Scene


class Host(Clock):
    """A reactor whose threads are to be had or not; work in one is done at once."""

    def __init__(self) -> None:
        super().__init__()
        self.threads = True

    def getThreadPool(self) -> Host:  # noqa: N802
        return self

    def callInThreadWithCallback(  # noqa: N802
        self, told: Callable[[bool, Any], None], work: Callable[..., Any], *args: Any, **options: Any
    ) -> None:
        if not self.threads:
            raise RuntimeError("can't start new thread")
        try:
            result = work(*args, **options)
        except Exception:  # noqa: BLE001  (whatever it is: that is what a thread pool promises)
            told(False, Failure())
        else:
            told(True, result)

    def callFromThread(self, work: Callable[..., Any], *args: Any) -> None:  # noqa: N802
        work(*args)


def test_a_node_that_starts_without_threads_is_tried_again_until_a_person_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decision 9: nothing that may pass ends it. Its control group is divided once."""
    host, told, ended, entered = Host(), list[str](), list[Any](), list[int]()
    lacks = iter([OSError(errno.ENOMEM, "Cannot allocate memory"), MemoryError(), EnvironmentFault("no JDK")])

    def enter() -> tuple[None, str]:
        entered.append(1)
        return None, "none here"

    def find(_home: str) -> None:
        raise next(lacks)

    monkeypatch.setattr(cells, "enter", enter)
    monkeypatch.setattr(jdk, "find", find)
    java = JavaRunner(
        host,
        JavaSettings(),
        SandboxSettings(),
        tmp_path,
        slots=1,
        caps=Limits(),
        on_capacity=lambda _slots: None,
        on_trouble=told.append,
    )
    host.threads = False
    java.start().addBoth(ended.append)
    assert (ended, len(told)) == ([], 1)
    assert "can't start new thread" in told[0]
    host.threads = True
    host.advance(AGAIN_S)
    assert "Cannot allocate memory" in told[1]
    host.advance(2 * AGAIN_S)
    assert "memory" in told[2]
    assert ended == []
    host.advance(4 * AGAIN_S)
    assert ended[0].check(EnvironmentFault)
    assert "no JDK" in ended[0].getErrorMessage()
    assert entered == [1]


@pytest.fixture
def threadless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Host, JavaRunner, list[float]]:
    """A host without threads, a node on it that has begun to start, and when it tried."""
    host, tries = Host(), list[float]()

    class Counting(JavaRunner):
        def _try_to_start(self, *_entered: object) -> Any:
            tries.append(host.seconds())
            raise MemoryError

    monkeypatch.setattr(cells, "enter", lambda: (None, ""))
    java = Counting(host, JavaSettings(), SandboxSettings(), tmp_path, 1, Limits(), lambda _slots: None)
    return host, java, tries


def test_the_pauses_between_two_starts_grow_and_not_for_ever(
    threadless: tuple[Host, JavaRunner, list[float]],
) -> None:
    """Decision 9: a host that lacks something is not kept busy, nor its return overlooked for long."""
    host, java, tries = threadless
    java.start()
    host.pump([1.0] * 400)
    pauses = [after - before for before, after in pairwise(tries)]
    assert pauses[:3] == [AGAIN_S, 2 * AGAIN_S, 4 * AGAIN_S]
    assert max(pauses) == AGAIN_MAX_S


def test_a_node_that_stops_while_it_waits_for_its_host_tries_no_more(
    threadless: tuple[Host, JavaRunner, list[float]],
) -> None:
    """W10: a try in the middle of the end would leave a compiler that nobody ends."""
    host, java, tries = threadless
    ended, stopped = list[Any](), list[Any]()
    java.start().addErrback(ended.append)
    java.stop().addCallback(stopped.append)
    host.pump([AGAIN_MAX_S] * 3)
    assert ended[0].check(CancelledError)
    assert (stopped, tries, host.getDelayedCalls()) == ([None], [0.0], [])


def test_a_machine_that_no_thread_lets_into_its_control_group_ends_and_says_why(tmp_path: Path) -> None:
    """It would wait at its gate for ever (S3)."""
    host = Host()
    host.threads = False
    jvm = Jvm(confined=True)
    cell = Cell(tmp_path / "run-1", Bounds(MIB, 16), partial(in_thread, host))
    jvm.place = Place(cell=cell)
    child = subprocess.Popen(["sleep", "60"])
    try:
        jvm.childDataReceived(INFO, b'{ "child-pid": %d }' % child.pid)
        assert child.wait(10) == -signal.SIGKILL
    finally:
        child.kill()
        child.wait(10)
    assert "can't start new thread" in jvm.complaint


class Compiled:
    """A compiler that has compiled it already."""

    def __init__(self, classes: Mapping[str, bytes] | None = None) -> None:
        self.answer = Answer(1, SUCCEEDED, "", (), "", classes or {"A": b""})

    def compile(self, *_: object) -> Any:
        return succeed(self.answer)


def started(scene: Scene, directory: Path, compiled: Compiled) -> JavaRunner:
    """A runner of two slots with this pool and this compiler."""
    java = JavaRunner(
        scene.clock, JavaSettings(), SandboxSettings(), directory, 2, Limits(), on_capacity=lambda _: None
    )
    java._pool, java._classes = scene.pool, CompiledClasses(scene.clock, compiled)
    return java


def entry_of_a(*_: object) -> Generator[None, None, Entry]:
    """What is chosen, whatever was compiled."""
    yield
    return Entry("A", "run")


class Performing:
    """A full pool, a runner that has compiled everything already, and what came of its one job."""

    def __init__(self, directory: Path) -> None:
        self.scene = Scene()
        self.scene.full()
        self.java = started(self.scene, directory, Compiled())
        self.outcomes: list[Outcome | None] = []

    def run(self, remaining_s: float = 60.0, **program: Any) -> None:
        """Begin."""
        job = Job("0" * 32, 1, Program((Source("", "class A {}"),), **program))
        self.java.run(job, remaining_s).addCallback(self.outcomes.append)

    def taken(self) -> int:
        """Which of those that waited has the program."""
        return next(which for which in range(2) if self.scene.orders(which))

    def end(self, which: int, **how: int) -> None:
        """Of a machine's process: its exit code, or a signal."""
        self.scene.started[which].processEnded(Failure(ProcessTerminated(**how)))

    @property
    def outcome(self) -> Outcome:
        """The one that there must be."""
        (outcome,) = self.outcomes
        assert outcome is not None
        return outcome


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Performing:
    """One that is about to run a class A."""
    monkeypatch.setattr(choices, "choosing", entry_of_a)
    return Performing(tmp_path)


def test_a_program_whose_machines_all_die_before_they_have_it_is_handed_back(work: Performing) -> None:
    """W10, decision 9: those that wait say nothing of another shape, and an answer at once draws jobs."""
    work.run(limits=Limits(memory_bytes=64 * MIB))
    for number in range(TRIES):
        assert work.outcomes == []
        work.end(2 + number, exitCode=1)
    assert work.scene.pool.trouble == ""
    assert work.outcomes == [None]


def test_a_struck_program_runs_again_on_a_machine_that_was_not_there_when_it_was_struck(
    work: Performing,
) -> None:
    """J2: who kills one of our processes kills those that wait as well, and their ends come later."""
    work.run()
    first = work.taken()
    for which in (first, 1 - first):
        work.end(which, signal=signal.SIGKILL)
    assert (work.outcomes, len(work.scene.started)) == ([], 3)
    work.scene.say(2, b"R")
    assert work.scene.orders(2)
    work.end(2, exitCode=0)
    assert work.outcome.verdict is Verdict.OK
    assert work.java.snapshot().struck == 1


def class_without_entry(name: str) -> bytes:
    """The smallest class file."""
    text = name.encode()
    constants = b"\x01" + struct.pack(">H", len(text)) + text + b"\x07" + struct.pack(">H", 1)
    return struct.pack(">IHHH", 0xCAFEBABE, 0, 61, 3) + constants + struct.pack(">7H", 0, 2, 0, 0, 0, 0, 0)


def test_a_program_of_many_classes_does_not_hold_up_its_node_and_is_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P2, J4: a leader that looks at 2,000 classes in one turn loses its lease."""
    scene, looks = Scene(), list[str]()
    scene.full()
    names = [f"C{number}" for number in range(2000)]
    java = started(scene, tmp_path, Compiled({name: class_without_entry(name) for name in names}))

    def counted(classes: Iterable[bytes], wanted: str) -> Generator[None, None, Entry | NoEntry]:
        looks.append(wanted)
        return choosing(classes, wanted)

    monkeypatch.setattr(choices, "choosing", counted)

    def outcomes(number: int, main_class: str = "") -> list[Outcome | None]:
        found = list[Outcome | None]()
        program = Program((Source("", "class A {}"),), main_class=main_class)
        java.run(Job(f"{number:032x}", 1, program), 60.0).addCallback(found.append)
        return found

    first, other = outcomes(1), outcomes(2, "C7")
    assert (first, other) == ([], []), "others have their turn first"
    scene.clock.pump([0.0] * 10_000)
    for outcome in (*first, *other, *outcomes(3), *outcomes(4, "C7")):
        assert outcome is not None
        assert outcome.verdict is Verdict.COMPILE_ERROR
        assert "entry point" in outcome.message
    assert looks == ["", "C7"]


def test_a_crash_of_the_compiler_is_told_as_one(tmp_path: Path) -> None:
    """C2: it may be the host's doing, and is an answer that no cache keeps."""
    scene, outcomes = Scene(), list[Outcome | None]()
    compiled = Compiled()
    compiled.answer = Answer(0, CRASHED, "the compiler ran out of stack", (), "", {})
    java = started(scene, tmp_path, compiled)
    java.run(Job("0" * 32, 1, Program((Source("", "class A {}"),))), 60.0).addCallback(outcomes.append)
    assert outcomes[0] is not None
    assert outcomes[0].verdict is Verdict.COMPILE_ERROR
    assert not deterministic(outcomes[0])


def test_a_job_has_no_more_than_its_node_grants_whoever_sent_it(work: Performing) -> None:
    """S3: what a gateway lets pass is another configuration's word."""
    greedy = Limits(wall_s=1e6, memory_bytes=2**40, processes=10**5, tmp_bytes=2**40)
    work.run(1e7, limits=greedy)
    assert work.scene.pool.snapshot().cold_starts == 0, "of another shape than the node's own most"
    work.scene.clock.advance(Limits().wall_s)
    work.end(work.taken(), exitCode=137)
    assert (work.outcome.verdict, work.outcome.runs[0].detail) == (Verdict.TIME_LIMIT, "wall")


def test_what_is_over_for_a_job_is_over_for_its_other_inputs(work: Performing) -> None:
    """P3, R2: past its deadline no run is told that there was none of."""
    work.run(1.0, inputs=(Input(), Input(), Input()))
    work.scene.clock.advance(1.0)
    work.end(work.taken(), exitCode=137)
    assert [run.verdict for run in work.outcome.runs] == [Verdict.EXPIRED]


def test_nobody_gets_another_machine_for_a_job_that_was_cancelled_meanwhile(work: Performing) -> None:
    """W9: one that broke before it had the program is dying when the word comes."""
    work.run(limits=Limits(memory_bytes=64 * MIB))
    work.scene.say(2, b"?")
    work.java.cancel("0" * 32)
    work.end(2, exitCode=137)
    assert len(work.outcomes) == 1
    assert work.scene.pool.snapshot().cold_starts == 1


def test_what_is_kept_of_where_a_program_starts_is_bounded() -> None:
    """J4: callers may name as many classes of it as they like."""
    found = Answer(1, SUCCEEDED, "", (), "", {"C": class_without_entry("C")})
    clock, told = Clock(), list[Entry | NoEntry]()
    chooser = choices.Choices(clock)
    for number in range(10 * choices.KEPT):
        chooser.choose(found, f"C{number}").addCallback(told.append)
        clock.advance(0)
    assert (len(told), len(found.chosen) <= choices.KEPT) == (10 * choices.KEPT, True)
    assert all(isinstance(each, NoEntry) for each in told)
