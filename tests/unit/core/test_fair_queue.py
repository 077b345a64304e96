"""Tenants take turns by weight, and a flood leaves places for others."""

from __future__ import annotations

import random

import pytest

from cluster.core.fair_queue import OVERFLOW_FACTOR, FairQueue, Holdings, admits


def taken(queue: FairQueue) -> list[str]:
    order = []
    while queue:
        head = queue.head()
        assert queue.take() == head
        queue.validate()
        order.append(head)
    return order


def filled(*jobs: tuple[str, str, int]) -> FairQueue:
    queue = FairQueue()
    for job, tenant, share in jobs:
        queue.push(job, tenant, share)
    return queue


def test_one_tenant_alone_has_a_plain_queue() -> None:
    queue = filled(*((str(n), "", 1) for n in range(5)))
    queue.push("urgent", "", 1, head=True)
    assert taken(queue) == ["urgent", "0", "1", "2", "3", "4"]


def test_tenants_take_turns_whoever_came_first() -> None:
    queue = filled(*((f"a{n}", "a", 1) for n in range(4)), ("b0", "b", 1), ("c0", "c", 1), ("b1", "b", 1))
    assert taken(queue) == ["a0", "b0", "c0", "a1", "b1", "a2", "a3"]


def test_a_turn_is_as_long_as_the_share() -> None:
    queue = filled(*((f"a{n}", "a", 1) for n in range(3)), *((f"b{n}", "b", 3) for n in range(6)))
    assert taken(queue) == ["a0", "b0", "b1", "b2", "a1", "b3", "b4", "b5", "a2"]


def test_who_would_go_first_is_known_beforehand() -> None:
    queue = filled(*((f"a{n}", "a", 1) for n in range(10)), *((f"b{n}", "b", 3) for n in range(2)))
    assert queue.ahead("a", 1) == 10 + 2
    assert queue.ahead("b", 3) == 2 + 1
    assert queue.ahead("c", 1) == 1 + 2
    assert FairQueue().ahead("c", 1) == 0


def test_what_is_discarded_leaves_no_trace() -> None:
    queue = filled(("a0", "a", 1), ("b0", "b", 1))
    queue.discard("a0")
    queue.discard("unknown")
    assert "a0" not in queue
    assert (list(queue), queue.lanes()) == (["b0"], {"b": 1})
    queue.validate()


@pytest.mark.parametrize(
    ("waiting", "mine", "share", "shares", "taken_on"),
    [
        (9, 9, 1, 1, True),
        (10, 10, 1, 1, False),
        (10, 10, 1, 2, False),
        (10, 0, 1, 2, True),
        (14, 4, 1, 2, True),
        (15, 5, 1, 2, False),
        (12, 2, 1, 4, True),
        (13, 3, 1, 4, False),
        (19, 3, 3, 4, True),
        (20, 0, 1, 2, False),
    ],
)
def test_a_full_table_takes_those_who_hold_less_than_their_part(
    waiting: int, mine: int, share: int, shares: int, taken_on: bool
) -> None:
    assert admits(10, waiting, mine, share, shares) is taken_on


def test_the_overflow_is_bounded_however_many_tenants_come() -> None:
    holdings = Holdings()
    for place in range(100):
        if holdings.admits(f"t{place}", 1, 10):
            holdings.add(place, f"t{place}", 1)
    held = range(10 * OVERFLOW_FACTOR)
    holdings.validate(held)
    for place in held:
        holdings.remove(place)
    holdings.validate([])


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_every_job_comes_out_once(seed: int) -> None:
    rng = random.Random(seed)
    queue, waiting = FairQueue(), set[str]()
    for number in range(300):
        match rng.randrange(4):
            case 0 | 1:
                queue.push(str(number), rng.choice("abc"), rng.randrange(1, 4), head=rng.random() < 0.2)
                waiting.add(str(number))
            case 2 if waiting:
                gone = rng.choice(sorted(waiting))
                queue.discard(gone)
                waiting.remove(gone)
            case _ if waiting:
                waiting.remove(queue.take())
        queue.validate()
        assert set(queue) == waiting
    assert set(taken(queue)) == waiting
