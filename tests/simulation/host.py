"""One simulated node: its clock, its disk, and its life: a `NodeCore` driven as `net/driver.py` does.

What arrives while the node stands still or is busy waits in its inbox; datagrams beyond the socket's buffer
are dropped. After each event exactly one timer is armed, and a late one is reported first (G4).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs

from cluster.config import TimingSettings
from cluster.core import effects as fx
from cluster.core import events as ev
from cluster.core.group_commit import GroupCommit
from cluster.core.node import NodeCore
from cluster.core.record import Record
from cluster.identity import Boot, NodeId, Role
from cluster.wire.sealing import Lives
from tests.simulation.ballot import BallotWatch
from tests.simulation.chance import Stream
from tests.simulation.clock import MS, Clock
from tests.simulation.disk import SimulatedDisk
from tests.simulation.lease import LeaseWatch
from tests.simulation.witness import Witness

LAG_S = 0.05
"""As the driver's: a later timer makes the node doubt itself."""

SPIN_NS = MS
"""As the driver's: a deadline still past after a tick is tried again this much later."""

TIMING = TimingSettings()

SPIN_MAX = 200
"""Such ticks in a row; more, and some deadline is never met."""


@attrs.define(eq=False)
class Run:
    """A program that runs; what it gives back is its own text."""

    text: str
    key: tuple[int, int] = (0, 0)
    written: int = 0


@attrs.define(eq=False)
class Life:
    """One life of a node.

    Attributes:
        lives: what sealing remembers of each sender.
        boots: of each sender, the newest that the core has heard.
        deadline: when the core wants to be woken, by the node's clock; `moment`: the true time of that.
        expected: the same, until its lateness was looked at.
        wake_at: true time of the earliest wake-up on the heap.
        still_until: true time until which nothing is processed.
        writes: what is to be made durable, as in the node's own store.
        on_disk: the record that is being written, until true time `written_at`.
        orders: who sent which attempt of which job, as it arrived.
        lease: what the messages say about the right to act.
        witness: and about a leader that was heard.
        ballot: and about those who may be voted for.
    """

    core: NodeCore
    boot: Boot
    sequence: int = 0
    lives: Lives = attrs.Factory(Lives)
    boots: dict[int, int] = attrs.Factory(dict)
    expected: float | None = None
    deadline: float | None = None
    moment: int = 0
    wake_at: int | None = None
    still_until: int = 0
    timers_first: bool = False
    inbox: deque[tuple[ev.Event, bool]] = attrs.Factory(deque)
    waiting_datagrams: int = 0
    opening: bool = False
    spins: int = 0
    running: dict[str, Run] = attrs.Factory(dict)
    writes: GroupCommit[fx.Persist] = attrs.Factory(GroupCommit)
    on_disk: Record | None = None
    written_at: int = -1
    started: set[tuple[str, int, int]] = attrs.Factory(set)
    stale: set[tuple[str, int, int]] = attrs.Factory(set)
    peers: dict[int, int] = attrs.Factory(dict)
    orders: dict[tuple[str, int], tuple[int, int]] = attrs.Factory(dict)

    lease: LeaseWatch = attrs.Factory(LeaseWatch)
    witness: Witness = attrs.Factory(lambda: Witness(TIMING.follower_timeout_s))
    ballot: BallotWatch = attrs.Factory(BallotWatch)
    _over: bool = False

    def end(self) -> None:
        """Its process is gone."""
        self._over = True

    def is_over(self) -> bool:
        """Whether it is; asked anew after whatever may have ended it."""
        return self._over

    @property
    def is_armed(self) -> bool:
        """Whether a wake-up is on the heap."""
        return self.wake_at is not None


@attrs.define(eq=False)
class Host:
    """One machine."""

    id: NodeId
    role: Role
    clock: Clock
    disk: SimulatedDisk
    disk_draw: Stream
    event_ns: int = 0
    life: Life | None = None
    powered: bool = True
    wall_offset_s: int = 0
    lives: int = 0
    restart: Callable[[], None] | None = None
    _at: int = -1
    _shown: float = 0.0

    def now(self, at: int) -> float:
        """What its monotonic clock shows."""
        if at != self._at:
            self._at = at
            self._shown = self.clock.seconds(at)
        return self._shown
