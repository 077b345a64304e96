"""Everything that nodes say to each other: one union for datagrams, one for channel frames (A5).

Messages are MessagePack maps with a short tag. A new field needs a default; unknown fields are skipped;
types never change. Node ids, epochs and boots are plain integers here; the core gives them their names.
Longer than other modules, so that the whole language is in one place.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from cluster.identity import MAX_BOOT, Role, State
from cluster.limits import ATTEMPTS_MAX, SHARE_MAX, SLOTS_MAX, TENANT_MAX, WAIT_MAX_S
from cluster.wire.jobs import Compilation, Job, Outcome, Piece, Refusal

BootNumber = Annotated[int, msgspec.Meta(ge=0, le=MAX_BOOT)]
"""Bounded, so that nobody's word can make every real life of a node an older one (X1)."""


Slot = Annotated[int, msgspec.Meta(ge=0, le=SLOTS_MAX)]
"""How many slots; a negative number would take those of others away."""

Wait = Annotated[float, msgspec.Meta(ge=0, le=WAIT_MAX_S)]
"""Seconds from now; an alarm set by what is no number would keep every later one from ringing."""

Attempts = Annotated[int, msgspec.Meta(ge=0, le=ATTEMPTS_MAX)]
"""How often a job was sent, or lost; bounded, so that the next number still fits a message."""


class Message(msgspec.Struct, frozen=True, tag_field="t"):
    """Base of all messages; the tag travels in the field `t`."""


# --- datagrams: election (E1-E6) -------------------------------------------------------------------


class Notification(Message, tag="n", frozen=True):
    """What a voter votes for, and whether it may be voted for itself (E1).

    Attributes:
        round: the ballot's number (N2).
        vote: the candidate.
        state: what the sender does now.
        accepted: its durable accepted epoch.
        last_epoch: the epoch that it last followed or led (its fence): the first part of the vote order.
        hears_quorum: whether it hears a quorum of voters directly, itself included.
        eligible: false in cool-down, when stopping, with a storage error, or without the vote (E4).
        leader, epoch: what it follows or leads; -1 and 0 when nothing.
        resend_s: seconds until it speaks again; three times this is how long its word counts (E4).
        voters: hash of its voter list (N1).
    """

    round: int
    vote: int
    state: State
    accepted: int
    last_epoch: int
    hears_quorum: bool
    eligible: bool
    leader: int
    epoch: int
    resend_s: float
    voters: str


# --- datagrams: leadership (L1-L7) -----------------------------------------------------------------


class Propose(Message, tag="p", frozen=True):
    """A candidate asks for epoch `epoch`; the answer echoes `nonce` (L1, X4)."""

    epoch: int
    nonce: int
    voters: str


class Promise(Message, tag="P", frozen=True):
    """Sent only once the promise is durable (N4)."""

    epoch: int
    nonce: int
    voters: str


class Refuse(Message, tag="R", frozen=True):
    """The proposal is not granted: the voter's accepted epoch, and the leader that it hears (-1: none)."""

    epoch: int
    nonce: int
    accepted: int
    leader: int
    leader_epoch: int


class Heartbeat(Message, tag="h", frozen=True):
    """The leader of `epoch` to every node, each heartbeat period (L2); `lease_s` is L."""

    epoch: int
    seq: int
    lease_s: float


class HeartbeatAck(Message, tag="H", frozen=True):
    """A voter's acknowledgement of exactly that heartbeat (L2)."""

    epoch: int
    seq: int


class Resign(Message, tag="q", frozen=True):
    """The leader of `epoch` has stopped acting; voids every heartbeat of it, whenever that arrives (L5)."""

    epoch: int


class Probe(Message, tag="b", frozen=True):
    """A voter without the vote asks how things stand (N5)."""

    nonce: int
    voters: str


class ProbeReply(Message, tag="B", frozen=True):
    """Answer to a `Probe`: durable accepted epoch, and the epoch it leads with a lease (0: none)."""

    nonce: int
    accepted: int
    leading_epoch: int
    voters: str


# --- datagrams: gossip (G1-G6) ---------------------------------------------------------------------


class GossipEntry(msgspec.Struct, frozen=True, array_like=True):
    """One row of the table (G1): node, boot, heartbeat, its facts' version, and whether I suspect it."""

    node: int
    boot: BootNumber
    heartbeat: int
    version: int
    suspected: bool = False


class NodeFacts(msgspec.Struct, frozen=True):
    """What a node says of itself (G5); owned and versioned by that node, at most 700 bytes encoded.

    Attributes:
        node, boot, version: identity of this statement; a higher (boot, version) replaces it.
        host, udp, tcp, http: where it listens; 0 for a port it does not have.
        slots, running, queued: capacity, busy slots, and (leader) waiting jobs.
        java, software: versions.
        sandbox: level that the probe found, for people and `/cluster-info`.
        leader, epoch: what it follows or leads; -1 and 0 when nothing.
        draining: it takes no new work.
        trouble: what its host lacks to run programs, for people; empty when it lacks nothing.
    """

    node: int
    boot: BootNumber
    version: int
    role: Role
    state: State = State.LOOKING
    host: str = ""
    udp: int = 0
    tcp: int = 0
    http: int = 0
    slots: Slot = 0
    running: int = 0
    queued: int = 0
    java: str = ""
    software: str = ""
    sandbox: str = ""
    leader: int = -1
    epoch: int = 0
    draining: bool = False
    trouble: str = ""


class Gossip(Message, tag="g", frozen=True):
    """Rows of the sender's table, its own first; each datagram can be merged alone (G6).

    Travels as a `PackedGossip`.

    Attributes:
        ask: the sender wants an answer now (it suspects the receiver, or is new).
        reply: these are what the receiver's own rows were behind of; nothing is said to them.
        interval_ms: T of the sender, by which heartbeats rise (G1) and are foretold.
    """

    entries: tuple[GossipEntry, ...]
    ask: bool = False
    reply: bool = False
    interval_ms: int = 1000


class FactsWanted(Message, tag="w", frozen=True):
    """The stale side asks for facts newer than these (node, boot, version) (G5)."""

    known: tuple[tuple[int, int, int], ...]


class FactsDelta(Message, tag="d", frozen=True):
    """Facts that the other side lacks; as many as fit one datagram."""

    facts: tuple[NodeFacts, ...]


PlainDatagram = (
    Notification
    | Propose
    | Promise
    | Refuse
    | Heartbeat
    | HeartbeatAck
    | Resign
    | Probe
    | ProbeReply
    | FactsWanted
    | FactsDelta
)
"""What travels as it is; gossip is packed (`cluster.wire.rows`)."""

Datagram = PlainDatagram | Gossip

ELECTION_KIND = 1
GOSSIP_KIND = 2


def kind_of(message: Datagram) -> int:
    """The kind byte of a datagram's header (N6): election and leadership, or gossip."""
    return GOSSIP_KIND if isinstance(message, Gossip | FactsWanted | FactsDelta) else ELECTION_KIND


# --- channel frames (W1-W11) -----------------------------------------------------------------------


class AttemptKey(msgspec.Struct, frozen=True, array_like=True):
    """One sending of a job (W5)."""

    job: str
    epoch: int
    attempt: Attempts


class Hello(Message, tag="hello", frozen=True):
    """The first frame of a node that dials the leader, and again at each new epoch (W2).

    Attributes:
        protocol: `PROTOCOL_VERSION`; another one is refused.
        cluster, node, boot, role: checked against the certificate (X2).
        epoch: the epoch that the sender follows.
        voters: hash of its voter list; timing: digest of its intervals (G7).
        slots: how many jobs it can run at once now; 0 while its compiler warms.
        running: attempts that run now; kept: attempts whose results wait for a `Release`.
    """

    protocol: int
    cluster: str
    node: int
    boot: BootNumber
    role: Role
    epoch: int
    voters: str
    timing: str
    slots: Slot = 0
    java: str = ""
    running: tuple[AttemptKey, ...] = ()
    kept: tuple[AttemptKey, ...] = ()
    draining: bool = False


class Welcome(Message, tag="welcome", frozen=True):
    """The leader of `epoch`, holding its lease, takes the sender of HELLO on (W2)."""

    epoch: int


class Fenced(Message, tag="fenced", frozen=True):
    """The receiver's epoch is older than one already accepted here (L6)."""

    epoch: int


class Place(msgspec.Struct, frozen=True, array_like=True):
    """A worker, in one of its lives."""

    node: int
    boot: BootNumber


class Submit(Message, tag="submit", frozen=True):
    """A gateway hands the leader a job.

    Attributes:
        again: it may have been given to an earlier leader (W7).
        losses: workers that this job has lost so far (W6).
        queue_s: seconds that it may still wait for a slot.
        remaining_s: seconds until its deadline.
        tenant: who takes turns with other tenants in the leader's queue; share: jobs it has a turn.
        placed: the worker that had it last, as far as the leader before said; None when nobody did (W6).
    """

    job: Job
    again: bool
    losses: Attempts
    queue_s: Wait
    remaining_s: Wait
    tenant: Annotated[str, msgspec.Meta(max_length=TENANT_MAX)] = ""
    share: Annotated[int, msgspec.Meta(ge=1, le=SHARE_MAX)] = 1
    placed: Place | None = None


class Withdraw(Message, tag="withdraw", frozen=True):
    """A gateway no longer wants these answers (W9)."""

    jobs: tuple[str, ...]


class Assign(Message, tag="assign", frozen=True):
    """The leader of `epoch` gives a worker a job (W5).

    Attributes:
        remaining_s: seconds until the job's deadline; a run that outlives it is stopped.
    """

    epoch: int
    attempt: Attempts
    job: Job
    remaining_s: Wait


class CancelRun(Message, tag="cancel", frozen=True):
    """The leader of `epoch` wants these jobs stopped and forgotten."""

    epoch: int
    jobs: tuple[str, ...]


class Finished(Message, tag="finished", frozen=True):
    """A worker's result; kept there until `Release` (W5)."""

    key: AttemptKey
    outcome: Outcome


class Progress(Message, tag="progress", frozen=True, omit_defaults=True):
    """What a run has come to so far, for a job that asks; may be lost, and decides nothing (W13).

    Attributes:
        key: the sending that the run began with: it names the run, whatever leaders come and go.
        compilation: once it is compiled.
        pieces: what it has written since.
    """

    key: AttemptKey
    compilation: Compilation | None = None
    pieces: tuple[Piece, ...] = ()


class Progressed(Message, tag="progressed", frozen=True, omit_defaults=True):
    """The leader of `epoch` passes a `Progress` to the job's gateway; an empty one when it assigns (W13)."""

    epoch: int
    worker: int
    key: AttemptKey
    compilation: Compilation | None = None
    pieces: tuple[Piece, ...] = ()


class Recount(Message, tag="recount", frozen=True):
    """The leader of `epoch` wants the progress of these runs told from their beginning (W13)."""

    epoch: int
    jobs: tuple[str, ...]


class Release(Message, tag="release", frozen=True):
    """The results of these jobs need not be kept any longer."""

    jobs: tuple[str, ...]


class Returned(Message, tag="returned", frozen=True):
    """A worker hands a job back unrun: no free slot, or it drains (W10)."""

    key: AttemptKey


class Slots(Message, tag="slots", frozen=True):
    """A worker's capacity changed (its compiler became ready, or it drains)."""

    slots: Slot
    draining: bool = False


class Result(Message, tag="result", frozen=True):
    """The leader of `epoch` passes a job's outcome to its gateway (W8)."""

    epoch: int
    job: str
    outcome: Outcome


class ResultAck(Message, tag="ack", frozen=True):
    """The gateway has these outcomes, or does not want them (unknown jobs too) (W8)."""

    jobs: tuple[str, ...]


class Refused(Message, tag="refused", frozen=True):
    """The leader of `epoch` can't take the job, or gave up waiting for a worker (W4, W11)."""

    epoch: int
    job: str
    refusal: Refusal


class LossCounted(Message, tag="loss", frozen=True):
    """The leader counts a lost worker against the job; the gateway keeps the sum across leaders (W6)."""

    epoch: int
    job: str
    losses: Attempts
    worker: int = -1


class Placed(Message, tag="placed", frozen=True):
    """Which worker has which job, told to its gateway: only it survives the leader and that worker (W6)."""

    epoch: int
    jobs: tuple[tuple[str, Place], ...]


class Ping(Message, tag="ping", frozen=True):
    """Either side asks whether the other still reads (W6)."""

    nonce: int


class Pong(Message, tag="pong", frozen=True):
    """Answer to a `Ping`."""

    nonce: int


class FactsRequest(Message, tag="facts?", frozen=True):
    """A gap larger than a datagram is fetched over the channel (G5)."""

    known: tuple[tuple[int, int, int], ...]


class FactsReply(Message, tag="facts", frozen=True):
    """All facts newer than the request's."""

    facts: tuple[NodeFacts, ...]


Frame = (
    Hello
    | Welcome
    | Fenced
    | Submit
    | Withdraw
    | Assign
    | CancelRun
    | Finished
    | Progress
    | Progressed
    | Recount
    | Release
    | Returned
    | Slots
    | Result
    | ResultAck
    | Refused
    | LossCounted
    | Placed
    | Ping
    | Pong
    | FactsRequest
    | FactsReply
)
