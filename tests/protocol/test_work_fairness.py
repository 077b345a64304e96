"""Tenants share the leader's queue and the gateway's places: a flood leaves the others alone (W4)."""

from __future__ import annotations

import heapq

import attrs
import msgspec

from cluster.config import CacheSettings, GatewaySettings, WorkSettings
from cluster.core.dispatch import Dispatch
from cluster.core.events import RequestArrived
from cluster.core.submission import Submission
from cluster.identity import NodeId
from cluster.wire.jobs import Reason, Refusal
from cluster.wire.messages import Assign, AttemptKey, Finished, Refused, Submit
from tests.support.work import (
    EPOCH,
    GATEWAY,
    GATEWAY_CHANNEL,
    LEADER,
    answers,
    assigned,
    frames,
    job,
    outcome,
    request,
    sent,
    submit,
    welcome_gateway,
    welcome_worker,
)

RUN_S = 0.2
WORKERS = 4


def of(tenant: str, name: str, share: int = 1, *, again: bool = False) -> Submit:
    return Submit(job(name), again, 0, 30.0, 60.0, tenant, share)


def led(queue_max: int = 1000, workers: int = WORKERS) -> Dispatch:
    settings = WorkSettings(queue_max=queue_max)
    dispatch = Dispatch(settings, LEADER, EPOCH, 0.0, awaited=frozenset())
    welcome_gateway(dispatch)
    for node in range(1, workers + 1):
        welcome_worker(dispatch, node)
    return dispatch


@attrs.define
class Site:
    """Workers that need `RUN_S` for a job, in virtual time."""

    dispatch: Dispatch
    now: float = 0.0
    arrivals: list[tuple[float, Submit]] = attrs.Factory(list)
    ends: list[tuple[float, int, AttemptKey]] = attrs.Factory(list)
    done: dict[str, float] = attrs.Factory(dict)
    refused: list[Refused] = attrs.Factory(list)

    def play(self) -> None:
        """Until everything that arrived has run."""
        self.arrivals.sort(key=lambda arrival: arrival[0])
        while self.arrivals or self.ends:
            if not self.ends or (self.arrivals and self.arrivals[0][0] <= self.ends[0][0]):
                self.now, frame = self.arrivals.pop(0)
                steps = self.dispatch.receive(GATEWAY_CHANNEL, frame, self.now)
            else:
                self.now, channel, key = heapq.heappop(self.ends)
                self.done[key.job] = self.now
                steps = self.dispatch.receive(channel, Finished(key, outcome()), self.now)
            self.refused += frames(steps, Refused)
            for channel, given in sent(steps):
                if isinstance(given, Assign):
                    key = AttemptKey(given.job.id, given.epoch, given.attempt)
                    heapq.heappush(self.ends, (self.now + RUN_S, channel, key))
        self.dispatch.validate()


def test_a_flood_leaves_the_others_latency_alone() -> None:
    alone, beside = Site(led()), Site(led())
    quiet = [(1.0 + number * 0.5, of("quiet", f"q{number}")) for number in range(10)]
    alone.arrivals += quiet
    beside.arrivals += [(0.5 + number * 0.001, of("flood", f"f{number}")) for number in range(500)]
    beside.arrivals += quiet
    alone.play()
    beside.play()
    # Every slot is busy all the time, so a job waits for the next free one, and for one turn of the flood.
    for at, frame in quiet:
        assert alone.done[frame.job.id] - at <= RUN_S + 0.001
        assert beside.done[frame.job.id] - at <= RUN_S + 2 * RUN_S / WORKERS + 0.01
    assert max(beside.done.values()) > 500 * RUN_S / WORKERS, "the flood itself waited its time"


def test_ten_times_too_much_for_a_minute_leaves_accepted_jobs_their_latency() -> None:
    patience, full_speed = 2.0, WORKERS / RUN_S
    site = Site(led(queue_max=1000))
    for number in range(int(60 * 10 * full_speed)):
        frame = Submit(job(f"j{number}"), again=False, losses=0, queue_s=patience, remaining_s=60.0)
        site.arrivals.append((number / (10 * full_speed), frame))
    arrived = {frame.job.id: at for at, frame in site.arrivals}
    site.play()
    waits = sorted(end - arrived[name] for name, end in site.done.items())
    assert len(waits) >= 60 * full_speed, "the slots are never idle"
    assert waits[-1] <= patience + 2 * RUN_S, "who is taken is served in the time it was promised"
    assert len(site.refused) == len(arrived) - len(waits), "everybody else is told at once"
    assert all(1 <= refused.refusal.retry_after_s <= 1 + patience + RUN_S for refused in site.refused)
    assert {refused.refusal.reason for refused in site.refused} == {Reason.OVERLOADED}


def test_shares_are_kept_while_both_have_work() -> None:
    site = Site(led())
    site.arrivals += [(0.0, of("one", f"a{number}", 1)) for number in range(100)]
    site.arrivals += [(0.0, of("three", f"b{number}", 3)) for number in range(100)]
    site.play()
    first = sorted(site.done, key=lambda name: site.done[name])[20:100]
    assert 55 <= sum(name.startswith("b") for name in first) <= 65


def test_a_full_queue_still_takes_who_waits_less_than_his_part() -> None:
    dispatch = led(queue_max=10, workers=1)
    for number in range(11):
        dispatch.receive(GATEWAY_CHANNEL, of("flood", f"f{number}"), 0.0)
    (refusal,) = frames(dispatch.receive(GATEWAY_CHANNEL, of("flood", "too many"), 0.0), Refused)
    assert refusal.refusal.reason is Reason.OVERLOADED
    for number in range(5):
        assert not frames(dispatch.receive(GATEWAY_CHANNEL, of("quiet", f"q{number}"), 0.0), Refused)
    assert frames(dispatch.receive(GATEWAY_CHANNEL, of("quiet", "q5"), 0.0), Refused)
    dispatch.validate()


def test_a_lost_workers_job_is_next_of_its_tenant() -> None:
    dispatch = led(workers=2)
    for frame in (of("a", "a0"), of("a", "a1"), of("a", "a2"), of("b", "b0")):
        dispatch.receive(GATEWAY_CHANNEL, frame, 0.0)
    dispatch.channel_closed(10, "gone", 1.0)
    order = []
    for name in ("a1", "a0", "b0", "a2"):
        steps = dispatch.receive(20, Finished(AttemptKey(name, EPOCH, 1 + (name == "a0")), outcome()), 2.0)
        order += [given for _, given in assigned(steps)]
    assert sorted(order[:2]) == ["a0", "b0"], "a round of both tenants, the lost job first of its own"
    assert order[2:] == ["a2"]


def test_the_gateway_passes_the_tenant_on_and_keeps_places_for_others() -> None:
    gateway = Submission(WorkSettings(), GatewaySettings(pending_max=4), CacheSettings(), GATEWAY)
    gateway.welcomed(1, NodeId(5), EPOCH, 0.0)

    def asks(number: int, tenant: str, share: int = 2) -> RequestArrived:
        return msgspec.structs.replace(request(number, f"{number:032x}"), tenant=tenant, share=share)

    for number in range(4):
        (frame,) = frames(gateway.request(asks(number, "flood"), 0.0), Submit)
        assert (frame.tenant, frame.share) == ("flood", 2)
    (refused,) = answers(gateway.request(asks(4, "flood"), 0.0))
    assert isinstance(refused.result, Refusal)
    assert refused.result.retry_after_s >= 1
    assert [bool(answers(gateway.request(asks(number, "quiet"), 0.0))) for number in (5, 6, 7)] == [
        False,
        False,
        True,
    ]
    gateway.validate()


def test_whatever_a_tenant_calls_itself_the_frame_stays_within_its_bounds() -> None:
    gateway = Submission(WorkSettings(), GatewaySettings(), CacheSettings(), GATEWAY)
    gateway.welcomed(1, NodeId(5), EPOCH, 0.0)
    event = msgspec.structs.replace(request(1, f"{1:032x}"), tenant="t" * 10_000, share=10**9)
    (frame,) = frames(gateway.request(event, 0.0), Submit)
    assert len(frame.tenant) <= 64
    assert frame.share <= 1000


def test_without_tenants_the_oldest_goes_first() -> None:
    dispatch = led(workers=1)
    for name in ("first", "second", "third"):
        dispatch.receive(GATEWAY_CHANNEL, submit(name), 0.0)
    order = []
    for name in ("first", "second"):
        order += assigned(dispatch.receive(10, Finished(AttemptKey(name, EPOCH, 1), outcome()), 1.0))
    assert [name for _, name in order] == ["second", "third"]
