"""A virtual machine without a process: records what it is told, ends when the test says so."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from cluster.java.jvm import Ending, Jvm, Usage


class FakeJvm(Jvm):
    """What `Jvm` is to its users; `end` and `say` play the process."""

    def __init__(self) -> None:
        super().__init__(confined=True)
        self.pid = 42
        self.written: dict[int, bytes] = {}
        self.closed: list[int] = []
        self.kills = 0
        self.used: Usage | None = Usage()
        self.looks = 0
        self.bound: float | None = None
        self.cell_used = 0.0
        self.files = 0
        self.killed = False
        self.on_data: Callable[[int, bytes], None] = lambda _fd, _data: None
        self.ended: Deferred[Ending] = Deferred()

    def write(self, child_fd: int, data: bytes) -> None:
        self.written[child_fd] = self.written.get(child_fd, b"") + data

    def close(self, child_fd: int) -> None:
        self.closed.append(child_fd)

    def gone(self) -> bool:
        return self.killed or not self.alive

    def bound_cpu(self, seconds: float) -> None:
        self.bound = seconds

    def cell_cpu_s(self) -> float:
        return self.cell_used

    def usage(self) -> Usage | None:
        self.looks += 1
        return self.used if self.alive else None

    def file_bytes(self) -> int:
        return self.files

    def kill(self) -> None:
        self.kills += 1

    def say(self, child_fd: int, data: bytes) -> None:
        """The process writes."""
        self.on_data(child_fd, data)

    def end(self, exit_code: int | None = 137, signal: int | None = None) -> None:
        """The process is reaped."""
        self.alive = False
        self.ended.callback(Ending(exit_code, signal))
