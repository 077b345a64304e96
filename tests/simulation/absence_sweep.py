"""A gateway that is away about as long as its jobs are kept for it (W9): they are cancelled as it returns.

It sends them again then, also to the workers that are just stopping them. What a worker does with a job that
it has already (W5) matters in hardly any other moment: a leader knows from HELLO who has what (W7).
"""

from __future__ import annotations

from tests.simulation.chance import Chance
from tests.simulation.schedule import LEADER, Ask, Cut, Reset, Schedule
from tests.simulation.simulation import Simulation

GATEWAY = 101
LEAVES_MS = 3000
AWAY_MS = (4600, 5600)
"""Least and most: `absence_s` is 5 s, and a returning gateway needs a moment to be heard."""

RUN_MS = 9000
CHAOS_MS = 12_000


def generate(seed: int) -> Schedule:
    """Long jobs on all workers, and one absence."""
    draw = Chance(seed).stream("absence")
    peers = (3, 5)[draw.between(0, 1)]
    away = draw.between(*AWAY_MS)
    ends = tuple((GATEWAY, node) for node in range(1, peers + 1))
    both = (*ends, *((node, gateway) for gateway, node in ends))
    return Schedule(
        seed=seed,
        peers=peers,
        faults=(Cut(LEAVES_MS, away, both), Reset(LEAVES_MS + 5, (LEADER, GATEWAY))),
        asks=tuple(
            Ask(draw.between(2000, LEAVES_MS - 300), GATEWAY, RUN_MS) for _ in range(draw.between(2, 6))
        ),
        chaos_ms=CHAOS_MS,
    )


def run_seed(seed: int) -> str:
    """The violation of one seed, or nothing."""
    return Simulation(generate(seed), validate_every=16).run().violation
