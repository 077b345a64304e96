"""What the service manager wants to hear: sd_notify's protocol over `NOTIFY_SOCKET`.

Silent where nobody listens; a message that can't be sent is counted, never an error.
"""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Iterable, Mapping

from twisted.internet.interfaces import IDelayedCall, IReactorTime

FIRST_KEPT = 3
"""The first descriptor that a service manager hands over (sd_listen_fds)."""

STATUS_MAX = 200
"""Characters of a status line."""


class Notifier:
    """Tells of readiness, stopping and state, and feeds the watchdog from the event loop.

    The watchdog is fed at half its period: a loop that hangs longer is a node that does not answer, and
    is restarted.
    """

    def __init__(self, address: str, watchdog_s: float | None, clock: IReactorTime) -> None:
        """Talk to `address` (a path, or `@name` for an abstract socket; empty: nobody)."""
        self._clock = clock
        self._every = None if watchdog_s is None else watchdog_s / 2
        self._feeding: IDelayedCall | None = None
        self._socket: socket.socket | None = None
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.failures = 0
        """Messages that could not be sent."""
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], clock: IReactorTime) -> Notifier:
        """As systemd says it in `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`."""
        microseconds = environment.get("WATCHDOG_USEC", "")
        meant_for_us = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        known = meant_for_us and microseconds.isascii() and microseconds.isdigit() and int(microseconds) > 0
        return cls(environment.get("NOTIFY_SOCKET", ""), int(microseconds) / 1e6 if known else None, clock)

    def ready(self) -> None:
        """The ports are bound; from now on the watchdog is fed."""
        self._send("READY=1")
        if self._socket is not None and self._every is not None and self._feeding is None:
            self._feed()

    def stopping(self) -> None:
        """The node drains. The watchdog is fed on until `close`."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={' '.join(text.split())[:STATUS_MAX]}")

    def keep(self, name: str, descriptor: int) -> None:
        """Have the manager hold a socket until the next start, so that nobody is refused in between."""
        fds = array.array("i", [descriptor])
        self._send(f"FDSTORE=1\nFDNAME={name}", [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])

    def forget(self, name: str) -> None:
        """Have the manager let go of what it holds under this name."""
        self._send(f"FDSTOREREMOVE=1\nFDNAME={name}")

    def close(self) -> None:
        """Say no more."""
        if self._feeding is not None and self._feeding.active():
            self._feeding.cancel()
        self._feeding = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _feed(self) -> None:
        assert self._every is not None  # noqa: S101 (for the type checker: checked by `ready`)
        self._feeding = self._clock.callLater(self._every, self._feed)
        self._send("WATCHDOG=1")

    def _send(self, message: str, ancillary: Iterable[tuple[int, int, array.array[int]]] = ()) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendmsg([message.encode()], ancillary, 0, self._address)
        except OSError:
            self.failures += 1


def kept_sockets(environment: Mapping[str, str]) -> dict[str, int]:
    """What a manager held since the last life of this service: descriptors by name; ours to close."""
    count = environment.get("LISTEN_FDS", "")
    if environment.get("LISTEN_PID") != str(os.getpid()) or not (count.isascii() and count.isdigit()):
        return {}
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    return dict(zip(names, range(FIRST_KEPT, FIRST_KEPT + int(count)), strict=False))
