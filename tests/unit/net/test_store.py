"""The durable record: nothing goes backwards, whatever step a crash comes at (N3)."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from twisted.internet.defer import Deferred
from twisted.python.threadpool import ThreadPool

from cluster.core.record import Record
from cluster.errors import EnvironmentFault, LocalProtocolError, StorageError
from cluster.identity import MAX_BOOT
from cluster.net.files import Disk
from cluster.net.store import LOCK, RECORD, RecordStore
from tests.support.deferreds import failure_result_of, success_result_of

UTC = 1_700_000_000


class Crash(BaseException):
    """The power went."""


class FailingDisk(Disk):
    """Fails at the n-th operation, or tears the write there; records what was done."""

    def __init__(self, fail_at: int = -1, error: BaseException | None = None) -> None:
        self.fail_at = fail_at
        self.error = error or Crash()
        self.done: list[str] = []

    def _step(self, name: str) -> None:
        self.done.append(name)
        if len(self.done) == self.fail_at:
            raise self.error

    def remove(self, path: Path) -> None:
        self._step("remove")
        super().remove(path)

    def create(self, path: Path, mode: int) -> int:
        self._step("create")
        return super().create(path, mode)

    def write(self, fd: int, data: bytes) -> int:
        half = data[: max(1, len(data) // 2)]
        try:
            self._step("write")
        except BaseException:
            super().write(fd, half)
            raise
        return super().write(fd, half)

    def sync(self, fd: int) -> None:
        self._step("sync")
        super().sync(fd)

    def rename(self, source: Path, target: Path) -> None:
        self._step("rename")
        super().rename(source, target)

    def sync_directory(self, path: Path) -> None:
        self._step("sync_directory")
        super().sync_directory(path)


class AtOnce:
    """A thread pool that does the work in the caller's thread."""

    started = stopped = 0

    def start(self) -> None:
        self.started += 1

    def stop(self) -> None:
        self.stopped += 1

    def callInThreadWithCallback(  # noqa: N802
        self, done: Callable[[bool, Any], None], work: Callable[..., Any], *args: Any
    ) -> None:
        try:
            result = work(*args)
        except Exception as error:  # noqa: BLE001
            from twisted.python.failure import Failure  # noqa: PLC0415

            done(False, Failure(error))
        else:
            done(True, result)


class FromThread:
    """The part of a reactor that a store uses."""

    def callFromThread(self, call: Callable[..., Any], *args: Any) -> None:  # noqa: N802
        call(*args)


class Busy(FromThread):
    """A reactor that is in a call, such as `close`, and hears of what threads have done after it."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], Any]] = []

    def callFromThread(self, call: Callable[..., Any], *args: Any) -> None:  # noqa: N802
        self._calls.append(lambda: call(*args))

    def go_on(self) -> None:
        """What a reactor does once the call has returned."""
        for call in self._calls:
            call()


def store_in(directory: Path, disk: Disk | None = None) -> RecordStore:
    return RecordStore(directory, cast("Any", FromThread()), disk=disk, pool=cast("ThreadPool", AtOnce()))


def created(directory: Path) -> Path:
    store = store_in(directory)
    store.create("c", 1, "ff00")
    store.close()
    return directory


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return created(tmp_path / "state")


def load(directory: Path, utc: int = UTC) -> Record:
    store = store_in(directory)
    try:
        return store.load("c", 1, "ff00", utc)
    finally:
        store.close()


def test_n5_a_new_record_may_not_vote_and_only_its_owner_may_read_it(directory: Path) -> None:
    record = load(directory)
    assert record == Record("c", 1, "ff00", boot=UTC)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / RECORD).stat().st_mode) == 0o600


def test_n3_boot_rises_with_each_life_whatever_the_wall_clock_says(directory: Path) -> None:
    assert [load(directory, utc).boot for utc in (UTC, UTC, UTC - 1000, UTC + 9)] == [
        UTC,
        UTC + 1,
        UTC + 2,
        UTC + 9,
    ]


def test_n3_a_clock_centuries_ahead_is_refused_and_leaves_nothing_behind(directory: Path) -> None:
    """The others would not hear that boot, and none ever goes back: it would be the node's end."""
    load(directory)
    year_2300 = 10_413_792_000
    with pytest.raises(EnvironmentFault, match="set the clock"):
        load(directory, year_2300)
    assert load(directory).boot == UTC + 1


def test_n3_the_last_boot_that_others_hear_is_used_and_none_above_it(directory: Path) -> None:
    assert load(directory, MAX_BOOT).boot == MAX_BOOT
    before = (directory / RECORD).read_bytes()
    with pytest.raises(StorageError, match="javacluster init"):
        load(directory)
    assert (directory / RECORD).read_bytes() == before


def test_n3_the_boot_is_durable_before_load_returns(directory: Path) -> None:
    disk = FailingDisk()
    store = store_in(directory, disk)
    store.load("c", 1, "ff00", UTC)
    writes = ["write"] * disk.done.count("write")
    assert disk.done == ["remove", "create", *writes, "sync", "rename", "sync_directory"]


def test_creating_again_keeps_a_good_record_even_while_the_node_runs(directory: Path) -> None:
    running = store_in(directory)
    before = running.load("c", 1, "ff00", UTC)
    assert store_in(directory).create("c", 1, "ff00") == before
    running.close()


def test_n3_the_directory_belongs_to_one_process(directory: Path) -> None:
    store = store_in(directory)
    store.load("c", 1, "ff00", UTC)
    with pytest.raises(EnvironmentFault, match=f"in use by process {os.getpid()}; stop it"):
        store_in(directory).load("c", 1, "ff00", UTC)
    store.close()
    load(directory)


def test_n3_a_process_that_was_killed_leaves_no_lock(directory: Path) -> None:
    code = (
        "import sys, os, pathlib; from cluster.net.store import RecordStore\n"
        f"RecordStore(pathlib.Path({str(directory)!r})).load('c', 1, 'ff00'); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert done.returncode == -9
    assert (directory / LOCK).exists()
    load(directory)


@pytest.mark.parametrize("failing_at", range(1, 16))
def test_n3_a_crash_at_any_step_leaves_a_record_that_start_up_accepts(
    directory: Path, failing_at: int
) -> None:
    before = load(directory)
    disk = FailingDisk()
    store = store_in(directory, disk)
    loaded = store.load("c", 1, "ff00", UTC + 10)
    disk.done.clear()
    disk.fail_at = failing_at
    wanted = msgspec.structs.replace(loaded, accepted=7, fence_epoch=7, fence_leader=2)
    crashed = False
    try:
        success_result_of(store.write(wanted))
    except Crash:
        crashed = True
        store._queue.done()  # nobody is left to write it again
    store.close()
    after = load(directory)
    assert after.boot > loaded.boot > before.boot
    assert (after.accepted, after.fence_epoch) in {(0, 0), (7, 7)}
    if not crashed:
        assert after.accepted == 7
    load(directory)


def test_n4_a_failed_write_says_so_and_the_next_one_may_work(directory: Path) -> None:
    disk = FailingDisk(error=OSError(28, "No space left on device"))
    store = store_in(directory, disk)
    loaded = store.load("c", 1, "ff00", UTC)
    disk.done.clear()
    disk.fail_at = 3
    wanted = msgspec.structs.replace(loaded, accepted=7)
    failure = failure_result_of(store.write(wanted), StorageError)
    assert "No space left" in failure.getErrorMessage()
    success_result_of(store.write(wanted))
    store.close()
    assert load(directory).accepted == 7


def test_i3_the_store_refuses_to_go_backwards(directory: Path) -> None:
    store = store_in(directory)
    loaded = store.load("c", 1, "ff00", UTC)
    success_result_of(store.write(msgspec.structs.replace(loaded, accepted=7)))
    failure_result_of(store.write(loaded), LocalProtocolError)
    store.close()


def test_a_left_over_of_a_crash_is_ignored_and_removed(directory: Path) -> None:
    left_over = directory / (RECORD + ".tmp")
    left_over.write_bytes(b'{"record": torn')
    load(directory)
    assert not left_over.exists()


@pytest.mark.parametrize(
    ("cluster", "node", "voters", "advice"),
    [
        ("d", 1, "ff00", "a state_directory of its own"),
        ("c", 2, "ff00", "a state_directory of its own"),
        ("c", 1, "0000", "javacluster init --voters"),
    ],
)
def test_n3_the_record_of_another_configuration_is_refused(
    directory: Path, cluster: str, node: int, voters: str, advice: str
) -> None:
    for ask in (store_in(directory).load, store_in(directory).create):
        with pytest.raises(EnvironmentFault, match=advice):
            ask(cluster, node, voters)


def test_a_node_without_a_record_is_told_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="javacluster init"):
        load(tmp_path / "missing")
    with pytest.raises(EnvironmentFault, match="javacluster init"):
        load(tmp_path)


def test_n1_a_changed_voter_list_keeps_everything_else(directory: Path) -> None:
    store = store_in(directory)
    loaded = store.load("c", 1, "ff00", UTC)
    success_result_of(store.write(msgspec.structs.replace(loaded, accepted=7, may_vote=True)))
    with pytest.raises(EnvironmentFault, match="in use by process"):
        store_in(directory).change_voters("c", 1, "0000")
    store.close()
    changed = store_in(directory)
    assert changed.change_voters("c", 1, "0000") == Record(
        "c", 1, "0000", boot=UTC, may_vote=True, accepted=7
    )
    changed.close()


@pytest.mark.parametrize("at", range(0, 200, 7))
def test_n3_a_damaged_record_is_never_taken_for_a_good_one(directory: Path, at: int) -> None:
    path = directory / RECORD
    raw = bytearray(path.read_bytes())
    raw[at % (len(raw) - 1)] ^= 0x04
    path.write_bytes(bytes(raw))
    with pytest.raises(StorageError, match=r"javacluster init|another version"):
        load(directory)


@pytest.mark.parametrize("inside", [b"[" * 5000, b'{"a":' * 5000, b"1", b"{}", b"[]", b"9" * 5000])
def test_n3_a_record_with_a_right_checksum_and_nonsense_inside_is_refused(
    directory: Path, inside: bytes
) -> None:
    checksum = hashlib.sha256(inside).hexdigest().encode()
    (directory / RECORD).write_bytes(b'{"record":' + inside + b',"checksum":"' + checksum + b'"}')
    with pytest.raises(StorageError, match=r"javacluster init|another version"):
        load(directory)


class Slow(Disk):
    """Stops in each write until it is told to go on; knows which thread wrote.

    Attributes:
        full: whether a write in the main thread fails.
    """

    def __init__(self) -> None:
        self.full = False
        self.threads: list[threading.Thread] = []
        self.begun = threading.Semaphore(0)
        self.goes_on = threading.Semaphore(0)

    def create(self, path: Path, mode: int) -> int:
        if threading.current_thread() is not threading.main_thread():
            self.threads.append(threading.current_thread())
            self.begun.release()
            assert self.goes_on.acquire(timeout=60)
        elif self.full:
            raise OSError(28, "No space left on device")
        return super().create(path, mode)


@contextlib.contextmanager
def going_on_when_joined(disk: Slow, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A write that ends once somebody waits for its thread, and not before."""
    join = threading.Thread.join

    def joined(thread: threading.Thread, timeout: float | None = None) -> None:
        if thread in disk.threads:
            disk.goes_on.release()
        join(thread, timeout)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "join", joined)
        yield


def follow(done: Deferred[None], number: int, told: list[tuple[int, bool]]) -> None:
    """Note when it is told, and whether the record is durable."""
    done.addCallbacks(
        lambda _none: told.append((number, True)), lambda _failure: told.append((number, False))
    )


@pytest.mark.parametrize("fails", [False, True])
def test_n4_what_waits_for_a_write_is_one_write_of_the_newest_off_the_reactors_thread(
    directory: Path, fails: bool
) -> None:
    """Each is told, in the order of asking, once a record that holds it is durable, or that it is not."""
    disk = Slow()
    store = RecordStore(directory, cast("Any", FromThread()), disk=disk)
    record = store.load("c", 1, "ff00", UTC)
    told: list[tuple[int, bool]] = []
    for epoch in range(1, 6):
        follow(store.write(msgspec.structs.replace(record, accepted=epoch)), epoch, told)
        if epoch == 1:
            assert disk.begun.acquire(timeout=60)
    assert told == []
    disk.goes_on.release()
    assert disk.begun.acquire(timeout=60)
    assert told == [(1, True)]
    if fails:
        shutil.rmtree(directory)
    disk.goes_on.release()
    store.close()
    assert told == [(1, True)] + [(epoch, not fails) for epoch in range(2, 6)]
    assert len(disk.threads) == 2
    assert len(set(disk.threads)) == 1
    if not fails:
        assert load(directory).accepted == 5


@contextlib.contextmanager
def no_new_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A crowded host."""

    def refused(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        yield


def test_n4_a_host_that_has_no_thread_to_write_with_has_one_later(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RecordStore(directory, cast("Any", FromThread()))
    wanted = msgspec.structs.replace(store.load("c", 1, "ff00", UTC), accepted=7)
    with no_new_thread(monkeypatch):
        failure_result_of(store.write(wanted), RuntimeError)
    told = threading.Event()
    store.write(wanted).addCallback(lambda _none: told.set())
    assert told.wait(60)
    store.close()
    assert load(directory).accepted == 7


def test_n3_the_directory_is_held_while_a_write_goes_on_though_a_thread_was_refused_before(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the thread of this life would put its file, or the next life's half of one, in place later."""
    disk = Slow()
    store = RecordStore(directory, cast("Any", FromThread()), disk=disk)
    record = store.load("c", 1, "ff00", UTC)
    with no_new_thread(monkeypatch):
        failure_result_of(store.write(record), RuntimeError)
    store.write(msgspec.structs.replace(record, accepted=7))
    assert disk.begun.acquire(timeout=60)
    try:
        with going_on_when_joined(disk, monkeypatch):
            store.close()
        assert not disk.threads[0].is_alive()
    finally:
        disk.goes_on.release()
    assert load(directory).accepted == 7


def test_n3_a_store_that_never_had_a_thread_is_closed(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RecordStore(directory, cast("Any", FromThread()))
    record = store.load("c", 1, "ff00", UTC)
    with no_new_thread(monkeypatch):
        failure_result_of(store.write(record), RuntimeError)
    store.close()
    load(directory)


def test_n3_the_directory_is_held_as_long_as_a_write_may_go_on(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store whose thread can't be waited for keeps its directory, and says so."""
    pool = AtOnce()
    store = RecordStore(directory, cast("Any", FromThread()), pool=cast("ThreadPool", pool))
    success_result_of(store.write(store.load("c", 1, "ff00", UTC)))

    def endless() -> None:
        raise RuntimeError("cannot join current thread")

    with monkeypatch.context() as patch:
        patch.setattr(pool, "stop", endless)
        with pytest.raises(RuntimeError, match="cannot join"):
            store.close()
    with pytest.raises(EnvironmentFault, match="in use by process"):
        load(directory)
    store.close()
    load(directory)


def test_i3_nothing_that_is_asked_for_goes_back_from_what_waits(directory: Path) -> None:
    disk = Slow()
    store = RecordStore(directory, cast("Any", FromThread()), disk=disk)
    record = store.load("c", 1, "ff00", UTC)
    for epoch in (8, 9):
        store.write(msgspec.structs.replace(record, accepted=epoch))
    failure_result_of(store.write(msgspec.structs.replace(record, accepted=3)), LocalProtocolError)
    disk.goes_on.release(3)
    store.close()
    assert load(directory).accepted == 9
    failure_result_of(store.write(record), StorageError)


def test_what_still_waits_when_the_store_is_closed_is_written(directory: Path) -> None:
    disk = Slow()
    store = RecordStore(directory, cast("Any", FromThread()), disk=disk)
    record = store.load("c", 1, "ff00", UTC)
    for epoch in range(1, 4):
        store.write(msgspec.structs.replace(record, accepted=epoch))
    assert disk.begun.acquire(timeout=60)
    closing = threading.Thread(target=store.close)
    closing.start()
    disk.goes_on.release(3)
    closing.join(timeout=60)
    assert load(directory).accepted == 3


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("is_busy", [False, True])
def test_n4_what_still_waits_when_the_store_is_closed_is_told_what_became_of_it(
    directory: Path, monkeypatch: pytest.MonkeyPatch, is_busy: bool, fails: bool
) -> None:
    """Each once, in the order of asking; what was durable before the last write failed is so after it."""
    disk = Slow()
    reactor = Busy()
    store = RecordStore(directory, cast("Any", reactor if is_busy else FromThread()), disk=disk)
    record = store.load("c", 1, "ff00", UTC)
    disk.full = fails
    told: list[tuple[int, bool]] = []
    for epoch in range(1, 4):
        follow(store.write(msgspec.structs.replace(record, accepted=epoch)), epoch, told)
    assert disk.begun.acquire(timeout=60)
    assert told == []
    with going_on_when_joined(disk, monkeypatch):
        store.close()
    reactor.go_on()
    store.close()
    assert told == [(1, True), (2, not fails), (3, not fails)]
    assert load(directory).accepted == (1 if fails else 3)


def test_a_node_that_fails_at_start_up_does_not_hang_on_its_store(directory: Path) -> None:
    code = (
        "import pathlib\n"
        "from cluster.net.reactor import install\n"
        "from cluster.net.store import RecordStore\n"
        f"store = RecordStore(pathlib.Path({str(directory)!r}), install())\n"
        "store.write(store.load('c', 1, 'ff00'))\n"
        "raise SystemExit(3)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert done.returncode == 3
    load(directory)
