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
from cluster.limits import JOINED_MAX
from cluster.net.channels import CHANNELS_PER_PEER, HALF_OPEN_MAX

OWN = 96
"""Logs, the record and its directory, the reactor, sockets, call-backs, a process being started."""
PER_RUN = 16
"""A waiting virtual machine's pipes and pidfd, those of a running one, and of what replaces it."""
LEAST = 32
"""Connections of clients below which a node is of no use."""
JOINED_PART = 8
"""Of its descriptors, one of so many is kept for channels of workers that are in nobody's member list."""
UNLIMITED = 65_536
"""Descriptors that are counted on where a process may have any number."""

_log = Logger(namespace="cluster.net.descriptors")


def within_descriptors(config: NodeConfig) -> GatewaySettings:
    """The settings of a node's HTTP side, with no more connections than this process has descriptors for.

    Raises:
        EnvironmentFault: too few are left.
    """
    files_max = _files_max()
    wanted = config.gateway.connections_max
    slots = 0 if config.me.role is Role.GATEWAY else _slots(config, files_max)
    members, joined = len(config.members), joined_of(config)
    allowed = connections_within(files_max, wanted, members=members, joined=joined, slots=slots)
    if allowed < wanted:
        _log.warn(
            "{allowed} connections of clients at most, as this process may have {files} files open",
            allowed=allowed,
            files=files_max,
        )
    return msgspec.structs.replace(config.gateway, connections_max=allowed)


def slots_of(config: NodeConfig) -> int:
    """Programs that this node runs at once: as configured, or one a processor, if there are descriptors."""
    files_max = _files_max()
    slots = _slots(config, files_max)
    if not config.work.slots and slots < _processors():
        _log.warn(
            "{slots} slots for {processors} processors, as this process may have {files} files open: "
            "raise `ulimit -n`, or LimitNOFILE of the service",
            slots=slots,
            processors=_processors(),
            files=files_max,
        )
    return slots


def joined_of(config: NodeConfig) -> int:
    """Channels that workers which are no members may have open with this node."""
    return joined_within(_files_max()) if config.me.role is Role.PEER and config.me.tcp else 0


def joined_within(files_max: int) -> int:
    """The same of a node that listens, if its process may have so many descriptors."""
    return min(JOINED_MAX * CHANNELS_PER_PEER, files_max // JOINED_PART)


def slots_within(files_max: int, processors: int, *, members: int, joined: int) -> int:
    """One slot a processor, but no more than leave room for `LEAST` clients; one at least."""
    left = files_max - LEAST - _needed(members, joined, 0)
    return max(1, min(processors, left // PER_RUN))


def connections_within(files_max: int, wanted: int, *, members: int, joined: int, slots: int) -> int:
    """How many connections of clients there may be at once.

    Args:
        files_max: descriptors that the process may have (RLIMIT_NOFILE).
        wanted: `gateway.connections_max`.
        members: nodes that may open work channels to this one.
        joined: channels of workers that are no members.
        slots: programs that run here at once.

    Raises:
        EnvironmentFault: too few are left.
    """
    needed = _needed(members, joined, slots)
    if files_max - needed < LEAST:
        raise EnvironmentFault(
            f"this process may have {files_max} files open and needs {needed + LEAST}, of these "
            f"{PER_RUN * (slots + 1)} for `work.slots: {slots}`, {CHANNELS_PER_PEER * members} for members "
            f"and {joined} for workers that join: raise `ulimit -n`, or LimitNOFILE of the service"
            + (", or lower `work.slots`" if slots else "")
        )
    return min(wanted, files_max - needed)


def _needed(members: int, joined: int, slots: int) -> int:
    return OWN + HALF_OPEN_MAX + CHANNELS_PER_PEER * members + joined + PER_RUN * (slots + 1)


def _slots(config: NodeConfig, files_max: int) -> int:
    if config.work.slots:
        return config.work.slots
    return slots_within(files_max, _processors(), members=len(config.members), joined=joined_of(config))


def _processors() -> int:
    return os.cpu_count() or 1


def _files_max() -> int:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return UNLIMITED if soft == resource.RLIM_INFINITY else soft
