"""Submission beyond the numbered rules: bounds, repeated ids, what it does without need."""

from __future__ import annotations

from typing import Any

from cluster.config import CacheSettings, GatewaySettings, WorkSettings
from cluster.core.submission import Submission
from cluster.identity import Epoch
from cluster.wire.jobs import Outcome, Reason, Refusal, Verdict
from cluster.wire.messages import LossCounted, Refused, Result, Submit
from tests.support.work import EPOCH, GATEWAY, LEADER, answers, frames, outcome, request


def make(**settings: Any) -> Submission:
    return Submission(WorkSettings(), GatewaySettings(**settings), CacheSettings(), GATEWAY)


def refusal_of(submission: Submission, number: int, text: str = "") -> Reason | None:
    given = answers(submission.request(request(number, f"job{number}", text), 0.0))
    return given[0].result.reason if given and isinstance(given[0].result, Refusal) else None


def test_requests_beyond_the_bound_are_refused_at_once() -> None:
    submission = make(pending_max=2)
    assert [refusal_of(submission, n) for n in range(3)] == [None, None, Reason.OVERLOADED]
    submission.validate()


def test_bytes_beyond_the_bound_are_refused_at_once() -> None:
    submission = make(pending_bytes=4000)
    assert [refusal_of(submission, n, "x" * 2000 + str(n)) for n in range(2)] == [None, Reason.OVERLOADED]
    submission.validate()


def test_h9_bytes_of_one_tenant_shut_out_no_other() -> None:
    """W4, H9: he gets half of them, however large or small his programs are."""
    submission = make(pending_bytes=100_000)
    number = 0
    for size in (20_000, 5_000, 500, 0):
        while True:
            arrived = request(number, f"job{number}", "x" * size + str(number), tenant="greedy")
            number += 1
            if answers(submission.request(arrived, 0.0)):
                break
    assert 45_000 < submission.snapshot().bytes <= 50_000
    for other in ("one", "two", "three"):
        arrived = request(number, f"job{number}", "x" * 2000, tenant=other)
        number += 1
        assert not answers(submission.request(arrived, 0.0)), other
    submission.validate()


def test_a_kept_answer_is_given_even_when_full() -> None:
    submission = make(pending_max=1)
    submission.welcomed(4, LEADER, EPOCH, 0.0)
    submission.request(request(1, "job1", "same"), 0.0)
    submission.receive(4, Result(1, "job1", outcome()), 0.1)
    submission.request(request(2, "job2", "other"), 0.2)
    (answer,) = answers(submission.request(request(3, "job3", "same"), 0.3))
    assert answer.cached


def test_a_repeated_id_shares_the_job_and_another_program_under_it_is_refused() -> None:
    submission = make()
    submission.request(request(1, "job", "same", use_cache=False), 0.0)
    assert submission.request(request(2, "job", "same", use_cache=False), 0.0) == ()
    (answer,) = answers(submission.request(request(3, "job", "other"), 0.0))
    assert isinstance(answer.result, Outcome)
    assert answer.result.verdict is Verdict.INTERNAL_ERROR
    submission.validate()
    submission.welcomed(4, LEADER, EPOCH, 1.0)
    given = answers(submission.receive(4, Result(1, "job", outcome()), 2.0))
    assert [answer.request for answer in given] == [1, 2]


def test_a_leaders_refusal_is_passed_on_and_not_retried() -> None:
    submission = make()
    submission.welcomed(4, LEADER, EPOCH, 0.0)
    submission.request(request(1, "a"), 0.0)
    refusal = Refusal(Reason.OVERLOADED, "full", 3.0)
    steps = submission.receive(4, Refused(1, "a", refusal), 0.1)
    assert [answer.result for answer in answers(steps)] == [refusal]
    assert frames(steps, Submit) == []
    assert submission.receive(4, Refused(1, "a", refusal), 0.2) == ()


def test_what_is_left_of_the_patience_travels_with_the_job() -> None:
    submission = make()
    submission.request(request(1, "a"), 0.0)
    (first,) = frames(submission.welcomed(4, LEADER, EPOCH, 4.0), Submit)
    assert (first.queue_s, first.remaining_s) == (6.0, 56.0)
    (second,) = frames(submission.welcomed(4, LEADER, Epoch(2), 55.0), Submit)
    assert (second.queue_s, second.remaining_s) == (5.0, 5.0), "never beyond the deadline"


def test_leaving_twice_or_without_having_come_does_nothing() -> None:
    submission = make()
    submission.request(request(1, "a"), 0.0)
    submission.abandon(1, 0.1)
    assert submission.abandon(1, 0.2) == ()
    assert submission.abandon(9, 0.2) == ()
    assert submission.next_deadline() is None


def test_w8_a_refusal_of_a_leader_below_the_one_followed_is_not_passed_on() -> None:
    submission = make()
    submission.welcomed(4, LEADER, Epoch(3), 0.0)
    submission.request(request(1, "a"), 0.0)
    refusal = Refusal(Reason.OVERLOADED, "full", 3.0)
    assert submission.receive(4, Refused(2, "a", refusal), 0.1) == ()
    assert submission.snapshot().stale == 1
    assert answers(submission.receive(4, Result(3, "a", outcome()), 0.2))


def test_w6_the_gateway_never_counts_fewer_lost_workers() -> None:
    """A leader that has just taken the job on may know of fewer."""
    submission = make()
    submission.welcomed(4, LEADER, EPOCH, 0.0)
    submission.request(request(1, "a"), 0.0)
    for losses in (2, 1):
        submission.receive(4, LossCounted(EPOCH, "a", losses, 7), 0.1)
    (again,) = frames(submission.welcomed(5, LEADER, Epoch(2), 1.0), Submit)
    assert again.losses == 2
