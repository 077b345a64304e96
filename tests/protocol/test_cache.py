"""The cache rules C1-C4, one by one (docs: protocol, Result cache)."""

from __future__ import annotations

import msgspec
import pytest

from cluster.config import CacheSettings, GatewaySettings, WorkSettings
from cluster.core.cache import Cache, cache_key
from cluster.core.events import RunnerDescribed
from cluster.core.submission import Submission
from cluster.identity import Epoch
from cluster.limits import Limits
from cluster.wire.jobs import Compilation, DataFile, Input, Outcome, Reason, Refusal, Source, Verdict
from cluster.wire.messages import Refused, Result, Submit, Withdraw
from tests.support.work import GATEWAY, LEADER, answers, frames, outcome, program, request
from tests.support.world import World


def connected(cache: int = 10_000) -> Submission:
    """A gateway that leader 5 of epoch 1 welcomed on channel 4."""
    submission = Submission(WorkSettings(), GatewaySettings(), CacheSettings(bytes_max=cache), GATEWAY)
    submission.epoch_changed(Epoch(1))
    submission.welcomed(4, LEADER, Epoch(1), 0.0)
    return submission


def run(submission: Submission, number: int, text: str, result: Outcome | None = None, **flags: bool) -> None:
    """One request that runs to its end at second `number`."""
    name = f"job{number}"
    assert frames(submission.request(request(number, name, text, **flags), float(number)), Submit)
    submission.receive(4, Result(1, name, result or outcome()), float(number))


# --- C1 ----------------------------------------------------------------------------------------------


def test_c1_everything_that_decides_the_outcome_is_in_the_key() -> None:
    base = program()
    variants = [
        base,
        msgspec.structs.replace(base, sources=(Source("B.java", "class A {}"),)),
        msgspec.structs.replace(base, sources=(Source("A.java", "class A { }"),)),
        msgspec.structs.replace(base, main_class="A"),
        msgspec.structs.replace(base, inputs=(Input(args=("x",)),)),
        msgspec.structs.replace(base, inputs=(Input(stdin=b"x"),)),
        msgspec.structs.replace(base, inputs=(Input(), Input())),
        msgspec.structs.replace(base, limits=Limits(cpu_s=1.0)),
        msgspec.structs.replace(base, files=(DataFile("a.txt", b"x"),)),
        msgspec.structs.replace(base, files=(DataFile("a.txt", b"y"),)),
    ]
    keys = [cache_key(variant, "17") for variant in variants] + [cache_key(base, "21")]
    assert len(set(keys)) == len(keys)
    assert cache_key(program(), "17") == keys[0], "equal programs have equal keys"
    assert {len(key) for key in keys} == {32}


def test_c1_least_recently_used_goes_first_and_bytes_are_bounded() -> None:
    cache = Cache(CacheSettings(bytes_max=4000))
    keys = [cache_key(program(str(number)), "17") for number in range(3)]
    cache.put(keys[0], outcome(stdout=b"x" * 1000), 0.0)
    cache.put(keys[1], outcome(stdout=b"x" * 1000), 1.0)
    assert cache.get(keys[0], 2.0) is not None
    cache.put(keys[2], outcome(stdout=b"x" * 1000), 3.0)
    cache.validate()
    assert [cache.get(key, 4.0) is not None for key in keys] == [True, False, True]
    assert cache.snapshot().evictions == 1


def test_c1_what_is_larger_than_the_cache_is_not_kept_and_zero_switches_it_off() -> None:
    for size, kept in ((10_000, b"x" * 20_000), (0, b"")):
        cache = Cache(CacheSettings(bytes_max=size))
        cache.put(b"key", outcome(stdout=kept), 0.0)
        cache.validate()
        assert cache.get(b"key", 0.0) is None


def test_c1_the_jdks_that_the_workers_have_are_in_the_key() -> None:
    """A gateway has no JDK of its own; an upgraded worker may answer otherwise than before."""
    world = World(3, seed=4)
    for node in world.peers:
        world.feed(node, RunnerDescribed("17.0.1", "full"))
    assert world.run_until(world.settled, 20)
    world.run(3.0)

    def cached() -> bool:
        asked = world.ask("sleep 0", use_cache=True)
        assert world.run_until(world.answered(asked), 5)
        return world.answers[asked].cached

    assert [cached(), cached()] == [False, True]
    world.feed(
        next(node for node in world.peers if node != world.leader()), RunnerDescribed("21.0.2", "full")
    )
    world.run(3.0)
    assert [cached(), cached()] == [False, True]


# --- C2 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", list(Verdict))
def test_c2_only_deterministic_outcomes_are_kept(verdict: Verdict) -> None:
    submission = connected()
    run(submission, 1, "same", outcome(verdict))
    steps = submission.request(request(2, "job2", "same"), 2.0)
    kept = verdict in {Verdict.OK, Verdict.COMPILE_ERROR, Verdict.RUNTIME_ERROR}
    assert [answer.cached for answer in answers(steps)] == ([True] if kept else [])


def test_c2_what_a_compiler_that_crashed_came_to_is_not_kept() -> None:
    """It is a compile error to its client, and may be the host's doing."""
    submission = connected()
    crashed = Outcome(Verdict.COMPILE_ERROR, "it gave up", Compilation(crashed=True))
    run(submission, 1, "same", crashed)
    assert answers(submission.request(request(2, "job2", "same"), 2.0)) == []


# --- C3 ----------------------------------------------------------------------------------------------


def test_c3_a_hit_says_so_and_how_old_it_is() -> None:
    submission = connected()
    run(submission, 1, "same")
    (answer,) = answers(submission.request(request(2, "job2", "same"), 8.5))
    assert (answer.cached, answer.age_s) == (True, 7.5)
    assert answer.result == outcome()


@pytest.mark.parametrize("by", ["heartbeat", "welcome"])
def test_c3_another_epoch_empties_it(by: str) -> None:
    submission = connected()
    run(submission, 1, "same")
    if by == "heartbeat":
        submission.epoch_changed(Epoch(2))
    else:
        submission.welcomed(4, LEADER, Epoch(2), 2.0)
    assert answers(submission.request(request(2, "job2", "same"), 3.0)) == []


def test_c3_the_same_epoch_again_leaves_it() -> None:
    submission = connected()
    run(submission, 1, "same")
    submission.disconnected(2.0)
    submission.epoch_changed(Epoch(1))
    assert [a.cached for a in answers(submission.request(request(2, "job2", "same"), 3.0))] == [True]


def test_c3_no_cache_bypasses_and_no_store_is_not_kept() -> None:
    submission = connected()
    run(submission, 1, "same", keep=False)
    run(submission, 2, "same")
    run(submission, 3, "same", use_cache=False)
    assert [a.cached for a in answers(submission.request(request(4, "job4", "same"), 4.0))] == [True]


# --- C4 ----------------------------------------------------------------------------------------------


def test_c4_equal_jobs_in_flight_run_once_and_all_are_answered() -> None:
    submission = connected()
    steps = submission.request(request(1, "job1", "same"), 0.0)
    steps += submission.request(request(2, "job2", "same"), 0.1)
    assert [frame.job.id for frame in frames(steps, Submit)] == ["job1"]
    given = answers(submission.receive(4, Result(1, "job1", outcome()), 1.0))
    assert [(answer.request, answer.job) for answer in given] == [(1, "job1"), (2, "job1")]
    assert submission.idle


def test_c4_no_cache_and_differing_limits_are_not_shared() -> None:
    submission = connected()
    submission.request(request(1, "job1", "same"), 0.0)
    alone = request(2, "job2", "same", use_cache=False)
    assert frames(submission.request(alone, 0.0), Submit)
    third = request(3, "job3", "same")
    other = type(third)(3, "job3", msgspec.structs.replace(third.program, limits=Limits(cpu_s=1.0)))
    assert frames(submission.request(other, 0.0), Submit)


def test_c4_a_run_is_shared_within_a_tenant_as_it_waits_in_that_ones_lane() -> None:
    """Whoever asks for what a flooder has waiting neither waits in his lane nor shares his refusal (W4)."""
    submission = connected()
    submission.request(msgspec.structs.replace(request(1, "job1", "same"), tenant="flood"), 0.0)
    own = msgspec.structs.replace(request(2, "job2", "same"), tenant="good", share=5)
    (frame,) = frames(submission.request(own, 0.01), Submit)
    assert (frame.job.id, frame.tenant, frame.share) == ("job2", "good", 5)
    for number, tenant in ((3, "flood"), (4, "good")):
        event = msgspec.structs.replace(request(number, f"job{number}", "same"), tenant=tenant)
        assert frames(submission.request(event, 0.02), Submit) == [], "each tenant's runs once"
    refusal = Refusal(Reason.QUEUE_TIMEOUT, "all 4 slots stayed busy")
    refused = answers(submission.receive(4, Refused(1, "job1", refusal), 10.0))
    assert [answer.request for answer in refused] == [1, 3]
    done = answers(submission.receive(4, Result(1, "job2", outcome()), 10.1))
    assert [answer.request for answer in done] == [2, 4]
    submission.validate()
    assert submission.idle


def test_c4_one_waiters_leaving_does_not_cancel_the_others() -> None:
    submission = connected()
    submission.request(request(1, "job1", "same"), 0.0)
    submission.request(request(2, "job2", "same"), 0.0)
    assert frames(submission.abandon(1, 0.5), Withdraw) == []
    assert frames(submission.abandon(2, 0.6), Withdraw) == [Withdraw(("job1",))]
    assert submission.idle


def test_c4_each_waiter_has_its_own_deadline() -> None:
    submission = connected()
    submission.request(request(1, "job1", "same"), 0.0)
    submission.request(request(2, "job2", "same"), 20.0)
    assert [answer.request for answer in answers(submission.tick(60.0))] == [1]
    assert [
        answer.request for answer in answers(submission.receive(4, Result(1, "job1", outcome()), 61.0))
    ] == [2]


def test_c4_a_run_is_shared_only_while_half_of_its_deadline_is_left() -> None:
    submission = connected()
    submission.request(request(1, "job1", "same"), 0.0)
    assert not frames(submission.request(request(2, "job2", "same"), 30.0), Submit)
    (own,) = frames(submission.request(request(3, "job3", "same"), 30.1), Submit)
    assert own.job.id == "job3"
    assert own.remaining_s == pytest.approx(60.0), "it does not end with the first client's patience"
    assert not frames(submission.request(request(4, "job4", "same"), 31.0), Submit), (
        "shared with the newer run"
    )
    submission.validate()
    first = answers(submission.receive(4, Result(1, "job1", outcome()), 32.0))
    second = answers(submission.receive(4, Result(1, "job3", outcome()), 33.0))
    assert [[answer.request for answer in given] for given in (first, second)] == [[1, 2], [3, 4]]
    submission.validate()
    assert submission.idle
