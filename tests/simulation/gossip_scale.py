"""`python -m tests.simulation.gossip_scale`: the gossip core at 10 to 500 nodes.

For each size and loss: one node is killed and the others' verdicts are timed, in rounds of T; false verdicts
on nodes that live are counted, also while some stand still; bytes and processor time are per node and virtual
second. Then the node returns, says that it is about to leave, and two halves part and meet again. Written as
a table and a plot.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import attrs
import msgspec

from cluster.config import GossipSettings
from cluster.identity import NodeId, Status
from tests.simulation.clock import SECOND
from tests.simulation.gossip_world import GossipWorld
from tests.simulation.say import say

T = 1.0
SETTINGS = GossipSettings(interval_s=T)
SIZES = (10, 50, 100, 300, 500)
LOSSES = (0.0, 0.2, 0.5)
WARM_S = 14.0
QUIET_S = 10.0
DETECT_S = 26.0


COLUMNS = ("first", "median", "all", "false", "chances", "kB/s", "CPU ms/s", "joined", "leaving", "healed")


class Row(msgspec.Struct, frozen=True):
    """One size under one loss; detection in rounds, -1 where not everybody noticed in time."""

    nodes: int
    loss: float
    first: float
    median: float
    last: float
    false: int
    pair_rounds: int
    bytes_s: float
    cpu_ms_s: float
    joined: float
    leaving: float
    healed: float


@attrs.define
class Meter:
    """Bytes and processor time between two moments."""

    world: GossipWorld
    bytes: int = 0
    cpu: float = 0.0
    at: int = 0

    def start(self) -> None:
        """From here."""
        self.bytes, self.cpu, self.at = self._bytes(), time.process_time(), self.world.now

    def read(self) -> tuple[float, float]:
        """Bytes, and milliseconds of processor, per node and second."""
        seconds = (self.world.now - self.at) / SECOND * len(self.world.members)
        cpu = 1000 * (time.process_time() - self.cpu)
        return (self._bytes() - self.bytes) / seconds, cpu / seconds

    def _bytes(self) -> int:
        return sum(member.sent_bytes for member in self.world.members.values())


def measure(nodes: int, loss: float, seed: int, *, whole: bool) -> Row:
    """One cluster; `whole`: also joins, leaves, parts and heals (which takes as long again)."""
    ids = list(range(1, nodes + 1))
    world = GossipWorld(seed, settings=SETTINGS, loss=loss, seeds=ids)
    for node in ids:
        world.start(node)
    world.run(WARM_S)
    world.verdicts.clear()
    meter = Meter(world)
    meter.start()
    world.run(QUIET_S)
    bytes_s, cpu = meter.read()
    victim = world.chance.stream("victim").pick(tuple(ids))
    world.kill(victim)
    killed = world.now
    world.run(DETECT_S)
    seen = sorted(
        (at - killed) / SECOND / T
        for at, by, of, status in world.verdicts
        if of == victim and status is Status.FAILED and by in world.members
    )
    complete = len(seen) >= nodes - 1
    false = sum(status is Status.FAILED and of != victim for _, _, of, status in world.verdicts)
    joined, leaving, healed = _joins_and_heals(world, ids, victim) if whole else (-1.0, -1.0, -1.0)
    return Row(
        nodes,
        loss,
        seen[0] if seen else -1.0,
        seen[len(seen) // 2] if seen else -1.0,
        seen[nodes - 2] if complete else -1.0,
        false,
        int((QUIET_S + DETECT_S) / T) * nodes * (nodes - 1),
        bytes_s,
        cpu,
        joined,
        leaving,
        healed,
    )


def _joins_and_heals(world: GossipWorld, ids: list[int], victim: int) -> tuple[float, float, float]:
    """Rounds until a returned node's facts are everywhere, that it drains, and that all are ALIVE again."""
    world.start(victim, boot=1_700_000_100, configured=ids)
    joined = _rounds_until(world, 80, lambda: _facts_everywhere(world, victim))
    world.members[victim].core.update_facts(world.now / SECOND, draining=True)
    leaving = _rounds_until(world, 80, lambda: _facts_everywhere(world, victim, draining=True))
    half = set(ids[: len(ids) // 2])
    world.cut = lambda sender, to: (sender in half) != (to in half)
    world.run(14 * T)
    world.cut = lambda _sender, _to: False
    return joined, leaving, _rounds_until(world, 40, world.knows_all)


def _facts_everywhere(world: GossipWorld, node: int, *, draining: bool = False) -> bool:
    boot = world.members[node].boot
    facts = (member.core.facts(NodeId(node)) for member in world.members.values())
    return all(fact is not None and fact.boot == boot and fact.draining == draining for fact in facts)


class Calm(msgspec.Struct, frozen=True):
    """What came of a long time in which nothing happens.

    Attributes:
        parts: clusters among which the time is divided, each with a seed of its own.
        chances: pairs times rounds that were looked at.
    """

    nodes: int
    loss: float
    minutes: float
    parts: int
    chances: int
    false: int


def calm(nodes: int, loss: float, minutes: float, parts: int) -> Calm:
    """Nothing happens for long, in `parts` clusters at the same time."""
    with ProcessPoolExecutor(parts) as pool:
        each = [pool.submit(endure, nodes, loss, minutes / parts, nodes + part) for part in range(parts)]
        done = [one.result() for one in each]
    return Calm(nodes, loss, minutes, parts, sum(one[0] for one in done), sum(one[1] for one in done))


def endure(nodes: int, loss: float, minutes: float, seed: int) -> tuple[int, int]:
    """One part of it: (pairs times rounds looked at, false verdicts)."""
    world = GossipWorld(seed, settings=SETTINGS, loss=loss, seeds=range(1, nodes + 1))
    for node in range(1, nodes + 1):
        world.start(node)
    world.run(WARM_S)
    world.verdicts.clear()
    done = 0
    while done < minutes * 60:
        world.run(min(30.0, minutes * 60 - done))
        done += 30
        false = sum(status is Status.FAILED for _, _, _, status in world.verdicts)
        say(f"{nodes} nodes, {loss:.0%} loss, seed {seed}, {done:.0f} s: {false} false verdicts")
    return int(minutes * 60 / T) * nodes * (nodes - 1), false


def _rounds_until(world: GossipWorld, most: int, done: object) -> float:
    assert callable(done)
    began = world.now
    for _ in range(2 * most):
        if done():
            return (world.now - began) / SECOND / T
        world.run(T / 2)
    return -1.0


def pauses(nodes: int, seed: int) -> tuple[int, int]:
    """A tenth of the nodes stand still for 3 T again and again: (pauses, false verdicts)."""
    world = GossipWorld(seed, settings=SETTINGS, seeds=range(1, nodes + 1))
    for node in range(1, nodes + 1):
        world.start(node)
    world.run(WARM_S)
    world.verdicts.clear()
    draw = world.chance.stream("pauses")
    count = 0
    for _ in range(6):
        for node in draw.some(tuple(world.members), max(1, nodes // 10)):
            world.pause(node, 3 * T)
            count += 1
        world.run(5 * T)
    return count, sum(status is Status.FAILED for _, _, _, status in world.verdicts)


def as_text(rows: list[Row], stood: list[tuple[int, int, int]]) -> str:
    """The tables, in Markdown."""
    lines = [
        "# Gossip at scale",
        "",
        "Written by `python -m tests.simulation.gossip_scale` from simulation: the gossip core itself,",
        "T = 1 s, fan-out 3, delays of 0.2 to 10 ms. Detection counts from the kill, in rounds of T. A false",
        "verdict is FAILED on a node that lives; *chances* is how many pairs times rounds were looked at.",
        "Bytes are those sent, with all headers; processor time is of this simulation, decoding and encoding",
        "included, on a busy machine. *Joined*: rounds until a returned node's facts are known. *Healed*:",
        "rounds until everybody is ALIVE to everybody after two halves had been apart for 14 T. *Leaving*:",
        "rounds until everybody knows that a node drains. A -1 was not measured, or not within its time.",
        "",
        f"| nodes | loss | {' | '.join(COLUMNS)} |",
        "| ---: " * (2 + len(COLUMNS)) + "|",
        *(
            f"| {r.nodes} | {r.loss:.0%} | {r.first:.1f} | {r.median:.1f} | {r.last:.1f} | {r.false} "
            f"| {r.pair_rounds} | {r.bytes_s / 1000:.1f} | {r.cpu_ms_s:.2f} "
            f"| {r.joined:.1f} | {r.leaving:.1f} | {r.healed:.1f} |"
            for r in rows
        ),
        "",
        "A tenth of the nodes stand still for 3 T, six times, without loss:",
        "",
        "| nodes | pauses | false verdicts |",
        "| ---: | ---: | ---: |",
        *(f"| {nodes} | {count} | {false} |" for nodes, count, false in stood),
        "",
        "![detection over size](gossip.svg)",
    ]
    return "\n".join(lines) + "\n"


def as_calm(result: Calm) -> str:
    """That table, in Markdown."""
    r = result
    lines = [
        "# Gossip for an hour",
        "",
        "Written by `python -m tests.simulation.gossip_scale --endure 60 --processes 2` from simulation:",
        "T = 1 s, fan-out 3, no fault but the loss of datagrams. *Minutes* are virtual, after a start of",
        "14 s that is not counted, and divided among the clusters, each with a seed of its own. A false",
        "verdict is FAILED on a node that lives; *chances* is how many pairs times rounds were looked at.",
        "",
        "| nodes | loss | minutes | clusters | chances | false verdicts |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
        f"| {r.nodes} | {r.loss:.0%} | {r.minutes:g} | {r.parts} | {r.chances} | {r.false} |",
    ]
    return "\n".join(lines) + "\n"


def as_svg(rows: list[Row]) -> str:
    """Detection by all, over the size, one line a loss."""
    width, height, left, bottom = 640, 360, 60, 320
    colours = {0.0: "#1b6ca8", 0.2: "#c8731a", 0.5: "#a32a4e"}
    top = max(20.0, *(row.last for row in rows))

    def x(nodes: int) -> float:
        return left + 540 * SIZES.index(nodes) / (len(SIZES) - 1)

    def y(rounds: float) -> float:
        return bottom - 280 * rounds / top

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        '<rect width="640" height="360" fill="white"/>',
        '<text x="60" y="24" font-size="15">Rounds until every node knows of a failure</text>',
    ]
    for mark in range(0, int(top) + 1, 5):
        at = f"{y(mark):.0f}"
        parts.append(f'<line x1="{left}" x2="600" y1="{at}" y2="{at}" stroke="#ddd"/>')
        parts.append(f'<text x="36" y="{at}" font-size="12">{mark}</text>')
    parts.extend(f'<text x="{x(nodes) - 10:.0f}" y="340" font-size="12">{nodes}</text>' for nodes in SIZES)
    for place, loss in enumerate(LOSSES):
        points = [(row.nodes, row.last) for row in rows if row.loss == loss and row.last >= 0]
        line = " ".join(f"{x(nodes):.0f},{y(rounds):.1f}" for nodes, rounds in points)
        colour = colours[loss]
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.extend(f'<circle cx="{x(n):.0f}" cy="{y(r):.1f}" r="3" fill="{colour}"/>' for n, r in points)
        label = f'fill="{colour}" font-size="13">{loss:.0%} loss</text>'
        parts.append(f'<text x="{430 + 70 * place}" y="24" {label}')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _job(nodes: int, loss: float | None, whole: int) -> Row | tuple[int, int, int]:
    """A row; without a loss, the row about pauses."""
    if loss is None:
        return nodes, *pauses(nodes, seed=nodes)
    return measure(nodes, loss, seed=nodes, whole=nodes <= whole)


def main() -> int:
    """Measure, and write `gossip.md` and `gossip.svg`; after each row, so that a long run shows itself."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--most", type=int, default=max(SIZES), help="the largest size")
    parser.add_argument("--whole", type=int, default=max(SIZES), help="joins and heals up to this size")
    parser.add_argument("--endure", type=float, default=0.0, help="only this: minutes without a fault")
    parser.add_argument("--loss", type=float, default=0.2, help="of --endure")
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    if given.endure:
        quiet = calm(given.most, given.loss, given.endure, given.processes)
        say(str(quiet))
        (given.into / "gossip-hour.md").write_text(as_calm(quiet), encoding="utf-8")
        return 1 if quiet.false else 0
    rows: list[Row] = []
    stood: list[tuple[int, int, int]] = []
    jobs = [(n, loss, given.whole) for n in SIZES if n <= given.most for loss in (*LOSSES, None)]
    with ProcessPoolExecutor(given.processes) as pool:
        for result in pool.map(_job, *zip(*jobs, strict=True)):
            say(str(result))
            if isinstance(result, Row):
                rows.append(result)
            else:
                stood.append(result)
            (given.into / "gossip.md").write_text(as_text(rows, stood), encoding="utf-8")
            (given.into / "gossip.svg").write_text(as_svg(rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
