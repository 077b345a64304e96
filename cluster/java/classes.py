"""Compiled classes, kept by the content of their sources (J4): equals are compiled once, at once or later."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import attrs

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from cluster.java.frames import CRASHED, Answer
from cluster.limits import MIB
from cluster.wire.jobs import Source

KEPT_BYTES = 32 * MIB
"""Of classes and messages; the ones that were not asked for the longest go first."""
_ENTRY_BYTES = 512
"""What an entry costs beside its content."""


class Compiles(Protocol):
    """The compiler's own promise; see `Compiler.compile`."""

    def compile(
        self, sources: Sequence[Source], limit_s: float, remaining_s: float
    ) -> Deferred[Answer | str]:
        """Fires with an answer, or with why there is none."""


@attrs.define(eq=False)
class _Waiter:
    """One who asked."""

    sources: Sequence[Source]
    limit_s: float
    deadline: float
    result: Deferred[Answer | str]
    timer: IDelayedCall | None = None


@attrs.define(eq=False)
class _Flight:
    """A compilation under way, and all who wait for it; its limits are those of `owner`, who may be gone."""

    owner: _Waiter
    waiters: list[_Waiter]
    work: Deferred[Answer | str] | None = None


class CompiledClasses:
    """Stands before a compiler, and answers what has been compiled before.

    Args:
        clock: a reactor's timers.
        compiler: does the work.
        kept_bytes: of answers that are kept.

    Attributes:
        hits: answered from what was kept.
        joined: answered by a compilation that another had begun.
    """

    def __init__(self, clock: IReactorTime, compiler: Compiles, kept_bytes: int = KEPT_BYTES) -> None:
        self._clock = clock
        self._compiler = compiler
        self._room = kept_bytes
        self._kept: OrderedDict[bytes, tuple[Answer, int]] = OrderedDict()
        self._size = 0
        self._flights: dict[bytes, _Flight] = {}
        self.hits = self.joined = 0

    def compile(
        self, sources: Sequence[Source], limit_s: float, remaining_s: float
    ) -> Deferred[Answer | str]:
        """As the compiler's own; cancelling the Deferred ends the work when nobody else waits for it."""
        key = key_of(sources)
        if found := self._kept.get(key):
            self._kept.move_to_end(key)
            self.hits += 1
            return succeed(found[0])
        waiter: _Waiter

        def leave(_: object) -> None:
            self._leave(key, waiter)

        waiter = _Waiter(sources, limit_s, self._clock.seconds() + remaining_s, Deferred(leave))
        self._board(key, waiter)
        return waiter.result

    def _board(self, key: bytes, waiter: _Waiter) -> None:
        if flight := self._flights.get(key):
            self.joined += 1
            flight.waiters.append(waiter)
            left = max(waiter.deadline - self._clock.seconds(), 0)
            waiter.timer = self._clock.callLater(left, self._expire, key, waiter)
            return
        flight = self._flights[key] = _Flight(waiter, [waiter])
        left = waiter.deadline - self._clock.seconds()
        flight.work = self._compiler.compile(waiter.sources, waiter.limit_s, left)
        flight.work.addCallbacks(
            self._landed, self._failed, callbackArgs=(key, flight), errbackArgs=(key, flight)
        )

    def _expire(self, key: bytes, waiter: _Waiter) -> None:
        self._leave(key, waiter)
        waiter.result.callback("expired")

    def _leave(self, key: bytes, waiter: _Waiter) -> None:
        _stop(waiter)
        flight = self._flights.get(key)
        if flight is None or waiter not in flight.waiters:
            return
        flight.waiters.remove(waiter)
        if not flight.waiters:
            del self._flights[key]
            if flight.work is not None:
                flight.work.cancel()

    def _landed(self, answer: Answer | str, key: bytes, flight: _Flight) -> None:
        self._flights.pop(key, None)
        if isinstance(answer, Answer) and answer.status != CRASHED:
            self._keep(key, answer)
        for waiter in flight.waiters:
            if isinstance(answer, Answer) or waiter is flight.owner:
                _settle(waiter, answer)
            else:  # the owner's limits ended it, and these have their own
                _stop(waiter)
                self._board(key, waiter)

    def _failed(self, failure: Failure, key: bytes, flight: _Flight) -> None:
        self._flights.pop(key, None)
        if not flight.waiters:
            failure.trap(CancelledError)
        for waiter in flight.waiters:
            _stop(waiter)
            waiter.result.errback(failure)

    def _keep(self, key: bytes, answer: Answer) -> None:
        size = _ENTRY_BYTES + len(answer.text) + sum(map(len, answer.classes.values()))
        size += sum(len(found.message) + _ENTRY_BYTES for found in answer.diagnostics)
        if size > self._room // 4:
            return
        self._kept[key] = (answer, size)
        self._size += size
        while self._size > self._room:
            self._size -= self._kept.popitem(last=False)[1][1]


def key_of(sources: Sequence[Source]) -> bytes:
    """A digest of names and texts: options and JDK are the same for one node's whole life."""
    digest = hashlib.sha256()
    for source in sources:
        for part in (source.name, source.text):
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "big") + data)
    return digest.digest()


def _stop(waiter: _Waiter) -> None:
    if waiter.timer is not None and waiter.timer.active():
        waiter.timer.cancel()


def _settle(waiter: _Waiter, answer: Answer | str) -> None:
    _stop(waiter)
    waiter.result.callback(answer)
