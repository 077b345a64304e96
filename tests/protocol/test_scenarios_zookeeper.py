"""S01-S26: what went wrong in ZooKeeper's election, told again to this one. The numbers are its issues'."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict

import msgspec
import pytest

from cluster.config import TimingSettings
from cluster.core.effects import Elected, Persist
from cluster.core.election import Election
from cluster.core.leadership import Leadership, Phase
from cluster.core.ledger import Ledger
from cluster.core.quorum import Electorate
from cluster.core.record import Record
from cluster.errors import RemoteProtocolError
from cluster.identity import Boot, Epoch, NodeId, State
from cluster.wire.codec import decode_datagram, encode_datagram
from cluster.wire.messages import Heartbeat, Notification, Promise, Propose, Refuse
from tests.simulation.chance import Chance
from tests.simulation.disk import SimulatedDisk
from tests.simulation.host import Host, Life
from tests.simulation.schedule import Ask, Crash, Fault, Schedule, WallStep
from tests.simulation.simulation import Simulation
from tests.support.scenarios import (
    cut_both,
    epoch_of,
    everybody_but,
    followers_of,
    gives_answers,
    hash_of,
    keeps_leader,
    leader_of,
    settled,
)
from tests.support.world import World

ME, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)
ELECTORATE = Electorate.of("c", (ME, TWO, THREE))
TIMING = TimingSettings()


def election(fence: int = 0) -> Election:
    """Voter 1 of three, LOOKING since time 0."""
    record = Record("c", ME, ELECTORATE.hash, boot=1, may_vote=True, accepted=fence, fence_epoch=fence)
    made = Election(TIMING, ME, ELECTORATE, Ledger(record), random.Random(1))
    made.start(0.0)
    return made


def note(vote: int, **more: object) -> Notification:
    """A healthy LOOKING voter's word."""
    words: dict[str, object] = {
        "round": 1,
        "vote": vote,
        "state": State.LOOKING,
        "accepted": 0,
        "last_epoch": 0,
        "hears_quorum": True,
        "eligible": True,
        "leader": -1,
        "epoch": 0,
        "resend_s": 0.1,
        "voters": ELECTORATE.hash,
    }
    return Notification(**(words | more))  # type: ignore[arg-type]


def test_s01_after_a_higher_round_the_proposal_is_the_best_of_what_is_heard_and_myself() -> None:
    """ZOOKEEPER-275: the own vote was proposed again without comparing."""
    made = election(fence=5)
    made.receive(TWO, Boot(1), 1, note(TWO, last_epoch=9), 0.0)
    made.receive(THREE, Boot(1), 1, note(THREE, round=4, last_epoch=2), 0.01)
    assert (made.round, made.vote) == (4, TWO)
    made.receive(TWO, Boot(1), 2, note(TWO, round=9, last_epoch=1), 0.02)
    assert (made.round, made.vote) == (9, ME)


def test_s02_the_order_of_votes_is_total_so_five_nodes_agree_in_one_round() -> None:
    """ZOOKEEPER-1419: ids were compared when half of the order tied; five nodes went round for ever."""
    for fences in itertools.islice(itertools.permutations((0, 1, 1, 2, 2)), 0, 120, 29):
        world = World(5)
        for node, fence in zip(world.peers, fences, strict=True):
            ledger = world.lives[node].core._ledger
            ledger.record = ledger.durable = Record(
                "world", node, hash_of(world), ledger.record.boot, True, accepted=2, fence_epoch=fence
            )
            world.disks[node].record = ledger.record
        assert world.run_until(world.has_leader, 2)
        assert world.lives[leader_of(world)].core.authority.election.ballots == 1


def test_s03_a_leader_is_followed_only_for_its_own_word() -> None:
    """ZOOKEEPER-480, 3537: the check looked into another tally than the one that decided."""
    made = election()
    steps: list[object] = []
    for sequence in range(1, 4):
        for voter in (TWO, THREE):
            told = note(THREE, state=State.FOLLOWING, leader=THREE, epoch=7)
            steps += made.receive(voter, Boot(1), sequence, told, 0.01 * sequence)
    steps += made.tick(1.0)
    assert made.looking
    assert not any(isinstance(step, Elected) for step in steps)


@pytest.mark.parametrize("seed", range(3))
def test_s04_a_joiner_never_leads_while_a_majority_follows_another(seed: int) -> None:
    """ZOOKEEPER-975: heard from everybody, so finished; and the joiner led."""
    world = World(5, seed=seed)
    world.crash(NodeId(5))
    assert world.run_until(world.has_leader, 5)
    acting = leader_of(world)
    world.start(NodeId(5))
    assert world.run_until(world.settled, 2)
    assert keeps_leader(world, 3)
    assert leader_of(world) == acting


def test_s05_a_round_never_goes_back_and_nobody_is_crowned_by_old_words() -> None:
    """ZOOKEEPER-1514: stale followers of an earlier life made a node leader and set its round back."""
    made = election()
    made.receive(TWO, Boot(1), 1, note(TWO, round=20), 0.0)
    for sequence, voter in enumerate((TWO, THREE), start=2):
        stale = note(ME, round=3, state=State.FOLLOWING, leader=ME, epoch=1)
        assert not any(
            isinstance(step, Elected) for step in made.receive(voter, Boot(1), sequence, stale, 0.01)
        )
    assert made.round == 20


@pytest.mark.parametrize("again", range(5))
def test_s06_any_follower_restarted_at_any_time_joins_within_a_second(again: int) -> None:
    """ZOOKEEPER-1732, 1805, 1818: members told different rounds of one leader, and nobody could join."""
    world, acting = settled(5, seed=again)
    for follower in followers_of(world):
        world.run(0.037 * again)
        world.crash(follower)
        world.run(0.1)
        world.start(follower)
        assert world.run_until(world.settled, 1.2)
        assert leader_of(world) == acting


def test_s07_a_handshake_that_nobody_answers_ends_in_a_second_and_another_tries() -> None:
    """ZOOKEEPER-3109: the winner waited 20 s for an epoch that others had refused to join."""
    world = World(4)
    best = NodeId(4)

    def proposed_at() -> list[float]:
        return [sent.at for sent in world.sent if sent.sender == best and isinstance(sent.message, Propose)]

    assert world.run_until(lambda: bool(proposed_at()), 3)
    cut_both(world, best, *everybody_but(world, best))
    began = world.now
    assert world.run_until(lambda: world.leader() not in {None, best}, TIMING.handshake_s)
    world.run(2)
    assert TIMING.handshake_s - 0.1 < proposed_at()[-1] - began < TIMING.handshake_s


def test_s08_a_leader_counts_itself_and_waits_for_each_phase_by_its_own_condition() -> None:
    """ZOOKEEPER-1270, 1192: the leader was not in its own quorum."""
    record = Record("c", ME, ELECTORATE.hash, boot=1, may_vote=True)
    ledger = Ledger(record)
    made = Leadership(TIMING, ME, ELECTORATE, ledger, (TWO, THREE), random.Random(1))
    (write,) = made.open(9.0, 9.0)
    assert isinstance(write, Persist)
    phases = [made.phase]
    ledger.persisted(write.token)
    made.persisted(write.token, 9.0)
    phases.append(made.phase)
    assert made._promises == {ME}
    made.promised(TWO, Promise(1, made._nonce, ELECTORATE.hash), 9.1)
    phases.append(made.phase)
    assert phases == [Phase.WRITING, Phase.PROPOSING, Phase.LEADING], "two of three, itself included"
    assert not made.may_act(9.1), "that a quorum acknowledges is another condition (L3)"


def test_s09_the_epoch_is_above_every_one_accepted_also_by_reports_that_come_late() -> None:
    """ZOOKEEPER-1343: an epoch was chosen that somebody had accepted already."""
    world, acting = settled(3)
    late = followers_of(world)[0]
    world.crash(late)
    world.disks[late].record = Record(
        "world", late, hash_of(world), world.disks[late].record.boot, True, accepted=41, fence_epoch=1
    )
    world.start(late)
    assert world.run_until(world.settled, 3)
    assert leader_of(world) == acting
    assert epoch_of(world) > 41


def test_s10_nothing_is_announced_before_it_is_on_disk() -> None:
    """ZOOKEEPER-1291, 1282. The world checks each promise against the disk; this one is slow."""
    world = World(5, disk_s=(0.05, 0.12))
    assert world.run_until(world.settled, 6)
    assert gives_answers(world, "one", "two")


def test_s11_a_crash_in_a_write_leaves_a_record_that_a_start_accepts() -> None:
    """ZOOKEEPER-2307, 1427, 1387, 4269: before every system call, with and without the host's power."""
    hashed = ELECTORATE.hash
    for draw in range(60):
        disk = SimulatedDisk(Record("c", 1, hashed, 0, may_vote=True), Chance(draw).stream("torn"))
        first = disk.start(1000)
        assert first is not None
        assert disk.write(_accepting(first, 3))
        disk.crash(_accepting(first, 4), power=draw % 2 == 0)
        again = disk.start(1000)
        assert again is not None
        assert again.accepted in {3, 4}
        assert again.boot == 1001
        assert disk.write(_accepting(again, 5)), "a left-over of the crash is no obstacle"


def _accepting(record: Record, epoch: int) -> Record:
    return Ledger(record).accept(Epoch(epoch), TWO, Boot(1)).record


def test_s12_a_voter_with_a_lost_disk_votes_for_nobody_until_it_is_admitted() -> None:
    """ZOOKEEPER-261: a wiped server voted as if empty were as good as any."""
    world, acting = settled(3)
    wiped = followers_of(world)[0]
    world.crash(wiped)
    world.disks[wiped].record = world.fresh_record(wiped, may_vote=False)
    world.run(1.1)
    world.start(wiped)
    world.crash(acting)
    world.run(4)
    assert world.leader() is None, "one voter and one without a vote are no quorum of three"
    assert world.lives[wiped].core.authority.state is State.OBSERVING


def test_s13_observers_are_in_no_quorum_and_are_answered_seldom() -> None:
    """ZOOKEEPER-764, 2959, 1807."""
    world = World(3, gateways=3)
    world.crash(NodeId(1))
    world.crash(NodeId(2))
    world.run(5)
    assert world.leader() is None
    made = election()
    words = note(ME)
    answers = sum(len(made.answer(NodeId(101), words, note(ME), 0.01 * i)) for i in range(200))
    assert answers <= 3, "at most one a second"


def test_s14_only_configured_voters_can_be_elected() -> None:
    """ZOOKEEPER-498, 491: servers without weight were considered, and elections never ended."""
    made = election()
    assert made.receive(TWO, Boot(1), 1, note(77), 0.0) == ()
    assert made.receive(NodeId(77), Boot(1), 1, note(77), 0.0) == ()
    assert made.dropped == 2
    assert made.vote == ME


def test_s15_any_bytes_are_dropped_and_the_node_goes_on() -> None:
    """ZOOKEEPER-3769, 2186, 2988: a broken notification ended the thread that reads them."""
    draw = random.Random(15)
    good = encode_datagram(note(TWO))
    for length in range(200):
        for data in (draw.randbytes(length), good[:length], good[:length] + draw.randbytes(3)):
            try:
                decode_datagram(data)
            except RemoteProtocolError:
                continue
    world, _acting = settled(3)
    liar = followers_of(world)[0]
    for victim in world.peers:
        if victim != liar:
            world.forge(liar, victim, note(-5, round=-1, resend_s=float("nan"), voters=hash_of(world)))
            world.forge(liar, victim, Heartbeat(epoch=2**62, seq=-1, lease_s=-1.0))
            world.forge(liar, victim, Refuse(2**61, 0, 2**61, 99, 2**61))
    assert keeps_leader(world, 1)


def test_s16_one_dead_peer_delays_nobody_elses_traffic() -> None:
    """ZOOKEEPER-512, 453, 2164 and others: one unreachable peer blocked the connections to the rest."""
    world, _acting = settled(5)
    dead = followers_of(world)[0]
    cut_both(world, dead, *everybody_but(world, dead))
    began = world.now
    assert gives_answers(world, "one", "two", "three")
    assert world.now - began < 0.5
    assert keeps_leader(world, 2)


def test_s17_a_lonely_voter_is_never_slower_than_a_second_and_is_back_at_once() -> None:
    """ZOOKEEPER-3218: a minute of backing off."""
    world, _acting = settled(3)
    lonely = followers_of(world)[0]
    cut_both(world, lonely, *everybody_but(world, lonely))
    world.run(12)
    assert world.lives[lonely].core.authority.election._period <= TIMING.resend_max_s
    world.heal()
    assert world.run_until(world.settled, 1.3)


def test_s18_a_voter_of_another_list_changes_nothing() -> None:
    """ZOOKEEPER-1699, 2212: configurations that change while an election runs."""
    world, acting = settled(3)
    stranger = followers_of(world)[0]
    other = Electorate.of("world", [ME, TWO, NodeId(9)]).hash
    for victim in [peer for peer in world.peers if peer != stranger]:
        world.forge(stranger, victim, note(stranger, round=50, accepted=50, voters=other))
        world.forge(stranger, victim, Propose(51, 1, other))
    assert keeps_leader(world, 2)
    assert leader_of(world) == acting
    assert all(disk.record.accepted == 1 for disk in world.disks.values() if disk.record.may_vote)


def test_s19_a_leader_whose_disk_fails_resigns_and_says_so() -> None:
    """ZOOKEEPER-2247: it kept the office and the service hung."""
    world, acting = settled(3)
    world.disks[acting].failing = True
    late = followers_of(world)[0]
    world.crash(late)
    disk = world.disks[late]
    disk.record = msgspec.structs.replace(disk.record, accepted=9)
    world.start(late)  # the leader must renew itself above that, which takes a write
    assert world.run_until(lambda: world.leader() not in {None, acting}, 2)
    assert not world.lives[acting].core.snapshot(world.now).storage_ok
    assert not world.lives[acting].core.authority.election.is_eligible()


def test_s20_many_jobs_to_report_cause_no_second_election() -> None:
    """ZOOKEEPER-87, 1521, 1697: a large state at joining ran into the limits of the steady phase."""
    world, acting = settled(3, slots=60)
    requests = [world.ask(f"sleep 3 {i}") for i in range(150)]
    world.run(0.5)
    world.crash(acting)
    assert world.run_until(world.has_leader, 2)
    assert keeps_leader(world, 2)
    assert world.run_until(world.answered(*requests), 15)


def test_s21_a_kept_result_outlives_the_leader_that_ordered_it() -> None:
    """ZOOKEEPER-4643 and others: what is handed over at joining is held before it is acknowledged."""
    world, acting = settled(5)
    requests = [world.ask(f"sleep 1 {i}") for i in range(3)]
    world.run(0.95)
    world.crash(acting)
    assert world.run_until(world.answered(*requests), 5)
    assert sum(world.runs.values()) <= 3 + 1, "only what ran on the dead leader's own slots may run again"


def test_s22_the_wall_clock_moves_nothing_but_the_next_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    """ZOOKEEPER-1366. Two followers' clocks are set to and fro, and they start anew after each step (N3)."""
    hours = {1: (1, -2, -2, 5), 2: (-3, 4, -1, -1)}
    faults: list[Fault] = []
    for node, steps in hours.items():
        for i, step in enumerate(steps):
            at = 800 * i + 400 * node
            faults += [WallStep(at, node, 3600 * step), Crash(at + 50, node, 100)]
    schedule = Schedule(seed=22, peers=3, faults=tuple(faults), asks=(Ask(900, 101, 50),), chaos_ms=4000)
    simulation = Simulation(schedule, quiet_ns=2_000_000_000)
    checks, boots = simulation.cluster.checks, defaultdict[int, list[int]](list)
    started = checks.started

    def note_boot(host: Host, life: Life) -> None:
        boots[host.id].append(life.boot)
        started(host, life)

    monkeypatch.setattr(checks, "started", note_boot)
    report = simulation.run()
    assert not report.violation
    assert report.epochs == 1
    for node in hours:
        assert len(boots[node]) == 5
        assert all(later > earlier for earlier, later in itertools.pairwise(boots[node]))
    assert boots[ME][1] >= boots[ME][0] + 3600, "forward with the clock"
    assert boots[ME][2] == boots[ME][1] + 1, "and never back"


def test_s23_the_gap_counts_from_the_loss_to_the_next_assignment() -> None:
    """ZOOKEEPER-3479: a metric that began too late. Here it is a job's own way that is timed."""
    world, acting = settled(5)
    world.crash(acting)
    began = world.now
    assert gives_answers(world, "after the loss")
    assert world.now - began < TIMING.guard_s + 0.25


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.1, 0.3, 0.5, 0.8])
def test_s24_stopping_in_any_state_ends(delay: float) -> None:
    """ZOOKEEPER-2687, 2380, 2080, 2778: deadlocks at shutdown."""
    world = World(3)
    world.run(delay)
    for node in [*world.peers, *world.gateways]:
        if node in world.lives:
            world.stop(node)
    assert world.run_until(lambda: len(world.stopped) == 4, 25)


def test_s25_everything_but_the_leader_dies_with_a_request_outstanding() -> None:
    """QuorumPeerMainTest's early abandonment: the leader stops acting, and the answer still comes."""
    world, _acting = settled(5)
    request = world.ask("sleep 0.5 outstanding")
    world.run(0.05)
    gone = followers_of(world)
    for peer in gone:
        world.crash(peer)
    world.run(1.5)
    assert world.leader() is None
    for peer in gone:
        world.start(peer)
    assert world.run_until(world.answered(request), 8)


def test_s26_the_wire_is_the_same_bytes_everywhere_and_ids_have_no_direction() -> None:
    """ZOOKEEPER-4787, 4886: a charset of the platform; a small id that could not connect."""
    world = World(3)
    program = "sleep 0 \u00fc\u4e2d\U0001f600"
    assert world.run_until(world.settled, 5)
    request = world.ask(program)
    assert world.run_until(world.answered(request), 2)
    result = world.answers[request].result
    assert getattr(result, "runs")[0].value == program.encode("utf-8")  # noqa: B009  (the union has two kinds)
    for low in (ME, TWO):
        world.crash(low)
        world.run(0.2)
        world.start(low)
        assert world.run_until(world.settled, 3)
