"""What the machine tells beside the core (H10)."""

from __future__ import annotations

from cluster.telemetry.readings import machine_readings


def test_the_certificate_and_the_sandbox_are_told_once_known() -> None:
    before = {reading.name: reading.value for reading in machine_readings(5.0, None)}
    after = {reading.name: reading.value for reading in machine_readings(5.0, weak_sandbox=True)}
    assert before == {"javacluster_certificate_ends_timestamp_seconds": 5.0}
    assert after == before | {"javacluster_sandbox_degraded": 1}
