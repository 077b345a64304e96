"""Fairness among tenants: whose turn it is, and who may still take a place (W4).

Jobs wait in lanes, one a tenant, and the lanes take turns by weighted round robin: one tenant alone finds a
plain queue, oldest first; several have turns as long as their shares, so that one tenant's flood makes nobody
else wait for more than a round.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator

import attrs

OVERFLOW_FACTOR = 2
"""A full table still takes jobs of tenants that hold less than their part, to this many times its bound."""


def admits(room: int, waiting: int, mine: int, share: int, shares: int) -> bool:
    """Whether a table of `room` places takes one more of a tenant.

    A table that one tenant has filled still takes others, until each holds its part of `room`; all together
    never more than `OVERFLOW_FACTOR` times `room`.

    Args:
        room: places.
        waiting: how many are taken.
        mine: how many of them by this tenant.
        share: its weight.
        shares: the weights of all tenants who hold places or want one, its own included.
    """
    if waiting < room:
        return True
    return shares > share and mine * shares < room * share and waiting < OVERFLOW_FACTOR * room


@attrs.define
class _Lane:
    """One tenant's waiting jobs; `credit` is how many of them may still go in the present turn."""

    share: int
    credit: int
    jobs: OrderedDict[str, None] = attrs.Factory(OrderedDict)


class FairQueue:
    """A queue of job ids; its head is the next job to be assigned.

    Invariants: a job is in one lane; no lane is empty; the lane whose turn it is has credit.
    """

    def __init__(self) -> None:
        self._lanes: OrderedDict[str, _Lane] = OrderedDict()
        self._tenant_of: dict[str, str] = {}

    def __len__(self) -> int:
        """How many jobs wait."""
        return len(self._tenant_of)

    def __contains__(self, job: object) -> bool:
        return job in self._tenant_of

    def __iter__(self) -> Iterator[str]:
        """Every job, in no order that means anything."""
        return iter(self._tenant_of)

    def push(self, job: str, tenant: str, share: int, *, head: bool = False) -> None:
        """Let it wait at the end of its tenant's lane, or at its head (W6)."""
        lane = self._lanes.get(tenant)
        if lane is None:
            lane = self._lanes[tenant] = _Lane(share, share)
        lane.share = share
        lane.jobs[job] = None
        if head:
            lane.jobs.move_to_end(job, last=False)
        self._tenant_of[job] = tenant

    def head(self) -> str:
        """The job whose turn it is; the queue must not be empty."""
        return next(iter(next(iter(self._lanes.values())).jobs))

    def take(self) -> str:
        """Remove the head: its tenant has spent one job of its turn."""
        tenant, lane = next(iter(self._lanes.items()))
        job, _ = lane.jobs.popitem(last=False)
        del self._tenant_of[job]
        lane.credit -= 1
        if not lane.jobs:
            del self._lanes[tenant]
        elif lane.credit <= 0:
            lane.credit = lane.share
            self._lanes.move_to_end(tenant)
        return job

    def discard(self, job: str) -> None:
        """It waits no longer, if it did."""
        tenant = self._tenant_of.pop(job, None)
        if tenant is None:
            return
        lane = self._lanes[tenant]
        del lane.jobs[job]
        if not lane.jobs:
            del self._lanes[tenant]

    def admits(self, tenant: str, share: int, room: int, others: int = 0) -> bool:
        """Whether one more job of this tenant may wait here; `others` count too, and wait elsewhere."""
        lane = self._lanes.get(tenant)
        mine = len(lane.jobs) if lane is not None else 0
        shares = share + sum(other.share for name, other in self._lanes.items() if name != tenant)
        return admits(room, len(self) + others, mine, share, shares)

    def ahead(self, tenant: str, share: int) -> int:
        """How many jobs would go before one that this tenant adds now."""
        lane = self._lanes.get(tenant)
        mine = len(lane.jobs) if lane is not None else 0
        turns = mine // share + 1
        others = (other for name, other in self._lanes.items() if name != tenant)
        return mine + sum(min(len(other.jobs), turns * other.share) for other in others)

    def lanes(self) -> dict[str, int]:
        """How many jobs of each tenant wait."""
        return {tenant: len(lane.jobs) for tenant, lane in self._lanes.items()}

    def validate(self) -> None:
        """Assert the invariants of the class."""
        found = {job: tenant for tenant, lane in self._lanes.items() for job in lane.jobs}
        assert found == self._tenant_of
        for lane in self._lanes.values():
            assert lane.jobs, "an empty lane"
            assert lane.credit > 0, "a lane without a turn"


class Holdings:
    """How many places of a bounded table each tenant holds."""

    def __init__(self) -> None:
        self._tenant_of: dict[int, str] = {}
        self._held: dict[str, tuple[int, int]] = {}

    def add(self, place: int, tenant: str, share: int) -> None:
        """This tenant, of this weight, takes a place."""
        self._tenant_of[place] = tenant
        held, _ = self._held.get(tenant, (0, 0))
        self._held[tenant] = (held + 1, share)

    def remove(self, place: int) -> None:
        """It is free again."""
        tenant = self._tenant_of.pop(place)
        held, share = self._held.pop(tenant)
        if held > 1:
            self._held[tenant] = (held - 1, share)

    def admits(self, tenant: str, share: int, room: int) -> bool:
        """Whether this tenant may take one more of `room` places."""
        waiting = len(self._tenant_of)
        if waiting < room:
            return True
        mine, _ = self._held.get(tenant, (0, 0))
        others = sum(weight for name, (_, weight) in self._held.items() if name != tenant)
        return admits(room, waiting, mine, share, share + others)

    def validate(self, places: Collection[int]) -> None:
        """Assert that exactly these places are held."""
        assert self._tenant_of.keys() == set(places)
        assert Counter(self._tenant_of.values()) == {name: held for name, (held, _) in self._held.items()}
