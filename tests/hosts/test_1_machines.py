"""What site.yml promises of each host (deployment D2, D5)."""

from __future__ import annotations

import re
import socket

import pytest

from tests.hosts.fleet import Fleet

STRANGER_S = 3.0

HARDENING = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "PrivateUsers": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectControlGroups": "yes",
    "ProtectClock": "yes",
    "ProtectProc": "invisible",
    "LockPersonality": "yes",
    "RestrictRealtime": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "Type": "notify",
    "WatchdogUSec": "20s",
    "KillMode": "mixed",
    "Delegate": "yes",
    "User": "javacluster",
}
EXPOSURE_MAX = 3.0
"""`systemd-analyze security` of a unit that must start sandboxes; 10 is no hardening at all."""


def test_the_service_runs_and_starts_at_boot(fleet: Fleet, machine: str) -> None:
    service = fleet.on(machine).service("javacluster")
    assert service.is_running
    assert service.is_enabled


def test_the_unit_is_hardened(fleet: Fleet, machine: str) -> None:
    properties = fleet.on(machine).service("javacluster").systemd_properties
    assert {name: properties.get(name, "") for name in HARDENING} == HARDENING


def test_systemd_calls_the_unit_safe_enough(fleet: Fleet, machine: str) -> None:
    text = fleet.run(machine, "systemd-analyze security javacluster.service --no-pager | tail -n 1")
    print(f"{machine}: {text.strip()}")  # noqa: T201  (a figure of the summary)
    assert float(text.split("javacluster.service:")[1].split()[0]) <= EXPOSURE_MAX


def test_ports_are_bound_to_the_configured_address_alone(fleet: Fleet, machine: str) -> None:
    lines = fleet.run(machine, "ss -H -lntup").splitlines()
    listening = {line.split()[4] for line in lines if '"javacluster"' in line}
    assert listening
    assert {address.rpartition(":")[0] for address in listening} == {fleet.address(machine)}


def test_secrets_are_for_the_service_alone(fleet: Fleet, machine: str) -> None:
    host = fleet.on(machine)
    for name, mode in (("node.key", 0o640), ("cluster.key", 0o640), ("node.yml", 0o640), ("node.pem", 0o644)):
        file = host.file(f"/etc/javacluster/{name}")
        assert (file.user, file.mode) == ("root", mode), name
    assert host.file("/etc/javacluster/node.key").group == "javacluster"
    assert host.file("/etc/javacluster").mode == 0o750
    state = host.file("/var/lib/javacluster")
    assert (state.user, state.mode) == ("javacluster", 0o700)


def test_the_configuration_is_valid(fleet: Fleet, machine: str) -> None:
    fleet.run(machine, "/opt/javacluster/current/bin/javacluster check-config /etc/javacluster/node.yml")


def test_logs_are_in_the_journal_and_in_files(fleet: Fleet, machine: str) -> None:
    assert "started as" in fleet.run(machine, "journalctl -u javacluster --no-pager -o cat")
    assert "started as" in fleet.run(machine, "cat /var/log/javacluster/summary.log*")


def test_strangers_are_dropped_by_the_firewall(fleet: Fleet, machine: str) -> None:
    rules = fleet.run(machine, "nft list table inet javacluster")
    assert fleet.address(fleet.all[0]) in rules


def test_a_stranger_reaches_no_work_channel(fleet: Fleet, peer: str) -> None:
    """This machine is no member: what it sends is dropped, and counted, where a member gets a connection."""
    port = fleet.variable(peer, "javacluster_tcp", "8012")
    connect = f"timeout 5 bash -c '</dev/tcp/{fleet.address(peer)}/{port}'"
    other = next(host for host in fleet.all if host != peer)
    assert fleet.on(other).run(connect).rc == 0
    with pytest.raises(TimeoutError):
        socket.create_connection((fleet.address(peer), int(port)), timeout=STRANGER_S)
    dropped = re.search(r"counter packets (\d+)", fleet.run(peer, "nft list chain inet javacluster members"))
    assert dropped is not None
    assert int(dropped[1]) > 0


def test_peers_have_a_jdk_and_the_sandbox_from_packages(fleet: Fleet, peer: str) -> None:
    host = fleet.on(peer)
    assert host.package("bubblewrap").is_installed
    assert int(fleet.run(peer, "javac -version 2>&1").split()[1].split(".")[0]) >= 17
    assert "bubblewrap+seccomp" in fleet.run(peer, "journalctl -u javacluster --no-pager -o cat")


def test_one_leader_and_everybody_alive(fleet: Fleet) -> None:
    fleet.healthy()
    info = fleet.info()
    assert [row["status"] for row in info["nodes"]] == ["ALIVE"] * len(fleet.all)
    assert [row["state"] for row in info["nodes"]].count("LEADING") == 1
