"""What a real cluster's own logs and status pages prove about the protocol (I1, I3, I5, I6).

The logs are read in the order in which they were written, not by their times: a node's UTC clock may be set.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from cluster import client
from cluster.errors import ClusterError

_TEXT = re.compile(r"^\S+Z \d+: (.*)$")
_STARTED = re.compile(r"started as \w+, boot (\d+)$")
_PROMISING = re.compile(r"promising epoch (\d+) to server (\d+)$")
_LEADING = re.compile(r"leading epoch (\d+)$")
_RUNNING = re.compile(r"running job [0-9a-f]{8}, attempt \d+, epoch (\d+)$")


def texts(directory: Path) -> Iterator[str]:
    """What a node said, the oldest first, rotated logs included."""

    def age(file: Path) -> int:
        return -int(file.suffix[1:]) if file.suffix[1:].isdigit() else 0

    for file in sorted((directory / "log").glob("verbose.log*"), key=age):
        with file.open(encoding="utf-8", errors="replace") as stream:
            for line in stream:
                if found := _TEXT.match(line.rstrip("\n")):
                    yield found[1]


@attrs.define
class Logs:
    """What the logs of nodes tell.

    They tell neither whose order a run was (I5: only that epochs do not go back), nor which life of a
    candidate was promised an epoch (I3: two nodes are seen, two lives of one are not).

    Attributes:
        broken: invariants that they contradict, in words.
        led: who led each epoch: node and boot.
        lines: how many lines of each node told something.
    """

    broken: list[str] = attrs.Factory(list)
    led: dict[int, tuple[int, int]] = attrs.Factory(dict)
    lines: Counter[int] = attrs.Factory(Counter)


def read_logs(directories: dict[int, Path]) -> Logs:
    """All of them."""
    told = Logs()
    for node, directory in directories.items():
        boot, worked = 0, 0
        promised: dict[int, set[int]] = defaultdict(set)
        for text in texts(directory):
            told.lines[node] += 1
            if match := _STARTED.match(text):
                if int(match[1]) <= boot:
                    told.broken.append(f"N3 node {node} lived as {boot}, then as {match[1]}")
                boot = int(match[1])
            elif match := _PROMISING.match(text):
                promised[int(match[1])].add(int(match[2]))
            elif match := _LEADING.match(text):
                epoch = int(match[1])
                promised[epoch].add(node)  # a leader's own promise is one of its quorum (L2)
                if told.led.setdefault(epoch, (node, boot)) != (node, boot):
                    told.broken.append(f"I1 epoch {epoch} was led by {told.led[epoch]} and {node, boot}")
            elif match := _RUNNING.match(text):
                if int(match[1]) < worked:
                    told.broken.append(f"I5 node {node} worked for epoch {match[1]} after {worked}")
                worked = int(match[1])
            else:
                told.lines[node] -= 1
        told.broken += [
            f"I3 node {node} promised {e} to {sorted(c)}" for e, c in promised.items() if len(c) > 1
        ]
    return told


@attrs.frozen
class Claim:
    """A node said of itself that it leads, at some moment between two of this process's clock."""

    node: int
    epoch: int
    begin: float
    end: float


class Witness:
    """Asks every node again and again whether it leads."""

    def __init__(self, urls: dict[int, str]) -> None:
        """`urls` are the nodes' own HTTP addresses."""
        self._urls = urls
        self._over = threading.Event()
        self._claims: list[Claim] = []

    @contextlib.contextmanager
    def watching(self) -> Iterator[Witness]:
        """Watch meanwhile, each node in a thread of its own: one that stands still must not hide another."""
        threads = [threading.Thread(target=self._watch, args=item) for item in self._urls.items()]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _watch(self, node: int, url: str) -> None:
        while not self._over.is_set():
            begin = time.monotonic()
            with contextlib.suppress(ClusterError):
                view = client.look(url)
                if view.leader == node:
                    self._claims.append(Claim(node, view.epoch, begin, time.monotonic()))
            self._over.wait(0.05)

    def claimed(self, node: int, epoch: int) -> bool:
        """Whether this node said that it leads this epoch."""
        return any((claim.node, claim.epoch) == (node, epoch) for claim in tuple(self._claims))

    def broken(self) -> list[str]:
        """Two that claimed to lead where only one can have (I1, I6)."""
        return contradictions(self._claims)


def contradictions(claims: Iterable[Claim]) -> list[str]:
    """Whoever led a lower epoch may not claim to lead once a higher one's leader has claimed it.

    Two claims that overlap prove nothing: each was true at some moment of its own.
    """
    found = set()
    led: dict[int, int] = {}
    highest: tuple[float, int, int] | None = None
    ordered = sorted(claims, key=lambda claim: claim.end)
    for claim in ordered:
        if led.setdefault(claim.epoch, claim.node) != claim.node:
            found.add(f"I1 epoch {claim.epoch} is claimed by {led[claim.epoch]} and {claim.node}")
    for claim in ordered:
        if highest is not None and claim.epoch < highest[1] and claim.begin > highest[0]:
            found.add(f"I6 node {claim.node} claims epoch {claim.epoch} after {highest[2]} led {highest[1]}")
        if highest is None or claim.epoch > highest[1]:
            highest = (claim.end, claim.epoch, claim.node)
    return sorted(found)
