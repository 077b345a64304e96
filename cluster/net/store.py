"""The durable record on disk (N3): one small file, replaced whole, in a directory that one process owns."""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from cluster.core.group_commit import GroupCommit
from cluster.core.record import Record
from cluster.errors import EnvironmentFault, LocalProtocolError, StorageError
from cluster.identity import MAX_BOOT
from cluster.net.files import SECRET_MODE, Disk, make_directory, replace_file
from cluster.net.reactor import utc

RECORD = "record.json"
LOCK = "lock"
ADVICE = "move it away and run `javacluster init`: the node then watches until it may vote again (N5)"


class Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file: a record as it was encoded, and the SHA-256 of exactly these bytes."""

    record: msgspec.Raw
    checksum: str


class _DaemonThread(Thread):
    def __init__(self, **options: Any) -> None:  # noqa: ANN401  (a thread's own)
        super().__init__(**options, daemon=True)


class _OneThread(ThreadPool):
    """One thread, that does not keep a process alive which failed before it could `close` the store.

    To die in the middle of a write does no harm: that is what the way of writing is for.
    """

    threadFactory = _DaemonThread  # type: ignore[assignment]  # noqa: N815  (made with keywords only)

    def __init__(self) -> None:
        super().__init__(minthreads=0, maxthreads=1, name="record")

    def stop(self) -> None:
        """Wait until the thread has done what it was given, and end it."""
        # A thread that the host refused stays in the list. To join it raises, and what comes after it, which
        # may be in the middle of a write, would not be waited for.
        self.threads = [thread for thread in self.threads if thread.ident is not None]
        super().stop()


class _Asked:
    """A record to be made durable, and who waits for that."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.done: Deferred[None] = Deferred()


def _forward(before: Record | None, record: Record) -> None:
    if before is not None and (
        record.boot < before.boot
        or record.accepted < before.accepted
        or record.fence_epoch < before.fence_epoch
    ):
        raise LocalProtocolError(f"a record may not go back from {before} to {record} (I3)")


class RecordStore:
    """Reads and writes one node's record, one write at a time.

    What is asked for while one is being written is one write, of the newest: it holds all of the others (N4).
    So a disk that takes a second a write is a second behind, or two, and not as many as were asked for.

    The lock on the directory is held from `load` (or `create`, `change_voters`) until `close`, or until
    the process ends in whatever way.
    """

    def __init__(
        self,
        directory: Path,
        reactor: IReactorFromThreads | None = None,
        *,
        disk: Disk | None = None,
        pool: ThreadPool | None = None,
    ) -> None:
        """`reactor` is needed for `write` only; `disk` and `pool` are replaced in tests."""
        self._directory = directory
        self._path = directory / RECORD
        self._reactor = reactor
        self._disk = disk or Disk()
        self._pool = pool or _OneThread()
        self._pool_runs = False
        self._lock: int | None = None
        self._latest: Record | None = None
        self._queue: GroupCommit[_Asked] = GroupCommit()
        self._closing = False

    def create(self, cluster: str, node: int, voters: str) -> Record:
        """Make the record of a node that may not vote yet (N5); keep one that is there and is this node's.

        Raises:
            EnvironmentFault: what is there belongs to another node, or is damaged, or can't be written.
        """
        make_directory(self._directory)
        if self._path.exists():
            return self._read(cluster, node, voters)
        self._take_lock()
        record = Record(cluster=cluster, node=node, voters=voters, boot=0)
        self._replace(record)
        return record

    def change_voters(self, cluster: str, node: int, voters: str) -> Record:
        """Take on another voter list; only to be used with every peer of both lists stopped (N1).

        Raises:
            EnvironmentFault: the node runs, or there is no good record of it.
        """
        self._take_lock()
        record = msgspec.structs.replace(self._read(cluster, node, None), voters=voters)
        self._replace(record)
        return record

    def load(self, cluster: str, node: int, voters: str, utc_seconds: int | None = None) -> Record:
        """Take the directory, and begin a new life: the boot is raised, and that is durable on return.

        Raises:
            EnvironmentFault: no record, another process's directory, another node's record, or a clock
                that is centuries ahead.
            StorageError: the record is damaged or can't be written, or its node has no boot left.
        """
        if utc_seconds is None:
            utc_seconds = int(utc().timestamp())
        self._take_lock()
        return self.begin_life(self._read(cluster, node, voters), utc_seconds)

    def begin_life(self, found: Record, utc_seconds: int) -> Record:
        """The last step of `load`: the boot of the record that was found is raised, durably (N3).

        Raises:
            EnvironmentFault: a clock that is centuries ahead.
            StorageError: the record can't be written, or its node has no boot left.
        """
        record = msgspec.structs.replace(found, boot=self._next_boot(found.boot, utc_seconds))
        self._replace(record)
        return record

    def _next_boot(self, stored: int, utc_seconds: int) -> int:
        """One that the others hear: they refuse what is above `MAX_BOOT`, and none ever goes back (N3)."""
        if stored >= MAX_BOOT:
            raise StorageError(
                f"{self._path}: no node hears a boot above {MAX_BOOT}, and it has {stored}; {ADVICE}"
            )
        if utc_seconds > MAX_BOOT:
            # Nothing is written: with its clock set right the node goes on as if this had never been.
            raise EnvironmentFault(
                f"this machine's clock is beyond the year 2242 ({utc_seconds} s of Unix time): no other "
                "node hears one that starts at such a time; set the clock, then start again"
            )
        return max(stored + 1, utc_seconds)

    def write(self, record: Record) -> Deferred[None]:
        """Make a record durable, off the reactor's thread; a newer one will do (it holds all of this one).

        The Deferred fails with `StorageError` if it is not known to be; the next write may work again. They
        fire in the order in which they were asked for.
        """
        if self._reactor is None:
            raise LocalProtocolError("a store made without a reactor does not write in the background")
        if self._closing:
            return fail(StorageError(f"{self._path}: the store is closed"))
        newest = self._queue.newest
        try:
            _forward(newest.record if newest is not None else self._latest, record)
        except LocalProtocolError as error:
            return fail(error)
        asked = _Asked(record)
        if due := self._queue.ask(asked):
            self._begin(due)
        return asked.done

    def _begin(self, due: _Asked) -> None:
        try:
            written = self._in_thread(due.record)
        except Exception:  # noqa: BLE001  (a crowded host may refuse the thread: a failed write like any other)
            written = fail()
        written.addBoth(self._written)

    def _in_thread(self, record: Record) -> Deferred[None]:
        if not self._pool_runs:
            self._pool.start()
            self._pool_runs = True
        reactor: Any = self._reactor
        return deferToThreadPool(reactor, self._pool, self._replace, record)

    def _written(self, result: Failure | None) -> None:
        answered, due = self._queue.done()
        if due and not self._closing:
            self._begin(due)
        self._answer(answered, result)

    @staticmethod
    def _answer(answered: list[_Asked], result: Failure | None) -> None:
        for asked in answered:
            asked.done.callback(result)  # a failure makes it fail

    def close(self) -> None:
        """Finish the writes asked for, tell who waits for them, release the directory. Waits for the disk.

        If the thread can't be waited for, that is raised, and the directory stays taken: a write may go on.
        """
        self._closing = True
        if self._pool_runs:
            self._pool.stop()
            self._pool_runs = False
        try:
            if newest := self._queue.newest:
                self._finish(newest.record)
        finally:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def _finish(self, newest: Record) -> None:
        """Write the newest in the caller's thread, and answer all that is not answered."""
        failure: Failure | None = None
        try:
            self._replace(newest)
        except Exception:  # noqa: BLE001  (who waits is told, whatever it is)
            failure = Failure()
        while self._queue.under_way:
            answered, _due = self._queue.done()
            # The thread may have written these, and the reactor, which is in `close`, could not say so yet.
            is_durable = failure is None or answered[-1].record is self._latest
            self._answer(answered, None if is_durable else failure)

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        path = self._directory / LOCK
        if not self._directory.is_dir():
            raise EnvironmentFault(f"{self._directory}: no such directory; run `javacluster init` first")
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, SECRET_MODE)
        except OSError as error:
            raise StorageError(f"{path}: can't be opened: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(lock)
            raise EnvironmentFault(
                f"{self._directory}: in use by process {holder}; stop it, or use another state_directory"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def _read(self, cluster: str, node: int, voters: str | None) -> Record:
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            raise EnvironmentFault(f"{self._path}: no record of this node; run `javacluster init`") from None
        except OSError as error:
            raise StorageError(f"{self._path}: can't be read: {error.strerror}") from error
        record = self._decode(raw)
        if (record.cluster, record.node) != (cluster, node):
            raise EnvironmentFault(
                f"{self._path}: belongs to node {record.node} of cluster {record.cluster}, not to "
                f"node {node} of {cluster}; give each node a state_directory of its own"
            )
        if voters is not None and record.voters != voters:
            raise EnvironmentFault(
                f"{self._path}: written under another list of peers; with every peer of the old and the new "
                f"list stopped, run `javacluster init --voters` on each (N1)"
            )
        self._latest = record
        return record

    def _decode(self, raw: bytes) -> Record:
        try:
            stored = msgspec.json.decode(raw, type=Stored)
        except (ValueError, RecursionError) as error:
            raise StorageError(f"{self._path}: damaged ({error}); {ADVICE}") from error
        if hashlib.sha256(bytes(stored.record)).hexdigest() != stored.checksum:
            raise StorageError(f"{self._path}: damaged (its checksum is wrong); {ADVICE}")
        try:
            return msgspec.json.decode(stored.record, type=Record)
        except (ValueError, RecursionError) as error:
            raise StorageError(f"{self._path}: written by another version ({error}); use that one") from error

    def _replace(self, record: Record) -> None:
        _forward(self._latest, record)
        encoded = msgspec.json.encode(record)
        checksum = hashlib.sha256(encoded).hexdigest()
        content = msgspec.json.encode(Stored(msgspec.Raw(encoded), checksum))
        try:
            replace_file(self._path, content + b"\n", SECRET_MODE, self._disk)
        except OSError as error:
            raise StorageError(f"{self._path}: can't be written: {error.strerror or error}") from error
        self._latest = record
