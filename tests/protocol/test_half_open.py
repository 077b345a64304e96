"""A channel that ended at the leader only, while its worker goes on hearing the leader (W2)."""

from __future__ import annotations

from tests.simulation.schedule import LEADER, Cut, Reset, Schedule
from tests.simulation.simulation import Simulation

MS_BEFORE_ITS_FOLLOWERS_DOUBT = 300


def test_w2_an_idle_worker_whose_channel_is_gone_at_the_leader_dials_it_again() -> None:
    """A reset gets to the leader, and not to the worker: that is cut off for a moment, and follows on."""
    faults = (Cut(3000, MS_BEFORE_ITS_FOLLOWERS_DOUBT, ((LEADER, 51),)), Reset(3050, (LEADER, 51)))
    simulation = Simulation(Schedule(1, peers=3, workers=1, faults=faults, chaos_ms=5000))
    assert not simulation.run().violation
    cluster, (node, _epoch) = simulation.cluster, simulation.leader() or (0, 0)
    life = cluster.hosts[node].life
    assert life is not None
    dispatch = life.core.work.dispatch
    assert dispatch is not None
    assert 51 in [worker.node for worker in dispatch._roster.workers()]
