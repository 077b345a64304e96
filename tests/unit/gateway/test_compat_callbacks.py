"""Call-backs: whom they may go to, how often they are tried, and that they are in nobody's way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from zope.interface import implementer

from cluster.config import CompatSettings
from cluster.errors import ConfigError
from cluster.gateway.compat.callback_policy import NOT_ALLOWED, Policy
from cluster.gateway.compat.callbacks import (
    AT_ONCE,
    WAITING_BYTES_MAX,
    WAITING_MAX,
    Callbacks,
    _Looking,
    callbacks_of,
    guarded_put,
)
from cluster.net.files import read_secret
from tests.support.deferreds import failure_result_of, success_result_of

ALLOWED = ("grader.example.org", "*.school.example", "192.0.2.7", "10.1.0.0/16")


@pytest.mark.parametrize(
    "url",
    [
        "http://grader.example.org/x",
        "https://GRADER.example.org:8443/x?y=1",
        "https://grader.example.org./",
        "http://moodle.school.example/",
        "http://192.0.2.7/",
        "http://10.1.255.1:8080/",
        "http://[::ffff:10.1.2.3]/",
    ],
)
def test_a_host_on_the_list_may_be_called(url: str) -> None:
    assert Policy(ALLOWED).refusal(url) == ""


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://example.org/", "is not a host"),
        ("http://school.example/", "is not a host"),
        ("http://evilschool.example/", "is not a host"),
        ("http://grader.example.org.evil.example/", "is not a host"),
        ("http://127.0.0.1/", "is not a host"),
        ("http://10.2.0.1/", "is not a host"),
        ("http://[::1]/", "is not a host"),
        ("http://2130706433/", "is not a host"),
        ("http://grader.example.org@evil.example/", "must not hold"),
        ("http://user:pw@grader.example.org/", "must not hold"),
        ("ftp://grader.example.org/", "is not a valid URL"),
        ("file:///etc/passwd", "is not a valid URL"),
        ("grader.example.org", "is not a valid URL"),
        ("http://grader.example.org:99999/", "is not a valid URL"),
        ("http://grader.example.org\\@evil.example/", "is not a valid URL"),
        ("http://grader.example.org/\r\nX: y", "is not a valid URL"),
        ("http://grader.example.org/" + "x" * 2000, "is not a valid URL"),
        ("http://[", "is not a valid URL"),
    ],
)
def test_everybody_else_is_refused(url: str, words: str) -> None:
    assert Policy(ALLOWED).refusal(url).startswith(words)


def test_with_an_empty_list_nobody_is_called() -> None:
    assert Policy(()).refusal("http://grader.example.org/") == NOT_ALLOWED


@pytest.mark.parametrize(
    ("address", "admitted"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("192.0.2.7", True),
        ("10.1.2.3", True),
        ("10.2.2.3", False),
        ("127.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("::1", False),
        ("169.254.169.254", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("0.0.0.0", False),  # noqa: S104  (not bound to)
        ("224.0.0.1", False),
        ("100.64.0.1", False),
        ("name", False),
    ],
)
def test_a_name_that_leads_inside_is_not_followed(address: str, admitted: bool) -> None:
    """A listed name may resolve to anything its owner likes: only public addresses and listed ones count."""
    assert Policy(ALLOWED).admits(address) is admitted


@implementer(IHostnameResolver)
@attrs.define
class _Names:
    """Resolves every name to these addresses."""

    addresses: list[str]

    def resolveHostName(  # noqa: N802  (Twisted's name)
        self,
        resolutionReceiver: Any,  # noqa: N803
        hostName: str,  # noqa: N803
        portNumber: int = 0,  # noqa: N803
        addressTypes: Any = None,  # noqa: N803
        transportSemantics: str = "TCP",  # noqa: N803
    ) -> Any:
        del hostName, addressTypes, transportSemantics
        for address in self.addresses:
            resolutionReceiver.addressResolved(IPv4Address("TCP", address, portNumber))
        resolutionReceiver.resolutionComplete()
        return resolutionReceiver


def test_a_connection_goes_to_the_address_that_was_looked_at() -> None:
    reactor = MemoryReactorClock()
    reactor.nameResolver = _Names(["127.0.0.1", "10.1.0.5"])
    endpoint = _Looking(reactor, Policy(ALLOWED), "grader.example.org", 80)
    endpoint.connect(Factory.forProtocol(Protocol))
    assert [(host, port) for host, port, *_rest in reactor.tcpClients] == [("10.1.0.5", 80)]


def test_without_such_an_address_there_is_no_connection() -> None:
    reactor = MemoryReactorClock()
    reactor.nameResolver = _Names(["127.0.0.1", "169.254.169.254"])
    endpoint = _Looking(reactor, Policy(ALLOWED), "grader.example.org", 80)
    failed = failure_result_of(endpoint.connect(Factory.forProtocol(Protocol)))
    assert failed.check(ConnectError)
    assert reactor.tcpClients == []


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nx", 200),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n", 302),
        (b"HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n", 500),
    ],
)
def test_an_answer_is_its_status_and_its_body_is_not_waited_for(answer: bytes, status: int) -> None:
    """By the real client, on a connection in memory: what it sends, and what it makes of the answer."""
    reactor = MemoryReactorClock()
    reactor.nameResolver = _Names(["10.1.0.5"])
    headers = {"Content-Type": "application/json"}
    told = guarded_put(reactor, ALLOWED)("http://grader.example.org/done?x=1", b"{}", headers)
    ((_host, _port, factory, *_rest),) = reactor.tcpClients
    connection = StringTransport()
    protocol: Any = factory.buildProtocol(IPv4Address("TCP", "10.1.0.5", 80))
    protocol.makeConnection(connection)
    reactor.pump([0.0] * 3)
    sent = connection.value()
    assert sent.startswith(b"PUT /done?x=1 HTTP/1.1\r\n")
    assert sent.endswith(b"\r\n\r\n{}")
    protocol.dataReceived(answer)
    assert success_result_of(told) == status
    assert connection.disconnecting
    assert len(reactor.tcpClients) == 1
    assert reactor.getDelayedCalls() == []


class _Server:
    """Remembers what was put, and answers when told to."""

    def __init__(self, clock: MemoryReactorClock, **settings: Any) -> None:
        self.waiting: list[Deferred[int]] = []
        self.refuses = False
        self.callbacks = Callbacks(clock, CompatSettings(**settings), b"k" * 16, self.put)

    def put(self, url: str, body: bytes, headers: Mapping[str, str]) -> Deferred[int]:
        del url, body, headers
        if self.refuses:
            return fail(ConnectError())
        answer: Deferred[int] = Deferred()
        self.waiting.append(answer)
        return answer


def test_what_fails_is_tried_again_a_little_later_each_time_and_then_given_up() -> None:
    clock = MemoryReactorClock()
    server = _Server(clock)
    server.callbacks.send("http://x/", b"{}")
    server.waiting.pop().callback(500)
    clock.advance(0.9)
    assert server.waiting == []
    clock.advance(0.1)
    server.waiting.pop().errback(ConnectError())
    clock.advance(1.9)
    assert server.waiting == []
    clock.advance(0.1)
    assert len(server.waiting) == 1
    clock.advance(5.0)  # `callback_timeout_s`
    assert (server.callbacks.sent, server.callbacks.failed) == (0, 1)
    assert clock.getDelayedCalls() == []


def test_few_go_out_at_once_and_few_wait() -> None:
    server = _Server(MemoryReactorClock())
    for _number in range(AT_ONCE + WAITING_MAX + 3):
        server.callbacks.send("http://x/", b"{}")
    assert (len(server.waiting), server.callbacks.dropped) == (AT_ONCE, 3)
    server.waiting[0].callback(204)
    assert (len(server.waiting), server.callbacks.sent) == (AT_ONCE + 1, 1)


def test_what_waits_is_bounded_by_bytes_too() -> None:
    server = _Server(MemoryReactorClock())
    for _number in range(AT_ONCE):
        server.callbacks.send("http://x/", b"{}")
    half = bytes(WAITING_BYTES_MAX // 2)
    for _number in range(3):
        server.callbacks.send("http://x/", half)
    assert server.callbacks.dropped == 1
    server.waiting[0].callback(204)  # one of the halves has its turn, and leaves its room
    server.callbacks.send("http://x/", half)
    assert (len(server.waiting), server.callbacks.dropped) == (AT_ONCE + 1, 1)
    server.callbacks.send("http://x/", b"{}")
    assert server.callbacks.dropped == 2


def test_stopping_ends_what_is_under_way() -> None:
    clock = MemoryReactorClock()
    server = _Server(clock)
    server.callbacks.send("http://x/", b"{}")
    server.callbacks.stop()
    server.callbacks.send("http://x/", b"{}")
    assert clock.getDelayedCalls() == []
    assert len(server.waiting) == 1


@pytest.mark.parametrize(("content", "words"), [(None, "openssl rand"), (b" short \n", "holds 5 bytes")])
def test_a_key_that_is_none_is_told_at_the_start(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "callback.key"
    if content is not None:
        path.write_bytes(content)
        path.chmod(0o600)
    settings = CompatSettings(callback_allow=("example.org",), callback_key_file=str(path))
    with pytest.raises(ConfigError, match=words):
        callbacks_of(settings, MemoryReactorClock(), read_secret)


@pytest.mark.parametrize(("mode", "good"), [(0o600, True), (0o640, True), (0o644, False), (0o602, False)])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int, good: bool) -> None:
    """As every secret of a node is (docs/security.md)."""
    path = tmp_path / "callback.key"
    path.write_bytes(b"0123456789abcdef")
    path.chmod(mode)
    settings = CompatSettings(callback_allow=("example.org",), callback_key_file=str(path))
    if good:
        assert callbacks_of(settings, MemoryReactorClock(), read_secret).refusal("http://example.org/") == ""
        return
    with pytest.raises(ConfigError, match=r"callback_key_file: .*chmod 600"):
        callbacks_of(settings, MemoryReactorClock(), read_secret)
