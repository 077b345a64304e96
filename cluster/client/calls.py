"""The calls that a client makes, before anything is sent: pure, for both clients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

import attrs

from cluster.client.answers import ClusterView, ProgramParts, Refused, Retry, headers_of, new_key, request_of
from cluster.errors import Unavailable
from cluster.gateway.schemas import JobDocument, ProgramResult, Runtimes

T = TypeVar("T")

PATIENCE_S = 90.0
"""How long an answer may take: longer than a gateway lets its clients wait (`work.deadline_s`)."""

POLL_S = 30
"""How long one request for a job's result waits."""


@attrs.frozen
class Call(Generic[T]):
    """One request, however often it is sent.

    Attributes:
        answer: what its answer decodes to.
    """

    method: str
    path: str
    answer: type[T]
    headers: Mapping[str, str]
    body: bytes = b""


@attrs.frozen
class Calls:
    """The calls of one client.

    Attributes:
        urls: of the gateways, which are tried in turn.
        token: a bearer token; empty for none.
    """

    urls: tuple[str, ...]
    token: str
    retry: Retry

    @classmethod
    def to(cls, urls: str, token: str, retry: Retry | None) -> Calls:
        """Those to gateways whose addresses are separated by commas."""
        return cls(tuple(url.strip().rstrip("/") for url in urls.split(",")), token, retry or Retry())

    def tries(self) -> Iterator[tuple[str, float | None]]:
        """Where a call is sent, try by try, and the pause that is planned after each; None after the last."""
        for number, pause in enumerate((*self.retry.pauses(), None)):
            yield self.urls[number % len(self.urls)], pause

    def pause(self, planned_s: float | None, error: Refused) -> float:
        """How long to wait before the next try.

        Raises:
            Refused: there is none.
        """
        if planned_s is None:
            raise error
        return self.retry.pause(planned_s, error)

    def run(self, source: str, parts: ProgramParts, key: str, *, fresh: bool) -> Call[ProgramResult]:
        """Run a program and wait for it (H4); without a `key` it gets a fresh one."""
        headers = headers_of(self.token, key or new_key(), fresh=fresh)
        return Call("POST", "/v1/run", ProgramResult, headers, request_of(source, parts))

    def submit(self, source: str, parts: ProgramParts, key: str) -> Call[JobDocument]:
        """Hand in a program (H5)."""
        headers = headers_of(self.token, key or new_key())
        return Call("POST", "/v1/jobs", JobDocument, headers, request_of(source, parts))

    def job(self, job: str, wait_s: int) -> Call[JobDocument]:
        """A job as it is now, or after its end or that time."""
        return Call("GET", f"/v1/jobs/{job}?wait={wait_s}", JobDocument, headers_of(self.token))

    def cancel(self, job: str) -> Call[JobDocument]:
        """End it."""
        return Call("DELETE", f"/v1/jobs/{job}", JobDocument, headers_of(self.token))

    def runtimes(self) -> Call[Runtimes]:
        """The JDKs and the limits (H6)."""
        return Call("GET", "/v1/runtimes", Runtimes, headers_of(self.token))

    def cluster(self) -> Call[ClusterView]:
        """The nodes and the leader (H2)."""
        return Call("GET", "/v1/cluster", ClusterView, headers_of(self.token))


def result_of(job: JobDocument) -> ProgramResult | None:
    """A job's result; None while it is pending.

    Raises:
        Unavailable: it failed, by no fault of the program.
    """
    if job.problem is not None:
        raise Unavailable(job.problem.detail)
    return job.result
