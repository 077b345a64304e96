"""The original's demonstration, with assertions: nothing is lost, whoever is killed (W6, W7, W8)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.live import HELLO, Answer, Live, eventually, live_cluster

pytestmark = pytest.mark.integration

REQUESTS = 9


def _answered(cluster: Live, label: str) -> list[Answer]:
    return [cluster.run(HELLO.format(f"{label} {number}")) for number in range(REQUESTS)]


def _check(answers: list[Answer], label: str) -> None:
    assert [(answer.status, answer.text, answer.cached) for answer in answers] == [
        (200, f"Hello world! {label} {number}", "false") for number in range(REQUESTS)
    ]


def _kill_leader_under_load(cluster: Live, label: str) -> int:
    """Kill the leader, send nine programs at once, and give back who leads when all are answered."""
    old, _ = cluster.led()
    killed = cluster.command("kill", "leader")
    assert killed.code == 0, killed.err
    assert f"node {old}" in killed.out
    with ThreadPoolExecutor(REQUESTS) as clients:
        answers = list(clients.map(lambda n: cluster.run(HELLO.format(f"{label} {n}")), range(REQUESTS)))
    _check(answers, label)
    new = eventually(lambda: (leader := cluster.leader()) != old and leader, "another leader")
    assert isinstance(new, int)
    return new


def test_no_answer_is_lost_when_followers_and_leaders_are_killed(tmp_path: Path) -> None:
    with live_cluster(tmp_path / "c", peers=7, work__slots=1) as cluster:
        first, _ = cluster.led()
        states = {node: row["state"] for node, row in cluster.status().items()}
        assert states.pop(0) == "OBSERVING"
        assert states.pop(first) == "LEADING"
        assert set(states.values()) == {"FOLLOWING"}
        assert cluster.request("GET", "/cluster-info?format=text").text.count("LEADER") == 1

        eventually(
            lambda: all(row["java"] and row["sandbox"] for node, row in cluster.rows().items() if node),
            "every peer says what it runs programs on (S4, G5)",
        )
        _check(_answered(cluster, "first"), "first")

        follower = next(node for node in sorted(cluster.alive()) if node != first)
        assert cluster.command("kill", str(follower)).code == 0
        eventually(lambda: follower not in cluster.alive(), "the killed follower is no longer ALIVE")
        assert (
            f"Server {follower} -"
            not in eventually(lambda: cluster.request("GET", "/cluster-info?format=text").text, "a listing")
            or cluster.rows()[follower]["status"] == "SUSPECT"
        )
        _check(_answered(cluster, "follower killed"), "follower killed")

        second = _kill_leader_under_load(cluster, "leader killed")
        assert second not in {first, follower}
        assert cluster.run(HELLO.format("one more")).text == "Hello world! one more"

        third = _kill_leader_under_load(cluster, "second leader killed")
        assert third not in {first, second, follower}

        survivors = set(range(1, 8)) - {first, second, follower}

        def told(node: int) -> bool:
            log = cluster.request("GET", "/logs/summary", node=node)
            return f"{node}: no heartbeat from server {first} - SERVER FAILED" in log.text

        eventually(lambda: all(told(node) for node in survivors), "everybody misses the first leader")
        assert cluster.command("start", str(first)).code == 0
        eventually(
            lambda: cluster.rows().get(first, {}).get("state") == "FOLLOWING", "the first leader follows", 60
        )
        assert cluster.leader() == third
        assert cluster.info()["epoch"] > 1

        for node in survivors:
            log = cluster.request("GET", "/logs/summary", node=node)
            assert log.status == 200
            assert f"{node}: switching from" in log.text
            assert cluster.request("GET", "/logs/verbose", node=node).text
        printed = cluster.command("logs", str(third), "-n", "1000")
        assert "LEADING" in printed.out, printed
