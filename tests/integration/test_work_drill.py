"""The commands that strike and measure a cluster of their own, from start to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.live import free_base_port, javacluster

pytestmark = pytest.mark.integration

DRILL_S = 400.0
"""A drill waits until its cluster has healed, which takes a busy machine a minute."""


def test_a_short_drill_accounts_for_every_request(tmp_path: Path) -> None:
    """With cuts of the network where the tests run as root."""
    size = ("--peers", "3", "--gateways", "1", "--clients", "3", "--rate", "3")
    place = ("--base-port", str(free_base_port()), "--output", str(tmp_path / "drill"))
    ran = javacluster("drill", "--minutes", "0.25", "--seed", "5", *size, *place, seconds=DRILL_S)
    assert ran.code == 0, f"{ran.out}{ran.err}"
    assert "no violation" in ran.out
    report = json.loads((tmp_path / "drill" / "summary.json").read_text())
    account = report["account"]
    assert account["sent"] == account["answered"] + account["refused"] > 10
    assert report["faults"] >= 1
    assert (tmp_path / "drill" / "timeline.svg").read_text().startswith("<svg")


@pytest.mark.parametrize("flags", [(), ("--http",)])
def test_the_capacity_of_a_leader_is_measured_with_cheap_workers(flags: tuple[str, ...]) -> None:
    options = ("--workers", "3", "--seconds", "1", "--base-port", str(free_base_port()), "--json")
    ran = javacluster("capacity", *options, *flags)
    assert ran.code == 0, ran.err
    (figures,) = json.loads(ran.out)
    assert figures["workers"] == 3
    assert figures["jobs"] > 0
    assert min(figures["leader_us"], figures["gateway_us"], figures["workers_us"]) > 0
