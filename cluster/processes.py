"""Processes of this machine, named so that a reused pid is never mistaken for one that we started.

A pid comes round again; a pid with the kernel's start time of the process does not (within one boot).
Linux only: everything here is read from `/proc`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from cluster.errors import EnvironmentFault, StorageError

PROC = Path("/proc")

POLL_S = 0.05
"""Between two looks at something that is waited for."""

KILLED_S = 5.0
"""How long a killed process may take to go."""

_START_TIME = 19
"""Where `/proc/PID/stat` has the start time, counted after the name in parentheses (field 22 of proc(5))."""

_SESSION = 3
_GONE = frozenset("ZXx")
"""States of a process that has ended and only waits to be collected."""


class Process(msgspec.Struct, frozen=True):
    """One process, for ever.

    Attributes:
        pid: its number while it lives.
        start: clock ticks from the machine's boot to its start.
        boot: the kernel's id of that boot.
    """

    pid: int
    start: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has this pid now, or None."""
        fields = _stat(pid)
        return cls(pid, int(fields[_START_TIME]), _boot_id()) if fields else None

    def alive(self) -> bool:
        """Whether exactly this process still runs; one that only awaits collection does not."""
        return Process.of(self.pid) == self

    def send(self, number: signal.Signals) -> bool:
        """Signal it if it still runs; tells whether it did."""
        if not self.alive():
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
            return True
        return False

    def session(self) -> tuple[Process, ...]:
        """The living processes of the session that this one leads, or led when it lived, without itself.

        The kernel gives its number to nobody else while the session has members.
        """
        owner = Process.of(self.pid)
        if self.boot != _boot_id() or (owner is not None and owner != self):
            return ()
        members = (
            Process.of(pid)
            for pid in _pids()
            if pid != self.pid and (fields := _stat(pid)) and int(fields[_SESSION]) == self.pid
        )
        return tuple(member for member in members if member)


def spawn(arguments: list[str], directory: Path, output: Path) -> Process:
    """Start a program in a session of its own that outlives us; both its streams go to `output`.

    Raises:
        EnvironmentFault: it could not be started.
    """
    try:
        with output.open("ab") as stream:
            child = subprocess.Popen(
                arguments,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
    except OSError as error:
        raise EnvironmentFault(f"can't start {arguments[0]}: {error.strerror}") from error
    process = Process.of(child.pid)
    if process is None:
        raise EnvironmentFault(f"{arguments[0]} ended at once: see {output}")
    return process


def stop(processes: Iterable[Process], patience_s: float) -> tuple[Process, ...]:
    """SIGTERM to all; after `patience_s` SIGKILL, also to what they leave behind in their sessions.

    Returns:
        those that had to be killed.
    """
    running = tuple(process for process in processes if process.alive())
    followers = {member for process in running for member in process.session()}
    for process in running:
        process.send(signal.SIGTERM)
        process.send(signal.SIGCONT)  # a stopped process would never see the SIGTERM
    wait_until(lambda: not any(process.alive() for process in running), patience_s)
    stubborn = tuple(process for process in running if process.alive())
    for process in stubborn:
        followers.update(process.session())
        process.send(signal.SIGKILL)
    for follower in followers:
        follower.send(signal.SIGKILL)
    wait_until(lambda: not any(process.alive() for process in (*running, *followers)), KILLED_S)
    return stubborn


def bury(process: Process, program: str) -> tuple[Process, ...]:
    """End those that a process left of its session and that run this program; returns them.

    A bubblewrap whose node is killed while it makes a sandbox sleeps for ever. Only for a process whose end
    the caller has just seen: once its session is gone, others may come to lead one of the same number.
    """
    if process.alive():
        return ()
    left = tuple(member for member in process.session() if _program(member.pid) == program)
    for member in left:
        member.send(signal.SIGKILL)
    return left


def wait_until(condition: Callable[[], bool], patience_s: float) -> bool:
    """Look at `condition` until it holds or `patience_s` is over; tells whether it held."""
    deadline = time.monotonic() + patience_s
    while True:
        if condition():
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)


class Port(msgspec.Struct, frozen=True):
    """A port to listen on; `kind` is `udp` or `tcp`."""

    host: str
    kind: str
    number: int

    def taken(self) -> bool:
        """Whether something listens there now."""
        flavour = socket.SOCK_DGRAM if self.kind == "udp" else socket.SOCK_STREAM
        with socket.socket(socket.AF_INET, flavour) as probe:
            if self.kind == "tcp":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.host, self.number))
            except OSError:
                return True
        return False

    def owner(self) -> str:
        """Who has it, as `pid 123 (name)`; empty where that can't be found (another user's process)."""
        wanted = {f"socket:[{inode}]" for inode in self._inodes()}
        for pid in _pids():
            with contextlib.suppress(OSError):
                for descriptor in (PROC / str(pid) / "fd").iterdir():
                    with contextlib.suppress(OSError):
                        if str(descriptor.readlink()) in wanted:
                            return f"pid {pid} ({(PROC / str(pid) / 'comm').read_text().strip()})"
        return ""

    def _inodes(self) -> set[str]:
        """Sockets that hold the port: local address, state and inode of `/proc/net`'s tables (proc(5))."""
        found = set()
        for table in (self.kind, f"{self.kind}6"):
            with contextlib.suppress(OSError):
                for line in (PROC / "net" / table).read_text().splitlines()[1:]:
                    fields = line.split()
                    listening = self.kind == "udp" or fields[3] == "0A"
                    if listening and int(fields[1].rpartition(":")[2], 16) == self.number:
                        found.add(fields[9])
        return found


def require_free(ports: Iterable[Port]) -> None:
    """Check that every port can be listened on.

    Raises:
        EnvironmentFault: the first one that can't, and who has it.
    """
    for port in ports:
        if port.taken():
            owner = port.owner()
            raise EnvironmentFault(
                f"{port.kind} port {port.number} of {port.host} is taken{' by ' + owner if owner else ''}: "
                "stop that process, or choose others with --base-port and --http-port"
            )


def _pids() -> Iterable[int]:
    return (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def _stat(pid: int) -> list[str]:
    """The fields of `/proc/PID/stat` after the name; empty when there is no such living process."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (OSError, UnicodeDecodeError):
        return []
    fields = text.rpartition(")")[2].split()
    return [] if fields[0] in _GONE else fields


def _program(pid: int) -> str:
    try:
        return (PROC / str(pid) / "exe").readlink().name
    except OSError:
        return ""


def _boot_id() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


@contextlib.contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Wait until no other process is between here and the end; where there is no such directory, don't.

    Raises:
        StorageError: the file can't be written.
    """
    try:
        file = lock.open("w")
    except FileNotFoundError:
        yield
        return
    except OSError as error:
        raise StorageError(f"can't write {lock}: {error.strerror}") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


OPEN_FILES_MAX = 65_536


def raise_open_files() -> None:
    """Let this process have as many files open as it may: each connection is one (H8)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES_MAX)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
