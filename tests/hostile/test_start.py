"""What a node needs to start, and what it says when that is missing (S4)."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from cluster.wire.jobs import Verdict
from tests.hostile.conftest import HELLO
from tests.support.java_driver import ANSWER_S, JavaDriver, main_class, program


@pytest.mark.parametrize(
    ("setup", "words"),
    [
        ({"java": {"home": "/nowhere"}}, "openjdk-17-jdk-headless"),
        ({"sandbox": {"bwrap": "no-such-bwrap"}}, "apt-get install bubblewrap"),
        ({"sandbox": {"require": ["namespaces", "cgroup2"]}}, "cgroup2"),
        ({"sandbox": {"bwrap": "false"}}, "sandbox.mode: none"),
    ],
)
def test_a_missing_part_refuses_the_start_and_names_the_fix(
    tmp_path: Path, setup: dict[str, Any], words: str
) -> None:
    driver = JavaDriver(tmp_path, **setup)
    assert driver.start.started is False
    assert driver.start.error == "EnvironmentFault"
    assert words in driver.start.text
    assert driver.machines() == []
    assert driver.stop() == 0


def test_without_a_sandbox_it_runs_and_shouts(tmp_path: Path) -> None:
    driver = JavaDriver(tmp_path, sandbox={"mode": "none", "require": []})
    assert driver.start.level == "none"
    assert "SANDBOX OFF" in driver.start.text
    assert driver.run(HELLO).value == b"hello"
    spin = driver.run(main_class("while (true) {}"), cpu_s=0.4)
    assert (spin.verdict, spin.detail) == (Verdict.TIME_LIMIT, "cpu")
    assert driver.stop() == 0
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("harness-")] == []


def test_a_killed_compiler_loses_no_job_and_a_killed_node_leaves_no_process(tmp_path: Path) -> None:
    """J1, S5."""
    driver = JavaDriver(tmp_path, slots=1)
    assert driver.start.started, driver.start.text
    for pid in driver.machines():
        os.kill(pid, signal.SIGKILL)
    assert driver.outcome(program(HELLO)).verdict is Verdict.OK
    assert driver.snapshot().capacities == (1, 0, 1)
    machines = driver.machines()
    assert machines
    os.kill(driver.pid, signal.SIGKILL)
    deadline = time.monotonic() + ANSWER_S  # noqa: TID251  (a test that waits for real processes)
    while any(Path(f"/proc/{pid}").exists() for pid in machines):
        assert time.monotonic() < deadline  # noqa: TID251
        time.sleep(0.02)
    driver.stop()
