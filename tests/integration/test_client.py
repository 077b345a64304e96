"""The examples in Python, as their users run them: against a real cluster (docs: examples/)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cluster.client import Client, Retry
from tests.integration.live import Live, live_cluster

pytestmark = pytest.mark.integration

EXAMPLES = Path(__file__).parents[2] / "examples"
HELLO = 'public class A { public static void main(String[] a) { System.out.print("{}"); } }'


def _run(cluster: Live, example: str) -> list[str]:
    command = [sys.executable, str(EXAMPLES / example), f"http://127.0.0.1:{cluster.http_port}"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=100, check=False, cwd=EXAMPLES.parent
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_examples_run_and_a_killed_leader_is_not_noticed(tmp_path: Path) -> None:
    with live_cluster(tmp_path / "c") as cluster:
        assert _run(cluster, "grade.py") == [
            "right: 1 2 -> 3",
            "right: -5 5 -> 0",
            "wrong: 2147483647 1 -> -2147483648",
            "wrong: one two -> java.util.InputMismatchException",
        ]
        assert _run(cluster, "many.py") == [str(number**2) for number in range(10)]
        client = Client(f"http://127.0.0.1:{cluster.http_port}", retry=Retry(tries=20))
        assert client.runtimes().runtimes
        leader = client.cluster().leader
        assert cluster.command("kill", "leader").code == 0
        assert client.run(HELLO.replace("{}", "after")).runs[0].stdout == "after"
        assert client.cluster().leader not in {None, leader}
