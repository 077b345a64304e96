"""Replays a schedule and tells, line by line, what happened: faults, and what the nodes said."""

from __future__ import annotations

from cluster.core import effects as fx
from tests.simulation.checks import Checks
from tests.simulation.clock import MS
from tests.simulation.host import Host
from tests.simulation.say import say
from tests.simulation.schedule import Fault, Schedule
from tests.simulation.simulation import Report, Simulation


class TellingChecks(Checks):
    """Prints the nodes' own summary lines with true time."""

    def logged(self, host: Host, effect: fx.Log) -> None:
        if effect.level is fx.Level.SUMMARY:
            say(f"{self._cluster.now / MS:11.3f} ms  {effect.text}")
        super().logged(host, effect)


def narrate(schedule: Schedule) -> Report:
    """Run it with every check after every event, and print what happens."""
    simulation = Simulation(schedule, validate_every=1)
    cluster = simulation.cluster
    told = TellingChecks(cluster)
    cluster.checks = told
    say(f"seed {schedule.seed}: peers {schedule.peer_ids}, {schedule.knobs}")
    for fault in schedule.faults:
        cluster.at(fault.at_ms * MS, _tell, fault)
    report = simulation.run()
    if schedule.broken:
        say(f"not healed: {schedule.broken}")
    return report


def _tell(fault: Fault) -> None:
    say(f"{fault.at_ms:11.3f} ms  * {fault}")
