"""The same client for programs that run on Twisted: every method gives a Deferred."""

# mypy: allow-untyped-calls
# treq is only partly annotated.

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, Unpack

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http import PotentialDataLoss
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


class _Body(Protocol):
    """An answer as it comes; its connection ends with whoever waits for it, however silent the gateway is.

    Attributes:
        whole: fires with all of it; cancelled, it closes the connection.
    """

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred(lambda _whole: self._leave())
        self._parts: list[bytes] = []
        self._size = 0

    def dataReceived(self, data: bytes) -> None:  # noqa: N802  (Twisted's name)
        """Keep it."""
        self._size += len(data)
        if self.whole.called:
            return
        if self._size > ANSWER_MAX:
            self._leave()
            self.whole.errback(
                RemoteProtocolError("not a gateway's answer", f"larger than {ANSWER_MAX} bytes")
            )
        else:
            self._parts.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802  (Twisted's name)
        """That was all, or it broke off."""
        if self.whole.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(b"".join(self._parts))
        else:
            self.whole.errback(reason)

    def _leave(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


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
                return await self._once(url, call)
            except Refused as error:
                if over():
                    raise CancelledError from error
                await deferLater(self._reactor, self._calls.pause(pause, error))
        raise AssertionError("the last try returns or raises")

    async def _once(self, url: str, call: Call[T]) -> T:
        exchange: Deferred[tuple[IResponse, bytes]] = Deferred.fromCoroutine(self._exchange(url, call))
        try:
            response, body = await exchange.addTimeout(self._patience_s, self._reactor)
        except DeferredTimeout as error:
            raise Refused(f"no answer from {url} within {self._patience_s:g} s") from error
        (retry_after,) = response.headers.getRawHeaders("Retry-After", [""])[:1]
        return decoded(response.code, retry_after, body, call.answer)

    async def _exchange(self, url: str, call: Call[T]) -> tuple[IResponse, bytes]:
        """One request and its answer, whole."""
        headers = Headers({name: [value] for name, value in call.headers.items()})
        try:
            response = await self._http.request(
                call.method, url + call.path, data=call.body or None, headers=headers, unbuffered=True
            )
            body = _Body()
            response.deliverBody(body)
            return response, await body.whole
        except _BROKEN as error:
            # The request may have arrived; its key takes care of that.
            raise Refused(f"no gateway answers at {url}: {error}") from error


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
