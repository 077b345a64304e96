"""Blocking calls of the Java side, in threads beside the reactor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThreadPool

T = TypeVar("T")


def in_thread(
    reactor: Any,  # noqa: ANN401  (threads and calls from them: no one interface has both)
    work: Callable[..., T],
    *args: object,
) -> Deferred[T]:
    """Call it in a thread; fires with what it returns.

    Never raises: where the host refuses a thread, which is asked for at once, the Deferred fails with the
    RuntimeError that says so.
    """
    return maybeDeferred(deferToThreadPool, reactor, reactor.getThreadPool(), work, *args)
