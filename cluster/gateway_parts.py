"""What a gateway has besides what every node has, put together: the clients that it is of others."""

from __future__ import annotations

from typing import Any

from treq.client import HTTPClient
from twisted.web.client import Agent, HTTPConnectionPool

from cluster.config import NodeConfig
from cluster.gateway.access import Access
from cluster.gateway.compat.callbacks import callbacks_of
from cluster.gateway.log_access import PeerLogs
from cluster.gateway.parts import GatewayParts
from cluster.gateway.relay import Requests
from cluster.net.files import read_secret
from cluster.net.reactor import unix_seconds

PEER_LOGS_CONNECT_S = 2.0


def gateway_parts(
    requests: Requests,
    access: Access,
    config: NodeConfig,
    reactor: Any,  # noqa: ANN401  (connects, resolves, keeps time)
    opened: list[tuple[str, Any]],
) -> GatewayParts:
    """The parts of this node's gateway; what must be closed is added to `opened`.

    Raises:
        ConfigError: the key of the call-backs is not there, too short, or others can read it.
    """
    pool = HTTPConnectionPool(reactor)
    opened.append(("peer logs", pool.closeCachedConnections))
    agent = Agent(reactor, connectTimeout=PEER_LOGS_CONNECT_S, pool=pool)
    callbacks = callbacks_of(config.gateway.compat, reactor, read_secret)
    opened.append(("call-backs", callbacks.stop))
    return GatewayParts(
        requests,
        access,
        PeerLogs(HTTPClient(agent), reactor),
        config.gateway,
        config.limits,
        unix_seconds,
        callbacks,
    )
