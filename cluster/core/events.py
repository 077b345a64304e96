"""What can happen to a node: the only way into `NodeCore` (architecture A1.3)."""

from __future__ import annotations

import attrs

from cluster.identity import Boot, NodeId, Role
from cluster.wire.jobs import Compilation, Outcome, Piece, Program
from cluster.wire.messages import Datagram, Frame

ChannelId = int
"""Names one TCP connection for its life; given by the adapter, never reused. 0 is the node itself."""

OWN_CHANNEL: ChannelId = 0


@attrs.frozen
class DatagramArrived:
    """An authentic, fresh datagram (N6: older boots and repeated sequences are already dropped)."""

    sender: NodeId
    boot: Boot
    sequence: int
    message: Datagram


@attrs.frozen
class ChannelOpened:
    """A channel to `peer` is up, its certificate checked (X2).

    Attributes:
        dialled: this node opened it (so the peer is the leader); else the peer dialled us.
        role: the role in the peer's certificate.
    """

    channel: ChannelId
    peer: NodeId
    role: Role
    dialled: bool


@attrs.frozen
class ChannelClosed:
    """The channel broke or was closed, by either side; `reason` is for people."""

    channel: ChannelId
    reason: str


@attrs.frozen
class DialFailed:
    """A connection that `Dial` asked for could not be made; the adapter tries again by itself."""

    peer: NodeId
    reason: str


@attrs.frozen
class FrameArrived:
    """A decoded frame."""

    channel: ChannelId
    frame: Frame


@attrs.frozen
class ChannelMoved:
    """Bytes of a frame that takes long went in or out: the other end lives; told now and then."""

    channel: ChannelId


@attrs.frozen
class Persisted:
    """The record that `Persist` number `token` asked for is durable."""

    token: int


@attrs.frozen
class PersistFailed:
    """It is not, and nothing is known of the disk's state."""

    token: int
    reason: str


@attrs.frozen
class RunFinished:
    """The runner is done with a job that `StartRun` gave it; its slot is free."""

    job: str
    outcome: Outcome


@attrs.frozen
class RunUnstarted:
    """The host can't work on a job that `StartRun` gave it, though another may: it is to be handed back."""

    job: str


@attrs.frozen
class RunProgressed:
    """A run whose job asks for its progress is compiled, or has written something (W13)."""

    job: str
    compilation: Compilation | None = None
    pieces: tuple[Piece, ...] = ()


@attrs.frozen
class CapacityChanged:
    """The runner can take `slots` jobs at once now; 0 while nothing works."""

    slots: int


@attrs.frozen
class RunnerDescribed:
    """The Java side has started: what it runs on, for the facts (G5) and HELLO (W2)."""

    java: str
    sandbox: str


@attrs.frozen
class RunnerTroubled:
    """What this host lacks to run programs, for people (G5); empty: it has it again."""

    trouble: str


@attrs.frozen
class RequestArrived:
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


@attrs.frozen
class RequestAbandoned:
    """That client is gone (W9)."""

    request: int


@attrs.frozen
class LoopLagged:
    """The event loop was late by `seconds`: the node suspects itself first (G4)."""

    seconds: float


@attrs.frozen
class StopRequested:
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
