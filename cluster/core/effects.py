"""What a core wants done: small frozen values that the driver performs in order (architecture A4).

*Effects* leave the node's core. *Decisions* are what one part of the core tells the part that composes it
(`core/node.py`); the driver never sees them.
"""

from __future__ import annotations

import enum
import typing

import attrs

from cluster.core.events import ChannelId
from cluster.core.record import Record
from cluster.identity import Epoch, NodeId, State
from cluster.wire.jobs import Job, Outcome, Refusal
from cluster.wire.messages import Datagram, Frame, Progressed


@attrs.frozen
class Send:
    """Send a datagram."""

    to: NodeId
    message: Datagram


@attrs.frozen
class SendFrame:
    """Send a frame on a channel; one that is already closed swallows it."""

    channel: ChannelId
    frame: Frame


@attrs.frozen
class Dial:
    """Keep a channel to this node open, with reconnection, until `HangUp`; there is one at most."""

    to: NodeId


@attrs.frozen
class HangUp:
    """Stop dialling, and close the channel that was dialled."""

    reason: str


@attrs.frozen
class Close:
    """Close a channel; `ChannelClosed` follows."""

    channel: ChannelId
    reason: str


@attrs.frozen
class Persist:
    """Make the record durable, then perform `then`, then report `Persisted(token)` (N4).

    What follows them is performed in this order. Those asked for while one is being written may be one
    write, of the newest record: it holds all of the others. If a write fails, `then` is not performed.
    """

    record: Record
    token: int
    then: tuple[Effect, ...] = ()


@attrs.frozen
class StartRun:
    """Compile and run; `RunFinished` follows, always.

    Attributes:
        remaining_s: seconds until the job's deadline.
    """

    job: Job
    remaining_s: float


@attrs.frozen
class StopRun:
    """Stop it now; `RunFinished` follows, with `cancelled` unless it was done already."""

    job: str


@attrs.frozen
class Answer:
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


@attrs.frozen
class RepeatProgress:
    """Tell the progress of this run again, from its beginning (W13)."""

    job: str


@attrs.frozen
class ShowProgress:
    """Let these requests see what their job's run has come to (W13)."""

    requests: tuple[int, ...]
    progress: Progressed


class Level(enum.Enum):
    """The two logs of H3."""

    SUMMARY = "summary"
    VERBOSE = "verbose"


@attrs.frozen
class Log:
    """One line for people; the words of the original where it had the same line (H3)."""

    level: Level
    text: str


@attrs.frozen
class Stopped:
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


@attrs.frozen
class Elected:
    """The ballot is over (E5): `candidate` should lead. It opens the handshake; the others wait for it."""

    candidate: NodeId


@attrs.frozen
class BecameLeader:
    """A quorum promised: this node leads `epoch` (L2). Whether it may act is another question (L3)."""

    epoch: Epoch


@attrs.frozen
class LostLeadership:
    """This node no longer leads `epoch` (L5)."""

    epoch: Epoch
    reason: str


@attrs.frozen
class Following:
    """This node follows a leader's own heartbeat (E6)."""

    leader: NodeId
    epoch: Epoch


@attrs.frozen
class LostLeader:
    """Nobody is followed any longer (L7)."""

    leader: NodeId
    epoch: Epoch
    reason: str


@attrs.frozen
class StateChanged:
    """For the logs and the facts: `switching from FOLLOWING to LOOKING`."""

    old: State
    new: State


@attrs.frozen
class MemberFailed:
    """Gossip's verdict, by this node's own clock (G3)."""

    node: NodeId


@attrs.frozen
class MemberRecovered:
    """A node that was suspected, failed or unknown is alive."""

    node: NodeId


@attrs.frozen
class FetchFacts:
    """The gap is larger than a datagram: ask over a channel, if there is one (G5)."""

    peer: NodeId
    known: tuple[tuple[int, int, int], ...]


@attrs.frozen
class HandshakeFailed:
    """The handshake reached its deadline: the election cools this candidate down (E4)."""


@attrs.frozen
class HigherEpochProven:
    """A channel frame proved a higher established epoch (L5, L6)."""

    epoch: Epoch


@attrs.frozen
class LeaderChannelBroke:
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
