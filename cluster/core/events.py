"""What can happen to a node: the only way into `NodeCore` (architecture A1.3)."""

from __future__ import annotations

import msgspec

from cluster.identity import Boot, NodeId, Role
from cluster.wire.jobs import Compilation, Outcome, Piece, Program
from cluster.wire.messages import Datagram, Frame

ChannelId = int
"""Names one TCP connection for its life; given by the adapter, never reused. 0 is the node itself."""

OWN_CHANNEL: ChannelId = 0


class DatagramArrived(msgspec.Struct, frozen=True):
    """An authentic, fresh datagram (N6: older boots and repeated sequences are already dropped)."""

    sender: NodeId
    boot: Boot
    sequence: int
    message: Datagram


class ChannelOpened(msgspec.Struct, frozen=True):
    """A channel to `peer` is up, its certificate checked (X2).

    Attributes:
        dialled: this node opened it (so the peer is the leader); else the peer dialled us.
        role: the role in the peer's certificate.
    """

    channel: ChannelId
    peer: NodeId
    role: Role
    dialled: bool


class ChannelClosed(msgspec.Struct, frozen=True):
    """The channel broke or was closed, by either side; `reason` is for people."""

    channel: ChannelId
    reason: str


class DialFailed(msgspec.Struct, frozen=True):
    """A connection that `Dial` asked for could not be made; the adapter tries again by itself."""

    peer: NodeId
    reason: str


class FrameArrived(msgspec.Struct, frozen=True):
    """A decoded frame."""

    channel: ChannelId
    frame: Frame


class ChannelMoved(msgspec.Struct, frozen=True):
    """Bytes of a frame that takes long went in or out: the other end lives; told now and then."""

    channel: ChannelId


class Persisted(msgspec.Struct, frozen=True):
    """The record that `Persist` number `token` asked for is durable."""

    token: int


class PersistFailed(msgspec.Struct, frozen=True):
    """It is not, and nothing is known of the disk's state."""

    token: int
    reason: str


class RunFinished(msgspec.Struct, frozen=True):
    """The runner is done with a job that `StartRun` gave it; its slot is free."""

    job: str
    outcome: Outcome


class RunUnstarted(msgspec.Struct, frozen=True):
    """The host can't work on a job that `StartRun` gave it, though another may: it is to be handed back."""

    job: str


class RunProgressed(msgspec.Struct, frozen=True):
    """A run whose job asks for its progress is compiled, or has written something (W13)."""

    job: str
    compilation: Compilation | None = None
    pieces: tuple[Piece, ...] = ()


class CapacityChanged(msgspec.Struct, frozen=True):
    """The runner can take `slots` jobs at once now; 0 while nothing works."""

    slots: int


class RunnerDescribed(msgspec.Struct, frozen=True):
    """The Java side has started: what it runs on, for the facts (G5) and HELLO (W2)."""

    java: str
    sandbox: str


class RunnerTroubled(msgspec.Struct, frozen=True):
    """What this host lacks to run programs, for people (G5); empty: it has it again."""

    trouble: str


class RequestArrived(msgspec.Struct, frozen=True):
    """An HTTP client wants a program's outcome.

    Attributes:
        request: a number of the gateway's own, never reused.
        job_id: the id to use if this becomes a job of its own (W1).
        use_cache: the client allows a kept answer, and to share a run in flight (C3, C4).
        keep: the answer may be kept.
        tenant: who takes turns with others when jobs wait; share: how many jobs a turn (fairness).
        progress: the client wants to see what its run comes to while it runs (W13).
    """

    request: int
    job_id: str
    program: Program
    use_cache: bool = True
    keep: bool = True
    tenant: str = ""
    share: int = 1
    progress: bool = False


class RequestAbandoned(msgspec.Struct, frozen=True):
    """That client is gone (W9)."""

    request: int


class LoopLagged(msgspec.Struct, frozen=True):
    """The event loop was late by `seconds`: the node suspects itself first (G4)."""

    seconds: float


class StopRequested(msgspec.Struct, frozen=True):
    """Drain and stop (W10); the core answers, in its time, with `Stopped`."""


Event = (
    DatagramArrived
    | ChannelOpened
    | ChannelClosed
    | DialFailed
    | FrameArrived
    | ChannelMoved
    | Persisted
    | PersistFailed
    | RunFinished
    | RunUnstarted
    | RunProgressed
    | CapacityChanged
    | RunnerDescribed
    | RunnerTroubled
    | RequestArrived
    | RequestAbandoned
    | LoopLagged
    | StopRequested
)
