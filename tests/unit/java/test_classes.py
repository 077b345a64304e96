"""Equal sources are compiled once, at once or later (J4)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from cluster.java.classes import CompiledClasses, key_of
from cluster.java.frames import CRASHED, FAILED, SUCCEEDED, Answer
from cluster.wire.jobs import Source

ONE = (Source("A.java", "class A {}"),)
OTHER = (Source("B.java", "class B {}"),)


class FakeCompiler:
    """Remembers what it was asked; the test answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[Sequence[Source], float, float]] = []
        self.work: list[Deferred[Answer | str]] = []

    def compile(
        self, sources: Sequence[Source], limit_s: float, remaining_s: float
    ) -> Deferred[Answer | str]:
        self.asked.append((sources, limit_s, remaining_s))
        self.work.append(Deferred())
        return self.work[-1]


class Scene:
    """A cache before a compiler that the test plays."""

    def __init__(self, kept_bytes: int = 1 << 20) -> None:
        self.clock = Clock()
        self.compiler = FakeCompiler()
        self.classes = CompiledClasses(self.clock, self.compiler, kept_bytes)

    def ask(
        self, sources: Sequence[Source] = ONE, limit_s: float = 10, remaining_s: float = 60
    ) -> list[object]:
        """What arrives."""
        results: list[object] = []
        self.last = self.classes.compile(sources, limit_s, remaining_s)
        self.last.addBoth(results.append)
        return results


def answer(status: int = SUCCEEDED, size: int = 10) -> Answer:
    return Answer(1, status, "", (), "", {"A": bytes(size)})


def test_simultaneous_equals_are_compiled_once() -> None:
    """C14."""
    scene = Scene()
    results = [scene.ask() for _ in range(50)]
    assert len(scene.compiler.asked) == 1
    scene.compiler.work[0].callback(answer())
    assert all(result == [answer()] for result in results)
    assert scene.classes.joined == 49


@pytest.mark.parametrize(("status", "compilations"), [(SUCCEEDED, 1), (FAILED, 1), (CRASHED, 2)])
def test_what_was_compiled_is_kept_and_a_crash_is_not(status: int, compilations: int) -> None:
    scene = Scene()
    scene.ask()
    scene.compiler.work[0].callback(answer(status))
    scene.ask()
    assert len(scene.compiler.asked) == compilations


def test_names_and_texts_both_count() -> None:
    assert key_of(ONE) != key_of((Source("C.java", "class A {}"),))
    assert key_of((Source("ab", "c"),)) != key_of((Source("a", "bc"),))
    assert key_of((*ONE, *OTHER)) != key_of((*OTHER, *ONE))


def test_what_is_kept_is_bounded_and_the_oldest_goes() -> None:
    scene = Scene(kept_bytes=10_000)
    for number in range(9):
        scene.ask((Source("", f"{number}"),))
        scene.compiler.work[-1].callback(answer(size=1000))
    asked = len(scene.compiler.asked)
    scene.ask((Source("", "8"),))
    assert len(scene.compiler.asked) == asked
    scene.ask((Source("", "0"),))
    assert len(scene.compiler.asked) == asked + 1


def test_larger_than_a_quarter_is_not_kept() -> None:
    scene = Scene(kept_bytes=10_000)
    scene.ask()
    scene.compiler.work[0].callback(answer(size=5000))
    scene.ask()
    assert len(scene.compiler.asked) == 2


def test_one_who_leaves_ends_nothing_for_the_others_and_the_last_ends_it() -> None:
    """W9."""
    scene = Scene()
    first = scene.ask()
    leaving = scene.last
    second = scene.ask()
    leaving.cancel()
    assert isinstance(getattr(first[0], "value", None), CancelledError)
    under_way = [work.called for work in scene.compiler.work]
    scene.last.cancel()
    assert (under_way, [work.called for work in scene.compiler.work]) == ([False], [True])
    assert second
    scene.ask()
    assert len(scene.compiler.asked) == 2


def test_the_first_ones_limit_is_not_the_others() -> None:
    scene = Scene()
    first = scene.ask(limit_s=0.1)
    second = scene.ask(limit_s=10)
    scene.compiler.work[0].callback("compile")
    assert first == ["compile"]
    assert second == []
    assert scene.compiler.asked[1][1] == 10
    scene.compiler.work[1].callback(answer())
    assert second == [answer()]


def test_one_who_joined_expires_by_its_own_deadline() -> None:
    scene = Scene()
    first = scene.ask(remaining_s=60)
    second = scene.ask(remaining_s=1)
    scene.clock.advance(1)
    assert (first, second) == ([], ["expired"])
    scene.compiler.work[0].callback(answer())
    assert first == [answer()]
    assert scene.clock.getDelayedCalls() == []


@pytest.mark.parametrize("why", ["compile", "expired"])
def test_the_limits_of_one_who_left_are_nobodys(why: str) -> None:
    """Whoever joined is compiled for anew, by limits of his own (R2, J4)."""
    scene = Scene()
    scene.ask(limit_s=0.5, remaining_s=1)
    leaving = scene.last
    others = [scene.ask(limit_s=10), scene.ask(limit_s=10)]
    leaving.cancel()
    scene.compiler.work[0].callback(why)
    assert others == [[], []]
    assert [limit for _, limit, _ in scene.compiler.asked] == [0.5, 10]
    scene.compiler.work[1].callback(answer())
    assert others == [[answer()], [answer()]]


def test_what_was_asked_for_last_stays_longest() -> None:
    """J4."""
    scene = Scene(kept_bytes=8000)
    third, fourth = (Source("C.java", "class C {}"),), (Source("D.java", "class D {}"),)

    def compiled(*programs: Sequence[Source]) -> None:
        for sources in programs:
            scene.ask(sources)
            scene.compiler.work[-1].callback(answer(size=1400))

    compiled(ONE, OTHER, third, (Source("E.java", "class E {}"),))
    scene.ask(ONE)
    assert scene.classes.hits == 1
    compiled(fourth)
    before = len(scene.compiler.asked)
    scene.ask(ONE)
    assert len(scene.compiler.asked) == before
    scene.ask(OTHER)
    assert len(scene.compiler.asked) == before + 1
