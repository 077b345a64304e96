"""Without a quorum nobody leads and nobody pretends to; with one, all serves again by itself (L3, W11)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.live import HELLO, eventually, live_cluster

pytestmark = pytest.mark.integration

QUEUE_TIMEOUT_S = 3

MARGIN_S = 10
"""A busy machine's; a client that is told nothing for longer fails the test."""


def test_without_quorum_nobody_leads_and_clients_are_told_in_time(tmp_path: Path) -> None:
    with live_cluster(tmp_path / "c", work__queue_timeout_s=QUEUE_TIMEOUT_S) as cluster:
        leader = eventually(cluster.leader, "a leader")
        stopped = [node for node in (1, 2, 3) if node != leader]
        for node in stopped:
            assert cluster.command("kill", str(node), "--signal", "STOP").code == 0

        eventually(lambda: cluster.leader() is None, "no leader is claimed")
        eventually(lambda: cluster.claims(leader) is None, "the old leader claims nothing either")
        refused = cluster.run(HELLO.format("no quorum"), seconds=QUEUE_TIMEOUT_S + MARGIN_S)
        assert refused.status == 503
        assert "no quorum: 1 of 3 peers" in refused.text
        assert refused.cached == "false"
        assert int(refused.headers["retry-after"]) >= 1
        assert all(row["state"] != "LEADING" for row in cluster.rows().values())
        assert "LEADER" not in cluster.request("GET", "/cluster-info?format=text").text
        program = tmp_path / "Hello.java"
        program.write_text(HELLO.format("no quorum either"))
        assert cluster.command("run", str(program)).code == 75

        for node in stopped:
            assert cluster.command("kill", str(node), "--signal", "CONT").code == 0
        eventually(lambda: cluster.leader() is not None, "a leader again")
        answer = eventually(
            lambda: (got := cluster.run(HELLO.format("quorum"))).status == 200 and got, "an answer again"
        )
        assert answer.text == "Hello world! quorum"
