"""A simulated disk under the node's own record store: what a write is made of, and what a crash leaves of it.

The steps are those of `cluster.net.files.replace_file`, the file's form is that of `RecordStore`; only the
system calls are simulated. Content and names become durable apart from each other, as on a real disk.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial
from pathlib import Path

import attrs
import msgspec

from cluster.core.record import Record
from cluster.errors import StorageError
from cluster.net.files import Disk
from cluster.net.store import RECORD, RecordStore
from tests.simulation.chance import Stream

_HOME = Path("/simulated")
_FILE = _HOME / RECORD


class PowerCut(BaseException):
    """The machine stops before the next system call."""


@attrs.define(eq=False)
class Inode:
    """One file's content: as it is seen, and as it is certain to survive."""

    seen: bytes = b""
    safe: bytes = b""


class Files(Disk):
    """The system calls, on two views of one directory: as it is seen, and as it is certain to survive.

    Attributes:
        calls: how many there were that may fail; a close never does.
        budget: calls until the next one fails; None: none does.
        fails_by: a `PowerCut`, or an `OSError` for a broken or full disk.
    """

    def __init__(self) -> None:
        self.seen: dict[str, Inode] = {}
        self.safe: dict[str, Inode] = {}
        self.calls = 0
        self.budget: int | None = None
        self.fails_by: BaseException = PowerCut()
        self._open: dict[int, Inode] = {}
        self._next = 3

    def _step(self) -> None:
        self.calls += 1
        if self.budget is not None:
            if self.budget == 0:
                raise self.fails_by
            self.budget -= 1

    def remove(self, path: Path) -> None:
        self._step()
        self.seen.pop(path.name, None)

    def create(self, path: Path, mode: int) -> int:
        self._step()
        del mode
        assert path.name not in self.seen, "a left-over was not removed (N3)"
        self._next += 1
        self.seen[path.name] = self._open[self._next] = Inode()
        return self._next

    def write(self, fd: int, data: bytes) -> int:
        self._step()
        self._open[fd].seen += data
        return len(data)

    def sync(self, fd: int) -> None:
        self._step()
        self._open[fd].safe = self._open[fd].seen

    def close(self, fd: int) -> None:
        del self._open[fd]  # a crash closes it too

    def rename(self, source: Path, target: Path) -> None:
        self._step()
        self.seen[target.name] = self.seen.pop(source.name)

    def sync_directory(self, path: Path) -> None:
        del path
        self._step()
        self.safe = dict(self.seen)

    @property
    def unsynced(self) -> str:
        """What hangs on luck if the power fails now: some `content`, the record's `name`, or none."""
        if any(inode.seen != inode.safe for inode in self.seen.values()):
            return "content"
        return "name" if self.seen.get(RECORD) is not self.safe.get(RECORD) else ""

    def lose_power(self, draw: Stream) -> None:
        """What was not synchronised is kept, lost or torn: each by its own chance."""
        names = dict(self.seen if draw.is_lucky(0.5) else self.safe)
        for name in sorted(names):
            inode = names[name]
            fate = draw.between(0, 2)
            if inode.seen != inode.safe and fate:
                torn = inode.seen[: draw.between(0, len(inode.seen))]
                inode.seen = inode.safe if fate == 1 else torn
            inode.safe = inode.seen
        self.seen = names
        self.safe = dict(names)


class SimulatedDisk:
    """One node's disk.

    Attributes:
        trouble: `error` (each write fails at some step), `full` (before anything is written), `slow`
            (which is for the cluster to see to), or none.
        steps: calls of one replacement; a crash may come before each of them, or after the last.
        durable: what a power cut now would leave for certain.
    """

    def __init__(self, record: Record, draw: Stream) -> None:
        self._draw = draw
        self.format(record)

    def format(self, record: Record) -> None:
        """An empty disk without trouble, and `javacluster init`."""
        self.trouble = ""
        self.files = Files()
        self.store = RecordStore(_HOME, disk=self.files)
        self.store._replace(record)
        self.steps = self.files.calls
        self.durable = record

    def start(self, utc_seconds: int) -> Record | None:
        """Begin a life as the product's store does: read, raise the boot, make that durable (N3).

        None when the disk refuses that write: the process ends, and its unit starts another.
        """
        begin, begun = self._reading(), list[Record]()
        return begun[0] if self._is_done(lambda: begun.append(begin(utc_seconds))) else None

    def write(self, record: Record) -> bool:
        """One whole write; False when the disk refuses it, at any step."""
        return self._is_done(partial(self.store._replace, record))

    def crash(self, pending: Record | None, *, power: bool) -> list[str]:
        """The process dies, in the middle of `pending` if there is one; gives back what was rare in that."""
        write = partial(self.store._replace, pending) if pending is not None else None
        return self._die(write, power=power)

    def crash_in_start(self, utc_seconds: int, *, power: bool) -> list[str]:
        """A process that has only just begun dies in the middle of its first write."""
        return self._die(partial(self._reading(), utc_seconds), power=power)

    def _reading(self) -> Callable[[int], Record]:
        """A new process reads; gives back how it goes on."""
        self.store = RecordStore(_HOME, disk=self.files)
        found = self.store._decode(self.files.seen[RECORD].seen)
        self.store._latest = found
        return partial(self.store.begin_life, found)

    def _is_done(self, write: Callable[[], object]) -> bool:
        """Whether the disk takes it; only one that is in trouble may refuse."""
        if self.trouble == "full":
            self._fail_at(2, OSError(errno.ENOSPC, "No space left on device"))
        elif self.trouble == "error":
            self._fail_at(self._draw.between(0, self.steps - 1), OSError(errno.EIO, "Input/output error"))
        try:
            write()
        except StorageError:
            if self.files.budget is None:
                raise
            return False
        finally:
            self._settle()
        return True

    def _die(self, write: Callable[[], object] | None, *, power: bool) -> list[str]:
        rare = []
        if write is not None:
            step = self._draw.between(0, self.steps)
            self._fail_at(step, PowerCut())
            try:
                write()
            except PowerCut:
                rare.append(f"crash at write step {step}")
            else:
                rare.append("crash after the last write step")
        if power:
            if unsynced := self.files.unsynced:
                rare.append(f"power cut before the {unsynced} was synchronised")
            self.files.lose_power(self._draw)
        self._settle()
        return rare

    def _fail_at(self, step: int, how: BaseException) -> None:
        self.files.budget = step
        self.files.fails_by = how

    def _settle(self) -> None:
        """The calls work again, and what is durable is looked at."""
        self.files.budget = None
        inode = self.files.safe.get(RECORD)
        if inode is None or not inode.safe:
            self.durable = msgspec.structs.replace(self.durable, accepted=-1, fence_epoch=-1)
        else:
            self.durable = self.store._decode(inode.safe)
