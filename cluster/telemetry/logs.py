"""The two logs of a node (H3): `summary.log` for people in a hurry, `verbose.log` for those who ask why.

Verbose holds all of summary, every datagram, and each step of a job. An entry is one line and begins with its
UTC time. Lines are gathered and written together, so that an entry costs microseconds; they reach the file,
and summary lines the console, within `FLUSH_S`.
A log never stops its node: what can't be written is counted and dropped.
"""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import msgspec

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

from cluster.config import LogSettings
from cluster.core.effects import Level
from cluster.errors import EnvironmentFault
from cluster.wire.messages import Datagram

FLUSH_S = 0.25
BUFFER_ENTRIES = 500
"""Entries gathered at most before they are written at once: a few milliseconds of work."""
LINE_MAX = 8 * 1024
"""Characters of one entry; the rest is cut."""
TAIL_BYTES_MAX = 4 * 1024 * 1024
BLOCK = 64 * 1024

SENT = "->"
RECEIVED = "<-"

_Entry = tuple[float, str] | tuple[float, str, int, Datagram]
"""Time and text; or, to be put into words when it is written: time, direction, peer, message."""


class _RotatingFile(logging.handlers.RotatingFileHandler):
    """Writes one gathered batch a record; a failure is counted, and the file opened anew next time."""

    terminator = ""

    def __init__(self, path: Path, settings: LogSettings) -> None:
        super().__init__(
            path, maxBytes=settings.rotate_bytes, backupCount=settings.keep, encoding="utf-8", delay=True
        )
        self.failures = 0

    def write(self, batch: str) -> bool:
        """Append whole lines, rotating before they would make the file too large. False: it failed."""
        before = self.failures
        self.emit(logging.LogRecord("", logging.INFO, "", 0, batch, None, None))
        return self.failures == before

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the base's spelling)
        """A full disk, a directory gone: never the node's end."""
        del record
        self.failures += 1
        stream, self.stream = self.stream, None  # None makes `emit` open it again
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.close()


class _Log:
    """One of the two: its buffer, its file, its followers."""

    def __init__(self, path: Path, settings: LogSettings, console: TextIO | None) -> None:
        self.path = path
        self.keep = settings.keep
        self._console = console
        self.file = _RotatingFile(path, settings)
        self.buffer: list[_Entry] = []
        self.followers: dict[object, Callable[[bytes], None]] = {}
        self.dropped = 0

    def flush(self, stamp: _Stamp) -> None:
        """Put the gathered entries into words, write them, and tell the followers."""
        if not self.buffer:
            return
        entries, self.buffer = self.buffer, []
        batch = "".join([_line(stamp, entry) for entry in entries])
        if not self.file.write(batch):
            self.dropped += len(entries)
        if self._console is not None:
            with contextlib.suppress(OSError, ValueError):
                self._console.write(batch)
                self._console.flush()
        if self.followers:
            data = batch.encode(errors="replace")
            for callback in tuple(self.followers.values()):
                with contextlib.suppress(Exception):  # a follower's trouble is not the log's
                    callback(data)


class _Stamp:
    """Formats UTC times; the part down to the second is kept, as many entries share it."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def __call__(self, now: float) -> str:
        second = int(now)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._text}.{int((now - second) * 1000):03d}Z"


class NodeLogs:
    """Both logs of one node; a source for `/logs/…` and, with `observer`, for `twisted.logger`."""

    def __init__(
        self,
        settings: LogSettings,
        clock: IReactorTime,
        utc: Callable[[], float],
        console: TextIO | None = None,
    ) -> None:
        """Write into `settings.directory`; summary lines also to `console` if there is one.

        Args:
            settings: where, how large, how many.
            clock: for the flush.
            utc: seconds since 1970, for the time in each line.
            console: the journal or a terminal.

        Raises:
            EnvironmentFault: the directory can't be made.
        """
        directory = Path(settings.directory)
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentFault(
                f"can't make the log directory {directory}: {error.strerror}; set log.directory"
            ) from error
        self._clock = clock
        self._utc = utc
        self._stamp = _Stamp()
        self._logs = {
            level: _Log(
                directory / f"{level.value}.log", settings, console if level is Level.SUMMARY else None
            )
            for level in Level
        }
        self._verbose = self._logs[Level.VERBOSE]
        self._flushing: IDelayedCall | None = None
        self._closed = False

    @property
    def dropped(self) -> int:
        """Entries that could not be written."""
        return sum(log.dropped for log in self._logs.values())

    def write(self, level: Level, text: str) -> None:
        """One entry; a summary entry is in the verbose log too."""
        entry = (self._utc(), text)
        self._append(self._verbose, entry)
        if level is Level.SUMMARY:
            self._append(self._logs[Level.SUMMARY], entry)

    def traffic(self, direction: str, peer: int, message: Datagram) -> None:
        """An election or gossip message: `SENT` to, or `RECEIVED` from, a peer."""
        self._append(self._verbose, (self._utc(), direction, peer, message))

    def tail(self, kind: Level, lines: int) -> bytes:
        """The last lines, oldest first, across rotated files, at most `TAIL_BYTES_MAX`."""
        self.flush()
        log = self._logs[kind]
        found = b""
        for number in range(log.keep + 1):
            path = log.path if number == 0 else log.path.with_name(f"{log.path.name}.{number}")
            wanted = lines - found.count(b"\n")
            if wanted <= 0:
                break
            part = _tail_of(path, wanted, TAIL_BYTES_MAX - len(found))
            if not part:
                break
            found = part + found
        return found

    def follow(self, kind: Level, callback: Callable[[bytes], None]) -> Callable[[], None]:
        """Call back with whole lines from now on, until the returned function is called."""
        self.flush()
        key = object()
        followers = self._logs[kind].followers
        followers[key] = callback
        return lambda: followers.pop(key, None) and None

    def flush(self) -> None:
        """Write what is gathered."""
        if self._flushing is not None and self._flushing.active():
            self._flushing.cancel()
        self._flushing = None
        for log in self._logs.values():
            log.flush(self._stamp)

    def close(self) -> None:
        """Write what is gathered, and close the files."""
        self.flush()
        self._closed = True
        for log in self._logs.values():
            log.file.close()

    def _append(self, log: _Log, entry: _Entry) -> None:
        if self._closed:
            return
        log.buffer.append(entry)
        if len(log.buffer) >= BUFFER_ENTRIES:
            self.flush()
        elif self._flushing is None:
            self._flushing = self._clock.callLater(FLUSH_S, self.flush)


@implementer(ILogObserver)
class LogObserver:
    """Puts warnings and failures of `twisted.logger` into both logs; the traceback into the verbose one."""

    def __init__(self, logs: NodeLogs) -> None:
        self._logs = logs

    def __call__(self, event: LogEvent) -> None:
        """Observe one event; what is below a warning is left out."""
        level = event.get("log_level", LogLevel.info)
        if level not in {LogLevel.warn, LogLevel.error, LogLevel.critical}:
            return
        failure = event.get("log_failure")
        text = formatEvent(event) or ("" if failure is None else failure.getErrorMessage())
        if failure is not None:
            text = f"{text}: {failure.type.__name__}: {failure.getErrorMessage()}"
            self._logs.write(Level.VERBOSE, failure.getTraceback())
        self._logs.write(Level.SUMMARY, f"{level.name}: {text}")


def _line(stamp: _Stamp, entry: _Entry) -> str:
    if len(entry) == 2:  # noqa: PLR2004 (a text, not a message)
        now, text = entry
    else:
        now, direction, peer, message = entry
        content = msgspec.json.encode(message).decode()
        text = f"{direction} {peer} {type(message).__name__} {content}"
    if not text.isprintable():
        text = _printable(text)
    return f"{stamp(now)} {text[:LINE_MAX]}\n"


def _printable(text: str) -> str:
    """One line, whatever a program or a peer put into it: line ends become ` | `, other controls `?`."""
    joined = " | ".join(line for line in text.splitlines() if line)
    return "".join(character if character.isprintable() else "?" for character in joined)


def _tail_of(path: Path, lines: int, most: int) -> bytes:
    """The last whole lines of a file, read from its end; empty when it can't be read."""
    if most <= 0:
        return b""
    blocks: list[bytes] = []
    size = 0
    newlines = 0
    try:
        with path.open("rb") as file:
            position = file.seek(0, os.SEEK_END)
            while position > 0 and size < most and newlines <= lines:
                step = min(BLOCK, position, most - size)
                position -= step
                file.seek(position)
                block = file.read(step)
                blocks.append(block)
                size += len(block)
                newlines += block.count(b"\n")
    except OSError:
        return b""
    data = b"".join(reversed(blocks))
    surplus = newlines - lines
    if surplus <= 0 and position > 0:
        surplus = 1  # the first line is not whole
    if surplus > newlines:
        return b""
    start = 0
    for _ in range(surplus):
        start = data.index(b"\n", start) + 1
    return data[start:]
