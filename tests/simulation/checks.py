"""What must be so after every event: the invariants, watched from outside the cores, and coverage probes.

Each check keeps its own history (who led which epoch, who was promised what, which orders a worker took),
so that a core that is wrong about itself can't talk it out of a violation.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from cluster.core import effects as fx
from cluster.core.leadership import Phase
from cluster.core.record import Record
from cluster.identity import Boot, State
from cluster.wire.messages import (
    Assign,
    CancelRun,
    Fenced,
    Finished,
    Frame,
    Heartbeat,
    HeartbeatAck,
    LossCounted,
    Notification,
    Ping,
    Placed,
    Pong,
    Probe,
    ProbeReply,
    Progressed,
    Promise,
    Propose,
    Recount,
    Refuse,
    Refused,
    Release,
    Resign,
    Result,
    Submit,
    Welcome,
)
from tests.simulation.channels import Link
from tests.simulation.clients import Clients
from tests.simulation.clock import SECOND
from tests.simulation.gossip_watch import GossipWatch
from tests.simulation.host import Host, Life
from tests.simulation.probes import LOGGED
from tests.simulation.violation import Violation, demand

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

LOST_WORKER = re.compile(r"lost worker (\d+), loss")

FROM_OFFICE = (
    Welcome,
    Assign,
    Result,
    Refused,
    CancelRun,
    Recount,
    Progressed,
    LossCounted,
    Placed,
)
"""What a leader says only while it may act (L3)."""

FROM_BOTH_ENDS = (Release, Ping, Pong)
"""And so is this on a channel that another node dialled; they name no epoch."""

WITNESS_S = 9.999
"""N5: without its disk a voter hears a leader for 10 s of its own clock before it votes again."""


class Checks:
    """The watcher; it sees everything and touches nothing."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.probes: Counter[str] = cluster.network.probes
        self.led: dict[int, tuple[int, Boot]] = {}
        self.established_at: dict[int, int] = {}
        self.promised: dict[tuple[int, int], tuple[int, int]] = {}
        self.clients = Clients(cluster)
        self.requests = self.clients.requests
        self.quiet = False
        self.strict = False
        self.proposals: set[tuple[int, int]] = set()
        self._promises_sent: set[tuple[int, int, int]] = set()
        self._on_disk: dict[int, tuple[int, int, int]] = {}
        self._taken: dict[int, tuple[int, int]] = {}
        self._leading: dict[int, tuple[Host, Life]] = {}
        self._rounds: dict[int, tuple[Boot, int]] = {}
        self._lease_lost: set[int] = set()
        self._boots: dict[int, Boot] = {}
        self._new: dict[int, bool] = {}
        self._gossip = GossipWatch()
        self._asked: dict[tuple[int, int], tuple[int, int]] = {}
        self._wiped: set[int] = set()
        self._troubled: set[int] = set()
        self._watched: dict[type[Any], Callable[[Host, Life, int, Any], None]] = {
            Promise: self._sent_promise,
            Propose: self._sent_proposal,
            Refuse: self._sent_refusal,
            HeartbeatAck: self._sent_acknowledgement,
            Heartbeat: self._sent_heartbeat,
            Notification: self._sent_notification,
            Probe: self._sent_probe,
            ProbeReply: self._sent_probe_reply,
            Resign: self._sent_resign,
        }

    # --- lives ------------------------------------------------------------------------------------------

    def started(self, host: Host, life: Life) -> None:
        """A life begins: its record is not behind what was durable before, its boot is new (I3, N3)."""
        demand(
            life.boot > self._boots.get(host.id, 0), f"I3 node {host.id} lives a second time as {life.boot}"
        )
        self._boots[host.id] = life.boot
        untouched = all(other.disk.durable.accepted <= 0 for other in self._cluster.hosts.values())
        self._new[host.id] = untouched
        self._gossip.born(host.id)
        self.durable(host)
        self._rounds[host.id] = (life.boot, 0)

    def ended(self, host: Host, life: Life) -> None:
        """A life is over; clients of that gateway are gone with it."""
        self._leading.pop(host.id, None)
        self._gossip.died(host.id, self._cluster.now)
        phase = life.core.authority.leadership.phase
        if phase in (Phase.WRITING, Phase.PROPOSING):
            self.probes["candidate died in its handshake"] += 1
        self.clients.ended(host, life)

    def wiped(self, host: Host) -> None:
        """Its disk is lost: it may begin again, but not promise twice (I8)."""
        self._on_disk.pop(host.id, None)
        self._taken.pop(host.id, None)
        self._wiped.add(host.id)
        # What it promised to itself died with that life. Any other candidate had accepted the epoch before it
        # asked, so that this node will not be taken for new (N5 a).
        own = [key for key, (candidate, _boot) in self.promised.items() if key[0] == candidate == host.id]
        for key in own:
            del self.promised[key]

    def trouble(self, *nodes: int) -> None:
        """A fault struck these: from now on a worker among them may be taken for lost (W6)."""
        self._troubled.update(nodes)

    def asked(self, host: Host, record: Record) -> None:
        """A record is to be made durable; it, or a later one, will be."""
        self._asked[host.id, record.accepted] = record.promised_node, record.promised_boot

    def durable(self, host: Host) -> None:
        """A record is on disk: nothing in it went back (I3)."""
        record = host.disk.durable
        now = (record.boot, record.accepted, record.fence_epoch)
        before = self._on_disk.get(host.id, (0, 0, 0))
        demand(all(a <= b for a, b in zip(before, now, strict=True)), f"I3 node {host.id}: {before} -> {now}")
        self._on_disk[host.id] = now
        if host.id in self._wiped and record.may_vote:
            self._wiped.discard(host.id)
            # N5 (a): where nobody had accepted any epoch when it began to ask, nothing can be forgotten.
            heard = host.life.witness.heard_s if host.life else 0.0
            new = self._new[host.id] or heard > WITNESS_S
            demand(new, f"I8 node {host.id} votes without its disk, and heard a leader for {heard:.3f} s")
        if record.promised_node >= 0 and record.accepted > before[1] and record.promised_node != host.id:
            return
        if record.accepted > before[1] and record.promised_node == host.id:
            self._promise(host.id, record.accepted, host.id, record.promised_boot)

    def _promise(self, voter: int, epoch: int, candidate: int, boot: int) -> None:
        held = self.promised.setdefault((voter, epoch), (candidate, boot))
        demand(
            held == (candidate, boot),
            f"I3 voter {voter} promised epoch {epoch} to {held} and {candidate, boot}",
        )

    # --- messages ---------------------------------------------------------------------------------------

    def sent(self, host: Host, life: Life, effect: fx.Send) -> None:
        """Nothing leaves before the record that it rests on is durable (I2)."""
        check = self._watched.get(type(effect.message))
        if check is not None:
            check(host, life, effect.to, effect.message)

    def _sent_promise(self, host: Host, life: Life, to: int, message: Promise) -> None:
        me, disk = host.id, host.disk.durable
        demand(disk.accepted >= message.epoch, f"I2 node {me} promises {message.epoch}, on disk {disk}")
        demand(disk.may_vote, f"I8 node {me} promises {message.epoch} without its vote")
        if disk.accepted == message.epoch:
            candidate, boot = disk.promised_node, disk.promised_boot
        else:  # its record waited for the disk together with that of a later epoch (N4)
            candidate, boot = self._asked.get((me, message.epoch), (-1, -1))
        self._promise(me, message.epoch, to, boot if candidate == to else -1)
        again = (me, message.epoch, message.nonce)
        if again in self._promises_sent:
            self.probes["promise repeated"] += 1
        self._promises_sent.add(again)
        life.lease.promised = max(life.lease.promised, message.epoch)

    def _sent_proposal(self, host: Host, life: Life, _to: int, message: Propose) -> None:
        me, disk = host.id, host.disk.durable
        demand(disk.accepted >= message.epoch, f"I2 node {me} proposes {message.epoch}, on disk {disk}")
        self.proposals.add((me, message.epoch))
        life.lease.promised = max(life.lease.promised, message.epoch)

    def _sent_refusal(self, host: Host, _life: Life, _to: int, message: Refuse) -> None:
        """What it has accepted is on disk; the leader that it hears did lead that epoch."""
        me, disk, leader = host.id, host.disk.durable, message.leader
        demand(
            message.accepted <= disk.accepted, f"I2 node {me} refuses for {message.accepted}, on disk {disk}"
        )
        led = self.led.get(message.leader_epoch, (-1, 0))[0]
        demand(
            leader in {-1, led}, f"E6 node {me} hears {leader} lead {message.leader_epoch}, which {led} led"
        )

    def _sent_acknowledgement(self, host: Host, life: Life, _to: int, message: HeartbeatAck) -> None:
        disk = host.disk.durable
        life.lease.acknowledges(host, message.epoch)
        if disk.fence_epoch < message.epoch:
            raise Violation(f"I2 node {host.id} acknowledges epoch {message.epoch}")
        if not disk.may_vote:
            raise Violation(f"I8 node {host.id} acknowledges without the vote")

    def _sent_heartbeat(self, host: Host, life: Life, _to: int, message: Heartbeat) -> None:
        if host.disk.durable.accepted < message.epoch:
            raise Violation(f"I2 node {host.id} leads epoch {message.epoch}")
        life.lease.leads(host, message.epoch)
        life.lease.sent(message, host.now(self._cluster.now))

    def _sent_notification(self, host: Host, life: Life, _to: int, message: Notification) -> None:
        me, authority = host.id, life.core.authority
        demand(message.accepted <= host.disk.durable.accepted, f"I2 node {me} shows {message.accepted}")
        looking = message.state is State.LOOKING
        if looking and not message.eligible and authority.state is State.LOOKING:
            self.probes["voter not eligible"] += 1
        if message.state is State.LEADING and message.leader == me:
            demand(authority.may_act(host.now(self._cluster.now)), f"I11 node {me} claims to lead")

    def _sent_probe(self, host: Host, life: Life, _to: int, message: Probe) -> None:
        life.witness.sent(message, host.now(self._cluster.now))

    def _sent_probe_reply(self, host: Host, _life: Life, _to: int, message: ProbeReply) -> None:
        told = message.accepted
        demand(told <= host.disk.durable.accepted, f"I2 node {host.id} tells {told}")

    def _sent_resign(self, _host: Host, _life: Life, _to: int, _message: Resign) -> None:
        self.probes["resignation sent"] += 1

    def sent_frame(self, host: Host, life: Life, effect: fx.SendFrame, link: Link | None) -> None:
        """A leader acts only with its lease, and never long after another was established (I7)."""
        frame = effect.frame
        if isinstance(frame, FROM_OFFICE):
            self._from_office(host, life, frame, frame.epoch)
        elif isinstance(frame, FROM_BOTH_ENDS):
            if link is not None and link.ends[1].node == host.id:
                self._from_office(host, life, frame, life.lease.epoch)
            return
        if isinstance(frame, Assign):
            self.clients.assigned(host, life, frame, link)
            self.probes["job assigned again"] += frame.attempt > 1
        elif isinstance(frame, Result):
            self.clients.told(host, life, frame)
        elif isinstance(frame, LossCounted):
            self.clients.loss_counted(host, life, frame)
        elif isinstance(frame, CancelRun):
            self.probes["run cancelled by the leader"] += 1
        elif isinstance(frame, Submit):
            self.clients.submitted(frame)
            self.probes["job sent again to a new leader"] += frame.again
            submission = life.core.work.submission
            full = submission is not None and not submission._window.open
            self.probes["a gateway's window was full"] += full
        elif isinstance(frame, Finished):
            late = frame.key.epoch < life.core._ledger.record.fence_epoch
            self.probes["result of an earlier epoch offered"] += late
        elif isinstance(frame, Fenced):
            disk = host.disk.durable
            # What a leader leads rests on promises that are durable (I4), whenever its own fence is.
            told = frame.epoch if self.led.get(frame.epoch) == (host.id, life.boot) else disk.fence_epoch
            demand(frame.epoch <= told, f"I2 node {host.id} fences with {frame.epoch}, on disk {disk}")
            worker = link is not None and link.ends[0].node == host.id
            self.probes["worker fenced a stale leader" if worker else "leader fenced a stale HELLO"] += 1

    def _from_office(self, host: Host, life: Life, frame: Frame, epoch: int) -> None:
        cluster = self._cluster
        if not cluster.schedule.bounded:
            return
        demand(
            life.core.authority.may_act(host.now(cluster.now)),
            f"I7 node {host.id} says {type(frame).__name__} without its lease",
        )
        later = [at for e, at in self.established_at.items() if e > epoch]
        demand(
            not later or cluster.now - min(later) <= SECOND,
            f"I7 node {host.id} acts in epoch {epoch} long after a higher one",
        )

    def ordered(self, host: Host, life: Life, channel: int, frame: Assign) -> None:
        """An order reached a worker: remember whose it was, and whether it came too late to be taken (L6)."""
        if frame.epoch < host.disk.durable.fence_epoch:
            life.stale.add((frame.job.id, frame.epoch, frame.attempt))
        if channel in life.peers:
            life.orders[frame.job.id, frame.epoch] = (frame.attempt, life.peers[channel])

    def run_started(self, host: Host, life: Life, job: str) -> None:
        """Per worker, epochs of work never go back, and one leader an epoch (I5); once a sending (W5)."""
        execution = life.core.work.execution
        demand(execution is not None, "gateways run nothing")
        assert execution is not None
        demand(job not in life.running, f"W5 node {host.id} runs job {job} twice at once")
        key = execution._runs[job].key
        own = (key.attempt, host.id)
        leader = life.orders.get((job, key.epoch), own)[1]
        before = self._taken.get(host.id, (0, leader))
        demand(
            key.epoch > before[0] or (key.epoch, leader) == before,
            f"I5 worker {host.id} took epoch {key.epoch} of {leader} after {before}",
        )
        self._taken[host.id] = (key.epoch, leader)
        demand(host.disk.durable.fence_epoch >= key.epoch, f"I2 worker {host.id} runs before its fence")
        sending = (job, key.epoch, key.attempt)
        demand(sending not in life.stale, f"I5 worker {host.id} took {sending}, below its fence")
        demand(sending not in life.started, f"W5 worker {host.id} ran {sending} twice")
        life.started.add(sending)

    def heard(self, host: Host, life: Life, sender: int, boot: int) -> None:
        """N6: no core hears of a life that is over once it has heard of the next."""
        if boot < life.boots.get(sender, 0):
            raise Violation(f"N6 node {host.id} hears life {boot} of {sender} again")
        life.boots[sender] = boot

    # --- after every event ------------------------------------------------------------------------------

    def after(self, host: Host, life: Life, *, deep: bool) -> None:
        """I1, I4, I6, I9, I11; with `deep` also what the core can see of itself."""
        authority = life.core.authority
        leadership = authority.leadership
        if leadership.phase is Phase.LEADING:
            if host.id not in self._leading or self.led.get(leadership.epoch) != (host.id, life.boot):
                self._established(host, life, leadership.epoch)
        elif host.id in self._leading and not leadership.leading:
            del self._leading[host.id]
            self._lease_lost.discard(host.id)
            demand(
                not (self.quiet and self.strict), f"liveness: node {host.id} stopped leading in quiet times"
            )
        if host.id in self._leading:
            self._authority(host, life)
        election = authority.election
        if election.looking:
            boot, number = self._rounds[host.id]
            if boot != life.boot or election.round < number:
                raise Violation(f"I9 node {host.id}: round went back")
            self._rounds[host.id] = (life.boot, election.round)
            mine = (life.core._ledger.durable.fence_epoch, int(host.id)) if election._is_candidate() else None
            life.ballot.votes(host.id, election.round, election.vote, mine, host.now(self._cluster.now))
        if deep:
            now = host.now(self._cluster.now)
            shown = authority.shown_state(now)
            demand(shown is not State.LEADING or authority.may_act(now), f"I11 node {host.id} shows LEADING")
            self._gossip.look(host.id, life.core.membership.snapshot(now), self._cluster.now)
            life.core.validate()

    def _established(self, host: Host, life: Life, epoch: int) -> None:
        cluster = self._cluster
        holder = self.led.setdefault(epoch, (host.id, life.boot))
        demand(
            holder == (host.id, life.boot), f"I1 epoch {epoch} is led by {holder} and {host.id, life.boot}"
        )
        voters = cluster.schedule.peer_ids
        given = [v for v in voters if self.promised.get((v, epoch)) == (host.id, life.boot)]
        demand(len(given) > len(voters) // 2, f"I4 epoch {epoch} of {host.id} rests on {given}")
        if self.quiet:
            moved = host.id not in self._leading
            demand(not (moved or self.strict), f"liveness: node {host.id} established {epoch} in quiet times")
        if any(node != host.id for node in self._leading):
            self.probes["two in office, one without its lease"] += 1
        self.established_at.setdefault(epoch, cluster.now)
        self._leading[host.id] = (host, life)
        self.probes["leader established"] += 1

    def _authority(self, host: Host, life: Life) -> None:
        """At most one may act at any instant (I6): it can only begin at an event of the node itself."""
        if self._leading[host.id][1] is not life:
            return
        at = self._cluster.now
        if not life.core.authority.may_act(host.now(at)):
            self._lease_lost.add(host.id)
            return
        life.lease.demand(host, self._cluster.voters, self._cluster.timing.lease_s, host.now(at))
        if host.id in self._lease_lost:
            self._lease_lost.discard(host.id)
            self.probes["lost lease came back"] += 1
        for node, (other, its_life) in self._leading.items():
            if node != host.id and its_life.core.authority.may_act(other.now(at)):
                if self._cluster.schedule.bounded:
                    raise Violation(f"I6 {host.id} and {node} may act at once")
                self.probes["overlap under unbounded drift"] += 1

    def answered(self, host: Host, effect: fx.Answer) -> None:
        """A client gets its answer (I10)."""
        self.clients.answered(host, effect)
        self._cluster.note(msgspec.msgpack.encode(effect), host.id, effect.request)

    def shown(self, host: Host, effect: fx.ShowProgress) -> None:
        """A client sees what its run has come to (W13)."""
        self.clients.shown(host, effect)

    # --- what they say of themselves --------------------------------------------------------------------

    def logged(self, host: Host, effect: fx.Log) -> None:
        """Lines of the cores prove that rare situations were reached."""
        lost = LOST_WORKER.search(effect.text) if effect.level is fx.Level.SUMMARY else None
        if lost is not None:
            one = int(lost.group(1))
            excused = {one, int(host.id)} & self._troubled
            demand(excused, f"W6 node {host.id} counts worker {one} as lost: both are well (M13)")
        if effect.level is fx.Level.SUMMARY or "handed back" in effect.text or "nobody" in effect.text:
            for words, probe in LOGGED.items():
                if words in effect.text:
                    self.probes[probe] += 1
