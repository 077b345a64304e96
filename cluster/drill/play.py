"""Plays a drill: makes a cluster, loads it, strikes it by the schedule, heals it, and has it judged.

The next fault waits until the cluster is whole again, so that a majority of the peers and one gateway are
always there and every refusal is the cluster's own doing.
"""

from __future__ import annotations

import contextlib
import platform
import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from cluster import client, namespaces
from cluster.bench import HTTP_ABOVE_BASE, machine
from cluster.drill import history, picture
from cluster.drill.account import Account, Strike, as_lines, judge
from cluster.drill.load import Load
from cluster.drill.schedule import CUTS, Fault, Hit, Kind, faults, severed
from cluster.errors import RemoteProtocolError, Unavailable
from cluster.limits import MIB
from cluster.local import READY_S, Layout, LocalCluster

HEAL_S = 180.0
"""How long a cluster may take to be whole again once everything runs; longer is a violation.

It is whole when every node's virtual machines are warm, which a machine with fifty busy processes does in two
minutes.
"""

LOOK_S = 0.25
"""Between two looks at the cluster: a look costs it as much as a request does."""

ELECTION_S = 15.0
"""How long the second of two leaders in a row may take to appear."""

EXIT_S = 30.0
"""How long a node may take to end after SIGTERM (its drain timeout is 20 s); longer is a violation."""

SETTINGS = {
    "work.slots": 2,
    "limits.wall_s": 30,
    "log.rotate_bytes": 512 * MIB,
    "gateway.allow_anonymous": True,
}
"""Two slots a peer, whatever the machine, and time enough for a program on a busy one; logs that hold a whole
drill; gateways that only this machine reaches.
"""


TAKEN_DOWN: dict[Kind, tuple[signal.Signals, tuple[str, ...]]] = {
    Kind.KILL_LEADER: (signal.SIGKILL, ("leader",)),
    Kind.KILL_FOLLOWER: (signal.SIGKILL, ("follower",)),
    Kind.KILL_BOTH: (signal.SIGKILL, ("leader", "follower")),
    Kind.KILL_GATEWAY: (signal.SIGKILL, ("gateway",)),
    Kind.DRAIN_LEADER: (signal.SIGTERM, ("leader",)),
    Kind.DRAIN_FOLLOWER: (signal.SIGTERM, ("follower",)),
    Kind.DRAIN_GATEWAY: (signal.SIGTERM, ("gateway",)),
}
"""Who gets which signal; the other kinds take more than one step."""


class Plan(msgspec.Struct, frozen=True):
    """What a drill is made of."""

    minutes: float = 10.0
    seed: int = 1
    peers: int = 5
    gateways: int = 2
    clients: int = 6
    rate: float = 4.0
    base_port: int = 19000
    cuts: bool = True


class Report(msgspec.Struct, frozen=True):
    """What is left of a drill."""

    plan: Plan
    machine: str
    seconds: float
    faults: int
    account: Account
    without_cuts: str = ""
    """Why the network was left whole; empty when it was cut."""


class Drill:
    """One drill; `run` once."""

    def __init__(self, plan: Plan, directory: Path, say: Callable[[str], None]) -> None:
        """Nothing happens before `run`; `directory` is where the cluster is made."""
        self._plan = plan
        self._say = say
        self._cluster = LocalCluster(directory)
        self._layout = Layout(
            plan.peers, plan.base_port, plan.base_port + HTTP_ABOVE_BASE, dict(SETTINGS), plan.gateways
        )
        self._without_cuts = "not asked for" if not plan.cuts else namespaces.missing()
        self._strikes: list[Strike] = []
        self._marks: list[picture.Mark] = []
        self._trouble: list[str] = []
        self._begin = 0.0

    def run(self) -> tuple[Report, str]:
        """Play it; returns the report and the picture.

        Raises:
            ClusterError: the cluster did not even start.
        """
        with contextlib.ExitStack() as stack:
            if self._without_cuts:
                self._say(f"the network is left whole: {self._without_cuts}")
            else:
                network = stack.enter_context(namespaces.namespaces(self._layout.ids()))
                self._layout = msgspec.structs.replace(self._layout, network=network)
            return self._run()

    def _run(self) -> tuple[Report, str]:
        plan = self._plan
        self._say(f"starting {plan.gateways} gateways and {plan.peers} peers")
        try:
            self._cluster.make(self._layout)
            self._cluster.start()
            self._cluster.wait_until_serving(READY_S)
            wait_until(self._whole, HEAL_S)
            return self._loaded()
        finally:
            self._cluster.down()

    def _loaded(self) -> tuple[Report, str]:
        plan = self._plan
        members = self._layout.members()
        places = {node: (members[node]["host"], members[node]["http"]) for node in self._layout.gateway_ids()}
        load = Load(places, plan.clients, plan.rate, plan.seed)
        utc_offset = time.time() - time.monotonic()
        self._begin = time.monotonic()
        load.start()
        played = self._play(self._begin + 60 * plan.minutes)
        self._tell("the load stops; waiting for what is owed")
        if not load.stop():
            self._trouble.append("a client still waits for its answer")
        seconds = time.monotonic() - self._begin
        self._cluster.down()
        story = history.read(self._cluster.node_directory(node) for node in self._layout.ids())
        account = judge(load.done, self._strikes, story, utc_offset)
        if len(load.done) != load.sent:
            self._trouble.append(f"{load.sent - len(load.done)} requests came to no end")
        account = msgspec.structs.replace(account, violations=(*self._trouble, *account.violations))
        report = Report(
            plan, f"{platform.system()}, {machine()}", round(seconds, 1), played, account, self._without_cuts
        )
        return report, picture.draw(self._timeline(load, story, utc_offset, seconds))

    # --- faults ------------------------------------------------------------------------------------

    def _play(self, until: float) -> int:
        """Fault after fault until the time is over; returns how many there were."""
        played = 0
        plan, cuts = self._plan, self._layout.network is not None
        for fault in faults(plan.seed, peers=plan.peers, gateways=plan.gateways, cuts=cuts):
            time.sleep(max(0.0, min(fault.pause_s, until - time.monotonic())))
            if time.monotonic() >= until:
                break
            begin = time.monotonic()
            try:
                self._inflict(fault)
            except Unavailable as error:
                self._trouble.append(f"fault {fault.number}, {fault.kind}: {error}")
            if not wait_until(self._whole, HEAL_S):
                self._trouble.append(f"not whole {HEAL_S:g} s after fault {fault.number}, {fault.kind}")
            end = time.monotonic()
            self._marks.append(picture.Mark(fault.number, fault.kind, begin - self._begin, end - self._begin))
            played += 1
        return played

    def _inflict(self, fault: Fault) -> None:
        leader = self._leader()
        followers = [node for node in range(1, self._plan.peers + 1) if node != leader]
        follower = followers[int(fault.pick * len(followers))]
        gateways = self._layout.gateway_ids()
        gateway = gateways[int(fault.pick * len(gateways))]
        hit = {"leader": leader, "follower": follower, "gateway": gateway}
        match fault.kind:
            case Kind.KILL_TWO_LEADERS:
                self._kill_two_leaders(fault, leader)
            case Kind.PAUSE_LEADER | Kind.PAUSE_FOLLOWER:
                self._pause(fault, leader if fault.kind is Kind.PAUSE_LEADER else follower)
            case _ if fault.kind in CUTS:
                self._cut(fault, Hit(leader, follower, gateway))
            case Kind.ROLL:
                for node in (*followers, leader, *gateways):
                    self._take_down(fault, signal.SIGTERM, node)
            case _:
                number, roles = TAKEN_DOWN[fault.kind]
                self._take_down(fault, number, *(hit[role] for role in roles))

    def _take_down(self, fault: Fault, number: signal.Signals, *nodes: int) -> None:
        """Signal these, wait until they have ended and the outage is over, start them again."""
        self._tell(f"fault {fault.number}: {fault.kind}: node {', '.join(map(str, nodes))}")
        leader = self._leader()
        struck = [self._strike(node, number, leader=node == leader) for node in nodes]
        self._bring_back(fault, nodes, struck)

    def _kill_two_leaders(self, fault: Fault, first: int) -> None:
        self._tell(f"fault {fault.number}: {fault.kind}: first node {first}")
        struck = [self._strike(first, signal.SIGKILL, leader=True)]
        second = first
        if wait_until(lambda: self._leader_now() not in {None, first}, ELECTION_S):
            second = self._leader()
            self._tell(f"fault {fault.number}: then node {second}")
            struck.append(self._strike(second, signal.SIGKILL, leader=True))
        self._bring_back(fault, tuple(dict.fromkeys((first, second))), struck)

    def _bring_back(self, fault: Fault, nodes: tuple[int, ...], struck: list[Strike]) -> None:
        if not wait_until(lambda: not self._running(nodes), EXIT_S):
            self._trouble.append(f"node {nodes} did not end within {EXIT_S:g} s of {fault.kind}")
            for node in self._running(nodes):
                self._cluster.kill(node, signal.SIGKILL)
        if fault.kind is not Kind.ROLL:
            time.sleep(fault.outage_s)
        self._cluster.start(*nodes)
        self._healed(struck)

    def _pause(self, fault: Fault, node: int) -> None:
        self._tell(f"fault {fault.number}: {fault.kind}: node {node} for {fault.outage_s:g} s")
        struck = [self._strike(node, signal.SIGSTOP, leader=node == self._leader())]
        time.sleep(fault.outage_s)
        self._cluster.kill(node, signal.SIGCONT)
        self._healed(struck)

    def _cut(self, fault: Fault, hit: Hit) -> None:
        network = self._layout.network
        assert network is not None  # noqa: S101  (the schedule has cuts only with one)
        nodes = self._layout.ids()
        struck, links = severed(fault.kind, hit, nodes)
        who = ", ".join(map(str, sorted(struck)))
        self._tell(f"fault {fault.number}: {fault.kind}: node {who} for {fault.outage_s:g} s")
        begin = time.monotonic()
        namespaces.cut(network, links)
        time.sleep(fault.outage_s)
        namespaces.heal(network, nodes)
        self._healed(
            [Strike(node, fault.kind.value, begin, begin, leader=node == hit.leader) for node in struck]
        )

    def _strike(self, node: int, number: signal.Signals, *, leader: bool) -> Strike:
        begin = time.monotonic()
        self._cluster.kill(node, number)
        return Strike(node, number.name, begin, begin, leader)

    def _healed(self, struck: list[Strike]) -> None:
        """Only a cluster that is whole again has no excuse any longer."""
        wait_until(self._whole, HEAL_S)
        end = time.monotonic()
        self._strikes.extend(msgspec.structs.replace(strike, end=end) for strike in struck)

    # --- looking -----------------------------------------------------------------------------------

    def _running(self, nodes: tuple[int, ...]) -> list[int]:
        return [process.id for process in self._cluster.processes() if process.id in nodes and process.pid]

    def _leader(self) -> int:
        wait_until(lambda: self._leader_now() is not None, ELECTION_S)
        leader = self._leader_now()
        if leader is None:
            raise Unavailable(f"no leader within {ELECTION_S:g} s")
        return leader

    def _leader_now(self) -> int | None:
        for gateway in self._layout.gateway_ids():
            try:
                return client.look(self._cluster.http_url(gateway)).leader
            except (Unavailable, RemoteProtocolError):
                continue
        return None

    def _whole(self) -> bool:
        """Every node runs, is ready in its own eyes, and follows the same leader."""
        leaders = set()
        for node in self._layout.ids():
            try:
                view = client.look(self._cluster.http_url(node))
            except (Unavailable, RemoteProtocolError):
                return False
            leaders.add(view.leader)
            if not view.ready or len(leaders) > 1:
                return False
        return leaders != {None}

    # --- telling -----------------------------------------------------------------------------------

    def _tell(self, text: str) -> None:
        self._say(f"{time.monotonic() - self._begin:7.1f} s  {text}")

    def _timeline(
        self, load: Load, story: history.History, utc_offset: float, seconds: float
    ) -> picture.Timeline:
        begin, utc = self._begin, self._begin + utc_offset
        names = {node: f"peer {node}" for node in range(1, self._plan.peers + 1)}
        names |= {node: f"gateway {node}" for node in self._layout.gateway_ids()}
        return picture.Timeline(
            f"javacluster drill, seed {self._plan.seed}: {self._plan.peers} peers, "
            f"{self._plan.gateways} gateways, {len(load.done)} requests, {len(self._marks)} faults",
            seconds,
            names,
            [
                msgspec.structs.replace(
                    reign,
                    begin=max(0.0, reign.begin - utc),
                    end=None if reign.end is None else max(0.0, reign.end - utc),
                )
                for reign in story.reigns
            ],
            [msgspec.structs.replace(s, begin=s.begin - begin, end=s.end - begin) for s in self._strikes],
            self._marks,
            [
                msgspec.structs.replace(
                    request,
                    tries=tuple(
                        msgspec.structs.replace(t, begin=t.begin - begin, end=t.end - begin)
                        for t in request.tries
                    ),
                )
                for request in load.done
            ],
        )


def wait_until(condition: Callable[[], bool], patience_s: float) -> bool:
    """Look every `LOOK_S` until it holds or `patience_s` is over; tells whether it held."""
    deadline = time.monotonic() + patience_s
    while not (held := condition()) and time.monotonic() < deadline:
        time.sleep(LOOK_S)
    return held


def summary(report: Report) -> list[str]:
    """For people."""
    plan = report.plan
    size = f"{plan.peers} peers, {plan.gateways} gateways, {plan.clients} clients"
    title = f"drill, seed {plan.seed}: {report.seconds:.0f} s, {report.faults} faults, {size}, "
    lines = [f"{title}{plan.rate:g} requests a second", report.machine]
    if report.without_cuts:
        lines.append(f"the network was left whole: {report.without_cuts}")
    return [*lines, *as_lines(report.account)]
