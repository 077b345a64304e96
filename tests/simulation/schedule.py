"""What happens to a simulated cluster, as data: nodes, knobs, faults, clients. A run depends on nothing else.

A schedule goes through JSON and back unchanged; a failing one is made smaller by leaving faults out of it.
Times count from the start of the run, in milliseconds of true time.
"""

from __future__ import annotations

from typing import Literal

import msgspec

DiskFault = Literal["error", "full", "slow"]

LEADER = 0
"""In a fault: whoever leads when it happens, or led last."""

Pair = tuple[int, int]
"""From whom to whom."""


def both_ways(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[Pair, ...]:
    """Each of one side with each of the other."""
    return tuple(pair for a in one for b in other for pair in ((a, b), (b, a)))


class Knobs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is so all the time.

    Attributes:
        loss, duplicate: shares of the datagrams.
        delay_us: of datagrams and frames, least and most.
        tail: share of datagrams that take up to `tail_ms` more; a duplicate always may.
        queue: datagrams on their way on one link in one direction; the next one is dropped.
        buffer: datagrams that wait for a node that stands still; the next one is dropped.
        disk_us: one durable write, least and most.
        drift_ppm: how fast each node's clock goes, in order of node id.
        event_us: what one event costs a node, in order of node id; while it is busy, others wait.
        stuck_s: how long a channel without an answer stays open.
        deadline_s: how long a client waits at most (W4).
    """

    loss: float = 0.0
    duplicate: float = 0.0
    delay_us: Pair = (150, 500)
    tail: float = 0.0
    tail_ms: int = 50
    queue: int = 500
    buffer: int = 200
    disk_us: Pair = (800, 1400)
    drift_ppm: tuple[int, ...] = ()
    event_us: tuple[int, ...] = ()
    stuck_s: int = 8
    deadline_s: int = 60


class Crash(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="crash"):
    """The process dies; it is started again after `down_ms`.

    Attributes:
        power: the whole host dies: what was not synchronised may be lost or torn, and nobody gets a reset.
        wipe: its disk is lost; `javacluster init` makes a new record.
    """

    at_ms: int
    node: int
    down_ms: int
    power: bool = False
    wipe: bool = False


class Stop(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="stop"):
    """SIGTERM: it hands over and drains (W10); started again `down_ms` after its end."""

    at_ms: int
    node: int
    down_ms: int


class Freeze(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="freeze"):
    """SIGSTOP, then SIGCONT: everything that came meanwhile arrives at once.

    Attributes:
        timers_first: the late timer is seen before what has arrived.
    """

    at_ms: int
    node: int
    for_ms: int
    timers_first: bool = False


class Cut(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="cut"):
    """Nothing gets through in these directions; channels stall. Or only datagrams are lost."""

    at_ms: int
    for_ms: int
    pairs: tuple[Pair, ...]
    datagrams_only: bool = False


class Slow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="slow"):
    """These directions take longer."""

    at_ms: int
    for_ms: int
    pairs: tuple[Pair, ...]
    add_ms: int


class Reset(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="reset"):
    """Every channel between the two breaks."""

    at_ms: int
    pair: Pair


class BadDisk(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="disk"):
    """Writes fail at some step (`error`), before anything is written (`full`), or take long (`slow`)."""

    at_ms: int
    for_ms: int
    node: int
    kind: DiskFault


class WallStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="wall"):
    """Somebody sets the node's UTC clock; its monotonic clock goes on."""

    at_ms: int
    node: int
    by_s: int


Fault = Crash | Stop | Freeze | Cut | Slow | Reset | BadDisk | WallStep


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A client sends a program that takes `run_ms` to a gateway.

    Attributes:
        leave_ms: it goes away after this long; 0: it waits.
        like: the program is the same as that of every client with this number, and may be shared; 0: its own.
    """

    at_ms: int
    gateway: int
    run_ms: int
    leave_ms: int = 0
    like: int = 0


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One run.

    Attributes:
        chaos_ms: then everything heals and the cluster must converge.
        broken: nodes that are not healed, `LEADER` for the one that leads by then; the others hold a majority
            of voters that may vote.
        bounded: clocks keep to rho, so that I6 is promised; else only I5 is.
        new: the records are fresh; the voters gain their votes by N5 (a).
    """

    seed: int
    peers: int
    workers: int = 0
    gateways: int = 1
    knobs: Knobs = Knobs()
    faults: tuple[Fault, ...] = ()
    asks: tuple[Ask, ...] = ()
    chaos_ms: int = 8000
    broken: tuple[int, ...] = ()
    bounded: bool = True
    new: bool = False

    @property
    def peer_ids(self) -> tuple[int, ...]:
        """The voters."""
        return tuple(range(1, self.peers + 1))

    @property
    def worker_ids(self) -> tuple[int, ...]:
        """Nodes that work and never vote."""
        return tuple(range(51, 51 + self.workers))

    @property
    def gateway_ids(self) -> tuple[int, ...]:
        """Nodes that clients talk to."""
        return tuple(range(101, 101 + self.gateways))

    @property
    def node_ids(self) -> tuple[int, ...]:
        """Everybody, in order."""
        return (*self.peer_ids, *self.worker_ids, *self.gateway_ids)


def dump(schedule: Schedule) -> bytes:
    """As JSON, indented for people."""
    return msgspec.json.format(msgspec.json.encode(schedule), indent=1) + b"\n"


def load(data: bytes) -> Schedule:
    """From JSON.

    Raises:
        ValueError: it is no schedule, or one about nodes or times that there are not.
    """
    schedule = msgspec.json.decode(data, type=Schedule)
    if schedule.peers < 1 or schedule.gateways < 1 or schedule.workers < 0:
        raise ValueError("a cluster has a voter and a gateway, and no fewer than no workers")
    _check_knobs(schedule)
    _check_broken(schedule)
    known = {LEADER, *schedule.node_ids}
    for fault in schedule.faults:
        named = {getattr(fault, "node", LEADER), *getattr(fault, "pair", ())}
        named.update(node for pair in getattr(fault, "pairs", ()) for node in pair)
        if strangers := named - known:
            raise ValueError(f"a fault strikes node {min(strangers)}, and there is none: {fault}")
    for ask in schedule.asks:
        if ask.gateway not in schedule.gateway_ids:
            raise ValueError(f"a client asks {ask.gateway}, which is no gateway: {ask}")
    return schedule


def _check_knobs(schedule: Schedule) -> None:
    knobs, nodes = schedule.knobs, len(schedule.node_ids)
    for name, each in (("drift_ppm", knobs.drift_ppm), ("event_us", knobs.event_us)):
        if len(each) not in {0, nodes}:
            raise ValueError(f"{name} is there for {len(each)} nodes of {nodes}: give all, or none")
    for name, (least, most) in (("delay_us", knobs.delay_us), ("disk_us", knobs.disk_us)):
        if not 0 <= least <= most:
            raise ValueError(f"{name}: {least} to {most} is no time")
    for happening in (schedule, *schedule.faults, *schedule.asks):
        for name, value in msgspec.structs.asdict(happening).items():
            if name.endswith("_ms") and value < 0:
                raise ValueError(f"{name} is {value}: times count from the start, and none is below 0")


def _check_broken(schedule: Schedule) -> None:
    if strangers := set(schedule.broken) - {LEADER, *schedule.node_ids}:
        raise ValueError(f"node {min(strangers)} is to stay broken, and there is none")
