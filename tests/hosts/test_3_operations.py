"""What an operator does (docs/deployment.md), each while clients wait for answers where it promises that."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.hosts.fleet import HELLO, ROOT, Fleet, eventually

PROMETHEUS = "http://127.0.0.1:9090/api/v1"


def releases(fleet: Fleet, host: str) -> str:
    return fleet.run(host, "readlink /opt/javacluster/current").strip()


def changes(said: str) -> list[str]:
    """What a playbook changed: tasks with hosts."""
    found, task = [], ""
    for line in said.splitlines():
        if line.startswith(("TASK [", "RUNNING HANDLER [")):
            task = line.partition("[")[2].rpartition("]")[0]
        elif line.startswith("changed: ["):
            found.append(f"{task}: {line.removeprefix('changed: ')}")
    return found


def test_a_second_run_changes_nothing(fleet: Fleet) -> None:
    said = fleet.playbook("site")
    recap = re.findall(r"^(\S+)\s*: ok=\d+\s+changed=(\d+)", said, re.MULTILINE)
    print(recap)  # noqa: T201  (a figure of the summary)
    assert changes(said) == []
    assert dict(recap) == dict.fromkeys(fleet.all, "0")


def test_a_wrong_configuration_is_refused_before_anything_stops(fleet: Fleet) -> None:
    """A5: `check-config` says where; the node goes on as it was."""
    lives = fleet.lives()
    wrong = '{"javacluster_settings": {"work": {"slots": -1}}}'
    said = fleet.playbook("rolling_update", "-e", wrong, fails=True)
    assert "$.work.slots" in said
    assert fleet.lives() == lives


def changed(tmp_path: Path, suffix: str, service: str = "") -> Path:
    """A source tree of another release: its version ends with `suffix`, its service module with `service`."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "cluster", source / "cluster", ignore=shutil.ignore_patterns("__pycache__"))
    version = source / "cluster" / "version.py"
    version.write_text(re.sub(r'__version__ = "(.*)"', rf'__version__ = "\1{suffix}"', version.read_text()))
    with (source / "cluster" / "service.py").open("a") as file:
        file.write(service)
    return source


LONG_DAYS = 36_500
"""Whatever ends within these is issued again."""


def certificates(fleet: Fleet) -> set[str]:
    """A digest of each node's."""
    return {fleet.run(host, "sha256sum /etc/javacluster/node.pem") for host in fleet.all}


def test_a_rolling_update_and_back_lose_no_request(fleet: Fleet, tmp_path: Path) -> None:
    """D4: gateways and followers one at a time, the leader last; certificates are renewed on the way back."""
    fleet.healthy()
    before, versions, leader = releases(fleet, fleet.peers[0]), fleet.versions(), fleet.leader()
    with fleet.load():
        said = fleet.playbook("rolling_update", "-e", f"javacluster_source={changed(tmp_path, '.post1')}")
    assert {".post1" in releases(fleet, host) for host in fleet.all} == {True}
    eventually(lambda: fleet.versions() == {f"{version}.post1" for version in versions}, "all run it")
    turns = [found.rpartition(": ")[2] for found in changes(said) if "Restart the service" in found]
    assert sorted(turns) == sorted(f"[{host}]" for host in fleet.all)
    assert turns[0] == f"[{fleet.group('gateways')[0]}]"
    assert turns[-1] == f"[{leader}]"

    old = certificates(fleet)
    with fleet.load():
        release = f"javacluster_release={Path(before).name}"
        fleet.playbook("rolling_update", "-e", release, "-e", f"pki_renew_days={LONG_DAYS}")
    assert {releases(fleet, host) for host in fleet.all} == {before}
    eventually(lambda: fleet.versions() == versions, "all run the old one")
    assert not old & certificates(fleet), "each has a new one (X1)"


BROKEN = """
_start = start


def start(config, *rest):
    if config.me.role is Role.PEER:
        raise SystemExit(1)
    return _start(config, *rest)
"""


def test_a_release_that_does_not_start_stops_the_roll(fleet: Fleet, tmp_path: Path) -> None:
    """D4: one node is lost, the cluster goes on, and the way back mends it, all without a failed request."""
    fleet.healthy()
    before, leader = releases(fleet, fleet.peers[0]), fleet.leader()
    with fleet.load():
        said = fleet.playbook(
            "rolling_update",
            *("-e", f"javacluster_source={changed(tmp_path, '.post2', BROKEN)}"),
            *("-e", "javacluster_ready_s=20"),
            fails=True,
        )
        assert [releases(fleet, peer) for peer in fleet.peers].count(before) == len(fleet.peers) - 1, said
        assert all(".post2" in fleet.run(host, "ls /opt/javacluster/releases") for host in fleet.all), (
            "it was there everywhere before anything stopped"
        )
        assert fleet.leader() == leader
        fleet.playbook("rolling_update", "-e", f"javacluster_release={Path(before).name}")
    assert {releases(fleet, host) for host in fleet.all} == {before}
    fleet.healthy()


def test_rotating_the_keys_loses_no_request(fleet: Fleet) -> None:
    """X1: accept the new one everywhere, send with it everywhere, drop the old one."""
    fleet.healthy()
    old = fleet.run(fleet.peers[0], "tail -n 1 /etc/javacluster/cluster.key")
    with fleet.load():
        fleet.playbook("rotate_keys")
    keys = {fleet.run(host, "grep -v '#' /etc/javacluster/cluster.key") for host in fleet.all}
    (text,) = keys
    assert len(text.splitlines()) == 1
    assert old.strip() not in text
    fleet.healthy()


def token(file: Path, name: str) -> str:
    """Make a token for a tenant, as an operator does."""
    command = [str(Path(sys.executable).with_name("javacluster")), "keys", "token", name, "--file", str(file)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_gateway_asks_for_tokens_once_it_has_some(fleet: Fleet, tmp_path: Path) -> None:
    """H9: the operator's file on the controller; a further token needs no restart."""
    fleet.healthy()
    gateway, file = fleet.group("gateways")[0], tmp_path / "tokens.yml"
    first = token(file, "verify")
    deploy = ("--limit", gateway, "-e", f"javacluster_tokens_file={file}", "-e", f"javacluster_token={first}")
    closed = ("-e", '{"javacluster_role_settings": {}}')
    fleet.playbook("site", *deploy, *closed)
    assert fleet.submit(HELLO.format("without a token")).status == 401
    assert fleet.submit(HELLO.format("with one"), first).text == "Hello world! with one"

    life = fleet.lives()
    second = token(file, "teacher")
    fleet.playbook("deploy", *deploy, *closed)
    assert fleet.submit(HELLO.format("with another"), second).text == "Hello world! with another"
    assert fleet.lives() == life
    fleet.playbook("deploy", "--limit", gateway)
    fleet.healthy()
    assert fleet.submit(HELLO.format("without again")).status == 200


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
    """N1: the list of peers changes with all of them stopped; site.yml sees to it.

    Between the two the same machine is a worker for a while: one more or one less of those restarts nobody.
    """
    machine = fleet.peers[-1]
    retired = f"retired:\n  hosts:\n    {machine}:\n"
    worker = f"workers:\n  hosts:\n    {machine}:\n"
    fleet.playbook("site", extra=retired)
    assert not fleet.on(machine).file("/opt/javacluster").exists
    assert fleet.status(machine) == "GONE"
    assert fleet.submit(HELLO.format("one less")).status == 200

    lives = fleet.lives(machine)
    with fleet.load():
        fleet.playbook("site", extra=worker)
    assert fleet.status(machine) == "ALIVE"
    assert fleet.role(machine) == "worker"
    with fleet.load():
        fleet.playbook("site", extra=retired + worker)
    assert fleet.lives(machine) == lives

    fleet.playbook("site")
    fleet.healthy()
    assert fleet.role(machine) == "peer"


def test_a_drill_stops_the_leader_and_sees_no_request_fail(fleet: Fleet) -> None:
    leader = fleet.leader()
    with fleet.load():
        fleet.playbook("drill")
    assert fleet.on(leader).service("javacluster").is_running


def test_prometheus_watches_and_its_rules_see_a_stopped_node(fleet: Fleet) -> None:
    """Issue 3: from the distribution, with targets from the inventory and the alerts of the runbook."""
    gateway, victim = fleet.group("gateways")[0], fleet.followers()[0]
    extra = f"monitoring:\n  hosts:\n    {gateway}:\n"
    fleet.playbook("monitoring", extra=extra)
    assert "changed=0" in fleet.playbook("monitoring", extra=extra)

    def ask(path: str) -> dict[str, Any]:
        answer: dict[str, dict[str, Any]] = json.loads(
            fleet.run(
                gateway,
                "python3 -c 'import sys, urllib.request as u; "
                f"sys.stdout.write(u.urlopen(sys.argv[1]).read().decode())' {PROMETHEUS}/{path}",
            )
        )
        return answer["data"]

    def up() -> int:
        return [target["health"] for target in ask("targets")["activeTargets"]].count("up")

    def alerts() -> set[str]:
        return {alert["labels"]["alertname"] for alert in ask("alerts")["alerts"]}

    eventually(lambda: up() == len(fleet.all), "every node is scraped")
    eventually(lambda: not alerts(), "no alert")
    loaded = {rule["name"] for group in ask("rules")["groups"] for rule in group["rules"]}
    runbook = set(
        re.findall(r"^\| (Javacluster\w+) \|", (ROOT / "docs/deployment.md").read_text(), re.MULTILINE)
    )
    assert loaded == runbook
    fleet.run(victim, "systemctl stop javacluster")
    expected = {"JavaclusterNodeFailed"} | ({"JavaclusterQuorumAtRisk"} if len(fleet.peers) == 3 else set())
    eventually(lambda: expected <= alerts(), "the alerts")
    fleet.run(victim, "systemctl start javacluster")
    eventually(lambda: not alerts(), "no alert any more")


def test_reset_leaves_nothing(fleet: Fleet) -> None:
    fleet.playbook("reset")
    for host in fleet.all:
        machine = fleet.on(host)
        for path in ("/opt/javacluster", "/etc/javacluster", "/var/lib/javacluster", "/var/log/javacluster"):
            assert not machine.file(path).exists, f"{host}: {path}"
        assert not machine.user("javacluster").exists
        assert "javacluster" not in fleet.run(host, "systemctl list-units --all --no-legend")
        assert "javacluster" not in fleet.run(
            host, "nft list tables; cat /etc/nftables.conf; ls /etc/nftables.d"
        )
