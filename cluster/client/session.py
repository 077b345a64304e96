"""A blocking client: programs in, typed results out, sent again when the cluster could not take them.

Every request that runs something carries an `Idempotency-Key`, so that one which is sent again, after its
answer was lost on the way, finds the first one's job instead of running twice.
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Callable, Mapping
from typing import TypeVar, Unpack
from urllib.parse import urlsplit

from cluster.client.answers import (
    ANSWER_MAX,
    ClusterView,
    ProgramParts,
    Refused,
    Retry,
    decoded,
    headers_of,
    new_key,
    request_of,
)
from cluster.errors import RemoteProtocolError, Unavailable
from cluster.gateway.schemas import JobDocument, ProgramResult, Runtimes

T = TypeVar("T")

PATIENCE_S = 90.0
"""How long an answer may take: longer than a gateway lets its clients wait (`work.deadline_s`)."""

POLL_S = 30
"""How long one request for a job's result waits."""


class Client:
    """One gateway, or several of one cluster that are tried in turn.

    Args:
        urls: such as `http://127.0.0.1:8888`; several separated by commas.
        token: sent as `Authorization: Bearer`; empty for none.
        patience_s: how long one answer may take.
        retry: how often a request is sent again.
        sleep: waits between two tries.
    """

    def __init__(
        self,
        urls: str,
        *,
        token: str = "",
        patience_s: float = PATIENCE_S,
        retry: Retry | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._urls = [url.strip().rstrip("/") for url in urls.split(",")]
        self._token = token
        self._patience_s = patience_s
        self._retry = retry or Retry()
        self._sleep = sleep

    def run(
        self,
        source: str = "",
        *,
        fresh: bool = False,
        key: str = "",
        **parts: Unpack[ProgramParts],
    ) -> ProgramResult:
        """Run a program and wait for its result (H4).

        Args:
            source: one text; leave it out if there are `files`.
            fresh: an answer that is known already will not do.
            key: names this run, for another attempt later; by default a fresh one.
            parts: see `ProgramParts`.

        Raises:
            Unavailable: the cluster did not take it, however often it was sent; or it could not finish it.
            JobError: the request itself is refused.
            RemoteProtocolError: what answers is no gateway, or a broken one.
        """
        body = request_of(source, parts)
        return self._send("POST", "/v1/run", ProgramResult, body, key or new_key(), fresh=fresh)

    def submit(
        self,
        source: str = "",
        *,
        key: str = "",
        **parts: Unpack[ProgramParts],
    ) -> JobDocument:
        """Hand in a program and come back for it by its `job` (H5); raises as `run` does."""
        body = request_of(source, parts)
        return self._send("POST", "/v1/jobs", JobDocument, body, key or new_key())

    def job(self, job: str, wait_s: int = 0) -> JobDocument:
        """A job as it is now, or as it is once it has ended or `wait_s` seconds (60 at most) have passed."""
        return self._send("GET", f"/v1/jobs/{job}?wait={wait_s}", JobDocument)

    def result(self, job: str) -> ProgramResult:
        """A job's result, however long it takes.

        Raises:
            Unavailable: it failed, by no fault of the program.
        """
        while True:
            known = self.job(job, POLL_S)
            if known.result is not None:
                return known.result
            if known.problem is not None:
                raise Unavailable(known.problem.detail)

    def cancel(self, job: str) -> JobDocument:
        """End a job if it is pending, and have it forgotten."""
        return self._send("DELETE", f"/v1/jobs/{job}", JobDocument)

    def runtimes(self) -> Runtimes:
        """The JDKs of the cluster, and its limits (H6)."""
        return self._send("GET", "/v1/runtimes", Runtimes)

    def cluster(self) -> ClusterView:
        """The cluster's nodes and leader, as the gateway sees them (H2)."""
        return self._send("GET", "/v1/cluster", ClusterView)

    def _send(
        self, method: str, path: str, kind: type[T], body: bytes = b"", key: str = "", *, fresh: bool = False
    ) -> T:
        headers = headers_of(self._token, key, fresh=fresh)
        for number, pause in enumerate((*self._retry.pauses(), None)):
            url = self._urls[number % len(self._urls)]
            try:
                return self._once(url, method, path, kind, body, headers)
            except Refused as error:
                if pause is None:
                    raise
                self._sleep(self._retry.pause(pause, error))
        raise AssertionError("the last try returns or raises")

    def _once(
        self, url: str, method: str, path: str, kind: type[T], body: bytes, headers: Mapping[str, str]
    ) -> T:
        connection = self._connection(url)
        try:
            connection.request(method, path, body or None, dict(headers))
            response = connection.getresponse()
            answer = response.read(ANSWER_MAX)
        except http.client.HTTPException as error:
            # A connection that ended early: the request may have arrived, and its key takes care of that.
            raise Refused(f"{url}: the connection broke: {error!r}") from error
        except OSError as error:
            raise Refused(f"no gateway answers at {url}: {error}") from error
        finally:
            connection.close()
        return decoded(response.status, response.getheader("Retry-After", ""), answer, kind, response.reason)

    def _connection(self, url: str) -> http.client.HTTPConnection:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise RemoteProtocolError("not an address", f"{url} is not http://HOST:PORT")
        if parts.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=self._patience_s, context=context
            )
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=self._patience_s)
