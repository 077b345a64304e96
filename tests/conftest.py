"""What every test gets: a guard against failures that were only logged, and Hypothesis profiles."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

settings.register_profile("default", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("explore", deadline=None, max_examples=5000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@implementer(ILogObserver)
class LoggedFailures:
    """The failures and critical lines logged during one test."""

    def __init__(self) -> None:
        """Start empty."""
        self._events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        """Keep what a test must not overlook."""
        if event.get("log_failure") is not None or event.get("log_level") is LogLevel.critical:
            self._events.append(event)

    def take(self, *types: type[BaseException]) -> list[LogEvent]:
        """Give back, and no longer hold against the test, what was logged: of these types, or everything."""
        gc.collect()
        taken = [event for event in self._events if not types or self._is_of(event, types)]
        self._events = [event for event in self._events if event not in taken]
        return taken

    @staticmethod
    def _is_of(event: LogEvent, types: tuple[type[BaseException], ...]) -> bool:
        failure = event.get("log_failure")
        return isinstance(failure, Failure) and failure.check(*types) is not None

    def text(self) -> str:
        """Everything left, for the report."""
        lines = []
        for event in self._events:
            failure = event.get("log_failure")
            lines.append(formatEvent(event))
            if isinstance(failure, Failure):
                lines.append(failure.getTraceback())
        return "\n".join(lines)


@pytest.fixture(autouse=True)
def logged_failures() -> Iterator[LoggedFailures]:
    """Fail a test that logged a failure which it did not `take`.

    Twisted logs what nobody handled and goes on; without this such a test would pass.
    """
    failures = LoggedFailures()
    globalLogPublisher.addObserver(failures)
    yield failures
    gc.collect(1)  # a Deferred reports its unhandled failure when it is collected
    globalLogPublisher.removeObserver(failures)
    if text := failures.text():
        pytest.fail(f"logged, but not expected by the test:\n{text}", pytrace=False)
