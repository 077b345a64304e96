"""Makes a schedule's faults and clients happen to a cluster, and heals it in the end."""

from __future__ import annotations

from functools import partial

from cluster.core import events as ev
from cluster.wire.jobs import Input, Program, Source
from tests.simulation.checks import Request
from tests.simulation.clock import MS
from tests.simulation.cluster import Cluster
from tests.simulation.host import Host
from tests.simulation.schedule import (
    Ask,
    BadDisk,
    Crash,
    Cut,
    Fault,
    Freeze,
    Reset,
    Slow,
    Stop,
    WallStep,
)


class Faults:
    """Everything that a schedule does to a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._healed = False
        self._asked = 0

    def arm(self) -> None:
        """Put all of it on the heap."""
        schedule = self._cluster.schedule
        for fault in schedule.faults:
            self._cluster.at(fault.at_ms * MS, self._happen, fault)
        for ask in schedule.asks:
            self._cluster.at(ask.at_ms * MS, self.ask, ask)

    def _happen(self, fault: Fault) -> None:
        if self._healed:
            return
        cluster = self._cluster
        match fault:
            case Crash():
                self._crash(cluster.hosts[fault.node], fault)
            case Stop():
                self._stop(cluster.hosts[fault.node], fault)
            case Freeze():
                life = cluster.hosts[fault.node].life
                if life is not None:
                    life.timers_first = fault.timers_first
                    cluster.stand_still(cluster.hosts[fault.node], life, cluster.now + fault.for_ms * MS)
            case Cut():
                self._cut(fault)
            case Slow():
                for pair in fault.pairs:
                    cluster.network.slow[pair] += fault.add_ms
                cluster.at(cluster.now + fault.for_ms * MS, self._unslow, fault)
            case Reset():
                for link in cluster.wires.links.between(*fault.pair):
                    cluster.wires.break_off(link, "reset")
            case BadDisk():
                disk = cluster.hosts[fault.node].disk
                disk.trouble = fault.kind
                cluster.at(cluster.now + fault.for_ms * MS, self._mend, cluster.hosts[fault.node])
            case WallStep():
                cluster.hosts[fault.node].wall_offset_s += fault.by_s

    def _crash(self, host: Host, fault: Crash) -> None:
        if host.life is None:
            return
        self._cluster.kill(host, power=fault.power, wipe=fault.wipe)
        host.powered = not fault.power
        self._cluster.at(self._cluster.now + fault.down_ms * MS, self.bring_up, host)

    def _stop(self, host: Host, fault: Stop) -> None:
        if host.life is None:
            return
        cluster = self._cluster
        host.restart = partial(self._restart_later, host, fault.down_ms)
        cluster.deliver(host, host.life, ev.StopRequested())

    def _restart_later(self, host: Host, down_ms: int) -> None:
        host.restart = None
        self._cluster.at(self._cluster.now + down_ms * MS, self.bring_up, host)

    def bring_up(self, host: Host) -> None:
        """Power, and a new life if there is none."""
        host.powered = True
        self._cluster.start(host)

    def _cut(self, fault: Cut) -> None:
        cluster = self._cluster
        table = cluster.network.deaf if fault.datagrams_only else cluster.network.cut
        for pair in fault.pairs:
            table[pair] += 1
        cluster.at(cluster.now + fault.for_ms * MS, self._uncut, fault)

    def _uncut(self, fault: Cut) -> None:
        network = self._cluster.network
        table = network.deaf if fault.datagrams_only else network.cut
        if not self._healed:
            table.subtract(fault.pairs)

    def _unslow(self, fault: Slow) -> None:
        network = self._cluster.network
        for pair in () if self._healed else fault.pairs:
            network.slow[pair] -= fault.add_ms

    def _mend(self, host: Host) -> None:
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
        request = Request(host.id, life.boot, text, job)
        cluster.checks.requests[number] = request
        program = Program((Source("Main.java", text),), inputs=(Input(),))
        shared = bool(ask.like)
        event = ev.RequestArrived(number, job, program, use_cache=shared, keep=shared)
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
        for node in schedule.broken:
            self._leave_broken(cluster.hosts[node])
        cluster.network.knobs = cluster.network.knobs.__class__(queue=schedule.knobs.queue)
        for host in cluster.hosts.values():
            if host.id in schedule.broken:
                continue
            host.disk.trouble = ""
            host.event_ns = 0
            if host.restart is not None:  # it was told to stop: that is over
                host.restart = None
                cluster.kill(host)
            if host.life is None:
                self.bring_up(host)
            elif cluster.now < host.life.still_until:
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
            return
        for other in cluster.hosts:
            if state in (1, 2):
                cluster.network.cut[other, host.id] += 1
            if state in (1, 3):
                cluster.network.cut[host.id, other] += 1
