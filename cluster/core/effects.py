"""What a core wants done: small frozen values that the driver performs in order (architecture A4).

*Effects* leave the node's core. *Decisions* are what one part of the core tells the part that composes it
(`core/node.py`); the driver never sees them.
"""

from __future__ import annotations

import enum
import typing

import msgspec

from cluster.core.events import ChannelId
from cluster.core.record import Record
from cluster.identity import Epoch, NodeId, State
from cluster.wire.jobs import Job, Outcome, Refusal
from cluster.wire.messages import Datagram, Frame, Progressed


class Send(msgspec.Struct, frozen=True):
    """Send a datagram."""

    to: NodeId
    message: Datagram


class SendFrame(msgspec.Struct, frozen=True):
    """Send a frame on a channel; one that is already closed swallows it."""

    channel: ChannelId
    frame: Frame


class Dial(msgspec.Struct, frozen=True):
    """Keep a channel to this node open, with reconnection, until `HangUp`; there is one at most."""

    to: NodeId


class HangUp(msgspec.Struct, frozen=True):
    """Stop dialling, and close the channel that was dialled."""

    reason: str


class Close(msgspec.Struct, frozen=True):
    """Close a channel; `ChannelClosed` follows."""

    channel: ChannelId
    reason: str


class Persist(msgspec.Struct, frozen=True):
    """Make the record durable, then perform `then`, then report `Persisted(token)` (N4).

    What follows them is performed in this order. Those asked for while one is being written may be one
    write, of the newest record: it holds all of the others. If a write fails, `then` is not performed.
    """

    record: Record
    token: int
    then: tuple[Effect, ...] = ()


class StartRun(msgspec.Struct, frozen=True):
    """Compile and run; `RunFinished` follows, always.

    Attributes:
        remaining_s: seconds until the job's deadline.
    """

    job: Job
    remaining_s: float


class StopRun(msgspec.Struct, frozen=True):
    """Stop it now; `RunFinished` follows, with `cancelled` unless it was done already."""

    job: str


class Answer(msgspec.Struct, frozen=True):
    """The one answer to an HTTP request.

    Attributes:
        job: the job's id, for `X-Job-Id`.
        cached: taken from the cache (C3), and `age_s` seconds old.
    """

    request: int
    job: str
    result: Outcome | Refusal
    cached: bool = False
    age_s: float = 0.0


class RepeatProgress(msgspec.Struct, frozen=True):
    """Tell the progress of this run again, from its beginning (W13)."""

    job: str


class ShowProgress(msgspec.Struct, frozen=True):
    """Let these requests see what their job's run has come to (W13)."""

    requests: tuple[int, ...]
    progress: Progressed


class Level(enum.Enum):
    """The two logs of H3."""

    SUMMARY = "summary"
    VERBOSE = "verbose"


class Log(msgspec.Struct, frozen=True):
    """One line for people; the words of the original where it had the same line (H3)."""

    level: Level
    text: str


class Stopped(msgspec.Struct, frozen=True):
    """Everything owed is done: the process may exit (W10)."""


Effect = (
    Send
    | SendFrame
    | Dial
    | HangUp
    | Close
    | Persist
    | StartRun
    | StopRun
    | RepeatProgress
    | Answer
    | ShowProgress
    | Log
    | Stopped
)


# --- decisions: from one part of the core to the node that composes it -----------------------------


class Elected(msgspec.Struct, frozen=True):
    """The ballot is over (E5): `candidate` should lead. It opens the handshake; the others wait for it."""

    candidate: NodeId


class BecameLeader(msgspec.Struct, frozen=True):
    """A quorum promised: this node leads `epoch` (L2). Whether it may act is another question (L3)."""

    epoch: Epoch


class LostLeadership(msgspec.Struct, frozen=True):
    """This node no longer leads `epoch` (L5)."""

    epoch: Epoch
    reason: str


class Following(msgspec.Struct, frozen=True):
    """This node follows a leader's own heartbeat (E6)."""

    leader: NodeId
    epoch: Epoch


class LostLeader(msgspec.Struct, frozen=True):
    """Nobody is followed any longer (L7)."""

    leader: NodeId
    epoch: Epoch
    reason: str


class StateChanged(msgspec.Struct, frozen=True):
    """For the logs and the facts: `switching from FOLLOWING to LOOKING`."""

    old: State
    new: State


class MemberFailed(msgspec.Struct, frozen=True):
    """Gossip's verdict, by this node's own clock (G3)."""

    node: NodeId


class MemberRecovered(msgspec.Struct, frozen=True):
    """A node that was suspected, failed or unknown is alive."""

    node: NodeId


class FetchFacts(msgspec.Struct, frozen=True):
    """The gap is larger than a datagram: ask over a channel, if there is one (G5)."""

    peer: NodeId
    known: tuple[tuple[int, int, int], ...]


class HandshakeFailed(msgspec.Struct, frozen=True):
    """The handshake reached its deadline: the election cools this candidate down (E4)."""


class HigherEpochProven(msgspec.Struct, frozen=True):
    """A channel frame proved a higher established epoch (L5, L6)."""

    epoch: Epoch


class LeaderChannelBroke(msgspec.Struct, frozen=True):
    """The channel to the followed leader broke: a hint that it is gone (L7)."""

    leader: NodeId
    reason: str


Decision = (
    Elected
    | BecameLeader
    | LostLeadership
    | Following
    | LostLeader
    | StateChanged
    | MemberFailed
    | MemberRecovered
    | FetchFacts
    | HandshakeFailed
    | HigherEpochProven
    | LeaderChannelBroke
)

DECISIONS = frozenset(typing.get_args(Decision))
"""Looked up by type for every step: much faster than asking for the union."""

Effects = tuple[Effect, ...]
Steps = tuple[Effect | Decision, ...]
"""What a part of the core returns: effects for the driver and decisions for the node."""
