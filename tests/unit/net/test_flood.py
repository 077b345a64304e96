"""A flood of junk is refused by the kernel, and members are heard through it (issue 7; X1, X3)."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from twisted.internet.task import Clock

from cluster.identity import Boot, NodeId
from cluster.net import packet_filter
from cluster.net.flood import CALM_S, FLOOD, WINDOW_S, FloodGuard
from cluster.wire.keyring import Keyring
from cluster.wire.messages import Resign
from cluster.wire.sealing import DATAGRAM_MAX, HEADER, TAG_BYTES, Sealer

ME = NodeId(1)
WAIT_S = 10.0
MANY = 40 * packet_filter.SAMPLE
"""So many strangers that one passes but once in e^40 runs."""

sealer = Sealer(Keyring({1: bytes(32)}), "c", NodeId(2), Boot(7))


class Loopback:
    """A socket of ours with a filter that knows one source, and what others send to it."""

    def __init__(self, host: str) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.ours, self.member, self.stranger = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(3))
        for sock in (self.ours, self.member, self.stranger):
            sock.bind((host, 0))
        self.ours.settimeout(WAIT_S)
        self.where = self.ours.getsockname()
        self.source: tuple[str, int] = self.member.getsockname()[:2]

    def attach(self, cluster: str = "c", me: NodeId = ME) -> None:
        made = packet_filter.program(self.ours.family, cluster, me, [self.source])
        packet_filter.attach(self.ours, made)

    def passes(self, sock: socket.socket, *datagrams: bytes) -> int:
        """How many of these the kernel gives us, in front of an end that it surely gives."""
        end = sealer.seal(ME, Resign(0))
        found = 0
        for data in datagrams:  # one after another: they must not fill the buffer
            sock.sendto(data, self.where)
            self.member.sendto(end, self.where)
            while self.ours.recv(DATAGRAM_MAX + 1) != end:
                found += 1
        return found

    def close(self) -> None:
        for sock in (self.ours, self.member, self.stranger):
            sock.close()


@pytest.fixture(params=["127.0.0.1", "::1"])
def loopback(request: pytest.FixtureRequest) -> Iterator[Loopback]:
    made = Loopback(request.param)
    yield made
    made.close()


def test_what_has_not_our_header_is_dropped_wherever_it_comes_from(loopback: Loopback) -> None:
    loopback.attach()
    good = sealer.seal(ME, Resign(1))
    junk = [
        b"",
        b"x" * 100,
        good[: HEADER.size + TAG_BYTES - 1],
        good + bytes(DATAGRAM_MAX),
        b"JC" + good[2:],
        good[:2] + b"\xff" + good[3:],
        Sealer(Keyring({1: bytes(32)}), "another", NodeId(2), Boot(7)).seal(ME, Resign(1)),
        sealer.seal(NodeId(3), Resign(1)),
    ]
    before = packet_filter.dropped_by_kernel(loopback.ours)
    assert loopback.passes(loopback.member, *junk) == 0
    assert packet_filter.dropped_by_kernel(loopback.ours) - before == len(junk)
    assert loopback.passes(loopback.member, good) == 1


def test_members_pass_whole_and_strangers_as_a_sample(loopback: Loopback) -> None:
    loopback.attach()
    assert loopback.passes(loopback.member, *[sealer.seal(ME, Resign(1))] * 50) == 50
    assert 0 < loopback.passes(loopback.stranger, *[sealer.seal(ME, Resign(1))] * MANY) < MANY / 4


def test_a_source_of_the_other_family_is_no_source(loopback: Loopback) -> None:
    other = ("127.0.0.1", 1) if loopback.ours.family == socket.AF_INET6 else ("::1", 1)
    with_it = packet_filter.program(loopback.ours.family, "c", ME, [other, loopback.source])
    assert with_it == packet_filter.program(loopback.ours.family, "c", ME, [loopback.source])


def test_the_largest_program_is_one_that_the_kernel_takes(loopback: Loopback) -> None:
    host = loopback.source[0]
    sources = [(host, port) for port in range(1, packet_filter.SOURCES_MAX + 100)]
    packet_filter.attach(loopback.ours, packet_filter.program(loopback.ours.family, "c", ME, sources))


def test_without_a_filter_everything_passes_again(loopback: Loopback) -> None:
    loopback.attach()
    packet_filter.detach(loopback.ours)
    packet_filter.detach(loopback.ours)
    assert loopback.passes(loopback.stranger, b"x") == 1


class TestGuard:
    """When the kernel is asked, and for how long."""

    @pytest.fixture(autouse=True)
    def _world(self, loopback: Loopback) -> None:
        self.loopback = loopback
        self.clock = Clock()
        self.guard = FloodGuard(self.clock, "c", ME, lambda: [loopback.source])
        self.guard.guard(loopback.ours)

    def refuse(self, times: int) -> None:
        for _ in range(times):
            self.guard.refused()

    def test_some_junk_is_no_flood(self) -> None:
        for _ in range(5):
            self.refuse(FLOOD - 1)
            self.clock.advance(WINDOW_S)
        assert not self.guard.filtering
        assert self.loopback.passes(self.loopback.stranger, b"x") == 1

    def test_a_flood_is_dropped_and_members_are_heard(self) -> None:
        self.refuse(FLOOD)
        assert self.guard.filtering
        assert self.loopback.passes(self.loopback.stranger, b"x") == 0
        assert self.loopback.passes(self.loopback.member, sealer.seal(ME, Resign(1))) == 1

    def test_who_has_spoken_authentically_from_elsewhere_passes_too(self) -> None:
        self.refuse(FLOOD)
        self.guard.heard(NodeId(50), self.loopback.stranger.getsockname()[:2])
        assert self.loopback.passes(self.loopback.stranger, *[sealer.seal(ME, Resign(1))] * 50) == 50

    def test_it_ends_when_calm_returns_and_not_before(self) -> None:
        self.refuse(FLOOD)
        junk = [b"x"] * int(FLOOD * CALM_S)
        assert self.loopback.passes(self.loopback.stranger, *junk) == 0
        self.clock.advance(CALM_S)
        assert self.loopback.passes(self.loopback.stranger, b"x") == 0
        self.clock.advance(CALM_S)
        assert self.loopback.passes(self.loopback.stranger, b"x") == 1

    def test_a_socket_that_is_gone_ends_it(self) -> None:
        self.refuse(FLOOD)
        self.guard.guard(None)
        assert not self.guard.filtering
        assert self.guard.dropped == 0
        self.clock.advance(2 * CALM_S)
        assert self.clock.getDelayedCalls() == []
