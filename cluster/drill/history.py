"""What the nodes' own logs tell of a drill: who led when, and which job ran where (H3).

A node that was killed has lost the last quarter of a second of its log, so absence proves nothing here;
what is written did happen.
"""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

_LINE = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (\d+): (.*)$")
_LEADING = re.compile(r"leading epoch (\d+)$")
_NO_LONGER = re.compile(r"no longer leading epoch (\d+)")
_ASSIGNED = re.compile(r"job ([0-9a-f]{8}) assigned to server (\d+), attempt (\d+), epoch (\d+)$")
_RUNNING = re.compile(r"running job ([0-9a-f]{8}), attempt (\d+), epoch (\d+)$")


class Reign(msgspec.Struct, frozen=True):
    """A leader's time; `end` is None where its log does not say."""

    node: int
    epoch: int
    begin: float
    end: float | None = None


class Start(msgspec.Struct, frozen=True):
    """A job began to run, or was assigned to run, at a node; `sending` is its epoch and attempt (W5)."""

    job: str
    node: int
    at: float
    sending: tuple[int, int] = (0, 0)


class History(msgspec.Struct, frozen=True):
    """Times are seconds of UTC since 1970."""

    reigns: tuple[Reign, ...]
    assigned: tuple[Start, ...]
    """`node` is the leader that assigned it."""
    runs: tuple[Start, ...]

    def reruns(self) -> list[tuple[Start, Start]]:
        """Pairs of one job's runs that follow one another, in the order in which they were sent out.

        That is not the order of time: a worker that was stopped finds an old sending when it goes on.
        """
        by_job: dict[str, list[Start]] = defaultdict(list)
        for run in sorted(self.runs, key=lambda run: run.sending):
            by_job[run.job].append(run)
        return [pair for runs in by_job.values() for pair in itertools.pairwise(runs)]


def read(directories: Iterable[Path]) -> History:
    """Read the verbose logs below these nodes' directories, rotated ones included."""
    lines: list[tuple[float, int, str]] = []
    for directory in directories:
        for file in sorted((directory / "log").glob("verbose.log*")):
            with file.open(encoding="utf-8", errors="replace") as stream:
                lines.extend(_entries(stream))
    return parse(sorted(lines))


def parse(lines: Iterable[tuple[float, int, str]]) -> History:
    """Pick out what matters; the lines are in the order of time."""
    reigns: dict[tuple[int, int], Reign] = {}
    assigned: list[Start] = []
    runs: list[Start] = []
    for at, node, text in lines:
        if found := _LEADING.match(text):
            reigns[node, int(found[1])] = Reign(node, int(found[1]), at)
        elif found := _NO_LONGER.match(text):
            reign = reigns.get((node, int(found[1])))
            if reign is not None:
                reigns[node, int(found[1])] = msgspec.structs.replace(reign, end=at)
        elif found := _ASSIGNED.match(text):
            assigned.append(Start(found[1], node, at, (int(found[4]), int(found[3]))))
        elif found := _RUNNING.match(text):
            runs.append(Start(found[1], node, at, (int(found[3]), int(found[2]))))
    return History(tuple(reigns.values()), tuple(assigned), tuple(runs))


def _entries(lines: Iterable[str]) -> Iterator[tuple[float, int, str]]:
    for line in lines:
        # Most of a verbose log is gossip: a cheap look first.
        if ("leading epoch" in line or " job " in line) and (found := _LINE.match(line.rstrip("\n"))):
            moment = dt.datetime.fromisoformat(found[1])
            yield moment.timestamp(), int(found[2]), found[3]
