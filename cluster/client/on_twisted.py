"""The same client for programs that run on Twisted: every method gives a Deferred."""

# mypy: allow-untyped-calls
# treq is only partly annotated.

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar, Unpack

from treq.client import HTTPClient
from treq.content import content
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.task import deferLater
from twisted.web.client import Agent, HTTPConnectionPool, ResponseFailed, ResponseNeverReceived
from twisted.web.http_headers import Headers

from cluster.client.answers import (
    ClusterView,
    ProgramParts,
    Refused,
    Retry,
    decoded,
    headers_of,
    new_key,
    request_of,
)
from cluster.client.session import PATIENCE_S, POLL_S
from cluster.errors import Unavailable
from cluster.gateway.schemas import JobDocument, ProgramResult, Runtimes

T = TypeVar("T")

_BROKEN = (ConnectError, ConnectionClosed, ResponseFailed, ResponseNeverReceived, OSError)


class TwistedClient:
    """One gateway, or several of one cluster that are tried in turn.

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
        self._urls = [url.strip().rstrip("/") for url in urls.split(",")]
        self._token = token
        self._patience_s = patience_s
        self._retry = retry or Retry()
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
        body = request_of(source, parts)
        return _started(self._send("POST", "/v1/run", ProgramResult, body, key or new_key(), fresh=fresh))

    def submit(
        self,
        source: str = "",
        *,
        key: str = "",
        **parts: Unpack[ProgramParts],
    ) -> Deferred[JobDocument]:
        """Hand in a program and come back for it by its `job`."""
        body = request_of(source, parts)
        return _started(self._send("POST", "/v1/jobs", JobDocument, body, key or new_key()))

    def job(self, job: str, wait_s: int = 0) -> Deferred[JobDocument]:
        """A job as it is now, or as it is once it has ended or `wait_s` seconds (60 at most) have passed."""
        return _started(self._send("GET", f"/v1/jobs/{job}?wait={wait_s}", JobDocument))

    def result(self, job: str) -> Deferred[ProgramResult]:
        """A job's result, however long it takes; fails with Unavailable if it failed itself."""
        return _started(self._result(job))

    def cancel(self, job: str) -> Deferred[JobDocument]:
        """End a job if it is pending, and have it forgotten."""
        return _started(self._send("DELETE", f"/v1/jobs/{job}", JobDocument))

    def runtimes(self) -> Deferred[Runtimes]:
        """The JDKs of the cluster, and its limits."""
        return _started(self._send("GET", "/v1/runtimes", Runtimes))

    def cluster(self) -> Deferred[ClusterView]:
        """The cluster's nodes and leader, as the gateway sees them."""
        return _started(self._send("GET", "/v1/cluster", ClusterView))

    def close(self) -> Deferred[None]:
        """End the connections that are kept open."""
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed

    async def _result(self, job: str) -> ProgramResult:
        while True:
            known = await self._send("GET", f"/v1/jobs/{job}?wait={POLL_S}", JobDocument)
            if known.result is not None:
                return known.result
            if known.problem is not None:
                raise Unavailable(known.problem.detail)

    async def _send(
        self, method: str, path: str, kind: type[T], body: bytes = b"", key: str = "", *, fresh: bool = False
    ) -> T:
        headers = Headers(
            {name: [value] for name, value in headers_of(self._token, key, fresh=fresh).items()}
        )
        for number, pause in enumerate((*self._retry.pauses(), None)):
            url = self._urls[number % len(self._urls)]
            try:
                return await self._once(url + path, method, kind, body, headers)
            except Refused as error:
                if pause is None:
                    raise
                await deferLater(self._reactor, self._retry.pause(pause, error))
        raise AssertionError("the last try returns or raises")

    async def _once(self, url: str, method: str, kind: type[T], body: bytes, headers: Headers) -> T:
        try:
            response = await self._http.request(
                method, url, data=body or None, headers=headers, timeout=self._patience_s
            )
            answer = await content(response)
        except _BROKEN as error:
            # The request may have arrived; its key takes care of that.
            raise Refused(f"no gateway answers at {url}: {error}") from error
        (retry_after,) = response.headers.getRawHeaders("Retry-After", [""])[:1]
        return decoded(response.code, retry_after, answer, kind)


def _started(work: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
    return Deferred.fromCoroutine(work)
