"""The same client for programs that run on Twisted: every method gives a Deferred."""

# mypy: allow-untyped-calls
# treq is only partly annotated.

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, Unpack

from treq import collect
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed
from twisted.internet.task import deferLater
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from cluster.client.answers import ANSWER_MAX, ClusterView, ProgramParts, Refused, Retry, decoded
from cluster.client.calls import PATIENCE_S, POLL_S, Call, Calls, result_of
from cluster.errors import RemoteProtocolError
from cluster.gateway.schemas import JobDocument, ProgramResult, Runtimes

T = TypeVar("T")

_BROKEN = (
    *(ConnectError, ConnectingCancelledError, ConnectionClosed, OSError),
    *(RequestGenerationFailed, RequestTransmissionFailed, ResponseFailed, ResponseNeverReceived),
)

Over = Callable[[], bool]
"""Whether a call was cancelled meanwhile."""


class TwistedClient:
    """One gateway, or several of one cluster that are tried in turn.

    Cancelling what a method gave ends that call: nothing is sent again. A program that a gateway has taken by
    then runs to its end, as its key says that somebody may come back for it; `cancel` ends a job.

    Args:
        reactor: connects and keeps time.
        urls: such as `http://127.0.0.1:8888`; several separated by commas.
        token: sent as `Authorization: Bearer`; empty for none.
        patience_s: how long one answer may take.
        retry: how often a request is sent again.
        http: sends the requests; by default one of its own, whose connections `close` ends.
    """

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401  (connects, resolves, keeps time: no one interface has it all)
        urls: str,
        *,
        token: str = "",
        patience_s: float = PATIENCE_S,
        retry: Retry | None = None,
        http: HTTPClient | None = None,
    ) -> None:
        self._reactor = reactor
        self._calls = Calls.to(urls, token, retry)
        self._patience_s = patience_s
        self._pool = HTTPConnectionPool(reactor)
        self._http = http or HTTPClient(Agent(reactor, pool=self._pool))

    def run(
        self,
        source: str = "",
        *,
        fresh: bool = False,
        key: str = "",
        **parts: Unpack[ProgramParts],
    ) -> Deferred[ProgramResult]:
        """Run a program; fires with its result, or fails as `session.Client.run` raises."""
        return self._start(self._calls.run(source, parts, key, fresh=fresh))

    def submit(
        self,
        source: str = "",
        *,
        key: str = "",
        **parts: Unpack[ProgramParts],
    ) -> Deferred[JobDocument]:
        """Hand in a program and come back for it by its `job`."""
        return self._start(self._calls.submit(source, parts, key))

    def job(self, job: str, wait_s: int = 0) -> Deferred[JobDocument]:
        """A job as it is now, or as it is once it has ended or `wait_s` seconds (60 at most) have passed."""
        return self._start(self._calls.job(job, wait_s))

    def result(self, job: str) -> Deferred[ProgramResult]:
        """A job's result, however long it takes; fails with Unavailable if it failed itself."""
        return _started(lambda over: self._result(job, over))

    def cancel(self, job: str) -> Deferred[JobDocument]:
        """End a job if it is pending, and have it forgotten."""
        return self._start(self._calls.cancel(job))

    def runtimes(self) -> Deferred[Runtimes]:
        """The JDKs of the cluster, and its limits."""
        return self._start(self._calls.runtimes())

    def cluster(self) -> Deferred[ClusterView]:
        """The cluster's nodes and leader, as the gateway sees them."""
        return self._start(self._calls.cluster())

    def close(self) -> Deferred[None]:
        """End the connections that are kept open."""
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed

    def _start(self, call: Call[T]) -> Deferred[T]:
        return _started(lambda over: self._send(call, over))

    async def _result(self, job: str, over: Over) -> ProgramResult:
        call = self._calls.job(job, POLL_S)
        while (result := result_of(await self._send(call, over))) is None:
            pass
        return result

    async def _send(self, call: Call[T], over: Over) -> T:
        for url, pause in self._calls.tries():
            try:
                return await self._once(url, call, over)
            except Refused as error:
                if over():
                    raise CancelledError from error
                await deferLater(self._reactor, self._calls.pause(pause, error))
        raise AssertionError("the last try returns or raises")

    async def _once(self, url: str, call: Call[T], over: Over) -> T:
        exchange: Deferred[tuple[IResponse, bytes]] = Deferred.fromCoroutine(self._exchange(url, call, over))
        try:
            response, body = await exchange.addTimeout(self._patience_s, self._reactor)
        except DeferredTimeout as error:
            raise Refused(f"no answer from {url} within {self._patience_s:g} s") from error
        (retry_after,) = response.headers.getRawHeaders("Retry-After", [""])[:1]
        return decoded(response.code, retry_after, body, call.answer)

    async def _exchange(self, url: str, call: Call[T], over: Over) -> tuple[IResponse, bytes]:
        """One request and its answer, whole."""
        parts: list[bytes] = []
        size = 0
        left = False

        def take(data: bytes) -> None:
            """An error here ends the connection."""
            nonlocal size
            size += len(data)
            if left or over():
                raise CancelledError
            if size > ANSWER_MAX:
                raise RemoteProtocolError("not a gateway's answer", f"larger than {ANSWER_MAX} bytes")
            parts.append(data)

        headers = Headers({name: [value] for name, value in call.headers.items()})
        try:
            response = await self._http.request(
                call.method, url + call.path, data=call.body or None, headers=headers, unbuffered=True
            )
            await collect(response, take)
        except _BROKEN as error:
            # The request may have arrived; its key takes care of that.
            raise Refused(f"no gateway answers at {url}: {error}") from error
        finally:
            left = True
        return response, b"".join(parts)


def _started(work: Callable[[Over], Coroutine[Deferred[Any], Any, T]]) -> Deferred[T]:
    """Work under way; once its Deferred is cancelled it is over, whatever the connection makes of that.

    A cancelled request fails in as many ways as there are states of a connection, and most of them look like
    a gateway that went away.
    """
    over = False

    def cancel(_told: Deferred[T]) -> None:
        nonlocal over
        over = True
        running.cancel()

    def tell(result: Any) -> None:  # noqa: ANN401  (a value or a failure)
        if not told.called:
            told.callback(result)

    told: Deferred[T] = Deferred(cancel)
    running = Deferred.fromCoroutine(work(lambda: over))
    running.addBoth(tell)
    return told
