"""`python -m tests.simulation.gossip_scale`: the gossip core at 10 to 500 nodes.

For each size and loss: one node is killed and the others' verdicts are timed, in rounds of T; false verdicts
on nodes that live are counted, also while some stand still; bytes and processor time are per node and virtual
second. Then the node returns, says that it is about to leave, and two halves part and meet again. Written as
a table and a plot.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import attrs
import msgspec

from cluster.config import GossipSettings
from cluster.identity import NodeId, Status
from tests.simulation.chance import Stream
from tests.simulation.clock import SECOND
from tests.simulation.gossip_world import GossipWorld
from tests.simulation.say import say

T = 1.0
SETTINGS = GossipSettings(interval_s=T)
SIZES = (10, 50, 100, 300, 500)
LOSSES = (0.0, 0.2, 0.5)
SETTLED_S = 30.0
"""Until the caution of a start (G4) is over for everybody, and everybody's facts are known."""

QUIET_S = 10.0
DETECT_S = 26.0
TURN_S = 30.0
"""A kill, its detection, and the return, of a long time."""

PART_MIN = 5.0
"""Of a long time: what one cluster goes through, and what is lost when it is broken off."""


COLUMNS = (
    *("first", "median", "all", "false", "chances"),
    *("kB/s", "at start", "CPU ms/s"),
    *("joined", "leaving", "healed"),
)

HOUR_COLUMNS = (
    *("loss", "minutes", "kills"),
    *("one knows: p50", "p99", "all know: p99", "worst"),
    *("chances", "false"),
)


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
    start_bytes_s: float
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
    meter = Meter(world)
    meter.start()
    world.run(SETTLED_S)
    start_bytes_s, _ = meter.read()
    world.verdicts.clear()
    meter.start()
    world.run(QUIET_S)
    bytes_s, cpu = meter.read()
    victim = world.chance.stream("victim").pick(tuple(ids))
    seen = _kill(world, victim)
    complete = len(seen) >= nodes - 1
    false = _false(world, victim)
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
        start_bytes_s,
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


class Endured(msgspec.Struct, frozen=True):
    """What came of a long time in which now and then a node is killed, and comes back.

    Attributes:
        chances: pairs times rounds that were looked at for false verdicts.
        heard: how many of the pairs of a killed node and another knew, after so many tenths of a round.
        everybody: of each killed node: rounds until all knew; -1 where some did not in time.
    """

    nodes: int
    loss: float
    seed: int
    minutes: float
    chances: int
    false: int
    heard: dict[int, int]
    everybody: list[float]


def endure(nodes: int, loss: float, minutes: float, seed: int) -> Endured:
    """One cluster for so long; each kill with its recovery is half a minute."""
    ids = list(range(1, nodes + 1))
    world = GossipWorld(seed, settings=SETTINGS, loss=loss, seeds=ids)
    for node in ids:
        world.start(node)
    world.run(SETTLED_S)
    victims = world.chance.stream("victim")
    turns = round(minutes * 60 / TURN_S)
    false, heard, everybody, victim = 0, Counter[int](), [], 0
    for turn in range(1, turns + 1):
        world.verdicts.clear()
        victim = next_victim(victims, ids, victim)
        seen = _kill(world, victim)
        world.start(victim, boot=1_700_000_000 + 100 * turn, configured=ids)
        world.run(TURN_S - DETECT_S)
        false += _false(world, victim)
        heard.update(math.ceil(10 * rounds) for rounds in seen)
        everybody.append(round(seen[-1], 2) if len(seen) == nodes - 1 else -1.0)
        told = f"all after {everybody[-1]:.1f}, {false} false"
        say(f"{nodes} nodes, {loss:.0%} loss, seed {seed}, turn {turn} of {turns}: {told}")
    chances = int(turns * TURN_S / T) * nodes * (nodes - 1)
    return Endured(nodes, loss, seed, turns * TURN_S / 60, chances, false, dict(heard), everybody)


def next_victim(victims: Stream, ids: Sequence[int], last: int) -> int:
    """Whom to kill next: not the last one again, whom many still take for FAILED, and can't find out anew."""
    while (victim := victims.pick(tuple(ids))) == last:
        pass
    return victim


def _kill(world: GossipWorld, victim: int) -> list[float]:
    """Kill it: after how many rounds the others took it for FAILED, sorted."""
    world.kill(victim)
    killed, before = world.now, len(world.verdicts)
    world.run(DETECT_S)
    return sorted(
        (at - killed) / SECOND / T
        for at, by, of, status in world.verdicts[before:]
        if of == victim and status is Status.FAILED and by in world.members
    )


def _false(world: GossipWorld, victim: int) -> int:
    """How often one that lives was taken for FAILED."""
    return sum(status is Status.FAILED and of != victim for _, _, of, status in world.verdicts)


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
    world.run(SETTLED_S)
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
        "Bytes are those sent, with all headers, *at start* in the half minute in which all nodes start at",
        "once and learn each other's facts; processor time is of this simulation, decoding and encoding",
        "included, on a busy machine. *Joined*: rounds until a returned node's facts are known. *Healed*:",
        "rounds until everybody is ALIVE to everybody after two halves had been apart for 14 T. *Leaving*:",
        "rounds until everybody knows that a node drains. A -1 was not measured, or not within its time.",
        "",
        f"| nodes | loss | {' | '.join(COLUMNS)} |",
        "| ---: " * (2 + len(COLUMNS)) + "|",
        *(
            f"| {r.nodes} | {r.loss:.0%} | {r.first:.1f} | {r.median:.1f} | {r.last:.1f} | {r.false} "
            f"| {r.pair_rounds} | {r.bytes_s / 1000:.1f} "
            f"| {r.start_bytes_s / 1000:.1f} | {r.cpu_ms_s:.2f} "
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


def as_hours(nodes: int, parts: list[Endured]) -> str:
    """What came of the long times, a row for each loss, in Markdown."""
    minutes: Counter[float] = Counter()
    for part in parts:
        minutes[part.loss] += round(part.minutes)
    asked = " ".join(f"{loss:g}:{minutes[loss]}" for loss in sorted(minutes))
    lines = [
        "# Gossip for an hour",
        "",
        f"Written by `python -m tests.simulation.gossip_scale --endure {asked} --processes 2` from",
        f"simulation: {nodes} nodes, T = 1 s, fan-out 3, delays of 0.2 to 10 ms. Each half minute of virtual",
        f"time a node is killed, and comes back after {DETECT_S:.0f} s, so that there is something to be",
        "wrong about. *Knows* and *know* are rounds of T from a kill until it is FAILED: to one of the",
        "others (of all pairs) and to all of them (of all kills; -1 is not within its time). A false verdict",
        "is FAILED on a node that lives; *chances* is how many pairs times rounds were looked at. Each five",
        "minutes are a cluster of their own, with its seed and a start that is not counted.",
        "",
        f"| {' | '.join(HOUR_COLUMNS)} |",
        "| ---: " * len(HOUR_COLUMNS) + "|",
    ]
    for loss in sorted(minutes):
        of = [part for part in parts if part.loss == loss]
        heard = sum((Counter(part.heard) for part in of), Counter())
        known = sorted(tenths / 10 for tenths in heard.elements())
        everybody = sorted((rounds for part in of for rounds in part.everybody), key=lambda r: (r < 0, r))
        lines.append(
            f"| {loss:.0%} | {minutes[loss]} | {len(everybody)} "
            f"| {_quantile(known, 0.5):.1f} | {_quantile(known, 0.99):.1f} "
            f"| {_quantile(everybody, 0.99):.1f} | {everybody[-1]:.1f} "
            f"| {sum(part.chances for part in of)} | {sum(part.false for part in of)} |"
        )
    return "\n".join(lines) + "\n"


def _quantile(ordered: list[float], share: float) -> float:
    """The least of them that so large a share does not exceed (nearest rank)."""
    return ordered[math.ceil(share * len(ordered)) - 1]


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


def _hours(nodes: int, each: list[tuple[float, float]], processes: int, into: Path) -> int:
    """The long times in parts, with their table; 1 if anybody was wrong, or late for ever.

    Each part that is done is kept in `gossip-hour.jsonl`, so that the rest may be run another day.
    """
    kept = into / "gossip-hour.jsonl"
    lines = kept.read_bytes().splitlines() if kept.exists() else []
    parts = [msgspec.json.decode(line, type=Endured) for line in lines]
    done = {(part.nodes, part.loss, part.seed) for part in parts}
    jobs = [
        (nodes, loss, PART_MIN, nodes + n) for loss, minutes in each for n in range(round(minutes / PART_MIN))
    ]
    todo = [
        (size, loss, minutes, seed) for size, loss, minutes, seed in jobs if (size, loss, seed) not in done
    ]
    with ProcessPoolExecutor(processes) as pool:
        for future in as_completed([pool.submit(endure, *job) for job in todo]):
            parts.append(future.result())
            with kept.open("ab") as file:
                file.write(msgspec.json.encode(parts[-1]) + b"\n")
            (into / "gossip-hour.md").write_text(as_hours(nodes, parts), encoding="utf-8")
    return int(any(part.false or -1.0 in part.everybody for part in parts))


def _loss_and_minutes(text: str) -> tuple[float, float]:
    loss, _, minutes = text.partition(":")
    try:
        given = float(loss), float(minutes)
    except ValueError:
        given = -1.0, 0.0
    if not (0 <= given[0] < 1 and 0 < given[1] < math.inf):
        raise argparse.ArgumentTypeError(f"{text!r} is no LOSS:MINUTES, such as 0.2:60")
    return given


def main() -> int:
    """Measure, and write `gossip.md` and `gossip.svg`; after each row, so that a long run shows itself."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--most", type=int, default=max(SIZES), help="the largest size")
    parser.add_argument("--whole", type=int, default=max(SIZES), help="joins and heals up to this size")
    parser.add_argument(
        "--endure",
        type=_loss_and_minutes,
        nargs="+",
        metavar="LOSS:MINUTES",
        help="only this: so long a time with a kill each half minute; writes gossip-hour.md",
    )
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    if not given.into.is_dir():
        parser.error(f"--into: {given.into} is no directory")
    if given.processes < 1 or given.most < min(SIZES):
        parser.error(f"--processes: at least 1; --most: at least {min(SIZES)} nodes")
    if given.endure:
        return _hours(given.most, given.endure, given.processes, given.into)
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
