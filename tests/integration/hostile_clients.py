"""Clients that mean harm, on a live cluster: connections held open, trickled, never handshaken (H8, X2).

    python -m tests.integration.hostile_clients [CONNECTIONS]

Prints, for each kind, how long honest programs took meanwhile and what the node held; the test of the same
name demands that each of them was answered and that nothing stays behind.
"""

from __future__ import annotations

import contextlib
import resource
import selectors
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from tests.integration.live import Live, live_cluster

HONEST = 20
"""Programs that are sent, one after another, while the others do their worst."""

OWN_FILES = 5
"""By how many a node's own vary: people's connections, links that are made anew."""

TRICKLED = b"POST /compileandrun HTTP/1.1\r\nHost: g\r\nX: "


@attrs.frozen
class Figure:
    """What one kind of hostile client came to.

    Attributes:
        opened: connections that were made, also those that the node cut at once.
        refused: those that the machine turned away.
        seconds: of each honest program.
        memory_mib, files: of the node, at the height of it.
        left: what it has open afterwards beyond what it had before: files, of a peer sockets, as those that
            lead to its virtual machines come and go.
    """

    kind: str
    opened: int
    refused: int
    seconds: tuple[float, ...]
    memory_mib: float
    files: int
    left: int

    def line(self) -> str:
        """For people."""
        p50, worst = statistics.median(self.seconds) * 1000, max(self.seconds) * 1000
        return (
            f"{self.kind:<28} {self.opened:>6} opened {self.refused:>5} refused   honest: "
            f"{len(self.seconds)} of {HONEST}, p50 {p50:.0f} ms, worst {worst:.0f} ms   "
            f"node: {self.memory_mib:.0f} MiB, {self.files} files, {self.left} left"
        )


def raise_files(count: int) -> int:
    """Let this process have so many sockets, if it may; gives back how many connections that allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 200
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    return min(count, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200)


@contextlib.contextmanager
def crowd(port: int, count: int, first: bytes) -> Iterator[tuple[list[socket.socket], int]]:
    """So many connections, each of which has sent `first`, or was cut as it did; and how many failed."""
    made: list[socket.socket] = []
    refused = 0
    with selectors.DefaultSelector() as selector:
        for start in range(0, count, 200):
            waiting = 0
            for _ in range(min(200, count - start)):
                one = socket.socket()
                one.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    one.connect(("127.0.0.1", port))
                selector.register(one, selectors.EVENT_WRITE)
                waiting += 1
            deadline = time.monotonic() + 20
            while waiting and time.monotonic() < deadline:
                for key, _ in selector.select(1.0):
                    one = key.fileobj  # type: ignore[assignment]  # a socket: only those were registered
                    selector.unregister(one)
                    waiting -= 1
                    try:
                        one.send(first)
                        made.append(one)
                    except (ConnectionResetError, BrokenPipeError):
                        made.append(one)  # by the machine, and then the node had no place for it
                    except OSError:
                        refused += 1
                        one.close()
            refused += waiting
        try:
            yield made, refused
        finally:
            for one in made:
                one.close()


def honest(cluster: Live, kind: str) -> tuple[float, ...]:
    """Programs of people who mean well, each another one; how long each took."""
    took = []
    for number in range(HONEST):
        began = time.monotonic()
        name = f"{kind} {number}"
        answer = cluster.run(f'public class A {{ public String run() {{ return "{name}"; }} }}')
        assert (answer.status, answer.text) == (200, name), answer
        took.append(time.monotonic() - began)
    return tuple(took)


def files_of(pid: int) -> int:
    """How many files a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def sockets_of(pid: int) -> int:
    """How many of them are sockets."""
    found = 0
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += str(file.readlink()).startswith("socket:")
    return found


def memory_of(pid: int) -> float:
    """Its resident memory, in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def strike(cluster: Live, kind: str, node: int, port: int, count: int, first: bytes) -> Figure:
    """Let the crowd come, ask honestly meanwhile, and see what stays."""
    pid = cluster.status()[node]["pid"]
    left_open = sockets_of if node else files_of  # a peer's files lead to its virtual machines as well
    before = left_open(pid)
    with crowd(port, count, first) as (made, refused):
        seconds = honest(cluster, kind)
        held, memory = files_of(pid), memory_of(pid)
        opened = len(made)
    deadline = time.monotonic() + 20
    while (after := left_open(pid)) > before + OWN_FILES and time.monotonic() < deadline:
        time.sleep(0.1)
    return Figure(kind, opened, refused, seconds, memory, held, max(0, after - before))


def figures(cluster: Live, count: int, say: Callable[[str], None] = lambda _line: None) -> list[Figure]:
    """Every kind in turn."""
    gateway, peer = cluster.http_port, cluster.base_port + 12
    found = []
    for kind, node, port, first in (
        ("nothing", 0, gateway, None),
        ("silent connections", 0, gateway, b""),
        ("requests that trickle", 0, gateway, TRICKLED),
        ("bodies that never come", 0, gateway, TRICKLED + b"y\r\nContent-Length: 900000\r\n\r\nclass"),
        ("answers that nobody reads", 0, gateway, b"GET /pages/page.css HTTP/1.1\r\nHost: g\r\n\r\n" * 50),
        ("TLS without a word", 1, peer, b""),
        ("TLS that never ends", 1, peer, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ):
        one = strike(cluster, kind, node, port, 0 if first is None else count, first or b"")
        found.append(one)
        say(one.line())
    return found


def main() -> None:
    """A cluster of its own, as many connections as were asked for, a line for each kind."""
    count = raise_files(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
    with tempfile.TemporaryDirectory() as place, live_cluster(Path(place) / "c", peers=3) as cluster:
        print(f"{count} connections a kind")  # noqa: T201  (this is a command)
        figures(cluster, count, print)


if __name__ == "__main__":
    main()
