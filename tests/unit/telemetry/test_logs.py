"""The two logs of H3: what is written, how it is bounded, and that it never stops its node."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from twisted.internet.task import Clock
from twisted.logger import Logger, LogPublisher

from cluster.config import LogSettings
from cluster.core.effects import Level
from cluster.errors import EnvironmentFault
from cluster.telemetry.logs import (
    BLOCK,
    BUFFER_ENTRIES,
    FLUSH_S,
    LINE_MAX,
    RECEIVED,
    SENT,
    TAIL_BYTES_MAX,
    LogObserver,
    NodeLogs,
)
from cluster.wire.messages import Gossip, GossipEntry, Heartbeat
from tests.conftest import LoggedFailures

STAMP = "2026-01-02T03:04:05.250Z"
UTC = 1767323045.25


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def logs(tmp_path: Path, clock: Clock) -> NodeLogs:
    return NodeLogs(LogSettings(directory=str(tmp_path)), clock, lambda: UTC)


def test_an_entry_is_a_line_that_begins_with_its_utc_time(
    logs: NodeLogs, clock: Clock, tmp_path: Path
) -> None:
    logs.write(Level.SUMMARY, "2: switching from FOLLOWING to LOOKING")
    clock.advance(FLUSH_S)
    text = (tmp_path / "summary.log").read_text()
    assert text == f"{STAMP} 2: switching from FOLLOWING to LOOKING\n"


def test_verbose_holds_summary_and_more(logs: NodeLogs) -> None:
    logs.write(Level.SUMMARY, "a leader")
    logs.write(Level.VERBOSE, "a step")
    logs.traffic(RECEIVED, 3, Heartbeat(7, 41, 0.4))
    logs.traffic(SENT, 1, Gossip((GossipEntry(2, 9, 5, 1),)))
    assert logs.tail(Level.SUMMARY, 9).splitlines() == [f"{STAMP} a leader".encode()]
    assert logs.tail(Level.VERBOSE, 9).decode().splitlines() == [
        f"{STAMP} a leader",
        f"{STAMP} a step",
        f'{STAMP} <- 3 Heartbeat {{"t":"h","epoch":7,"seq":41,"lease_s":0.4}}',
        (
            f'{STAMP} -> 1 Gossip {{"t":"g","entries":[[2,9,5,1,false]],'
            '"ask":false,"reply":false,"interval_ms":1000}'
        ),
    ]


def test_nobody_forges_a_line(logs: NodeLogs) -> None:
    """Line ends and terminal controls in a text stay inside its entry."""
    logs.write(Level.SUMMARY, "one\n2026 two\r\n\x1b[31mred\u2028x")
    logs.write(Level.SUMMARY, "y" * (LINE_MAX + 5))
    logs.write(Level.SUMMARY, "lone \udc80 surrogate")
    first, second, third = logs.tail(Level.SUMMARY, 9).decode().splitlines()
    assert first == f"{STAMP} one | 2026 two | ?[31mred | x"
    assert len(second) == len(STAMP) + 1 + LINE_MAX
    assert third == f"{STAMP} lone ? surrogate"


def test_entries_reach_the_file_by_themselves_in_time(logs: NodeLogs, clock: Clock, tmp_path: Path) -> None:
    logs.write(Level.VERBOSE, "x")
    assert not (tmp_path / "verbose.log").exists()
    clock.advance(FLUSH_S)
    assert (tmp_path / "verbose.log").read_text().count("\n") == 1
    assert clock.getDelayedCalls() == []


def test_what_is_gathered_is_bounded(logs: NodeLogs, clock: Clock, tmp_path: Path) -> None:
    for _ in range(BUFFER_ENTRIES):
        logs.write(Level.VERBOSE, "x")
    assert (tmp_path / "verbose.log").read_text().count("\n") == BUFFER_ENTRIES
    assert clock.getDelayedCalls() == []


def test_logs_rotate_and_are_bounded(tmp_path: Path, clock: Clock) -> None:
    settings = LogSettings(directory=str(tmp_path), rotate_bytes=1000, keep=2)
    logs = NodeLogs(settings, clock, lambda: UTC)
    for number in range(100):
        logs.write(Level.SUMMARY, f"entry {number:03d} {'x' * 60}")
        logs.flush()
    files = sorted(path.name for path in tmp_path.glob("summary.log*"))
    assert files == ["summary.log", "summary.log.1", "summary.log.2"]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())


def test_the_tail_goes_on_in_rotated_files(tmp_path: Path, clock: Clock) -> None:
    settings = LogSettings(directory=str(tmp_path), rotate_bytes=200, keep=3)
    logs = NodeLogs(settings, clock, lambda: UTC)
    for number in range(12):
        logs.write(Level.SUMMARY, f"entry {number:03d}")
        logs.flush()
    for wanted in (0, 1, 3, 7, 12):
        found = logs.tail(Level.SUMMARY, wanted).decode().splitlines()
        assert [line[-3:] for line in found] == [f"{number:03d}" for number in range(12 - wanted, 12)]


def test_the_tail_is_bounded_in_bytes_and_whole_lines(tmp_path: Path, clock: Clock) -> None:
    logs = NodeLogs(LogSettings(directory=str(tmp_path)), clock, lambda: UTC)
    line = b"x" * 99 + b"\n"
    (tmp_path / "summary.log").write_bytes(line * (TAIL_BYTES_MAX // 100 + 50))
    found = logs.tail(Level.SUMMARY, 10**6)
    assert TAIL_BYTES_MAX - 100 < len(found) <= TAIL_BYTES_MAX
    assert set(found.splitlines()) == {line.rstrip()}
    (tmp_path / "summary.log.1").write_bytes(line * 100)
    assert len(logs.tail(Level.SUMMARY, 10**6)) <= TAIL_BYTES_MAX
    across = BLOCK // 100 + 3
    assert logs.tail(Level.SUMMARY, across) == line * across


def test_without_a_file_the_tail_is_empty(logs: NodeLogs) -> None:
    assert logs.tail(Level.SUMMARY, 10) == b""


def test_a_foreign_file_without_lines_is_no_tail(logs: NodeLogs, tmp_path: Path) -> None:
    (tmp_path / "summary.log").write_bytes(b"x" * (TAIL_BYTES_MAX + 1))
    assert logs.tail(Level.SUMMARY, 10) == b""


def test_followers_get_whole_lines_from_now_on(logs: NodeLogs, clock: Clock) -> None:
    seen: list[bytes] = []
    logs.write(Level.SUMMARY, "before")
    stop = logs.follow(Level.SUMMARY, seen.append)
    logs.write(Level.SUMMARY, "one")
    logs.write(Level.VERBOSE, "not this")
    clock.advance(FLUSH_S)
    stop()
    stop()
    logs.write(Level.SUMMARY, "after")
    clock.advance(FLUSH_S)
    assert seen == [f"{STAMP} one\n".encode()]


def test_a_followers_failure_is_its_own(logs: NodeLogs) -> None:
    seen: list[bytes] = []

    def fail(_data: bytes) -> None:
        raise RuntimeError

    logs.follow(Level.SUMMARY, fail)
    logs.follow(Level.SUMMARY, seen.append)
    logs.write(Level.SUMMARY, "x")
    logs.flush()
    assert len(seen) == 1


def test_a_full_disk_is_counted_and_outlived(logs: NodeLogs, clock: Clock, tmp_path: Path) -> None:
    """`/dev/full` is a disk without room."""
    path = tmp_path / "summary.log"
    path.symlink_to("/dev/full")
    (tmp_path / "verbose.log").symlink_to("/dev/full")
    seen: list[bytes] = []
    logs.follow(Level.SUMMARY, seen.append)
    for _ in range(3):
        logs.write(Level.SUMMARY, "lost")
        clock.advance(FLUSH_S)
    assert logs.dropped == 6
    assert len(seen) == 3
    path.unlink()
    logs.write(Level.SUMMARY, "there is room again")
    clock.advance(FLUSH_S)
    assert path.read_text() == f"{STAMP} there is room again\n"
    (tmp_path / "verbose.log").unlink()
    logs.close()


def test_a_directory_that_vanished_is_outlived(tmp_path: Path, clock: Clock) -> None:
    directory = tmp_path / "log"
    logs = NodeLogs(LogSettings(directory=str(directory)), clock, lambda: UTC)
    directory.rmdir()
    logs.write(Level.VERBOSE, "x")
    clock.advance(FLUSH_S)
    assert logs.dropped == 1


def test_a_directory_that_cant_be_made_is_told(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match=r"set log\.directory"):
        NodeLogs(LogSettings(directory=str(tmp_path / "file" / "log")), clock, lambda: UTC)


def test_the_console_hears_the_summary_and_may_be_closed(tmp_path: Path, clock: Clock) -> None:
    console = io.StringIO()
    logs = NodeLogs(LogSettings(directory=str(tmp_path)), clock, lambda: UTC, console)
    logs.write(Level.VERBOSE, "whisper")
    logs.write(Level.SUMMARY, "aloud")
    clock.advance(FLUSH_S)
    assert console.getvalue() == f"{STAMP} aloud\n"
    console.close()
    logs.write(Level.SUMMARY, "to nobody")
    assert logs.tail(Level.SUMMARY, 1).endswith(b"to nobody\n")


def test_closing_writes_what_is_gathered(logs: NodeLogs, clock: Clock, tmp_path: Path) -> None:
    logs.write(Level.SUMMARY, "last words")
    logs.close()
    logs.write(Level.SUMMARY, "too late")
    assert (tmp_path / "summary.log").read_text().count("\n") == 1
    assert clock.getDelayedCalls() == []


def test_warnings_and_failures_go_into_both_logs(logs: NodeLogs, logged_failures: LoggedFailures) -> None:
    publisher = LogPublisher(LogObserver(logs))
    log = Logger(observer=publisher)
    log.info("routine")
    log.warn("disk is {percent} % full", percent=99)  # noqa: G010 (twisted.logger has no other name)
    try:
        raise ValueError("bad\nnumber")  # noqa: TRY301 (the failure needs a traceback)
    except ValueError:
        log.failure("reading {name}", name="x")
    summary = logs.tail(Level.SUMMARY, 9).decode().splitlines()
    assert summary == [
        f"{STAMP} warn: disk is 99 % full",
        f"{STAMP} critical: reading x: ValueError: bad | number",
    ]
    verbose = logs.tail(Level.VERBOSE, 9).decode()
    assert "Traceback" in verbose
    assert verbose.count("\n") == 3
    logged_failures.take()
