"""Deliberate mutations of the cores: each breaks one rule, and the sweep must notice.

A mutation that is not found means that the simulator is blind there. They live here and nowhere else, as
patches of the classes under test.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from tests.simulation import absence_sweep, gossip_sweep, mutations
from tests.simulation.clock import SECOND
from tests.simulation.generate import generate
from tests.simulation.say import say
from tests.simulation.schedule import Schedule
from tests.simulation.simulation import Simulation

Patch = tuple[type[Any], str, Any]
Search = Callable[[int], str]


@attrs.frozen
class Canary:
    """One mutation.

    Attributes:
        patches: attributes of classes, and what they become.
        search: runs one seed and gives back the violation.
        schedule: what happens in a seed to a whole cluster; None where the search is of gossip alone.
    """

    name: str
    breaks: str
    patches: tuple[Patch, ...]
    search: Search
    schedule: Callable[[int], Schedule] | None


UNFIT = ("raised: TypeError", "raised: AttributeError", "raised: NameError")
"""What the mutation itself says when the cores have changed under it."""

REPLAY = "python -m tests.simulation replay"

QUIET_S = 10
"""Quiet times are shorter here than in a sweep, and the seeds cheaper: what is wrong shows early or not."""


def _whole(seed: int) -> str:
    return Simulation(generate(seed), validate_every=16, quiet_ns=QUIET_S * SECOND).run().violation


_SEARCHES: dict[str, tuple[Search, Callable[[int], Schedule] | None]] = {
    **dict.fromkeys(mutations.GOSSIP, (gossip_sweep.run_seed, None)),
    mutations.AGAIN: (absence_sweep.run_seed, absence_sweep.generate),
}
"""Mutations that only another sweep than that of whole clusters can show."""

CANARIES: dict[str, Canary] = {
    name: Canary(name, breaks, patches, *_SEARCHES.get(name, (_whole, generate)))
    for name, (breaks, patches) in mutations.MUTATIONS.items()
}


def schedule_of(name: str | None, seed: int) -> Schedule:
    """What happens in this seed where that mutation is hunted; without one, in a sweep.

    Raises:
        ValueError: only gossip alone shows it.
    """
    make = CANARIES[name].schedule if name else generate
    if make is None:
        raise ValueError(f"{name}: gossip alone shows it, and that has no schedule to replay")
    return make(seed)


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """While this lasts, the cores are broken in this way."""
    saved = [(owner, attribute, owner.__dict__[attribute]) for owner, attribute, _ in CANARIES[name].patches]
    for owner, attribute, broken in CANARIES[name].patches:
        setattr(owner, attribute, broken)
    try:
        yield
    finally:
        for owner, attribute, whole in saved:
            setattr(owner, attribute, whole)


@attrs.frozen
class Found:
    """After how many seeds, with which violation; 0 and nothing when it was missed."""

    name: str
    seeds: int
    violation: str
    seconds: float


def hunt(name: str, most: int) -> Found:
    """Run seeds from 0 on until one fails; a mutation that can't be called has found nothing."""
    began = time.perf_counter()
    with mutated(name):
        for seed in range(most):
            violation = CANARIES[name].search(seed)
            if violation.startswith(UNFIT):
                return Found(name, 0, f"does not fit the cores any longer: {violation}", 0.0)
            if violation:
                return Found(name, seed + 1, violation, time.perf_counter() - began)
    return Found(name, 0, "", time.perf_counter() - began)


def report(most: int, only: str | None, table: Path | None) -> int:
    """Hunt all of them, print and write the table; 0 when each was found."""
    names = [only] if only else list(CANARIES)
    found = []
    with ProcessPoolExecutor(max_workers=2) as pool:
        for result in pool.map(hunt, names, [most] * len(names)):
            found.append(result)
            missed = f"MISSED {result.violation}"
            word = f"after {result.seeds} seeds: {result.violation}" if result.seeds else missed
            say(f"{result.name}: {word[:150]}")
            if result.seeds and CANARIES[result.name].schedule:
                say(f"  replay: {REPLAY} {result.seeds - 1} --canary '{result.name}'")
    if table:
        table.write_text(as_text(found, most), encoding="utf-8")
    return 0 if all(result.seeds for result in found) else 1


def as_text(found: list[Found], most: int) -> str:
    """The table, in Markdown."""
    lines = [
        "# Canaries: deliberate mutations, and after how many seeds the sweep finds them",
        "",
        "Written by `python -m tests.simulation canaries --table docs/benchmarks/canaries.md`. Seeds count",
        f"from 0; one that is not found within {most} is missed. They are whole clusters, but for",
        f"G1 to G6 (gossip alone) and *{mutations.AGAIN}* (a gateway that is away about as long as its",
        "jobs are kept).",
        "",
        "| mutation | what it breaks | seeds | first violation |",
        "| --- | --- | --- | --- |",
    ]
    for result in found:
        words = result.violation.replace("|", "/")
        short = words if len(words) <= 90 else words[:90] + "…"
        seeds = str(result.seeds) if result.seeds else "missed"
        lines.append(f"| {result.name} | {CANARIES[result.name].breaks} | {seeds} | {short} |")
    return "\n".join(lines) + "\n"
