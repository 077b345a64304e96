"""`python -m tests.simulation`: sweep, gossip, replay, canaries, determinism, compile; each with `--help`."""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path

from tests.simulation import canaries, compiled, gossip_sweep
from tests.simulation.generate import generate
from tests.simulation.narrate import narrate
from tests.simulation.probes import NEVER_REACHED
from tests.simulation.say import say
from tests.simulation.schedule import Schedule, dump, load
from tests.simulation.shrink import shrink
from tests.simulation.simulation import Report, run
from tests.simulation.sweep import PART, Summary, as_text, machine_code, run_seed, sweep_on

COMMAND = "python -m tests.simulation"
SAY_EVERY = 1000
WORTH = 1500
"""So many seeds as machine code save the time that its compilation takes."""
HASH_SEEDS = ("0", "1", "4242")
USAGE = 2
INTERRUPTED = 130
BROKEN_PIPE = 141
SHRINK_RUNS = 120
"""Of a seed that failed in a sweep: two minutes or so; `replay --shrink` takes its time."""


def main() -> int:
    """Parse, do, and say how it went: 0 when all held."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    one = parts.add_parser("sweep", help="run many seeds")
    _seeds(one, 2000)
    one.add_argument("--processes", type=number, default=0, help="0: one for each processor")
    one.add_argument("--minutes", type=duration, help=f"begin no more {PART} seeds after this long")
    one.add_argument("--progress", type=Path, help="keep what is done here, and go on from it")
    one.add_argument("--summary", type=Path, help="write a summary in Markdown here")
    one.add_argument("--title", default="A sweep of the simulator")
    seven = parts.add_parser("gossip", help="the same for gossip alone: members come, go and come back")
    _seeds(seven, 400)
    two = parts.add_parser("replay", help="run one seed, or a schedule from a file, and tell what happens")
    two.add_argument("what", help="a seed, or the path of a schedule")
    two.add_argument("--shrink", type=Path, help="make it smaller, and write the schedule here")
    two.add_argument("--quiet", action="store_true", help="only say how it ended")
    two.add_argument(
        "--canary",
        choices=sorted(canaries.CANARIES),
        metavar="NAME",
        help="with the cores broken in this way",
    )
    three = parts.add_parser("canaries", help="break the cores on purpose: the sweep must notice")
    three.add_argument("--most", type=number, default=400, help="seeds before one counts as missed (400)")
    three.add_argument("--only", choices=sorted(canaries.CANARIES), metavar="NAME", help="the name of one")
    three.add_argument("--table", type=Path, help="write a table in Markdown here")
    four = parts.add_parser("determinism", help="run seeds twice, under different hash seeds")
    four.add_argument("--seeds", type=number, default=50, help="how many, from 0 (50)")
    six = parts.add_parser("compile", help="a copy of cores and simulator as machine code: faster sweeps")
    six.add_argument("directory", type=Path, help="for `sweep --compiled` and `gossip --compiled`")
    for part in (one, seven):
        part.add_argument("--compiled", type=Path, help="as machine code, which is kept here")
    five = parts.add_parser("traces", help="print the trace of each seed (what `determinism` compares)")
    five.add_argument("--seeds", type=number, default=50, help="how many, from 0 (50)")
    given = parser.parse_args()
    for name in ("seeds", "most"):
        if getattr(given, name, 1) < 1:
            parser.error(f"--{name}: at least one")
    try:
        return _do(given)
    except KeyboardInterrupt:
        say(f"{COMMAND}: broken off")
        return INTERRUPTED
    except BrokenPipeError:  # as `head` leaves it; Python would complain of it once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (OSError, ValueError, compiled.OtherHistories) as error:
        say(f"{COMMAND}: {error}")
        return USAGE


def _seeds(parser: argparse.ArgumentParser, usual: int) -> None:
    parser.add_argument("--seeds", type=number, default=usual, help=f"how many ({usual})")
    parser.add_argument("--first", type=number, default=0, help="the first of them (0)")


def duration(text: str) -> float:
    """Some minutes; its name is in the message about anything else."""
    given = float(text)
    if not 0 < given < math.inf:
        raise ValueError(text)
    return given


def number(text: str) -> int:
    """One that is not negative; its name is in the message about another."""
    given = int(text)
    if given < 0:
        raise ValueError(text)
    return given


def _do(given: argparse.Namespace) -> int:
    copy: Path | None = getattr(given, "compiled", None)
    if copy and not machine_code() and compile_for(given.seeds, copy):
        return compiled.run(copy, sys.argv[1:])
    match given.part:
        case "sweep":
            return _sweep(given)
        case "gossip":
            return _gossip(range(given.first, given.first + given.seeds))
        case "replay":
            return _replay(given)
        case "canaries":
            return canaries.report(given.most, given.only, given.table)
        case "determinism":
            return _determinism(given.seeds)
        case "compile":
            return 0 if compile_for(WORTH, given.directory) else 1
        case _:
            for seed in range(given.seeds):
                say(f"{seed} {run_seed(seed).trace}")
            return 0


def compile_for(seeds: int, directory: Path) -> bool:
    """Whether there is a copy as machine code in there; one is made if so many seeds earn it back.

    Raises:
        OtherHistories: it does not do what the interpreter does.
    """
    if seeds < WORTH and not compiled.is_current(directory):
        return False
    try:
        compiled.make(directory)
    except compiled.CannotCompile as error:
        say(f"not compiled, so a seed takes twice as long: {error}")
        return False
    return True


def _sweep(given: argparse.Namespace) -> int:
    summary = Summary()
    if given.summary:
        given.summary.touch()  # rather now than after hours
    for part in _parts(given):
        summary.join(part)
        for report in part.failed:
            _tell(report)
        if summary.seeds % SAY_EVERY == 0:
            say(f"{summary.seeds} seeds, {len(summary.failed)} failed")
    text = as_text(summary, given.title)
    if given.summary:
        given.summary.write_text(text, encoding="utf-8")
    say(text)
    for probe in summary.missed:
        say(f"never reached: {probe}")
    for probe in NEVER_REACHED.keys() & summary.probes.keys():
        say(f"reached for the first time, and may be demanded now: {probe}")
    if summary.failed:
        _keep_small(summary.failed[0])
    return 1 if summary.failed or summary.missed else 0


def _keep_small(report: Report) -> None:
    """The first that failed, made smaller, in a file to be replayed."""
    path = Path(tempfile.gettempdir(), f"seed-{report.seed}.json")
    say(f"making seed {report.seed} smaller, for a few minutes at most: {path}")
    small = shrink(generate(report.seed), most=SHRINK_RUNS)
    path.write_bytes(dump(small))
    say(f"{len(small.faults)} faults and {len(small.asks)} clients left\n  replay: {COMMAND} replay {path}")


def _gossip(seeds: range) -> int:
    failed = 0
    with ProcessPoolExecutor() as pool:
        for seed, violation in zip(seeds, pool.map(gossip_sweep.run_seed, seeds, chunksize=8), strict=True):
            if violation:
                failed += 1
                say(f"gossip seed {seed}: {violation}\n  again: {COMMAND} gossip --first {seed} --seeds 1")
    say(f"{len(seeds)} seeds of gossip alone, {failed} failed")
    return 1 if failed else 0


def _parts(given: argparse.Namespace) -> Iterator[Summary]:
    """The sweep in parts, each as soon as it is done, until the time is up."""
    began = os.times().elapsed
    with tempfile.TemporaryDirectory() as directory:
        progress = given.progress or Path(directory, "progress")
        for part in sweep_on(given.first, given.seeds, progress, processes=given.processes):
            yield part
            if given.minutes and os.times().elapsed - began > 60 * given.minutes:
                return


def _tell(report: Report) -> None:
    say(f"seed {report.seed}: {report.violation}\n  replay: {COMMAND} replay {report.seed}")


def _replay(given: argparse.Namespace) -> int:
    with canaries.mutated(given.canary) if given.canary else nullcontext():
        return _replay_of(_schedule(given.what, given.canary), given)


def _replay_of(schedule: Schedule, given: argparse.Namespace) -> int:
    if given.shrink:
        schedule = shrink(schedule)
        given.shrink.write_bytes(dump(schedule))
        say(f"{len(schedule.faults)} faults and {len(schedule.asks)} clients left: {given.shrink}")
    report = run(schedule, validate_every=1) if given.quiet else narrate(schedule)
    say(report.violation or f"all held; settled after {report.settled_ms} ms; trace {report.trace}")
    if report.where and not given.quiet:
        say(report.where)
    return 1 if report.violation else 0


def _schedule(what: str, canary: str | None) -> Schedule:
    if what.isdecimal() and what.isascii():
        return canaries.schedule_of(canary, int(what))
    try:
        return load(Path(what).read_bytes())
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error


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
