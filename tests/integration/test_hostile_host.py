"""A host that runs out of something: its node says so, keeps or resigns its role, and recovers by itself.

Full and read-only disks (N4), no descriptors, no memory or processes for a virtual machine (L5, W10), on
real processes. What a clock that is set does is in `test_protocol_in_namespaces.py` (S22).
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.host_faults import NEEDS_ROOT, full, limited, read_only, size_of, small_disk
from tests.integration.hostile_clients import files_of
from tests.integration.live import HELLO, Live, eventually, live_cluster

pytestmark = pytest.mark.integration

PEERS = (1, 2, 3)
RECOVERS_S = 120.0
"""A busy machine's patience: a compiler takes some ten seconds to be warm, and a try may wait a minute."""


def answers(cluster: Live, text: str) -> None:
    answer = eventually(
        lambda: (got := cluster.run(HELLO.format(text))).status == 200 and got,
        f"{text} is answered",
        RECOVERS_S,
    )
    assert answer.text == f"Hello world! {text}"


def row(cluster: Live, node: int) -> dict[str, Any]:
    """What the gateway knows of a node."""
    return cluster.rows()[node]


def ready(cluster: Live, node: int) -> tuple[int, str]:
    """What a node says of itself; 0 while it does not listen."""
    with contextlib.suppress(OSError):
        answer = cluster.request("GET", "/readyz", node=node)
        return answer.status, answer.text
    return 0, ""


def pid_of(cluster: Live, node: int) -> int:
    pid: int = cluster.status()[node]["pid"]
    return pid


def leading(cluster: Live) -> int:
    """Whom the gateway follows, once it follows anybody."""
    leader: int = eventually(cluster.leader, "there is a leader", RECOVERS_S)
    return leader


def follower(cluster: Live) -> int:
    leader = leading(cluster)
    return next(node for node in PEERS if node != leader)


def summary(cluster: Live, node: int) -> str:
    return (cluster.directory / f"node-{node}" / "log" / "summary.log").read_text(errors="replace")


# --- the disk --------------------------------------------------------------------------------------------


@NEEDS_ROOT
@pytest.mark.parametrize(
    "worse",
    [pytest.param(full, id="full"), pytest.param(read_only, id="read-only", marks=pytest.mark.exhaustive)],
)
def test_n4_a_voter_that_can_not_persist_does_not_vote_and_votes_again_by_itself(
    tmp_path: Path, worse: Callable[[Path], AbstractContextManager[None]]
) -> None:
    """Its whole directory is on that disk: record, logs, what it prints."""
    with contextlib.ExitStack() as mounted, live_cluster(tmp_path / "c", work__slots=1) as cluster:
        answers(cluster, "before")
        node = follower(cluster)
        place = cluster.directory / f"node-{node}"
        assert cluster.command("kill", str(node)).code == 0
        mounted.enter_context(small_disk(place))
        assert cluster.command("start", str(node)).code == 0
        eventually(lambda: ready(cluster, node)[0] == 200, "the node on the small disk is ready", RECOVERS_S)
        leader = leading(cluster)
        assert leader != node
        pid = pid_of(cluster, node)
        with worse(place):
            assert cluster.command("kill", str(leader)).code == 0
            eventually(
                lambda: cluster.metric(node, "storage_ok") == 0,
                "the node sees that it can't write",
                RECOVERS_S,
            )
            eventually(lambda: "record can't be written" in ready(cluster, node)[1], "and says so")
            eventually(lambda: cluster.leader() is None, "the dead leader's time is over", RECOVERS_S)
            until = time.monotonic() + 3.0
            while time.monotonic() < until:
                assert cluster.leader() is None, "without its vote there is no quorum"
                time.sleep(0.2)
        eventually(lambda: cluster.metric(node, "storage_ok") == 1, "it can write again", RECOVERS_S)
        eventually(lambda: cluster.leader() is not None, "there is a leader again", RECOVERS_S)
        assert pid_of(cluster, node) == pid, "in the same life"
        answers(cluster, "after")


# --- what virtual machines need --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    directory = tmp_path_factory.mktemp("host") / "c"
    with live_cluster(directory, peers=3, work__slots=1) as live:
        yield live


def offspring(pid: int) -> list[int]:
    """The processes that a node has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children]


def lose_machines(pid: int) -> None:
    """Somebody kills the compiler and whatever waits."""
    for child in offspring(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


LACKS: dict[str, tuple[int, Callable[[int], int]]] = {
    "descriptors": (resource.RLIMIT_NOFILE, lambda pid: files_of(pid) - 8),
    "memory": (resource.RLIMIT_AS, lambda pid: size_of(pid) + 100 * 2**20),
    "processes": (resource.RLIMIT_NPROC, lambda _pid: 1),  # of its user; of root's node, of `nobody`
}


@pytest.mark.parametrize(
    ("what", "role"),
    [("descriptors", "leader"), ("memory", "follower"), ("processes", "leader")],
)
def test_a_host_that_can_start_no_virtual_machine_stays_with_the_others_and_offers_no_slots(
    cluster: Live, what: str, role: str
) -> None:
    """That it goes on leading is shown in the protocol's tests, where no busy machine costs it the lead."""
    answers(cluster, f"{what} {role} before")
    node = leading(cluster) if role == "leader" else follower(cluster)
    asked = [peer for peer in PEERS if what != "descriptors" or peer != node]  # who can take a connection
    pid = pid_of(cluster, node)
    kind, most = LACKS[what]
    with limited(pid, kind, most(pid)):
        lose_machines(pid)
        eventually(lambda: row(cluster, node)["trouble"], "everybody knows what is missing", RECOVERS_S)
        eventually(lambda: row(cluster, node)["slots"] == 0, "and that it has no slots")
        answers(cluster, f"{what} {role} meanwhile")
        eventually(
            lambda: {cluster.claims(peer) for peer in asked} == {cluster.leader()} != {None},
            "all know the same leader",
            RECOVERS_S,
        )
        said = cluster.request("GET", "/readyz", node=node) if what != "descriptors" else None
        assert said is None or (said.status, "can't run programs" in said.text) == (503, True)
    eventually(lambda: not row(cluster, node)["trouble"], "it has what it needs again", RECOVERS_S)
    eventually(lambda: row(cluster, node)["slots"] == 1, "and offers its slots", RECOVERS_S)
    assert pid_of(cluster, node) == pid, "in the same life"
    assert "this host can't run programs" in summary(cluster, node)
    assert "can run programs again" in summary(cluster, node)


def test_a_node_that_starts_without_memory_for_java_votes_and_is_whole_once_there_is_some(
    cluster: Live,
) -> None:
    """It used to end itself after two tries, with its vote."""
    node = follower(cluster)
    assert cluster.command("kill", str(node)).code == 0
    cluster.under = ("prlimit", f"--as={700 * 2**20}:")
    try:
        assert cluster.command("start", str(node)).code == 0
    finally:
        cluster.under = ()
    pid = pid_of(cluster, node)
    eventually(lambda: row(cluster, node)["trouble"], "it says what is missing", RECOVERS_S)
    assert row(cluster, node)["slots"] == 0
    leader, epoch = leading(cluster), cluster.info()["epoch"]
    assert cluster.command("kill", str(leader)).code == 0
    eventually(lambda: cluster.info()["epoch"] > epoch, "with its vote another leads", RECOVERS_S)
    assert cluster.command("start", str(leader)).code == 0
    resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    eventually(lambda: row(cluster, node)["slots"] == 1, "it offers its slots", RECOVERS_S)
    assert row(cluster, node)["trouble"] == ""
    assert pid_of(cluster, node) == pid, "in the same life"
    answers(cluster, "whole again")


def test_a_gateway_without_descriptors_refuses_and_serves_again(cluster: Live) -> None:
    pid = pid_of(cluster, 0)
    with limited(pid, resource.RLIMIT_NOFILE, files_of(pid) - 2):
        for _ in range(20):
            with contextlib.suppress(OSError):
                cluster.request("GET", "/livez", seconds=2.0)
    # Whoever connects while it still turns away those of before is turned away with them, once.
    eventually(lambda: ready(cluster, 0)[0] == 200, "it takes connections again", RECOVERS_S)
    answers(cluster, "descriptors are back")
    assert pid_of(cluster, 0) == pid


def test_programs_have_as_much_entropy_as_they_ask_for(cluster: Live) -> None:
    """Strong random numbers never wait: the kernel's pool is initialised long before a node starts."""
    source = (
        "public class Dice { public String run() throws Exception { byte[] all = new byte[100000];"
        " java.security.SecureRandom.getInstanceStrong().nextBytes(all);"
        " int zeros = 0; for (byte one : all) if (one == 0) zeros++;"
        ' return zeros > 200 && zeros < 600 ? "random" : "not random: " + zeros; } }'
    )
    answer = cluster.run(source)
    assert (answer.status, answer.text) == (200, "random")
    assert json.loads(cluster.request("GET", "/cluster-info").text)["ready"]
