"""File descriptors, shared out before they are gone: connections get what everything else leaves (H8).

A process without any can write no record, start no virtual machine, and accept nobody. So clients are
bounded below the limit that the process has; what it needs itself is never theirs to take.
"""

from __future__ import annotations

import os
import resource

import msgspec

from twisted.logger import Logger

from cluster.config import GatewaySettings, NodeConfig
from cluster.errors import EnvironmentFault
from cluster.identity import Role
from cluster.net.channels import CHANNELS_PER_PEER, HALF_OPEN_MAX

OWN = 96
"""Logs, the record and its directory, the reactor, sockets, call-backs, a process being started."""
PER_RUN = 16
"""A waiting virtual machine's pipes and pidfd, those of a running one, and of what replaces it."""
LEAST = 32
"""Connections of clients below which a node is of no use."""


def within_descriptors(config: NodeConfig) -> GatewaySettings:
    """The settings of a node's HTTP side, with no more connections than this process has descriptors for.

    Raises:
        EnvironmentFault: too few are left.
    """
    files_max = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    slots = 0 if config.me.role is Role.GATEWAY else config.work.slots or os.cpu_count() or 1
    wanted = config.gateway.connections_max
    allowed = connections_within(files_max, wanted, members=len(config.members), slots=slots)
    if allowed < wanted:
        Logger(namespace="cluster.net.descriptors").warn(
            "{allowed} connections of clients at most, as this process may have {files} files open",
            allowed=allowed,
            files=files_max,
        )
    return msgspec.structs.replace(config.gateway, connections_max=allowed)


def connections_within(files_max: int, wanted: int, *, members: int, slots: int) -> int:
    """How many connections of clients there may be at once.

    Args:
        files_max: descriptors that the process may have (RLIMIT_NOFILE).
        wanted: `gateway.connections_max`.
        members: nodes that may open work channels to this one.
        slots: programs that run here at once.

    Raises:
        EnvironmentFault: too few are left.
    """
    needed = OWN + HALF_OPEN_MAX + CHANNELS_PER_PEER * members + PER_RUN * (slots + 1)
    if files_max - needed < LEAST:
        raise EnvironmentFault(
            f"this process may have {files_max} files open and needs {needed + LEAST}: raise `ulimit -n`, "
            f"or LimitNOFILE of the service"
        )
    return min(wanted, files_max - needed)
