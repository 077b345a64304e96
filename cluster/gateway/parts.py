"""What the sites of `app` are made of: seams to the node, its core, its logs and its counters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs

from twisted.internet.interfaces import IReactorTime

from cluster.config import GatewaySettings
from cluster.gateway.access import Access
from cluster.gateway.compat.callbacks import Callbacks
from cluster.gateway.log_access import LogSource, PeerLogs
from cluster.gateway.relay import Requests
from cluster.gateway.view import ClusterView
from cluster.limits import Limits
from cluster.wire.jobs import Outcome, Refusal


class Observer(Protocol):
    """Who counts what is answered."""

    def answered(self, result: Outcome | Refusal, cached: bool, seconds: float) -> None:
        """A job's answer went out, `seconds` after its request came in."""
        ...

    def responded(self, endpoint: str, status: int) -> None:
        """Any answer went out, or has begun if it is a stream."""
        ...

    def opened(self, endpoint: str) -> None:
        """A request has reached its endpoint."""
        ...

    def closed(self, endpoint: str, seconds: float) -> None:
        """It has been answered to the end, or its client has left, so many seconds later."""
        ...


@attrs.frozen
class NodeParts:
    """What every node's pages read.

    Attributes:
        exposition: the metrics, in Prometheus's text format.
    """

    view: Callable[[], ClusterView]
    logs: LogSource
    exposition: Callable[[], bytes]
    observer: Observer
    clock: IReactorTime


@attrs.frozen
class GatewayParts:
    """What a gateway has besides.

    Attributes:
        requests: where programs are sent.
        access: who may send them.
        limits: what a program may use that asks for nothing.
        utc: seconds since 1970, to be shown and for nothing else.
        callbacks: delivers what the drop-in interfaces promise to send.
    """

    requests: Requests
    access: Access
    peer_logs: PeerLogs
    settings: GatewaySettings
    limits: Limits
    utc: Callable[[], float]
    callbacks: Callbacks
