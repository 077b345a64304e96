"""`python -m tests.simulation`: sweep, replay, shrink, canaries, determinism; `--help` says how."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tests.simulation import canaries
from tests.simulation.generate import generate
from tests.simulation.narrate import narrate
from tests.simulation.say import say
from tests.simulation.schedule import Schedule, dump, load
from tests.simulation.shrink import shrink
from tests.simulation.simulation import Report, run
from tests.simulation.sweep import Summary, as_text, run_seed, sweep

COMMAND = "python -m tests.simulation"
HASH_SEEDS = ("0", "1", "4242")


def main() -> int:
    """Parse, do, and say how it went: 0 when all held."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    one = parts.add_parser("sweep", help="run many seeds")
    one.add_argument("--seeds", type=int, default=2000)
    one.add_argument("--first", type=int, default=0)
    one.add_argument("--processes", type=int, default=0)
    one.add_argument("--minutes", type=float, default=1e9, help="begin no more seeds after this long")
    one.add_argument("--summary", type=Path, help="write a summary in Markdown here")
    one.add_argument("--title", default="A sweep of the simulator")
    two = parts.add_parser("replay", help="run one seed, or a schedule from a file, and tell what happens")
    two.add_argument("what", help="a seed, or the path of a schedule")
    two.add_argument("--shrink", type=Path, help="make it smaller, and write the schedule here")
    two.add_argument("--quiet", action="store_true", help="only say how it ended")
    three = parts.add_parser("canaries", help="break the cores on purpose: the sweep must notice")
    three.add_argument("--most", type=int, default=1500, help="seeds before one counts as missed")
    three.add_argument("--only", help="the name of one")
    three.add_argument("--table", type=Path, help="write a table in Markdown here")
    four = parts.add_parser("determinism", help="run seeds twice, under different hash seeds")
    four.add_argument("--seeds", type=int, default=50)
    five = parts.add_parser("traces", help="print the trace of each seed (what `determinism` compares)")
    five.add_argument("--seeds", type=int, default=50)
    given = parser.parse_args()
    match given.part:
        case "sweep":
            return _sweep(given)
        case "replay":
            return _replay(given)
        case "canaries":
            return canaries.report(given.most, given.only, given.table)
        case "determinism":
            return _determinism(given.seeds)
        case _:
            for seed in range(given.seeds):
                say(f"{seed} {run_seed(seed).trace}")
            return 0


def _sweep(given: argparse.Namespace) -> int:
    summary = Summary()
    began = os.times().elapsed
    for report in sweep(range(given.first, given.first + given.seeds), processes=given.processes):
        summary.add(report)
        if report.violation:
            _tell(report)
        if os.times().elapsed - began > 60 * given.minutes:
            break
        if summary.seeds % 1000 == 0:
            say(f"{summary.seeds} seeds, {len(summary.failed)} failed")
    summary.seconds = os.times().elapsed - began
    text = as_text(summary, given.title)
    if given.summary:
        given.summary.write_text(text, encoding="utf-8")
    say(text)
    for probe in summary.missed:
        say(f"never reached: {probe}")
    return 1 if summary.failed or summary.missed else 0


def _tell(report: Report) -> None:
    say(f"seed {report.seed}: {report.violation}\n  replay: {COMMAND} replay {report.seed}")


def _replay(given: argparse.Namespace) -> int:
    schedule = _schedule(given.what)
    if given.shrink:
        schedule = shrink(schedule)
        given.shrink.write_bytes(dump(schedule))
        say(f"{len(schedule.faults)} faults and {len(schedule.asks)} clients left: {given.shrink}")
    report = run(schedule, validate_every=1) if given.quiet else narrate(schedule)
    say(report.violation or f"all held; settled after {report.settled_ms} ms; trace {report.trace}")
    if report.where and not given.quiet:
        say(report.where)
    return 1 if report.violation else 0


def _schedule(what: str) -> Schedule:
    return generate(int(what)) if what.isdigit() else load(Path(what).read_bytes())


def _determinism(seeds: int) -> int:
    """Fresh processes under different hash seeds must tell the same history."""
    command = [sys.executable, "-m", "tests.simulation", "traces", "--seeds", str(seeds)]
    told = []
    for hash_seed in HASH_SEEDS:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        told.append(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
    same = all(text == told[0] for text in told)
    word = "the same histories" if same else "DIFFERENT histories"
    say(f"{seeds} seeds under hash seeds {', '.join(HASH_SEEDS)}: {word}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
