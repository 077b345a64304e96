"""A job's story out of what may be lost, repeated and late (W13)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.core.transcript import (
    Assigned,
    Compiled,
    Happening,
    Restarted,
    Transcript,
    Wrote,
    whole_characters,
)
from cluster.wire.jobs import Compilation, Outcome, Piece, Run, Stream, Verdict
from cluster.wire.messages import AttemptKey, Progressed

MAX = 1000


def told(*pieces: tuple[int, bytes], attempt: int = 1, stream: Stream = Stream.STDOUT) -> Progressed:
    made = tuple(Piece(0, stream, offset, data) for offset, data in pieces)
    return Progressed(1, 7, AttemptKey("a", 1, attempt), pieces=made)


def ended(stdout: bytes, stderr: bytes = b"") -> Outcome:
    run = Run(Verdict.OK, stdout=stdout, stderr=stderr)
    return Outcome(Verdict.OK, compilation=Compilation(main_class="A"), runs=(run,))


def texts(story: Transcript, happenings: tuple[Happening, ...]) -> list[bytes]:
    return [story.text(one) for one in happenings if isinstance(one, Wrote)]


def test_output_comes_out_in_order_whatever_is_repeated() -> None:
    story = Transcript(1, MAX)
    assert story.take(told()) == (Assigned(7, 1, 1),)
    assert texts(story, story.take(told((0, b"one ")))) == [b"one "]
    assert story.take(told((0, b"one "))) == ()
    assert texts(story, story.take(told((0, b"one two "), (8, b"three")))) == [b"two ", b"three"]
    assert texts(story, story.end(ended(b"one two three!"))) == [b"!"]


def test_a_gap_is_closed_by_a_repetition_or_by_the_outcome() -> None:
    story = Transcript(1, MAX)
    assert texts(story, story.take(told((4, b"late")))) == []
    assert texts(story, story.take(told((0, b"ear")))) == [b"ear"]
    assert texts(story, story.take(told((4, b"late")))) == []
    assert texts(story, story.end(ended(b"early late"))) == [b"ly late"]


def test_a_second_attempts_output_does_not_mix_with_the_firsts() -> None:
    story = Transcript(1, MAX)
    story.take(told((0, b"first"), attempt=1))
    found = story.take(told((0, b"second"), attempt=2))
    assert found[:2] == (Restarted(), Assigned(7, 1, 2))
    assert texts(story, found) == [b"second"]
    assert story.take(told((0, b"first, later"), attempt=1)) == ()


def test_an_outcome_that_says_otherwise_begins_the_story_anew() -> None:
    story = Transcript(1, MAX)
    story.take(told((0, b"of an attempt that was lost")))
    found = story.end(ended(b"of another", b"!"))
    assert isinstance(found[0], Restarted)
    assert isinstance(found[1], Compiled)
    assert texts(story, found) == [b"of another", b"!"]


def test_an_end_without_a_run_keeps_what_was_told() -> None:
    story = Transcript(1, MAX)
    story.take(told((0, b"so far")))
    assert story.end(Outcome(Verdict.EXPIRED)) == ()
    assert story.end(ended(b"too late")) == ()
    assert story.take(told((0, b"so far and on"))) == ()


def test_nothing_past_its_bounds_is_held() -> None:
    held: list[int] = []

    def room(size: int) -> bool:
        held.append(size)
        return True

    story = Transcript(1, 5, room)
    assert texts(story, story.take(told((0, b"123"), (3, b"456")))) == [b"123", b"45"]
    assert story.take(told((5, b"6"))) == ()
    assert held == [3, 2]
    story.take(told((0, b"12"), attempt=2))
    assert held == [3, 2, -5, 2]
    story.end(ended(b"12"))
    assert sum(held) == 0
    stranger = Progressed(1, 7, AttemptKey("a", 1, 1), pieces=(Piece(1, Stream.STDOUT, 0, b"x"),))
    assert story.take(stranger) == ()
    narrow = Transcript(1, MAX, room=lambda size: size < 4)
    assert texts(narrow, narrow.take(told((0, b"1234")))) == []
    assert texts(narrow, narrow.end(ended(b"1234"))) == [b"1234"]


def test_what_an_outcome_does_not_replace_stays_accounted() -> None:
    """H5: a deleted or expired job goes on holding what it wrote."""
    held: list[int] = []

    def room(size: int) -> bool:
        held.append(size)
        return True

    for outcome, kept in ((None, 7), (Outcome(Verdict.EXPIRED), 7), (ended(b"1234"), 0)):
        held.clear()
        story = Transcript(1, MAX, room)
        story.take(told((0, b"1234")))
        story.take(told((0, b"123"), stream=Stream.STDERR))
        story.end(outcome)
        assert sum(held) == kept


def test_a_character_is_told_whole() -> None:
    story = Transcript(1, MAX)
    both = "a€".encode()
    assert texts(story, story.take(told((0, both[:2])))) == [b"a"]
    assert texts(story, story.take(told((2, both[2:])))) == ["€".encode()]


@given(st.text(), st.integers(0, 5))
def test_a_cut_text_loses_less_than_a_character(text: str, cut: int) -> None:
    data = text.encode()[: max(0, len(text.encode()) - cut)]
    kept = whole_characters(data)
    assert len(data) - kept < 4
    data[:kept].decode()


@given(st.binary())
def test_bytes_that_are_no_text_are_told_in_the_end(data: bytes) -> None:
    story = Transcript(1, MAX)
    found = texts(story, story.take(told((0, data))))
    found += texts(story, story.end(ended(data)))
    assert b"".join(found) == data


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=30))
def test_whatever_comes_makes_one_text(cuts: list[tuple[int, int]]) -> None:
    text = b"abcdefghijklmnopqrstuvwxyz0123"
    story = Transcript(1, MAX)
    found = b"".join(
        data for start, end in cuts for data in texts(story, story.take(told((start, text[start:end]))))
    )
    assert text.startswith(found)
    assert found + b"".join(texts(story, story.end(ended(text)))) == text
