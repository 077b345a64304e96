"""What the machine tells beside the core (H10)."""

from __future__ import annotations

from cluster.identity import NodeId
from cluster.telemetry.readings import machine_readings, readings_of
from cluster.wire.messages import Probe
from tests.support.world import World


def test_the_certificate_and_the_sandbox_are_told_once_known() -> None:
    before = {reading.name: reading.value for reading in machine_readings(5.0, None)}
    after = {reading.name: reading.value for reading in machine_readings(5.0, weak_sandbox=True)}
    assert before == {"javacluster_certificate_ends_timestamp_seconds": 5.0}
    assert after == before | {"javacluster_sandbox_degraded": 1}


def test_datagrams_of_another_voter_list_are_told() -> None:
    """N1: what is dropped for that is shown."""
    world = World(3)
    one, two = NodeId(1), NodeId(2)
    for _ in range(2):
        world.forge(two, one, Probe(1, "another"))
    world.run(0.1)
    told = {reading.name: reading.value for reading in readings_of(world.lives[one].core.snapshot(world.now))}
    assert told["javacluster_other_voter_lists"] == 2
