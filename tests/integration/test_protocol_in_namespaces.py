"""The protocol between real processes, each in a network namespace: cuts, stops, deaths, clocks (L3-L7).

What the simulator shows of the cores is shown here of the whole: sockets, threads, disks, the scheduler.
After each fault the nodes' logs, and what they said of themselves meanwhile, must agree with the invariants.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from cluster import client, namespaces
from cluster.errors import ClusterError
from cluster.local import Layout, LocalCluster
from tests.integration.evidence import Logs, Witness, read_logs
from tests.integration.live import HELLO, eventually

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(namespaces.missing()), reason=f"network namespaces: {namespaces.missing()}"),
]

PEERS = (1, 2, 3)
RECOVERS_S = 60.0
"""A busy machine's patience; how soon it really is, `javacluster bench --part failover` measures."""

ELECTIONS = 8
"""Until the node leads whose clock can be set; one is enough when nobody is behind."""

SETTINGS = {"work.slots": 1, "gateway.allow_anonymous": True, "log.rotate_bytes": 1 << 28}

FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)

SLEEPS_UNDER_FAKETIME = """
import select
import time


def sleep(seconds):
    select.select([], [], [], seconds)


time.sleep = sleep
"""
"""libfaketime 0.9.10, told to leave the monotonic clock alone, refuses each sleep until a moment of it.

A node of ours waits like that for a trusted program that ends a moment after its last word.
"""


@attrs.define
class Islands:
    """A cluster of three peers and a gateway that can be cut into pieces.

    Attributes:
        asked: programs so far.
        seen: the leader of each epoch that all of them followed at some time.
    """

    cluster: LocalCluster
    witness: Witness
    asked: int = 0
    seen: dict[int, int] = attrs.Factory(dict)

    def look(self, node: int = 0) -> client.ClusterView | None:
        """What a node says; None when it says nothing."""
        with contextlib.suppress(ClusterError):
            return client.look(self.cluster.http_url(node))
        return None

    def led(self) -> tuple[int, int] | None:
        """Leader and epoch once all three peers and the gateway agree on them."""
        views = [self.look(node) for node in (0, *PEERS)]
        agreed = {(view.leader, view.epoch) if view else None for view in views}
        [only] = agreed if len(agreed) == 1 else [None]
        return (only[0], only[1]) if only is not None and only[0] is not None else None

    def settled(self) -> tuple[int, int]:
        """Leader and epoch, once all follow and it has said so itself."""

        def led_and_claimed() -> tuple[int, int] | None:
            led = self.led()
            return led if led is not None and self.witness.claimed(*led) else None

        found: tuple[int, int] = eventually(led_and_claimed, "all follow one leader", RECOVERS_S)
        leader, epoch = found
        assert self.seen.setdefault(epoch, leader) == leader
        return found

    def another_leads(self, than: int, epoch: int) -> None:
        """The gateway follows somebody else, in a higher epoch."""

        def done() -> bool:
            view = self.look()
            return view is not None and view.leader not in {None, than} and view.epoch > epoch

        eventually(done, f"another than {than} leads", RECOVERS_S)

    def answers(self) -> None:
        """A program that nobody sent before gets its own answer."""
        self.asked += 1
        program = HELLO.format(f"number {self.asked}").encode()
        wanted = f"Hello world! number {self.asked}"

        def answered() -> bool:
            try:
                answer = client.run(self.cluster.gateway_url, program)
            except ClusterError:
                return False
            assert answer.text == wanted, "a wrong answer is one too many (I10)"
            return True

        eventually(answered, "an answer", RECOVERS_S)

    @contextlib.contextmanager
    def cut(self, links: list[tuple[int, int]]) -> Iterator[None]:
        """Nothing passes these ways meanwhile."""
        network = self.cluster.layout.network
        assert network is not None
        namespaces.cut(network, links)
        try:
            yield
        finally:
            namespaces.heal(network, self.cluster.layout.ids())

    def nothing_is_broken(self) -> None:
        """Every invariant that the logs and the claims can show."""
        directories = {node: self.cluster.node_directory(node) for node in PEERS}

        def written() -> Logs | None:
            logs = read_logs(directories)
            return logs if self.seen.keys() <= logs.led.keys() else None

        told: Logs = eventually(written, "each epoch is in a log, which may be a moment behind", RECOVERS_S)
        assert told.broken == []
        assert self.witness.broken() == []
        assert set(told.lines) == set(PEERS), "each node's log tells something"
        assert {epoch: told.led[epoch][0] for epoch in self.seen} == self.seen


@pytest.fixture(scope="module")
def islands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Islands]:
    layout = Layout(len(PEERS), base_port=22000, http_port=22888, settings=SETTINGS)
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(namespaces.namespaces(layout.ids()))
        cluster = LocalCluster(tmp_path_factory.mktemp("islands") / "cluster")
        stack.callback(cluster.down)
        cluster.make(
            Layout(layout.peers, layout.base_port, layout.http_port, layout.settings, network=network)
        )
        cluster.start()
        cluster.wait_until_serving()
        witness = stack.enter_context(Witness({n: cluster.http_url(n) for n in PEERS}).watching())
        yield Islands(cluster, witness)


def others(node: int) -> list[int]:
    return [other for other in (0, *PEERS) if other != node]


def both_ways(leader: int) -> list[tuple[int, int]]:
    return [*hears_nobody(leader), *heard_by_nobody(leader)]


def hears_nobody(leader: int) -> list[tuple[int, int]]:
    return [(other, leader) for other in others(leader)]


def heard_by_nobody(leader: int) -> list[tuple[int, int]]:
    return [(leader, other) for other in others(leader)]


@pytest.mark.parametrize("links", [both_ways, hears_nobody, heard_by_nobody], ids=lambda f: f.__name__)
def test_l3_a_leader_that_is_cut_off_in_silence_is_replaced_and_claims_nothing(
    islands: Islands, links: Callable[[int], list[tuple[int, int]]]
) -> None:
    leader, epoch = islands.settled()
    with islands.cut(links(leader)):
        islands.another_leads(leader, epoch)
        islands.answers()
        eventually(
            lambda: (view := islands.look(leader)) is not None and view.leader != leader,
            "the old leader does not claim to lead",
            RECOVERS_S,
        )
    assert islands.settled()[1] > epoch
    islands.answers()
    islands.nothing_is_broken()


def test_l7_a_follower_that_is_cut_off_from_the_leader_alone_deposes_nobody(islands: Islands) -> None:
    """S31: it hears that the others hear the leader, and waits; when it hears it again, it follows again."""
    leader, _ = islands.settled()
    follower = next(node for node in PEERS if node != leader)
    with islands.cut([(leader, follower), (follower, leader)]):
        lost = eventually(
            lambda: (view := islands.look(follower)) is not None and view.leader is None and view,
            "it has lost the leader",
            RECOVERS_S,
        )
        assert lost.leader is None
        islands.answers()
        view = islands.look()
        assert view is not None
        assert view.leader == leader
    assert islands.settled()[0] == leader
    islands.nothing_is_broken()


@pytest.mark.parametrize(
    "seconds",
    [0.3, 2.0, *(pytest.param(long, marks=pytest.mark.exhaustive) for long in (1.0, 5.0, 30.0))],
)
def test_l6_a_leader_that_stood_still_works_for_nobody_afterwards(islands: Islands, seconds: float) -> None:
    """SIGSTOP: it finds its own clock moved on, its lease over, and perhaps another in its place."""
    leader, epoch = islands.settled()
    stopped = islands.cluster.kill(leader, signal.SIGSTOP)
    assert stopped
    try:
        if seconds >= 1:
            islands.another_leads(leader, epoch)
            islands.answers()
        over = _after(seconds)
        eventually(over, "it stood still long enough", RECOVERS_S)
    finally:
        islands.cluster.kill(leader, signal.SIGCONT)
    assert islands.settled()[1] >= epoch
    islands.answers()
    islands.nothing_is_broken()


@contextlib.contextmanager
def _standing_still(islands: Islands, *nodes: int) -> Iterator[None]:
    """SIGSTOP, as a host that is suspended; their virtual machines go on."""
    with contextlib.ExitStack() as going_on:
        for node in nodes:
            assert islands.cluster.kill(node, signal.SIGSTOP)
            going_on.callback(islands.cluster.kill, node, signal.SIGCONT)
        yield


@pytest.mark.parametrize(
    "seconds", [pytest.param(long, marks=pytest.mark.exhaustive) for long in (2.0, 30.0)]
)
def test_w6_a_follower_that_stood_still_costs_no_answer_and_no_leader(
    islands: Islands, seconds: float
) -> None:
    """L4, W3: each peer would have its turn; what falls to this one goes to another, or waits."""
    leader, epoch = islands.settled()
    follower = next(node for node in PEERS if node != leader)
    with _standing_still(islands, follower):
        over = _after(seconds)
        for _ in PEERS:
            islands.answers()
        eventually(over, "it stood still long enough", RECOVERS_S)
    assert islands.settled() == (leader, epoch)
    islands.answers()
    islands.nothing_is_broken()


@pytest.mark.exhaustive
def test_l4_a_gateway_that_stood_still_answers_when_it_goes_on(islands: Islands) -> None:
    """W9: past `work.absence_s` its jobs are cancelled elsewhere; who still waits gets his answer."""
    leader, epoch = islands.settled()
    for seconds in (2.0, 10.0):
        with _standing_still(islands, 0):
            eventually(_after(seconds), "it stood still long enough", RECOVERS_S)
        islands.answers()
    assert islands.settled() == (leader, epoch)
    islands.nothing_is_broken()


@pytest.mark.exhaustive
@pytest.mark.parametrize("seconds", [2.0, 10.0])
def test_i6_where_all_stood_still_one_leads_afterwards(islands: Islands, seconds: float) -> None:
    """L3: as when hosts are snapshots that are resumed: each lease is over, nobody knows of the others."""
    _, epoch = islands.settled()
    with _standing_still(islands, 0, *PEERS):
        eventually(_after(seconds), "they stood still long enough", RECOVERS_S)
    islands.answers()
    assert islands.settled()[1] >= epoch
    islands.nothing_is_broken()


def test_n3_a_follower_that_is_killed_comes_back_to_the_same_leader(islands: Islands) -> None:
    """L4: a voter that starts disturbs nobody who is led."""
    leader, epoch = islands.settled()
    follower = next(node for node in PEERS if node != leader)
    islands.cluster.kill(follower, signal.SIGKILL)
    for _ in PEERS:
        islands.answers()
    islands.cluster.start(follower)
    assert islands.settled() == (leader, epoch)
    islands.answers()
    islands.nothing_is_broken()


def _after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def test_n3_a_leader_that_is_killed_comes_back_in_a_new_life_and_follows(islands: Islands) -> None:
    leader, epoch = islands.settled()
    islands.cluster.kill(leader, signal.SIGKILL)
    islands.another_leads(leader, epoch)
    islands.answers()
    islands.cluster.start(leader)
    now_leads, later = islands.settled()
    assert later > epoch
    assert now_leads != leader
    islands.answers()
    islands.nothing_is_broken()


@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed (Debian: faketime)")
def test_s22_a_step_of_the_wall_clock_changes_nothing(islands: Islands, tmp_path: Path) -> None:
    """An hour forth and back, at the leader: leases and elections go by the monotonic clock."""
    offset = tmp_path / "offset"
    offset.write_text("+0")
    leader, _ = islands.settled()
    highest = max(PEERS)
    islands.cluster.kill(highest, signal.SIGKILL)
    with _wall_clock_from(offset):
        islands.cluster.start(highest)
    for _ in range(ELECTIONS):
        leader, epoch = islands.settled()
        if leader == highest:
            break
        with islands.cut(both_ways(leader)):
            islands.another_leads(leader, epoch)
    assert leader == highest, "of equals the highest id leads (E1), and they are not always equals"
    for step in ("+3600", "-3600", "+0"):
        offset.write_text(step)
        islands.answers()
        assert islands.settled() == (leader, epoch), f"after a step to {step} s"
    islands.nothing_is_broken()


@contextlib.contextmanager
def _wall_clock_from(offset: Path) -> Iterator[None]:
    """What is started meanwhile has its UTC clock off by what the file says, at each moment."""
    (offset.parent / "sitecustomize.py").write_text(SLEEPS_UNDER_FAKETIME)
    path = [str(offset.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    told = {
        "PYTHONPATH": os.pathsep.join(path),
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
