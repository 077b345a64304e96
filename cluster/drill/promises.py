"""What was measured under pressure, and whether the promises held (W4, W9; pure)."""

from __future__ import annotations

import msgspec

from cluster.bench import Spread

REFUSED_MS = 50.0
FREED_MS = 100.0
SLOWER = 1.5
"""How much longer an accepted job may take under overload than with a full queue."""

OK, UNAVAILABLE, TOO_MANY = 200, 503, 429


class Exchange(msgspec.Struct, frozen=True):
    """One request: how long it took, and what came of it; `status` is 0 for a connection that broke."""

    seconds: float
    status: int
    said: str = ""
    retry_after: str = ""
    job: str = ""


class Phase(msgspec.Struct, frozen=True):
    """What came of many requests.

    Attributes:
        offered_per_s, accepted_per_s: requests, and right answers, a second.
        accepted, refused: how long they took.
        wrong: answers that are neither right nor an honest refusal, in words.
    """

    offered_per_s: float
    accepted_per_s: float
    accepted: Spread | None
    refused: Spread | None
    wrong: tuple[str, ...] = ()


class Pressure(msgspec.Struct, frozen=True):
    """Everything that was measured; times from a client's hanging up are of the same clock as the logs."""

    machine: str
    alone: Phase
    full: Phase
    overload: Phase
    calm_alone: Phase
    calm_in_flood: Phase
    flood: Phase
    slot_freed: Spread
    place_freed: Spread

    def broken(self) -> list[str]:
        """The promises that did not hold, in words."""
        phases = (self.alone, self.full, self.overload, self.calm_alone, self.calm_in_flood, self.flood)
        found = [text for phase in phases for text in phase.wrong]
        for name, phase in (("overload", self.overload), ("flood", self.flood)):
            if phase.refused is None:
                found.append(f"{name}: nothing was refused: that was no {name}")
            elif phase.refused.p99_ms > REFUSED_MS:
                found.append(f"{name}: 1 % of the refusals took more than {REFUSED_MS:g} ms")
        if self.full.accepted is None or self.overload.accepted is None:
            found.append("nothing was accepted")
        elif self.overload.accepted.p50_ms > SLOWER * self.full.accepted.p50_ms:
            found.append(f"accepted jobs took over {SLOWER:g} times as long under overload")
        if self.calm_in_flood.refused is not None:
            found.append("the calm tenant was refused in the flood")
        for name, spread in (("slot", self.slot_freed), ("place", self.place_freed)):
            if spread.p99_ms > FREED_MS:
                found.append(f"a {name} was free only {spread.p99_ms:g} ms after its client had left")
        return found


def phase_of(exchanges: list[Exchange], seconds: float) -> Phase:
    """Sort out what came of the requests of `seconds`."""
    accepted = [exchange.seconds for exchange in exchanges if exchange.status == OK]
    refused = [exchange for exchange in exchanges if exchange.status in {UNAVAILABLE, TOO_MANY}]
    wrong = [
        f"{exchange.status}: {exchange.said[:200]}"
        for exchange in exchanges
        if exchange.status not in {OK, UNAVAILABLE, TOO_MANY}
    ]
    wrong += [
        f"{exchange.status} without Retry-After or a reason"
        for exchange in refused
        if not (exchange.retry_after.isdigit() and exchange.said)
    ]
    return Phase(
        round(len(exchanges) / seconds, 1),
        round(len(accepted) / seconds, 1),
        Spread.of(accepted) if accepted else None,
        Spread.of([exchange.seconds for exchange in refused]) if refused else None,
        tuple(wrong),
    )


def as_lines(pressure: Pressure) -> list[str]:
    """For people."""

    def spread(title: str, measured: Spread | None) -> str:
        if measured is None:
            return f"{title:<34}none"
        figures = f"p50 {measured.p50_ms:.0f} ms, p99 {measured.p99_ms:.0f} ms, max {measured.max_ms:.0f} ms"
        return f"{title:<34}{figures} (n={measured.count})"

    def rate(phase: Phase) -> str:
        return f"{phase.offered_per_s:g} requests a second, {phase.accepted_per_s:g} answered"

    lines = [
        pressure.machine,
        f"alone: {rate(pressure.alone)}",
        spread("  answered in", pressure.alone.accepted),
        f"full, no more: {rate(pressure.full)}",
        spread("  answered in", pressure.full.accepted),
        f"overload: {rate(pressure.overload)}",
        spread("  answered in", pressure.overload.accepted),
        spread("  refused in", pressure.overload.refused),
        f"flood of one tenant: {rate(pressure.flood)}",
        spread("  refused in", pressure.flood.refused),
        spread("  another tenant, without the flood", pressure.calm_alone.accepted),
        spread("  another tenant, in it", pressure.calm_in_flood.accepted),
        spread("client left, slot given on", pressure.slot_freed),
        spread("client left, place in queue free", pressure.place_freed),
    ]
    return [*lines, *(f"BROKEN: {text}" for text in pressure.broken())]
