"""What an operator does (docs/deployment.md), each while clients wait for answers where it promises that."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.hosts.fleet import HELLO, ROOT, Fleet


def releases(fleet: Fleet, host: str) -> str:
    return fleet.run(host, "readlink /opt/javacluster/current").strip()


def test_a_second_run_changes_nothing(fleet: Fleet) -> None:
    recap = re.findall(r"^(\S+)\s*: ok=\d+\s+changed=(\d+)", fleet.playbook("site"), re.MULTILINE)
    print(recap)  # noqa: T201  (a figure of the summary)
    assert dict(recap) == dict.fromkeys(fleet.all, "0")


def test_a_rolling_update_and_back_lose_no_request(fleet: Fleet, tmp_path: Path) -> None:
    """D4: gateways and followers one at a time, the leader last."""
    fleet.healthy()
    before = releases(fleet, fleet.peers[0])
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "cluster", source / "cluster", ignore=shutil.ignore_patterns("__pycache__"))
    version = source / "cluster" / "version.py"
    version.write_text(re.sub(r'__version__ = "(.*)"', r'__version__ = "\1.post1"', version.read_text()))

    with fleet.load():
        fleet.playbook("rolling_update", "-e", f"javacluster_source={source}")
    assert {".post1" in releases(fleet, host) for host in fleet.all} == {True}

    with fleet.load():
        fleet.playbook("rolling_update", "-e", f"javacluster_release={Path(before).name}")
    assert {releases(fleet, host) for host in fleet.all} == {before}


def test_rotating_the_keys_loses_no_request(fleet: Fleet) -> None:
    """X1: accept the new one everywhere, send with it everywhere, drop the old one."""
    fleet.healthy()
    old = fleet.run(fleet.peers[0], "tail -n 1 /etc/javacluster/cluster.key")
    with fleet.load():
        fleet.playbook("rotate_keys")
    keys = {fleet.run(host, "grep -v '#' /etc/javacluster/cluster.key") for host in fleet.all}
    assert len(keys) == 1
    assert old not in keys
    fleet.healthy()


def test_a_host_that_lost_its_disk_is_replaced(fleet: Fleet) -> None:
    """N5: it comes back without its record, and gains the vote by itself."""
    victim = fleet.followers()[0]
    fleet.playbook("reset", "--limit", victim)
    assert not fleet.on(victim).file("/var/lib/javacluster").exists
    fleet.playbook("site", "--limit", victim)
    fleet.healthy()
    answer = fleet.submit(HELLO.format("with a new disk"))
    assert (answer.status, answer.text) == (200, "Hello world! with a new disk")


def test_a_peer_leaves_and_another_joins(fleet: Fleet) -> None:
    """N1: the list of peers changes with all of them stopped; site.yml sees to it."""
    leaving = fleet.peers[-1]
    fleet.playbook("site", extra=f"retired:\n  hosts:\n    {leaving}:\n")
    assert not fleet.on(leaving).file("/opt/javacluster").exists
    assert fleet.address(leaving) not in {row["host"] for row in fleet.info()["nodes"]}
    assert fleet.submit(HELLO.format("one less")).status == 200

    fleet.playbook("site")
    fleet.healthy()
    assert fleet.address(leaving) in {row["host"] for row in fleet.info()["nodes"]}


def test_a_drill_stops_the_leader_and_sees_no_request_fail(fleet: Fleet) -> None:
    leader = fleet.leader()
    with fleet.load():
        fleet.playbook("drill")
    assert fleet.on(leader).service("javacluster").is_running


def test_reset_leaves_nothing(fleet: Fleet) -> None:
    fleet.playbook("reset")
    for host in fleet.all:
        machine = fleet.on(host)
        for path in ("/opt/javacluster", "/etc/javacluster", "/var/lib/javacluster", "/var/log/javacluster"):
            assert not machine.file(path).exists, f"{host}: {path}"
        assert not machine.user("javacluster").exists
        assert "javacluster" not in fleet.run(host, "systemctl list-units --all --no-legend")
