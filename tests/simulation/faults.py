"""Makes a schedule's faults and clients happen to a cluster, and heals it in the end."""

from __future__ import annotations

from collections import Counter
from functools import partial

from cluster.core import events as ev
from cluster.wire.jobs import Input, Program, Source
from tests.simulation.clock import MS
from tests.simulation.cluster import Cluster
from tests.simulation.host import Host
from tests.simulation.request import Request
from tests.simulation.schedule import (
    LEADER,
    Ask,
    BadDisk,
    Crash,
    Cut,
    Fault,
    Freeze,
    Pair,
    Reset,
    Slow,
    Stop,
    WallStep,
)

STRUCK_AGAIN = 0.4
"""In a third of the seeds, before all heals: so many starts of a node that was down die in their first write.

A write takes a millisecond, so that a crash at any moment is hardly ever in one; here each is, at any step.
"""

DOWN_AGAIN_MS = (20, 1500)


class Faults:
    """Everything that a schedule does to a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._healed = False
        self._dead: set[int] = set()
        self._bad: dict[int, BadDisk] = {}
        self._again = {node: cluster.chance.stream("struck again", node) for node in cluster.hosts}
        self._struck_again = STRUCK_AGAIN if cluster.chance.stream("struck again").is_lucky(1 / 3) else 0.0
        self._asked = 0

    def arm(self) -> None:
        """Put all of it on the heap."""
        schedule = self._cluster.schedule
        for fault in schedule.faults:
            self._cluster.at(fault.at_ms * MS, self._happen, fault)
        for ask in schedule.asks:
            self._cluster.at(ask.at_ms * MS, self.ask, ask)

    def _host(self, node: int) -> Host:
        """The node that a fault names: for `LEADER` whoever leads, or led last, else the last voter."""
        cluster = self._cluster
        if node != LEADER:
            return cluster.hosts[node]
        for host in cluster.hosts.values():
            if host.life is not None and host.life.core.authority.may_act(host.now(cluster.now)):
                return host
        led = cluster.checks.led
        return cluster.hosts[led[max(led)][0] if led else cluster.schedule.peer_ids[-1]]

    def _pairs(self, fault: Cut | Slow) -> tuple[Pair, ...]:
        leader = self._host(LEADER).id
        named = (tuple(leader if node == LEADER else node for node in pair) for pair in fault.pairs)
        return tuple((one, other) for one, other in named if one != other)

    def _happen(self, fault: Fault) -> None:
        if self._healed:
            return
        cluster = self._cluster
        match fault:
            case Crash():
                self._crash(self._host(fault.node), fault)
            case Stop():
                self._stop(self._host(fault.node), fault)
            case Freeze():
                self._freeze(self._host(fault.node), fault)
            case Cut():
                self._cut(fault)
            case Slow():
                pairs = self._pairs(fault)
                cluster.checks.trouble(*(node for pair in pairs for node in pair))
                for pair in pairs:
                    cluster.network.slow[pair] += fault.add_ms
                cluster.at(cluster.now + fault.for_ms * MS, self._unslow, pairs, fault.add_ms)
            case Reset():
                one, other = (self._host(node) for node in fault.pair)
                for link in cluster.wires.links.between(one.id, other.id):
                    cluster.wires.break_off(link, "reset")
            case BadDisk():
                host = self._host(fault.node)
                host.disk.trouble, self._bad[host.id] = fault.kind, fault
                cluster.at(cluster.now + fault.for_ms * MS, self._mend, host, fault)
            case WallStep():
                self._host(fault.node).wall_offset_s += fault.by_s

    def _freeze(self, host: Host, fault: Freeze) -> None:
        self._cluster.checks.trouble(host.id)
        if host.life is not None:
            host.life.timers_first = fault.timers_first
            self._cluster.stand_still(host, host.life, self._cluster.now + fault.for_ms * MS)

    def _crash(self, host: Host, fault: Crash) -> None:
        self._cluster.checks.trouble(host.id)
        if host.life is None:
            return
        self._cluster.kill(host, power=fault.power, wipe=fault.wipe)
        host.powered = not fault.power
        self._cluster.at(self._cluster.now + fault.down_ms * MS, self.bring_up, host)

    def _stop(self, host: Host, fault: Stop) -> None:
        if host.life is None:
            return
        cluster = self._cluster
        cluster.checks.trouble(host.id)
        host.restart = partial(self._restart_later, host, fault.down_ms)
        cluster.deliver(host, host.life, ev.StopRequested())

    def _restart_later(self, host: Host, down_ms: int) -> None:
        host.restart = None
        self._cluster.at(self._cluster.now + down_ms * MS, self.bring_up, host)

    def bring_up(self, host: Host) -> None:
        """Power, and a new life if there is none; who stays dead stays so, whatever was due to happen."""
        if host.id in self._dead:
            return
        host.powered = True
        if host.life is None and not self._healed and self._again[host.id].is_lucky(self._struck_again):
            self._crash_in_start(host)
        else:
            self._cluster.start(host)

    def _crash_in_start(self, host: Host) -> None:
        cluster, draw = self._cluster, self._again[host.id]
        host.powered = not draw.is_lucky(0.7)
        cluster.kill_in_start(host, power=not host.powered)
        cluster.at(cluster.now + draw.between(*DOWN_AGAIN_MS) * MS, self.bring_up, host)

    def _cut(self, fault: Cut) -> None:
        cluster = self._cluster
        table = cluster.network.deaf if fault.datagrams_only else cluster.network.cut
        pairs = self._pairs(fault)
        cluster.checks.trouble(*(node for pair in pairs for node in pair))
        table.update(pairs)
        cluster.at(cluster.now + fault.for_ms * MS, self._uncut, table, pairs)

    def _uncut(self, table: Counter[Pair], pairs: tuple[Pair, ...]) -> None:
        if not self._healed:
            table.subtract(pairs)

    def _unslow(self, pairs: tuple[Pair, ...], add_ms: int) -> None:
        for pair in () if self._healed else pairs:
            self._cluster.network.slow[pair] -= add_ms

    def _mend(self, host: Host, fault: BadDisk) -> None:
        """Its time is over, unless another has come since."""
        if self._bad.get(host.id) is fault:
            host.disk.trouble = ""

    # --- clients ----------------------------------------------------------------------------------------

    def ask(self, ask: Ask) -> int:
        """A client's request; gives back its number, 0 when the gateway is down."""
        cluster = self._cluster
        host = cluster.hosts[ask.gateway]
        life = host.life
        if life is None:
            return 0
        self._asked += 1
        number = self._asked
        text = f"sleep {ask.run_ms} {-ask.like if ask.like else number}"
        job = f"{cluster.chance.stream('job', number).bits():032x}"
        request = Request(host.id, life.boot, text, job, cluster.now)
        cluster.checks.requests[number] = request
        program = Program((Source("Main.java", text),), inputs=(Input(),))
        shared = bool(ask.like)
        watched = cluster.chance.stream("watched", number).is_lucky(0.25)
        event = ev.RequestArrived(number, job, program, use_cache=shared, keep=shared, progress=watched)
        cluster.deliver(host, life, event)
        if ask.leave_ms:
            cluster.at(cluster.now + ask.leave_ms * MS, self._leave, host, number)
        return number

    def _leave(self, host: Host, number: int) -> None:
        request = self._cluster.checks.requests[number]
        life = host.life
        if life is None or request.lost or request.result is not None or request.abandoned:
            return
        if self._cluster.now < life.still_until or life.inbox:
            return  # an answer may be on its way out of a node that stands still
        request.abandoned = True
        self._cluster.deliver(host, life, ev.RequestAbandoned(number))

    # --- the end of chaos -------------------------------------------------------------------------------

    def heal(self) -> None:
        """Everything works again, but for whoever stays broken."""
        cluster, schedule = self._cluster, self._cluster.schedule
        self._healed = True
        cluster.network.heal()
        cluster.broken = tuple({self._host(node).id: None for node in schedule.broken})
        if LEADER in schedule.broken:
            cluster.probes["the leader itself was not healed"] += 1
        for node in cluster.broken:
            self._leave_broken(cluster.hosts[node])
        cluster.network.knobs = cluster.network.knobs.__class__(queue=schedule.knobs.queue)
        for host in cluster.hosts.values():
            if host.id in cluster.broken:
                continue
            host.disk.trouble = ""
            host.event_ns = 0
            if host.restart is not None:  # it was told to stop: that is over
                host.restart = None
                cluster.kill(host)
            if host.life is None:
                self.bring_up(host)
                continue
            cluster.hasten_write(host, host.life)
            if cluster.now < host.life.still_until:
                host.life.still_until = cluster.now
                host.life.opening = False
                cluster.stand_still(host, host.life, cluster.now)

    def _leave_broken(self, host: Host) -> None:
        """Dead, cut off, deaf or mute: a node that is no part of the healed core may be any of these."""
        cluster = self._cluster
        state = cluster.chance.stream("broken", host.id).between(0, 3)
        if state == 0:
            cluster.kill(host, power=True)
            host.powered = False
            self._dead.add(host.id)
            return
        for other in cluster.hosts:
            if state in (1, 2):
                cluster.network.cut[other, host.id] += 1
            if state in (1, 3):
                cluster.network.cut[host.id, other] += 1
