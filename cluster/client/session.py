"""A blocking client: programs in, typed results out, sent again when the cluster could not take them.

Every request that runs something carries an `Idempotency-Key`, so that one which is sent again, after its
answer was lost on the way, finds the first one's job instead of running twice.
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Callable
from typing import TypeVar, Unpack
from urllib.parse import urlsplit

from cluster.client.answers import ANSWER_MAX, ClusterView, ProgramParts, Refused, Retry, decoded
from cluster.client.calls import PATIENCE_S, POLL_S, Call, Calls, result_of
from cluster.errors import RemoteProtocolError
from cluster.gateway.schemas import JobDocument, ProgramResult, Runtimes

T = TypeVar("T")


class Client:
    """One gateway, or several of one cluster that are tried in turn.

    Args:
        urls: such as `http://127.0.0.1:8888`; several separated by commas.
        token: sent as `Authorization: Bearer`; empty for none.
        patience_s: how long nothing may come of an answer.
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
        self._calls = Calls.to(urls, token, retry)
        self._patience_s = patience_s
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
        return self._send(self._calls.run(source, parts, key, fresh=fresh))

    def submit(
        self,
        source: str = "",
        *,
        key: str = "",
        **parts: Unpack[ProgramParts],
    ) -> JobDocument:
        """Hand in a program and come back for it by its `job` (H5); raises as `run` does."""
        return self._send(self._calls.submit(source, parts, key))

    def job(self, job: str, wait_s: int = 0) -> JobDocument:
        """A job as it is now, or as it is once it has ended or `wait_s` seconds (60 at most) have passed."""
        return self._send(self._calls.job(job, wait_s))

    def result(self, job: str) -> ProgramResult:
        """A job's result, however long it takes.

        Raises:
            Unavailable: it failed, by no fault of the program.
        """
        while (result := result_of(self.job(job, POLL_S))) is None:
            pass
        return result

    def cancel(self, job: str) -> JobDocument:
        """End a job if it is pending, and have it forgotten."""
        return self._send(self._calls.cancel(job))

    def runtimes(self) -> Runtimes:
        """The JDKs of the cluster, and its limits (H6)."""
        return self._send(self._calls.runtimes())

    def cluster(self) -> ClusterView:
        """The cluster's nodes and leader, as the gateway sees them (H2)."""
        return self._send(self._calls.cluster())

    def _send(self, call: Call[T]) -> T:
        for url, pause in self._calls.tries():
            try:
                return self._once(url, call)
            except Refused as error:
                self._sleep(self._calls.pause(pause, error))
        raise AssertionError("the last try returns or raises")

    def _once(self, url: str, call: Call[T]) -> T:
        connection = self._connection(url)
        try:
            connection.request(call.method, call.path, call.body or None, dict(call.headers))
            response = connection.getresponse()
            body = response.read(ANSWER_MAX)
        except http.client.HTTPException as error:
            # A connection that ended early: the request may have arrived, and its key takes care of that.
            raise Refused(f"{url}: the connection broke: {error!r}") from error
        except OSError as error:
            raise Refused(f"no gateway answers at {url}: {error}") from error
        finally:
            connection.close()
        retry_after = response.getheader("Retry-After", "")
        return decoded(response.status, retry_after, body, call.answer, response.reason)

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
