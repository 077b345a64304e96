"""Coverage of N5 (b): a vote that was lost with a disk and regained must count in a later election."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.core import effects as fx

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster


class Regained:
    """The voters that have their vote again, and what began by it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._voters: set[int] = set()

    def logged(self, node: int, effect: fx.Log) -> None:
        """What a core says of its vote, and that it leads."""
        if effect.level is not fx.Level.SUMMARY:
            return
        if "gains the vote: a leader was heard" in effect.text:
            self._voters.add(node)
        elif self._voters and ": leading epoch " in effect.text:
            self._leads(int(effect.text.rsplit(" ", 1)[1]))

    def wiped(self, node: int) -> None:
        """Lost again."""
        self._voters.discard(node)

    def _leads(self, epoch: int) -> None:
        cluster = self._cluster
        given = {voter for voter, promised in cluster.checks.promised if promised == epoch}
        if len(given - self._voters) <= len(cluster.voters) // 2:
            cluster.probes["epoch rests on a regained vote"] += 1
