"""What a node at rest has, and what of its host no program may change (S5)."""

from __future__ import annotations

import os
import re
import sys
import time
from collections import Counter
from contextlib import suppress
from functools import cache
from pathlib import Path

from cluster.bench.usage import tree
from cluster.java.harness import SHARED
from cluster.java.jdk import find
from cluster.java.kept import UNFINISHED
from cluster.java.sandbox import NOBODY
from tests.support.java_driver import ANSWER_S, JavaDriver

_ADOPTS = (
    sys.executable,
    "-c",
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0); os.execvp(sys.argv[1], sys.argv[1:])",
)


class Adopting(JavaDriver):
    """A node to which everything falls whose parent in it has ended (PR_SET_CHILD_SUBREAPER).

    What the host's first process would take in is seen below the node.
    """

    def __init__(self, state: Path, **setup: object) -> None:
        self.prefix = (*_ADOPTS, *self.prefix)
        super().__init__(state, **setup)


KEPT = re.compile(r"harness-lock|(harness|image|root)-[0-9a-f]{16}(-bare)?(\.[a-z]+)?")
"""What a node keeps for its next start."""

PROGRAMS = NOBODY if os.geteuid() == 0 else os.geteuid()
"""Who a program is on the host."""

_ANYBODYS = "/tmp /var/tmp /dev/shm /run /run/lock /home /root /opt /srv /mnt .".split()  # noqa: S108, SIM905
"""Where others leave files meanwhile: only those count that belong to whom programs are."""

_OF_A_ROW = re.compile(r"mark.*|big|file|sparse|x(\.so)?|\d+")
"""What the catalogue's rows call their files: where programs are this user, only those count."""


def _ended(pid: int) -> bool:
    """Whether it is gone, but for a parent that has yet to hear of it: the host's first process would."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in b"ZX"
    except OSError:
        return True


def below(node: JavaDriver) -> Counter[str]:
    """Names of the processes below a node, with how many there are of each."""
    return Counter(each.name for each in tree([node.pid]) if each.pid != node.pid and not _ended(each.pid))


def more_than_rest(node: JavaDriver, patience_s: float = ANSWER_S) -> Counter[str]:
    """What a node has below it beyond what it tells of: a bubblewrap and a machine for each that is ready.

    It is looked at until that is nothing, since machines are replaced and a spare compiler is started
    meanwhile; what still differs at the end of the patience is returned, negative where something is missing.
    """
    deadline = time.monotonic() + patience_s  # noqa: TID251  (a test that waits for real processes)
    while True:
        before = node.snapshot().snapshot
        found = below(node)
        cells = len(node.cells())
        told = node.snapshot().snapshot
        assert told is not None
        ready = told["compiler_ready"] + told["compiler_spare"] + told["waiting"]
        found.subtract({"java": ready, "bwrap": ready})
        found["a control group"] = max(cells - ready, 0)
        found["a run"] = told["running"]
        differs = Counter({name: count for name, count in found.items() if count})
        if (told == before and not differs) or time.monotonic() > deadline:  # noqa: TID251
            return differs
        time.sleep(0.02)


def _state(path: Path) -> tuple[int, int, int]:
    found = path.lstat()
    # Each node that starts opens the lock, and a directory changes when another node keeps something beside.
    still = path.is_dir() or path.name == "harness-lock"
    return found.st_mode, 0 if still else found.st_size, 0 if still else found.st_mtime_ns


def _whole(place: Path) -> dict[str, tuple[int, int, int]]:
    """Every file below, with what changes when it is written."""
    return {str(path): _state(path) for path in place.rglob("*")} if place.is_dir() else {}


def _of_programs(place: Path) -> list[str]:
    found = []
    if os.access(place, os.R_OK | os.X_OK):  # where a program may not look either, where it is this user
        for path in place.iterdir():
            with suppress(FileNotFoundError):  # somebody's, who has removed it
                theirs = path.lstat().st_uid == PROGRAMS
                if theirs and (PROGRAMS == NOBODY or _OF_A_ROW.fullmatch(path.name)):
                    found.append(str(path))
    return sorted(found)


@cache
def _jdk() -> Path:
    return find("").home


def host(node: JavaDriver, state: Path) -> dict[str, object]:
    """What no program may change.

    These are the files that a sandbox shows or the node keeps, those that others trust, what lies where
    anybody may write, and the mounts.
    """
    mounts = Path(f"/proc/{node.pid}/mounts").read_text().splitlines()
    shown = {path: found for place in (state, SHARED) for path, found in _whole(place).items()}
    return {
        "mounts": [line for line in mounts if " nsfs " not in line],  # somebody's network, never a program's
        "kept": {path: found for path, found in shown.items() if UNFINISHED not in path},
        "jdk": _whole(_jdk()),
        "etc": {str(path): _state(path) for path in Path("/etc").iterdir()},
        "top": sorted(path.name for path in Path("/").iterdir()),
        "programs": [found for place in _ANYBODYS for found in _of_programs(Path(place))],
    }
