"""The jobs that a gateway remembers: bounds, keys, waiting and leaving (H5, W1, W9)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from cluster.config import GatewaySettings
from cluster.core.effects import Answer
from cluster.core.events import Event, RequestAbandoned, RequestArrived
from cluster.core.sizes import outcome_bytes
from cluster.gateway.jobs import Full, KeptJob, KeptJobs, KeyConflict
from cluster.gateway.relay import Answered, Requests
from cluster.wire.jobs import Outcome, Piece, Program, Run, Source, Stream, Verdict
from cluster.wire.messages import AttemptKey, Progressed
from tests.support.deferreds import assert_no_result, failure_result_of, success_result_of
from tests.unit.gateway.fakes import returned

SETTINGS = GatewaySettings(jobs_max=6, jobs_bytes=40_000, jobs_s=100)


def program(text: str = "class A {}") -> Program:
    return Program((Source("", text),))


class Kept:
    """Kept jobs, and the core that they talk to."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.ended: list[tuple[Answered, float]] = []
        numbers = count(1)
        self.clock = Clock()
        self.requests = Requests(self.events.append, lambda: f"{next(numbers):032x}")
        self.jobs = KeptJobs(
            self.requests, SETTINGS, self.clock, 0, lambda answered, s: self.ended.append((answered, s))
        )

    def open(self, text: str = "class A {}", key: str = "", tenant: str = "") -> KeptJob:
        return self.jobs.open(program(text), use_cache=True, keep=True, key=key, tenant=tenant)

    def ended_job(self, size: int = 1, tenant: str = "") -> KeptJob:
        job = self.open(tenant=tenant)
        self.end(job, returned(b"x" * size))
        return job

    def end(self, job: KeptJob, outcome: Outcome | None = None) -> None:
        arrived = next(e for e in self.events if isinstance(e, RequestArrived) and e.job_id == job.id)
        self.requests.answered(Answer(arrived.request, "the one that ran", outcome or returned(b"x")))


@pytest.fixture
def kept() -> Iterator[Kept]:
    """Its invariants hold at the end of every test."""
    kept = Kept()
    yield kept
    kept.jobs.validate()


def test_a_job_is_found_by_its_id_until_its_time_is_over(kept: Kept) -> None:
    """H5: counted from its end."""
    job = kept.open()
    kept.clock.advance(1000)
    assert kept.jobs.get(job.id) is job
    assert kept.jobs.expires_s(job) is None
    kept.end(job)
    kept.clock.advance(99)
    assert kept.jobs.get(job.id) is job
    assert kept.jobs.expires_s(job) == 1
    kept.clock.advance(1)
    assert kept.jobs.get(job.id) is None
    assert kept.jobs.bytes == 0


def test_its_answer_carries_its_own_id(kept: Kept) -> None:
    """C4: even when another job's run was shared."""
    job = kept.open()
    kept.clock.advance(2)
    kept.end(job)
    assert job.answered is not None
    assert job.answered.job == job.id
    assert kept.ended == [(job.answered, 2)]


def test_one_waiters_leaving_ends_his_wait_alone(kept: Kept) -> None:
    """C4, W9."""
    job = kept.open()
    gone, patient = job.wait(), job.wait()
    gone.cancel()
    failure_result_of(gone, CancelledError)
    assert_no_result(patient)
    assert not any(isinstance(event, RequestAbandoned) for event in kept.events)
    kept.end(job)
    success_result_of(patient)
    success_result_of(job.wait())


@pytest.mark.parametrize("key", ["", "k"])
def test_deleting_abandons_the_request_and_tells_the_waiters(kept: Kept, key: str) -> None:
    """W9."""
    job = kept.open(key=key)
    waiter = job.wait()
    kept.jobs.delete(job)
    success_result_of(waiter)
    assert isinstance(kept.events[-1], RequestAbandoned)
    assert job.answered is not None
    assert isinstance(job.answered.result, Outcome)
    assert job.answered.result.verdict is Verdict.CANCELLED
    assert kept.jobs.get(job.id) is None


def test_a_deleted_jobs_key_still_stands_for_it(kept: Kept) -> None:
    """W1: a request that was only late starts nothing anew, and is not told that a job is there."""
    job = kept.open(key="k")
    kept.jobs.delete(job)
    with pytest.raises(KeyConflict, match="was deleted"):
        kept.open(key="k")
    assert sum(isinstance(event, RequestArrived) for event in kept.events) == 1


def test_a_repeated_key_finds_the_same_job(kept: Kept) -> None:
    """W1: pending or ended."""
    job = kept.open(key="k")
    assert kept.open(key="k") is job
    kept.end(job)
    assert kept.open(key="k") is job
    assert len(kept.events) == 1
    assert kept.open(key="other").id != job.id


def test_a_key_stands_for_one_program(kept: Kept) -> None:
    kept.open(key="k")
    with pytest.raises(KeyConflict):
        kept.open("class B {}", key="k")
    assert len(kept.events) == 1


def test_an_id_from_a_key_is_the_same_after_a_restart_and_tells_programs_apart(kept: Kept) -> None:
    """W1: what workers still keep under an id is of the same program."""
    again, other = Kept(), Kept()
    job = kept.open(key="k")
    assert again.open(key="k").id == job.id
    assert other.open("class B {}", key="k").id != job.id
    assert len(job.id) == 32


def test_a_key_is_forgotten_with_its_job(kept: Kept) -> None:
    job = kept.open(key="k")
    kept.end(job)
    kept.clock.advance(100)
    assert kept.open("class B {}", key="k") is not job


def test_room_is_made_of_what_ended_first(kept: Kept) -> None:
    first, second, third = (kept.open() for _ in range(3))
    kept.end(second)
    kept.clock.advance(1)
    kept.end(first)
    others = [kept.ended_job() for _ in range(3)]
    fourth = kept.open()
    assert kept.jobs.get(second.id) is None
    assert [kept.jobs.get(job.id) for job in (first, third, *others, fourth)] == [
        *(first, third),
        *others,
        fourth,
    ]


def test_nothing_that_is_pending_is_forgotten(kept: Kept) -> None:
    for _ in range(3):
        kept.open()
    with pytest.raises(Full):
        kept.open()
    assert len(kept.jobs) == 3


def test_bytes_are_bounded(kept: Kept) -> None:
    first, second = kept.ended_job(15_000), kept.ended_job(15_000)
    assert kept.jobs.get(first.id) is first
    third = kept.ended_job(15_000)
    assert kept.jobs.get(first.id) is None
    assert [kept.jobs.get(job.id) for job in (second, third)] == [second, third]
    with pytest.raises(Full):
        kept.open("x" * 40_000)


def test_h9_a_tenants_pending_jobs_shut_out_nobody(kept: Kept) -> None:
    """In number and in bytes: he has half of the room, the next one half of the rest."""
    for many, size in ((3, 0), (1, 18_000)):
        greedy = [kept.open("x" * size, tenant="greedy") for _ in range(many)]
        with pytest.raises(Full):
            kept.open("x" * size, tenant="greedy")
        other = kept.open("x" * (size // 4), tenant="other")
        for job in (*greedy, other):
            kept.jobs.forget(job)


def test_h9_a_tenants_output_does_not_push_out_anothers_answer(kept: Kept) -> None:
    """Whoever has most gives way: his own jobs go first, also while they write."""
    good = kept.ended_job(10_000, tenant="good")
    for _ in range(6):
        kept.ended_job(14_000, tenant="greedy")
        assert kept.jobs.get(good.id) is good
    live = kept.open(tenant="greedy")
    wrote(live, b"x" * 15_000)
    assert kept.jobs.get(good.id) is good
    for _ in range(3):
        kept.ended_job(1, tenant="greedy")
    assert kept.jobs.get(good.id) is good
    kept.end(live, returned(b"x" * 39_000))
    assert kept.jobs.get(good.id) is good
    assert kept.jobs.get(live.id) is None, "it alone has most"


def test_h9_who_had_all_of_it_gives_way(kept: Kept) -> None:
    """One tenant alone may fill the room with what has ended, until others come."""
    for _ in range(6):
        kept.ended_job(6_000, tenant="first")
    later = [kept.ended_job(6_000, tenant="later") for _ in range(6)]
    assert sum(kept.jobs.get(job.id) is job for job in later) == 3


def test_a_forgotten_job_leaves_nothing(kept: Kept) -> None:
    job = kept.open(key="k")
    kept.end(job)
    kept.jobs.forget(job)
    kept.jobs.forget(job)
    assert (len(kept.jobs), kept.jobs.bytes) == (0, 0)


def test_what_fits_in_no_case_costs_no_ended_job(kept: Kept) -> None:
    first, second = kept.open(), kept.open()
    kept.end(first)
    with pytest.raises(Full):
        kept.open("x" * 20_000)
    assert [kept.jobs.get(job.id) for job in (first, second)] == [first, second]


def wrote(job: KeptJob, data: bytes) -> None:
    key = AttemptKey(job.id, 1, 1)
    job.log.take(Progressed(1, 7, key, pieces=(Piece(0, Stream.STDOUT, 0, data),)))


@pytest.mark.parametrize("data", [b"live", b"x" * 15_000])
def test_live_output_is_weighed_until_the_outcome_has_it(kept: Kept, data: bytes) -> None:
    """W13: once; of a job that ends without a run it stays."""
    job, other = kept.open(), kept.open()
    before = kept.jobs.bytes
    wrote(job, data)
    assert kept.jobs.bytes == before + len(data)
    kept.jobs.validate()
    outcome = Outcome(Verdict.OK, runs=(Run(Verdict.OK, stdout=data),))
    kept.end(job, outcome)
    assert kept.jobs.bytes == before + outcome_bytes(outcome)
    wrote(other, b"more")
    expired = Outcome(Verdict.EXPIRED)
    kept.end(other, expired)
    kept.jobs.validate()
    kept.jobs.forget(other)
    assert kept.jobs.bytes == job.size


@pytest.mark.parametrize("key", ["", "k"])
def test_a_job_may_be_let_go_while_it_ends(kept: Kept, key: str) -> None:
    """Its last reader forgets it as soon as it has the verdict."""
    job = kept.open(key=key)
    wrote(job, b"live")
    end = job.log.end

    def end_and_forget(outcome: Outcome | None) -> None:
        end(outcome)
        kept.jobs.forget(job)

    job.log.end = end_and_forget  # type: ignore[method-assign]
    waiter = job.wait()
    kept.end(job)
    success_result_of(waiter)
    assert (len(kept.jobs), kept.jobs.bytes) == (0, 0)
    kept.jobs.validate()


def test_a_job_too_large_to_be_kept_goes_with_its_end(kept: Kept) -> None:
    """All that it held is given back, though it is dropped in its own end."""
    job = kept.open()
    wrote(job, b"x" * 15_000)
    kept.end(job, Outcome(Verdict.OK, runs=(Run(Verdict.OK, stdout=b"x" * 15_000, stderr=b"y" * 30_000),)))
    assert (len(kept.jobs), kept.jobs.bytes) == (0, 0)
