"""Whole clusters under faults that outlast the chaos of most random schedules, which is seven seconds.

A sweep gets to the patience of a client (W11) and to an election after a vote was regained (N5) in a few of a
hundred seeds; here each is by itself, and what comes of it is known.
"""

from __future__ import annotations

import pytest

from cluster.core import effects as fx
from cluster.wire.jobs import Outcome, Reason, Refusal, Verdict
from tests.simulation.checks import Checks
from tests.simulation.clock import MS
from tests.simulation.host import Host
from tests.simulation.schedule import LEADER, Ask, Crash, Cut, Fault, Schedule
from tests.simulation.simulation import Simulation

GATEWAY = 101


def test_w11_without_a_quorum_each_client_learns_why_after_ten_seconds_and_none_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two of three voters are down from 2 s to 16 s; who asks late enough waits for them and is served."""
    answered: dict[int, float] = {}
    real = Checks.answered

    def noted(checks: Checks, host: Host, effect: fx.Answer) -> None:
        answered[effect.request] = checks._cluster.now / MS
        real(checks, host, effect)

    monkeypatch.setattr(Checks, "answered", noted)
    down = (Crash(2000, 2, 14_000), Crash(2000, 3, 14_000))
    asked_at = (3000, 3500, 5000, 9000, 12_000)
    asks = tuple(Ask(at, GATEWAY, 50) for at in asked_at)
    simulation = Simulation(Schedule(11, peers=3, faults=down, asks=asks, chaos_ms=20_000), quiet_ns=10**9)
    assert not simulation.run().violation
    results = {number: request.result for number, request in simulation.cluster.checks.requests.items()}
    for number, at in enumerate(asked_at[:3], 1):
        refusal = results[number]
        assert isinstance(refusal, Refusal)
        assert (refusal.reason, "no quorum" in refusal.message) == (Reason.NO_LEADER, True)
        assert 10_000 <= answered[number] - at < 10_200
    for number in (4, 5):
        outcome = results[number]
        assert isinstance(outcome, Outcome)
        assert outcome.verdict is Verdict.OK


@pytest.mark.parametrize("again", ["", "wiped again", "cut off as it regains"])
def test_n5_a_voter_that_regained_its_vote_is_counted_in_the_next_election(again: str) -> None:
    """Then the leader dies, and of three voters two are left: no epoch without this one's promise."""
    faults: tuple[Fault, ...] = (Crash(1000, 1, 100, power=True, wipe=True), Crash(27_000, LEADER, 4000))
    if again == "wiped again":
        faults += (Crash(7000, 1, 100, power=True, wipe=True),)
    elif again:
        others = (2, 3, GATEWAY)
        faults += (Cut(10_900, 1500, tuple(p for other in others for p in ((other, 1), (1, other)))),)
    schedule = Schedule(12, peers=3, faults=faults, chaos_ms=30_000)
    simulation = Simulation(schedule, quiet_ns=10**9)
    assert not simulation.run().violation
    checks = simulation.cluster.checks
    assert simulation.cluster.probes["voter with a lost disk regained its vote"] == 1
    first, *_, last = sorted(checks.led)
    assert last > first
    voted = {voter for voter, epoch in checks.promised if epoch == last}
    assert 1 in voted
    assert len(voted) == 2
