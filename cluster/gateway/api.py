"""The modern interface (H4-H6): JSON runs, jobs to come back to, runtimes, statistics.

Each method is one endpoint of `app.GatewaySite`; what it raises becomes `application/problem+json` there.
"""

# mypy: allow-untyped-calls
# Twisted's web requests are not annotated.

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from http import HTTPStatus

import attrs
import msgspec

from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from cluster.config import GatewaySettings
from cluster.core.fair_share import FairRoom
from cluster.core.sizes import outcome_bytes
from cluster.errors import Unavailable
from cluster.gateway.access import Access, Caller
from cluster.gateway.endpoint import Endpoint, begin, counted, integer, place_in, preferred
from cluster.gateway.events import EVENTS, STREAMS_MAX, EventStream
from cluster.gateway.jobs import ID_DIGITS, Full, KeptJob, KeptJobs, KeyConflict
from cluster.gateway.pieces import Pieces, with_runs
from cluster.gateway.programs import program_of, read_request
from cluster.gateway.relay import Answered, Requests
from cluster.gateway.replies import JSON, HttpProblem, Reply, job_headers
from cluster.gateway.results import json_reply, large_outcome, result_of
from cluster.gateway.schemas import (
    KEY_CHARACTERS_MAX,
    JobDocument,
    LimitsInfo,
    Problem,
    RequestLimits,
    Runtime,
    Runtimes,
)
from cluster.gateway.sources import cache_wishes
from cluster.gateway.stats import Recent
from cluster.gateway.view import ClusterView
from cluster.identity import Role, Status
from cluster.limits import Limits
from cluster.wire.jobs import Program, Refusal

WAIT_MAX_S = 60
"""The longest long-poll; a client asks again."""

RETRY_FULL_S = 2.0

LAST_ID_DIGITS = 9

_RUN = "/v1/run"
_JOB = "/v1/jobs/<job>"
_EVENTS = f"{_JOB}/events"


@attrs.frozen
class _Sent:
    """A request for a program, decoded, and who sent it."""

    program: Program
    use_cache: bool
    keep: bool
    key: str
    tenant: str
    share: int
    progress: bool


class Api:
    """The endpoints below `/v1` that concern programs."""

    def __init__(
        self,
        requests: Requests,
        access: Access,
        settings: GatewaySettings,
        limits: Limits,
        view: Callable[[], ClusterView],
        clock: IReactorTime,
        answered: Callable[[Answered, float], None],
        responded: Callable[[str, int], None],
        holder: Callable[[Request], str],
    ) -> None:
        """Run programs by `requests`, within `limits`.

        `answered` hears of every job's answer and its seconds; `responded` of streams that begin, by endpoint
        and status. `holder` says by whom a request is counted (`core.fair_share`).
        """
        self._requests = requests
        self._access = access
        self._settings = settings
        self._limits = limits
        self._view = view
        self._clock = clock
        self._answered = answered
        self._responded = responded
        self._holder = holder
        self._streams = FairRoom(STREAMS_MAX)
        self._waits = FairRoom(max(2, settings.connections_max // 2))
        """Requests that wait for a job that is there already: nothing else bounds their number."""
        self._jobs: KeptJobs | None = None
        self.recent = Recent()

    def endpoints(self) -> Iterable[tuple[str, str, Endpoint]]:
        """Path, method, and what answers."""
        return (
            (_RUN, "POST", self.run),
            ("/v1/jobs", "POST", self.send_job),
            (_JOB, "GET", self.job),
            (_JOB, "DELETE", self.cancel_job),
            (_EVENTS, "GET", self.job_events),
            ("/v1/runtimes", "GET", self.runtimes),
            ("/v1/stats", "GET", self.stats),
        )

    @property
    def jobs(self) -> KeptJobs:
        """Made when first asked for: a gateway knows its own number only once its core lives."""
        if self._jobs is None:
            me = self._view().me
            self._jobs = KeptJobs(self._requests, self._settings, self._clock, me, self._answered)
        return self._jobs

    async def run(self, request: Request) -> Reply | None:
        """Run a program and wait for its whole result (H4), or tell its events as they come (H5).

        With an `Idempotency-Key` the job is kept, and goes on when its client goes away, as that client said
        that it may come back. Without one a disconnect cancels it (H8).
        """
        sent = self._read(request)
        if preferred(request, JSON, EVENTS) == EVENTS:
            return await self._run_streaming(request, attrs.evolve(sent, progress=True))
        if sent.key:
            job = self._open(sent)
            with self._waiting(request):  # anybody may wait for it again and again
                await job.wait()
            assert job.answered is not None  # noqa: S101 (for the type checker: it was waited for)
            if isinstance(job.answered.result, Refusal):
                self.jobs.forget(job)  # it never ran: the same request, sent again, is to be taken anew
            return json_reply(job.answered)
        began = self._clock.seconds()
        answer, _leave = self._requests.submit(
            sent.program, sent.use_cache, sent.keep, tenant=sent.tenant, share=sent.share
        )
        answered = await answer
        self._answered(answered, self._clock.seconds() - began)
        return json_reply(answered)

    async def _run_streaming(self, request: Request, sent: _Sent) -> Reply | None:
        """The events of a job of its own; without a key it is cancelled or forgotten with its stream.

        A refused one is forgotten even with a key.
        """
        job = self._open(sent)
        try:
            if job.answered is not None and isinstance(result_of(job.answered), Problem):
                return json_reply(job.answered)
            await self._stream(request, _RUN, job, 0)
        finally:
            if not sent.key:
                self.jobs.delete(job)
            elif job.answered is not None and isinstance(job.answered.result, Refusal):
                self.jobs.forget(job)  # it never ran, see `run`
        return None

    async def send_job(self, request: Request) -> Reply:
        """Take a job and answer at once (H5)."""
        job = self._open(self._read(request))
        if job.answered is not None and isinstance(job.answered.result, Refusal):
            self.jobs.forget(job)
            return json_reply(job.answered)
        return self._job_reply(job, HTTPStatus.ACCEPTED)

    async def job(self, request: Request, job: str) -> Reply:
        """A job as it is now, or as it is once it has ended or `wait` seconds have passed (H5)."""
        known = self._find(request, job)
        wait_s = integer(request, b"wait", 0, WAIT_MAX_S)
        if wait_s and known.answered is None:
            with self._waiting(request), contextlib.suppress(DeferredTimeout):
                await known.wait().addTimeout(wait_s, self._clock)
        return self._job_reply(known, HTTPStatus.OK)

    async def cancel_job(self, request: Request, job: str) -> Reply:
        """Cancel it if it is pending, and forget it (H5, W9)."""
        known = self._find(request, job)
        self.jobs.delete(known)
        return self._job_reply(known, HTTPStatus.OK)

    async def job_events(self, request: Request, job: str) -> Reply | None:
        """What happens to it, as server-sent events (H5), from the beginning or behind `Last-Event-ID`."""
        known = self._find(request, job)
        after = request.getHeader("Last-Event-ID") or "0"
        if not (after.isascii() and after.isdigit() and len(after) <= LAST_ID_DIGITS):
            raise HttpProblem(HTTPStatus.BAD_REQUEST, "Last-Event-ID: must be the id of an event of this job")
        if known.log.has_all(int(after)):  # what keeps a browser's EventSource from coming back for ever
            return Reply(HTTPStatus.NO_CONTENT, headers=self._headers(known))
        if request.method == b"HEAD":
            return Reply(HTTPStatus.OK, b"", EVENTS)
        await self._stream(request, _EVENTS, known, known.log.seen(int(after)))
        return None

    async def _stream(self, request: Request, endpoint: str, known: KeptJob, after: int) -> None:
        with place_in(self._streams, self._holder(request), "streams of events"):
            begin(request, HTTPStatus.OK, EVENTS)
            for name, value in self._headers(known).items():
                request.setHeader(name, value)
            self._responded(endpoint, HTTPStatus.OK)
            told = EventStream(
                request,
                known.log,
                after,
                known.id,
                self.jobs.age_s(known),
                lambda: self._told(known),
                self._clock,
            )
            await told.done

    async def runtimes(self, _request: Request) -> Reply:
        """The JDKs of the living nodes, and the limits (H6)."""
        nodes = [
            node
            for node in self._view().nodes
            if node.role is not Role.GATEWAY and node.java and node.status in {Status.ALIVE, Status.SUSPECT}
        ]
        versions = sorted({node.java for node in nodes})
        told = Runtimes(
            runtimes=tuple(
                Runtime(
                    "java",
                    version,
                    tuple(sorted(node.id for node in nodes if node.java == version)),
                    sum(node.slots for node in nodes if node.java == version),
                )
                for version in versions
            ),
            limits=LimitsInfo(**{name: getattr(self._limits, name) for name in LimitsInfo.__struct_fields__}),
            request=RequestLimits(self._settings.request_bytes, self._settings.source_bytes),
        )
        return Reply(HTTPStatus.OK, msgspec.json.encode(told), JSON)

    async def stats(self, _request: Request) -> Reply:
        """Throughput and latency of the last minutes (H7)."""
        return Reply(HTTPStatus.OK, msgspec.json.encode(self.recent.snapshot(self._clock.seconds())), JSON)

    # --- what they share ----------------------------------------------------------------------------

    def _read(self, request: Request) -> _Sent:
        caller = self._caller(request)
        if not counted(request):
            self._access.spend(caller)
        assert request.content is not None  # noqa: S101 (for the type checker: set before any handler runs)
        body = request.content.read()
        if len(body) > self._settings.request_bytes:
            raise HttpProblem(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the body is larger than {self._settings.request_bytes} bytes",
            )
        asked = read_request(body, request.getHeader("Content-Type"), request.getHeader("Content-Encoding"))
        key = request.getHeader("Idempotency-Key")
        if key is not None and not (
            1 <= len(key) <= KEY_CHARACTERS_MAX and key.isascii() and key.isprintable()
        ):
            raise HttpProblem(
                HTTPStatus.BAD_REQUEST,
                f"Idempotency-Key must be 1 to {KEY_CHARACTERS_MAX} printable ASCII characters",
            )
        program = program_of(asked, self._limits, self._settings.source_bytes)
        use_cache, keep = cache_wishes(request.getHeader("Cache-Control"))
        tenant = caller.name
        if tenant is None:  # beside tokens, strangers have one lane: a name of their own costs nothing
            tenant = "" if len(self._access) else asked.tenant
        return _Sent(program, use_cache, keep, key or "", tenant, caller.share, asked.progress)

    def _open(self, sent: _Sent) -> KeptJob:
        try:
            return self.jobs.open(
                sent.program,
                sent.use_cache,
                sent.keep,
                sent.key,
                sent.tenant,
                share=sent.share,
                progress=sent.progress,
            )
        except KeyConflict as conflict:
            raise HttpProblem(HTTPStatus.CONFLICT, str(conflict)) from None
        except Full:
            raise Unavailable(
                f"{len(self.jobs)} jobs are kept here, and as many of yours are pending as may be: try later",
                RETRY_FULL_S,
            ) from None

    def _waiting(self, request: Request) -> AbstractContextManager[None]:
        return place_in(self._waits, self._holder(request), "requests that wait for jobs")

    def _caller(self, request: Request) -> Caller:
        return self._access.caller(request.getHeader("Authorization"))

    def _find(self, request: Request, job: str) -> KeptJob:
        """A job of the caller's own; who has no token finds whatever job belongs to no token's holder.

        To look for one counts, as it may be large: for a rate of its own.
        """
        caller = self._caller(request)
        self._access.read(caller)
        known = self.jobs.get(job) if len(job) == ID_DIGITS else None
        if known is None or self._access.hides(known.tenant, caller):
            raise HttpProblem(
                HTTPStatus.NOT_FOUND, "no such job is remembered here; jobs that ended are forgotten in time"
            )
        return known

    def _document(self, job: KeptJob) -> JobDocument:
        """All but the runs of a large one."""
        large = large_outcome(job.answered)
        known = None if job.answered is None else result_of(job.answered, runs=large is None)
        problem = known if isinstance(known, Problem) else None
        return JobDocument(
            job=job.id,
            status="pending" if known is None else "finished" if problem is None else "failed",
            age_s=self.jobs.age_s(job),
            expires_s=self.jobs.expires_s(job),
            result=None if isinstance(known, Problem) else known,
            problem=problem,
        )

    def _told(self, job: KeptJob) -> Iterator[bytes]:
        """Its document, piece by piece where it is large."""
        body = msgspec.json.encode(self._document(job))
        large = large_outcome(job.answered)
        return iter((body,)) if large is None else with_runs(body, large)

    def _job_reply(self, job: KeptJob, status: HTTPStatus) -> Reply:
        headers = {"Location": f"/v1/jobs/{job.id}", **self._headers(job)}
        if (large := large_outcome(job.answered)) is not None:
            pieces = Pieces(self._told(job), large, outcome_bytes(large))
            return Reply(status, b"", JSON, headers, pieces)
        return Reply(status, msgspec.json.encode(self._document(job)), JSON, headers)

    @staticmethod
    def _headers(job: KeptJob) -> dict[str, str]:
        if job.answered is None:
            return {"X-Job-Id": job.id, "X-Job-Verdict": "pending", "Cached-Response": "false"}
        headers = job_headers(job.answered)
        headers.pop("Retry-After", None)  # the job failed, this answer did not
        return headers
