"""A TCP port that outlives its process: taken over from the service manager, or bound (deployment D4).

Clients that come while a gateway is restarted wait in the socket's queue and are not refused.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from cluster.errors import EnvironmentFault

ACCEPTS_MAX = 32
"""Connections that a port takes in one turn of the event loop.

Whoever has to go for them keeps his descriptor until the next turn, so that these are beyond every bound of
connections: far fewer than `descriptors.OWN`. Twisted takes ever more at once while there are more; a process
that has no descriptor left accepts the next client only to reset it.
"""
BACKLOG = 1024
"""Clients that may wait in the port's queue while a gateway is restarted."""


def listen(
    reactor: Any,  # noqa: ANN401  (IReactorTCP and IReactorSocket)
    host: str,
    port: int,
    factory: IProtocolFactory,
    kept: int | None,
) -> tuple[IListeningPort, bool]:
    """Serve on `host` and `port`; `kept` is a descriptor that may be that port already, and is closed here.

    Returns:
        the port, and whether it is the kept one.

    Raises:
        EnvironmentFault: the port can't be bound.
    """
    if kept is not None:
        try:
            if (family := _family_of(kept, host, port)) is not None:
                os.set_blocking(kept, False)
                return in_short_turns(reactor.adoptStreamPort(kept, family, factory)), True  # it takes a copy
        finally:
            os.close(kept)
    try:
        bound = _bind(host, port)
    except OSError as error:
        raise EnvironmentFault(
            f"TCP port {port} of {host} can't be bound ({error}); "
            f"is another node running here, and is this address the machine's own?"
        ) from error
    with bound:
        return in_short_turns(reactor.adoptStreamPort(bound.fileno(), bound.family, factory)), False


def in_short_turns(port: IListeningPort) -> IListeningPort:
    """That port; one of Twisted's own takes no more than `ACCEPTS_MAX` connections at once from now on."""
    if isinstance(port, tcp.Port):
        own: Any = port
        accept = own.doRead

        def accept_some() -> None:
            own.numberAccepts = min(own.numberAccepts, ACCEPTS_MAX)
            accept()

        own.doRead = accept_some
    return port


def _bind(host: str, port: int) -> socket.socket:
    """Listen, not by `listenTCP`: what Twisted bound itself it shuts down when it stops, copies and all."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound


def _family_of(descriptor: int, host: str, port: int) -> socket.AddressFamily | None:
    """The address family of a socket that listens on exactly this address."""
    try:
        held = socket.socket(fileno=os.dup(descriptor))
    except OSError:
        return None
    with held:
        if held.type != socket.SOCK_STREAM or held.family not in {socket.AF_INET, socket.AF_INET6}:
            return None
        return held.family if held.getsockname()[:2] == (host, port) else None
