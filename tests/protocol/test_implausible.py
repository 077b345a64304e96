"""One broken or hostile number, of those that a member can say: nobody is shut out, and none is lost (N6)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from cluster.config import PROFILES, TimingSettings, WorkSettings
from cluster.core.belief import FAR_MAX, GAP_SHARE, Belief
from cluster.core.election import JITTER
from cluster.core.ledger import Ledger
from cluster.identity import EPOCH_STEP, MAX_EPOCH_JUMP, Epoch, NodeId, State
from cluster.wire.jobs import Outcome, Refusal, Verdict
from cluster.wire.messages import (
    Heartbeat,
    Notification,
    Resign,
)
from tests.support.scenarios import epoch_of, followers_of, leader_of, settled
from tests.support.voter import TWO, Voter
from tests.support.world import Disk, World

HUGE = 2**60


def word_of(world: World, voter: NodeId) -> Notification:
    """What it would say in a ballot now."""
    said = world.lives[voter].core.authority.election.notification(State.LOOKING)
    return replace(said, state=State.LOOKING, leader=-1, epoch=0)


def is_served(world: World, within: float = 15.0) -> bool:
    """Whether a program is answered rightly."""
    request = world.ask("hello")
    world.run_until(world.answered(request), within)
    answer = world.answers.get(request)
    found = answer.result if answer else None
    return isinstance(found, Outcome) and found.verdict is Verdict.OK


def leapt() -> World:
    """A cluster whose epoch two bad numbers have brought above 2^20."""
    world, _ = settled(3)
    for _ in range(2):
        voter, acting = followers_of(world)[0], leader_of(world)
        world.forge(voter, acting, replace(word_of(world, voter), accepted=HUGE))
        world.run(21)
    assert world.settled()
    assert epoch_of(world) > MAX_EPOCH_JUMP
    return world


@pytest.mark.parametrize("above", [1, MAX_EPOCH_JUMP // 2, MAX_EPOCH_JUMP - 1, MAX_EPOCH_JUMP, HUGE])
def test_n6_an_accepted_epoch_of_any_size_shuts_no_gateway_out(above: int) -> None:
    """The leader outruns it in steps that everybody who follows it can still make."""
    world, acting = settled(3)
    voter, before = followers_of(world)[0], epoch_of(world)
    world.forge(voter, acting, replace(word_of(world, voter), accepted=before + above))
    world.run(3)
    assert world.settled()
    assert epoch_of(world) <= before + MAX_EPOCH_JUMP // 2 + 1
    world.crash(world.gateways[0])
    world.start(world.gateways[0])
    assert is_served(world)


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_n6_a_voter_is_never_silent_for_so_long_that_its_words_do_not_belong_together(profile: str) -> None:
    """In a ballot that goes on and on, even when two of three words are lost."""
    timing = replace(TimingSettings(), **PROFILES[profile].get("timing", {}))
    assert 3 * timing.resend_max_s * (1 + JITTER) <= GAP_SHARE * timing.rejoin_s


def test_n6_a_voter_that_is_far_ahead_is_reached_in_steps() -> None:
    """Its record is what a bad number has left; it says so again and again, and follows in the end."""
    world, _ = settled(3)
    voter = followers_of(world)[0]
    world.crash(voter)
    record = world.disks[voter].record
    world.disks[voter] = Disk(replace(record, accepted=Epoch(record.accepted + 2 * MAX_EPOCH_JUMP)))
    world.start(voter)
    assert world.run_until(world.settled, 100)
    assert epoch_of(world) > 2 * MAX_EPOCH_JUMP
    assert is_served(world)


@pytest.mark.parametrize("ahead", [2**40, 2**50, 2**60])
def test_n6_l5_a_record_that_is_out_of_reach_disturbs_nobody(ahead: int) -> None:
    """It says so for ever; the others work on, and one that lost its disk among them votes again (N5)."""
    world, _ = settled(5)
    far, lost = followers_of(world)[:2]
    for voter in (far, lost):
        world.crash(voter)
    record = world.disks[far].record
    world.disks[far] = Disk(replace(record, accepted=Epoch(record.accepted + ahead)))
    world.disks[lost] = Disk(world.fresh_record(lost, may_vote=False))
    world.start(far)
    world.start(lost)
    world.run(5)
    before = epoch_of(world)
    world.run(35)
    assert epoch_of(world) <= before + 2 * EPOCH_STEP + 2, "two renewals at most"
    assert world.disks[lost].record.may_vote
    assert is_served(world)


def believing() -> Belief:
    """Of a voter that has accepted nothing."""
    world, acting = settled(3)
    return Belief(10.0, Ledger(replace(world.disks[acting].record, accepted=Epoch(0))))


def test_n6_no_epoch_is_believed_from_which_64_bits_let_nobody_go_on() -> None:
    belief = believing()
    for moment in range(100):
        for voter, epoch in ((2, 2**64 - 1), (3, 2**62), (4, FAR_MAX + 1), (5, FAR_MAX)):
            believed = belief(NodeId(voter), epoch, float(moment))
            assert believed == (voter == 5 and moment >= 10)


def test_n6_words_before_and_after_a_silence_do_not_belong_together() -> None:
    belief = believing()
    for moment in (0.0, 3.0, 6.0, 10.5, 13.0, 16.0, 19.0):
        assert not belief(NodeId(2), HUGE // 2**20, moment)
    assert belief(NodeId(2), HUGE // 2**20, 20.5)


def test_n6_what_two_voters_say_one_after_the_other_is_no_word_of_one() -> None:
    belief = believing()
    for moment in range(20):
        assert not belief(NodeId(2 + moment // 9), HUGE // 2**20, float(moment))


def test_n6_a_nearer_word_in_between_takes_back_what_was_said_before_it() -> None:
    """Of that voter alone; what another has said for long is believed."""
    belief, far = believing(), HUGE // 2**20
    for moment in range(20):
        for voter in (2, 3):
            near = (voter, moment) == (2, 8)
            believed = belief(NodeId(voter), 1 if near else far, float(moment))
            assert believed == (near or moment >= (19 if voter == 2 else 10))


def test_n5_n6_a_lost_disk_comes_back_where_the_epochs_have_gone_far() -> None:
    world = leapt()
    voter = followers_of(world)[0]
    world.crash(voter)
    world.disks[voter] = Disk(world.fresh_record(voter, may_vote=False))
    world.start(voter)
    world.run(40)
    assert world.disks[voter].record.may_vote
    assert world.disks[voter].record.accepted == epoch_of(world)
    assert world.settled()


def test_n6_who_is_new_follows_a_leader_that_has_gone_far_once_it_was_heard_for_long() -> None:
    world = leapt()
    gateway, worker = world.gateways[0], NodeId(500)
    world.crash(gateway)
    world.disks[gateway] = Disk(world.fresh_record(gateway, may_vote=False))
    world.start(gateway)
    world.join(worker)
    world.run(5)
    assert world.lives[gateway].core.authority.allegiance.leader is None, "one number is not believed"
    world.run(10)
    for node in (gateway, worker):
        assert world.lives[node].core.authority.allegiance.leader == leader_of(world)
    assert is_served(world)


def test_a_gateway_that_has_accepted_more_than_its_cluster_says_so() -> None:
    """The peers were made anew, and it was not: its clients are told what keeps it waiting (W11)."""
    world, _ = settled(3)
    gateway = world.gateways[0]
    world.crash(gateway)
    world.disks[gateway] = Disk(replace(world.disks[gateway].record, accepted=Epoch(50)))
    world.start(gateway)
    world.run(2)
    request = world.ask("hello")
    assert world.run_until(world.answered(request), 15)
    result = world.answers[request].result
    assert isinstance(result, Refusal)
    assert f"leads epoch {epoch_of(world)}" in result.message
    assert "50" in result.message


def test_n6_a_far_heartbeat_now_and_then_is_not_believed() -> None:
    """Nor is one of a voter that has said something nearer in between."""
    world, acting = settled(3)
    follower, other = followers_of(world)
    before = epoch_of(world)
    for _ in range(30):
        world.forge(other, follower, Heartbeat(HUGE, 1, 0.4))
        world.forge(acting, follower, Heartbeat(HUGE, 1, 0.4))
        world.run(0.5)
        world.forge(other, follower, word_of(world, other))
        world.run(0.5)
    assert (world.leader(), epoch_of(world)) == (acting, before)


def test_n6_l5_a_resign_of_an_epoch_far_above_keeps_nobody_from_being_followed() -> None:
    """It is about that epoch alone, and of a voter alone."""
    world, acting = settled(3)
    one, other = followers_of(world)
    for sender in world.peers:
        for to in world.peers:
            if sender != to:
                world.forge(sender, to, Resign(HUGE))
    world.join(NodeId(500))
    world.forge(NodeId(500), one, Resign(1))
    first = epoch_of(world)
    world.run(5)
    assert (world.leader(), epoch_of(world)) == (acting, first), "it is followed"
    world.crash(other)
    world.run(5)
    assert (world.leader(), epoch_of(world)) == (acting, first)
    for epoch in range(first + 1, first + 100):
        world.forge(acting, one, Resign(epoch))
    world.run(1)
    assert NodeId(500) not in world.lives[one].core.authority.allegiance._voided
    assert all(len(kept) < 10 for kept in world.lives[one].core.authority.allegiance._voided.values())


@pytest.mark.parametrize("above", [MAX_EPOCH_JUMP - 1, MAX_EPOCH_JUMP, 3 * MAX_EPOCH_JUMP])
def test_n6_a_round_of_any_size_keeps_no_ballot_from_ending(above: int) -> None:
    """Rounds live in memory: after a restart a voter has far to go, and is heard meanwhile."""
    world, acting = settled(3)
    one, other = followers_of(world)
    world.partition([one], [acting, other, *world.gateways])
    world.run(1)
    election = world.lives[one].core.authority.election
    election.round = type(election.round)(election.round + above)
    world.heal()
    world.run(2)
    world.crash(other)
    world.start(other)
    world.run(2)
    world.crash(leader_of(world))
    assert world.run_until(world.has_leader, 10)


@pytest.mark.parametrize("above", [3 * MAX_EPOCH_JUMP, 1000 * MAX_EPOCH_JUMP, HUGE])
def test_n6_a_round_that_is_out_of_reach_keeps_no_majority_from_its_leader(above: int) -> None:
    """Those who are near get to the end of their ballot between two steps (E5)."""
    world, acting = settled(5)
    world.run(1)
    election = world.lives[followers_of(world)[0]].core.authority.election
    election.round = type(election.round)(election.round + above)
    world.crash(acting)
    assert world.run_until(world.has_leader, 3)


def test_n6_one_round_far_above_raises_nobodys_by_more_than_a_step() -> None:
    world, acting = settled(3)
    one, other = followers_of(world)
    world.crash(acting)
    assert world.run_until(lambda: world.lives[one].core.authority.state is State.LOOKING, 2)
    for _ in range(3):  # the network may bring one of them too late to be news
        world.forge(other, one, replace(word_of(world, other), round=HUGE))
    assert world.run_until(world.has_leader, 10)
    reached = max(world.lives[node].core.authority.election.round for node in (one, other))
    assert MAX_EPOCH_JUMP <= reached < 4 * MAX_EPOCH_JUMP


def test_n6_a_round_rises_by_no_more_than_a_step_and_so_far_only_once_a_second() -> None:
    """A round that is no further above than a step is adopted, and at any time (E2)."""
    step = 2**20
    voter = Voter()
    ballot = voter.core.election
    first = ballot.round

    def hears(number: int) -> int:
        word = replace(ballot.notification(State.LOOKING), round=number, vote=TWO)
        voter.hear(TWO, word)
        return ballot.round - first

    assert hears(first + step) == step
    assert hears(HUGE) == 2 * step
    assert hears(HUGE) == 2 * step
    assert hears(ballot.round + step + 1) == 2 * step
    assert hears(ballot.round + step) == 3 * step
    voter.now = 0.99
    assert hears(HUGE) == 3 * step
    voter.now = 1.01
    assert hears(HUGE) == 4 * step
    assert hears(HUGE) == 4 * step


def test_l3_what_a_leader_ran_itself_is_kept_however_much_is_held() -> None:
    """Gateways and workers say again what was not taken; of the leader's own there is no other copy."""
    world, acting = settled(3, work=replace(WorkSettings(), held_max=6), slots=4)
    world.run(1)
    requests = [world.ask(f"sleep 2.2 {number}") for number in range(2)]
    began = world.now
    world.run(0.1)
    world.crash(acting)
    assert world.run_until(world.has_leader, 3)
    new = leader_of(world)
    world.start(acting)
    world.run(began + 2.2 - 0.44 - world.now)
    execution = world.lives[new].core.work.execution
    assert execution is not None
    assert execution._runs, "it runs something itself"
    world.cut_datagrams = {(peer, new) for peer in world.peers if peer != new}
    assert world.run_until(lambda: world.leader() is None, 0.6)
    requests += [world.ask(f"more {number}") for number in range(6)]
    world.run(began + 2.215 - world.now)
    assert len(world.lives[new].core.work._office) > 6
    world.cut_datagrams = set()
    assert world.run_until(world.answered(*requests), 10)
    for request in requests:
        result = world.answers[request].result
        assert isinstance(result, Outcome)
        assert result.verdict is Verdict.OK
