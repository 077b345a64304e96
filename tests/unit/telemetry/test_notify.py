"""What the service manager hears, over a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from twisted.internet.task import Clock

from cluster.telemetry.notify import STATUS_MAX, Notifier, kept_sockets


class Manager:
    """A service manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        """Everything since last time."""
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return messages

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@javacluster-test-{os.getpid()}"
    found = Manager(address)
    yield found
    found.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_readiness_state_and_stopping_are_told(manager: Manager, clock: Clock) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": manager.address}, clock)
    notifier.ready()
    notifier.status("FOLLOWING 3,\nepoch 12")
    notifier.status("x" * 1000)
    notifier.stopping()
    assert manager.heard() == [
        "READY=1",
        "STATUS=FOLLOWING 3, epoch 12",
        f"STATUS={'x' * STATUS_MAX}",
        "STOPPING=1",
    ]
    assert clock.getDelayedCalls() == []
    notifier.close()


def test_the_watchdog_is_fed_at_half_its_period_until_closed(manager: Manager, clock: Clock) -> None:
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "10000000"}
    notifier = Notifier.from_environment(environment | {"WATCHDOG_PID": str(os.getpid())}, clock)
    notifier.ready()
    notifier.ready()
    clock.pump([5.0, 5.0])
    notifier.stopping()
    clock.advance(5.0)
    notifier.close()
    clock.advance(50.0)
    heard = manager.heard()
    assert heard.count("WATCHDOG=1") == 4
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    "environment",
    [{"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"}],
)
def test_a_watchdog_that_is_not_ours_is_not_fed(
    manager: Manager, clock: Clock, environment: dict[str, str]
) -> None:
    notifier = Notifier.from_environment(environment | {"NOTIFY_SOCKET": manager.address}, clock)
    notifier.ready()
    assert clock.getDelayedCalls() == []
    notifier.close()


def test_without_a_manager_there_is_silence(clock: Clock) -> None:
    notifier = Notifier.from_environment({"WATCHDOG_USEC": "1000000"}, clock)
    notifier.ready()
    notifier.status("x")
    notifier.stopping()
    notifier.close()
    assert notifier.failures == 0
    assert clock.getDelayedCalls() == []


def test_a_manager_that_is_gone_is_no_error(tmp_path: Path, clock: Clock) -> None:
    notifier = Notifier(str(tmp_path / "nobody"), None, clock)
    notifier.ready()
    notifier.close()
    assert notifier.failures == 1


def test_a_socket_is_given_to_the_manager_to_keep(tmp_path: Path, clock: Clock) -> None:
    """Deployment D4: clients wait in its queue while a gateway is restarted."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, socket.socket() as port:
        manager.bind(path)
        port.bind(("127.0.0.1", 0))
        notifier = Notifier(path, None, clock)
        notifier.keep("http", port.fileno())
        message, descriptors, _, _ = socket.recv_fds(manager, 4096, 1)
        assert message == b"FDSTORE=1\nFDNAME=http"
        with socket.socket(fileno=descriptors[0]) as kept:
            assert kept.getsockname() == port.getsockname()
        notifier.forget("http")
        assert manager.recv(4096) == b"FDSTOREREMOVE=1\nFDNAME=http"
        notifier.close()


def test_kept_sockets_have_names() -> None:
    said = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "http:other"}
    assert kept_sockets(said) == {"http": 3, "other": 4}


@pytest.mark.parametrize("wrong", [{"LISTEN_PID": "1"}, {"LISTEN_FDS": "many"}, {"LISTEN_FDS": "0"}])
def test_what_is_kept_for_somebody_else_is_left_alone(wrong: dict[str, str]) -> None:
    said = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"}
    assert kept_sockets(said | wrong) == {}
