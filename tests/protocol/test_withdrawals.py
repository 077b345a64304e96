"""What a client that leaves cancels, also when the word of it is lost with its channel (W9)."""

from __future__ import annotations

import pytest

from cluster.core.withdrawals import LOST_S, TOLD_MAX, Withdrawals
from tests.simulation.schedule import LEADER, Ask, Cut, Schedule, both_ways
from tests.simulation.simulation import Simulation

GATEWAY = 101


@pytest.mark.parametrize("cut_ms", [1000, 4000, 7000])
def test_w9_a_client_that_leaves_a_gateway_that_is_cut_off_leaves_nothing_running(cut_ms: int) -> None:
    """Its gateway still has the channel, and says so on it; in three seconds the leader has closed that."""
    cut = Cut(3000, cut_ms, both_ways((LEADER,), (GATEWAY,)))
    asks = (Ask(2000, GATEWAY, 100_000, leave_ms=1300),)
    simulation = Simulation(Schedule(3, peers=3, workers=1, faults=(cut,), asks=asks, chaos_ms=12_000))
    assert not simulation.run().violation
    checks = simulation.cluster.checks
    assert checks.requests[1].abandoned
    assert len(checks.led) == 1


def test_w9_what_was_said_shortly_before_a_channel_ended_is_said_again() -> None:
    withdrawals = Withdrawals()
    withdrawals.add("early")
    assert withdrawals.take(1.0) == ("early",)
    for job in ("late", "wanted again"):
        withdrawals.add(job)
    assert withdrawals.take(1.5 + LOST_S) == ("late", "wanted again")
    withdrawals.channel_ended(2.0 + LOST_S)
    withdrawals.add("since")
    withdrawals.wanted("wanted again")
    assert withdrawals.take(20.0) == ("late", "since")
    assert not withdrawals.take(20.0)
    withdrawals.channel_ended(20.0 + 2 * LOST_S)
    assert not withdrawals.take(20.0 + 2 * LOST_S)


def test_w9_what_is_remembered_is_bounded() -> None:
    withdrawals = Withdrawals()
    for number in range(TOLD_MAX + 5):
        withdrawals.add(str(number))
        withdrawals.take(0.0)
    withdrawals.channel_ended(0.0)
    assert len(withdrawals.take(0.0)) == TOLD_MAX
