"""A channel that ends at the leader alone, as when a reset is lost, is dialled again (W2).

The kernel is asked to forget the leader's end without a word to the other: nothing tells the worker, which
has nothing to say, and hears by UDP that all is well.
"""

from __future__ import annotations

import ctypes
import os
import socket
from pathlib import Path

import pytest

from tests.integration.live import Live, eventually, live_cluster

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="takes another process's socket in hand: needs root"),
]

TCP_REPAIR, TCP_REPAIR_QUEUE, SEND_QUEUE = 19, 20, 2
SYS_PIDFD_GETFD = 438
ESTABLISHED, LISTENING = "01", "0A"


def _connections() -> list[tuple[str, int, str]]:
    """State, local port and socket of all TCP that there is."""
    lines = [line for table in ("tcp", "tcp6") for line in Path("/proc/net", table).read_text().splitlines()]
    rows = [line.split() for line in lines if "local_address" not in line]
    return [(row[3], int(row[1].rpartition(":")[2], 16), f"socket:[{row[9]}]") for row in rows]


def _forget_one(pid: int) -> None:
    """One connection that came to this process is gone there, and its other end is told nothing."""
    own = {str(link.readlink()): int(link.name) for link in Path(f"/proc/{pid}/fd").iterdir()}
    every = _connections()
    ports = {port for state, port, name in every if state == LISTENING and name in own}
    came = [
        own[name]
        for state, port, name in every
        if (state, port in ports) == (ESTABLISHED, True) and name in own
    ]
    process = os.pidfd_open(pid)
    copy = ctypes.CDLL(None, use_errno=True).syscall(SYS_PIDFD_GETFD, process, came[0], 0)
    os.close(process)
    assert copy >= 0, os.strerror(ctypes.get_errno())
    with socket.socket(fileno=copy) as end:
        end.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        end.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, SEND_QUEUE)
        end.shutdown(socket.SHUT_RDWR)


def test_w2_a_channel_that_ended_at_the_leader_alone_is_dialled_again(tmp_path: Path) -> None:
    with live_cluster(tmp_path / "c") as cluster:
        leader, epoch = cluster.led()
        eventually(lambda: _channels(cluster, leader) == 3, "two followers and the gateway are there")
        _forget_one(cluster.status()[leader]["pid"])
        eventually(lambda: _channels(cluster, leader) == 2, "the leader has lost one")
        eventually(lambda: _channels(cluster, leader) == 3, "it is dialled again")
        assert cluster.led() == (leader, epoch)


def _channels(cluster: Live, node: int) -> int:
    return int(cluster.metric(node, "channels"))
