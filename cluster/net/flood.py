"""Keeps a flood of junk from taking the time that heartbeats need (issue 7; X1, X3).

Refusing a datagram costs a node some tens of microseconds, and while it does so its own socket's buffer
overflows: 50,000 a second would cost elections. Past `FLOOD` refusals a second the kernel is given a
program that drops what has not our header and what comes from nobody who has spoken authentically, all but
a sample of it, so that a node which joins or has moved still gets in. When calm returns it is taken away.
"""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from cluster.identity import NodeId
from cluster.net import packet_filter
from cluster.net.packet_filter import SOURCES_MAX

FLOOD = 1000
"""Refused datagrams within `WINDOW_S` that are a flood; a misconfigured cluster nearby makes some hundred."""

WINDOW_S = 1.0

CALM_S = 10.0
"""So long the filter stays; if in this time as many as `FLOOD` a second were dropped, as long again."""


class FloodGuard:
    """Counts refusals, and lets the kernel refuse while there are too many.

    Attributes:
        filtering: the kernel does so now.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        cluster: str,
        me: NodeId,
        configured: Callable[[], Iterable[tuple[str, int]]] = tuple,
    ) -> None:
        """`configured` gives the members' own addresses and ports; it guards nothing before `guard`."""
        self.filtering = False
        self._reactor = reactor
        self._cluster = cluster
        self._me = me
        self._configured = configured
        self._sock: socket.socket | None = None
        self._sources: OrderedDict[NodeId, tuple[str, int]] = OrderedDict()
        self._window_ends = 0.0
        self._refused = 0
        self._dropped = 0
        self._calm: IDelayedCall | None = None
        self._log = Logger(namespace="cluster.net.flood")

    def guard(self, sock: socket.socket | None) -> None:
        """This is the socket now, without a filter; None when there is none."""
        self._sock = sock
        self.filtering = False
        if self._calm is not None and self._calm.active():
            self._calm.cancel()
        self._calm = None

    @property
    def dropped(self) -> int:
        """Datagrams that the kernel never gave us, filtered or because we were too slow to take them."""
        return 0 if self._sock is None else packet_filter.dropped_by_kernel(self._sock)

    def heard(self, sender: NodeId, source: tuple[str, int]) -> None:
        """An authentic datagram came from there: such a source passes the filter."""
        if self._sources.get(sender) == source:
            return
        self._sources[sender] = source
        self._sources.move_to_end(sender)
        if len(self._sources) > SOURCES_MAX:
            self._sources.popitem(last=False)
        if self.filtering:
            self._attach()

    def refused(self) -> None:
        """A datagram was refused."""
        now = self._reactor.seconds()
        if now >= self._window_ends:
            self._window_ends = now + WINDOW_S
            self._refused = 0
        self._refused += 1
        if self._refused >= FLOOD and not self.filtering:
            self._log.warn(
                "a flood of datagrams that are refused: for {seconds:g} s at least the kernel drops what "
                "comes from nobody that we know, all but one in {sample}",
                seconds=CALM_S,
                sample=packet_filter.SAMPLE,
            )
            self._attach()
            self._watch()

    def _attach(self) -> None:
        if self._sock is None:
            return
        try:
            sources = {*self._configured(), *self._sources.values()}
            made = packet_filter.program(self._sock.family, self._cluster, self._me, sources)
            packet_filter.attach(self._sock, made)
        except (OSError, ValueError):
            self._log.failure("the kernel takes no filter; a flood is refused by this node itself")
        else:
            self.filtering = True

    def _watch(self) -> None:
        self._dropped = self.dropped
        self._calm = self._reactor.callLater(CALM_S, self._maybe_calm)

    def _maybe_calm(self) -> None:
        self._calm = None
        if self._sock is None or not self.filtering:
            return
        if (self.dropped - self._dropped) % 2**32 >= FLOOD * CALM_S:
            self._watch()
            return
        packet_filter.detach(self._sock)
        self.filtering = False
        self._log.info("the flood of datagrams is over")
