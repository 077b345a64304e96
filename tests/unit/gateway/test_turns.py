"""A flood of requests is dealt with in short turns (H8, W12)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from twisted.internet.task import Clock

from cluster.config import GatewaySettings
from cluster.gateway.channel import INTERIM
from cluster.gateway.site import make_site
from cluster.gateway.turns import TURN_S, WINDOW_S, Turns
from tests.unit.gateway.connections import Connection
from tests.unit.gateway.fakes import Gateway


class Busy:
    """Work that takes time, and when it was done."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.turns = Turns(self.clock)
        self.done: list[int] = []

    def ask(self, number: int, seconds: float = TURN_S / 4) -> None:
        def work() -> None:
            self.clock.rightNow += seconds
            self.done.append(number)

        self.turns.do(work)


def test_a_few_are_done_at_once() -> None:
    busy = Busy()
    for number in range(4):
        busy.ask(number)
    assert busy.done == [0, 1, 2, 3]
    assert busy.clock.getDelayedCalls() == []


def test_many_are_done_in_order_a_turn_a_round() -> None:
    busy = Busy()
    for number in range(12):
        busy.ask(number)
    assert busy.done == [0, 1, 2, 3]
    assert len(busy.clock.getDelayedCalls()) == 1
    busy.turns._turn()
    assert busy.done == [0, 1, 2, 3, 4, 5, 6, 7]
    busy.ask(12)
    assert len(busy.turns) == 5
    busy.turns._turn()
    busy.turns._turn()
    assert busy.done == list(range(13))


def test_a_quiet_while_ends_the_turn() -> None:
    busy = Busy()
    busy.ask(0, TURN_S)
    busy.clock.advance(WINDOW_S * 1.01)
    busy.ask(1)
    assert busy.done == [0, 1]


def test_what_fails_holds_up_nobody() -> None:
    busy = Busy()

    def fail() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        busy.turns.do(fail)
    busy.ask(1, TURN_S)
    busy.turns.do(fail)
    busy.ask(2)
    with pytest.raises(RuntimeError):
        busy.turns._turn()
    busy.clock.advance(0)
    assert busy.done == [1, 2]


def test_who_waits_for_his_turn_may_send_on_and_may_leave(gateway: Gateway) -> None:
    """H8: what he sends is kept for its turn; of one who left nothing is done."""
    clock = Clock()
    site = make_site(gateway.resource, GatewaySettings(), clock)
    held: list[Callable[[], None]] = []
    site.turns.do = held.append  # type: ignore[method-assign,assignment]  # no turn comes by itself
    stays, leaves = Connection(site), Connection(site)
    one = b"GET /livez HTTP/1.1\r\nHost: g\r\n\r\n"
    stays.send(one)
    stays.send(one + one[:10])
    leaves.send(one)
    leaves.gone()
    assert len(held) == 2
    while held:
        held.pop(0)()
    stays.send(one[10:])
    held.pop(0)()
    assert stays.send(b"").count(b"alive\n") == 3
    assert leaves.send_nothing() == b""


@pytest.mark.parametrize(("version", "cut"), [(b"1.1", False), (b"1.0", True)])
def test_who_closes_its_sending_side_while_he_waits_gets_his_answer(
    gateway: Gateway, version: bytes, *, cut: bool
) -> None:
    """H8: as one whose turn has come."""
    site = make_site(gateway.resource, GatewaySettings(), Clock())
    held: list[Callable[[], None]] = []
    site.turns.do = held.append  # type: ignore[method-assign,assignment]  # no turn comes by itself
    client = Connection(site)
    client.send(b"GET /livez HTTP/%b\r\nHost: g\r\n\r\n" % version)
    client.close_sending()
    assert client.transport.aborting == cut
    if not cut:
        assert client.send_nothing() == INTERIM
        held.pop()()
        assert client.send_nothing().endswith(b"alive\n")
        assert client.transport.disconnecting
