"""Where members are: IP literals as they are, names resolved again and again, with traffic going on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from ipaddress import ip_address

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.identity import NodeId
from cluster.net.loglimit import LimitedLog

RESOLVE_EVERY_S = 60.0
RESOLVE_AGAIN_S = 2.0
"""While a member's name has never been resolved."""

Resolve = Callable[[str], Deferred[str]]
"""A name to one IP address, off the reactor's thread: `reactor.resolve`."""


def is_literal(host: str) -> bool:
    """Whether this is an IP address and no name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


class Addresses:
    """Members' IP addresses. A name that does not resolve any longer keeps its last address."""

    def __init__(self, reactor: IReactorTime, hosts: Mapping[NodeId, str], resolve: Resolve) -> None:
        """Literals are known at once, names from `start` on."""
        self._reactor = reactor
        self._resolve = resolve
        self._log = LimitedLog(reactor, Logger(namespace="cluster.net.addresses"))
        self._known = {node: host for node, host in hosts.items() if is_literal(host)}
        self._names = {node: host for node, host in hosts.items() if not is_literal(host)}
        self._timer: IDelayedCall | None = None
        self._running = False

    def get(self, node: NodeId) -> str | None:
        """The node's address, if it is known."""
        return self._known.get(node)

    def start(self) -> Deferred[None]:
        """Resolve every name once; fires when all were tried. Then again and again until `stop`."""
        self._running = True
        return self._round()

    def stop(self) -> None:
        """Resolve no more."""
        self._running = False
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _round(self) -> Deferred[None]:
        tried = gatherResults([self._try(host) for host in sorted(set(self._names.values()))])
        return tried.addCallback(self._arm)

    def _arm(self, _tried: Iterable[None]) -> None:
        if self._running and self._names:
            complete = self._names.keys() <= self._known.keys()
            self._timer = self._reactor.callLater(
                RESOLVE_EVERY_S if complete else RESOLVE_AGAIN_S, self._round
            )

    def _try(self, host: str) -> Deferred[None]:
        return maybeDeferred(self._resolve, host).addCallbacks(
            partial(self._resolved, host), partial(self._failed, host)
        )

    def _resolved(self, host: str, address: str) -> None:
        for node, name in self._names.items():
            if name == host:
                self._known[node] = address

    def _failed(self, host: str, failure: Failure) -> None:
        self._log.warning(
            host, "{host} can't be resolved: {reason}", host=host, reason=failure.getErrorMessage()
        )
