"""Execution beyond the numbered rules: the disk, deadlines, odd orders of events."""

from __future__ import annotations

from cluster.config import WorkSettings
from cluster.core.effects import Persist, StartRun, StopRun
from cluster.core.execution import Execution
from cluster.core.keep import KEPT_MAX
from cluster.core.ledger import Ledger
from cluster.identity import NodeId
from cluster.limits import ATTEMPTS_MAX, SLOTS_MAX
from cluster.wire.codec import encode_frame
from cluster.wire.framing import FIRST_FRAME_MAX
from cluster.wire.jobs import Outcome, Verdict
from cluster.wire.messages import Assign, AttemptKey, CancelRun, Finished, Release, Returned, Slots
from tests.support.work import BOOT, EPOCH, LEADER, frames, hello, job, ledger, outcome, quiet


def make(slots: int = 2, book: Ledger | None = None) -> Execution:
    execution = Execution(WorkSettings(), NodeId(1), book or ledger(1, LEADER))
    execution.capacity(slots, 0.0)
    execution.welcomed(7, EPOCH, 0.0)
    return execution


def assign(execution: Execution, name: str, left: float = 60.0) -> None:
    execution.receive(7, LEADER, BOOT, Assign(1, 1, job(name), left), 0.0)


def test_a_change_of_capacity_is_told_once() -> None:
    execution = make()
    assert frames(execution.capacity(5, 1.0), Slots, 7) == [Slots(5)]
    assert execution.capacity(5, 1.0) == ()
    execution.disconnected(2.0)
    assert execution.capacity(6, 2.0) == ()


def test_a_run_that_outlives_its_deadline_is_stopped_and_reported_expired() -> None:
    execution = make()
    assign(execution, "a", left=3.0)
    assert execution.next_deadline() == 3.0
    assert quiet(execution.tick(3.0)) == [StopRun("a")]
    (finished,) = frames(execution.run_finished("a", Outcome(Verdict.CANCELLED), 3.1), Finished)
    assert finished.outcome.verdict is Verdict.EXPIRED


def test_a_run_that_ended_by_itself_at_its_deadline_keeps_its_verdict() -> None:
    execution = make()
    assign(execution, "a", left=3.0)
    execution.tick(3.0)
    (finished,) = frames(execution.run_finished("a", outcome(), 3.0), Finished)
    assert finished.outcome.verdict is Verdict.OK


def test_a_failed_write_hands_back_what_waited_for_it() -> None:
    execution = make()
    (write,) = execution.receive(7, LEADER, BOOT, Assign(2, 1, job("a"), 60.0), 0.0)
    assert isinstance(write, Persist)
    assert execution.persist_failed(write.token + 1, 0.1) == ()
    assert frames(execution.persist_failed(write.token, 0.1), Returned) == [Returned(AttemptKey("a", 2, 1))]
    assert execution.load() == (2, 0)
    assert execution.next_deadline() is None
    execution.validate()


def test_a_stop_never_overtakes_a_start_that_waits_for_the_disk() -> None:
    book = ledger(1, LEADER)
    execution = make(book=book)
    (start,) = execution.receive(7, LEADER, BOOT, Assign(2, 1, job("a"), 60.0), 0.0)
    (stop,) = quiet(execution.receive(7, LEADER, BOOT, CancelRun(2, ("a",)), 0.1))
    assert isinstance(start, Persist)
    assert isinstance(stop, Persist)
    assert any(isinstance(step, StartRun) for step in start.then)
    assert stop.then == (StopRun("a"),)
    assert start.token < stop.token


def test_a_stop_waits_for_no_write_but_that_of_its_own_start() -> None:
    """N4: a run that has begun is stopped at once, also on a host whose disk is slow or broken."""
    execution = make()
    assign(execution, "a")
    (write,) = quiet(execution.receive(7, LEADER, BOOT, Assign(2, 1, job("b"), 60.0), 0.1))
    assert isinstance(write, Persist)
    assert quiet(execution.receive(7, LEADER, BOOT, CancelRun(2, ("a",)), 0.2)) == [StopRun("a")]


def test_a_stop_keeps_behind_its_start_when_that_write_changes_nothing_on_disk() -> None:
    """The fence is durable, and the start still waits in the write after it."""
    book = ledger(1, LEADER)
    execution = make(book=book)
    (first,) = execution.receive(7, LEADER, BOOT, Assign(2, 1, job("a"), 60.0), 0.0)
    (second,) = quiet(execution.receive(7, LEADER, BOOT, Assign(2, 1, job("b"), 60.0), 0.0))
    assert isinstance(first, Persist)
    assert isinstance(second, Persist)
    book.persisted(first.token)
    (stop,) = quiet(execution.receive(7, LEADER, BOOT, CancelRun(2, ("b",)), 0.1))
    assert isinstance(stop, Persist)
    assert second.token < stop.token


def test_a_stop_whose_write_fails_is_made_once_for_all() -> None:
    """Seed 32197: each failed write asked again for the stop of each cancelled run.

    So a worker of two, with a full disk, doubled its writes until it had no memory left.
    """
    book = ledger(1, LEADER)
    execution = make(book=book)
    writes = []
    for step in (Assign(2, 1, job("a"), 60.0), Assign(2, 1, job("b"), 60.0), CancelRun(2, ("a", "b"))):
        found = execution.receive(7, LEADER, BOOT, step, 0.0)
        writes += [write for write in found if isinstance(write, Persist)]
    starts, stops = writes[:2], writes[2:]
    for write in starts:
        book.persisted(write.token)
    made = []
    for write in stops:
        book.failed(write.token, 0.1)
        made += quiet(execution.persist_failed(write.token, 0.1))
    assert made == [StopRun("a"), StopRun("b")]


def test_a_cancelled_run_is_neither_reported_nor_given_the_same_job_again() -> None:
    execution = make()
    assign(execution, "a")
    execution.receive(7, LEADER, BOOT, CancelRun(1, ("a",)), 1.0)
    assert execution.hello_fields()[1] == ()
    steps = execution.receive(7, LEADER, BOOT, Assign(1, 2, job("a"), 60.0), 1.1)
    assert frames(steps, Returned) == [Returned(AttemptKey("a", 1, 2))]
    assert execution.receive(7, LEADER, BOOT, CancelRun(1, ("a",)), 1.2) == ()


def test_cancelling_or_releasing_what_is_not_here_does_nothing() -> None:
    execution = make()
    assert execution.receive(7, LEADER, BOOT, CancelRun(1, ("a",)), 1.0) == ()
    assert execution.receive(7, LEADER, BOOT, Release(("a",)), 1.0) == ()


def test_a_cancel_drops_a_kept_result() -> None:
    execution = make()
    assign(execution, "a")
    execution.run_finished("a", outcome(), 1.0)
    execution.receive(7, LEADER, BOOT, CancelRun(1, ("a",)), 1.1)
    assert execution.hello_fields()[2] == ()
    execution.validate()


def test_the_end_of_a_run_that_nobody_started_is_counted() -> None:
    execution = make()
    assert execution.run_finished("ghost", outcome(), 1.0) == ()
    assert execution.snapshot().strays == 1


def test_a_slot_freed_without_a_leader_is_told_with_the_next_welcome() -> None:
    """W9: after a HELLO on the same channel the leader would count it as busy for ever."""
    execution = make()
    assign(execution, "a")
    execution.receive(1, LEADER, BOOT, CancelRun(EPOCH, ("a",)), 1.0)
    execution.disconnected(1.1)
    assert not frames(execution.run_finished("a", Outcome(Verdict.CANCELLED), 1.2), Returned)
    steps = execution.welcomed(1, EPOCH, 1.3)
    assert [frame.key.job for frame in frames(steps, Returned)] == ["a"]
    assert not frames(execution.welcomed(1, EPOCH, 1.4), Returned)


def test_a_job_that_is_handed_back_does_not_wait_for_the_fence() -> None:
    """N4: what depends on no record must not be lost with a write that fails."""
    execution = make(slots=0)
    order = Assign(EPOCH + 5, 1, job("a"), 60.0)
    steps = execution.receive(1, LEADER, BOOT, order, 1.0)
    assert [frame.key.job for frame in frames(steps, Returned)] == ["a"]
    assert any(isinstance(step, Persist) and not step.then for step in steps)


def test_a_job_that_this_host_can_not_work_on_is_handed_back() -> None:
    """W10: nothing of it ran, so that another worker may have it, and this one again under a new attempt."""
    execution = make()
    assign(execution, "a")
    assert frames(execution.run_unstarted("a", 1.0), Returned) == [Returned(AttemptKey("a", 1, 1))]
    assert execution.load() == (2, 0)
    assert execution.next_deadline() is None
    steps = execution.receive(7, LEADER, BOOT, Assign(1, 2, job("a"), 60.0), 2.0)
    assert [step for step in steps if isinstance(step, StartRun)]
    assert execution.run_unstarted("ghost", 3.0) == ()
    execution.validate()


def test_a_job_that_could_not_be_begun_before_its_deadline_is_expired() -> None:
    execution = make()
    assign(execution, "a", left=3.0)
    execution.tick(3.0)
    (finished,) = frames(execution.run_unstarted("a", 3.1), Finished)
    assert finished.outcome.verdict is Verdict.EXPIRED


def test_w5_results_are_bounded_by_number_too_so_that_hello_can_list_them() -> None:
    """Small ones, of a gateway that acknowledges nothing: a HELLO past its bound would never be read."""
    execution = make()
    for number in range(KEPT_MAX + 100):
        name = f"{number:032x}"
        assign(execution, name)
        execution.run_finished(name, outcome(stdout=b""), 1.0)
    _, _, kept, _ = execution.hello_fields()
    assert len(kept) == KEPT_MAX
    assert kept[-1].job == name
    worst = tuple(AttemptKey(key.job, 2**62, ATTEMPTS_MAX) for key in kept)
    frame = hello(1, running=worst[:SLOTS_MAX], kept=worst)
    assert len(encode_frame(frame)) < FIRST_FRAME_MAX
