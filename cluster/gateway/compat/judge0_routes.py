"""Judge0's endpoints for submissions, alone and in batches."""

# mypy: allow-untyped-calls
# Twisted's web requests are not annotated.

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

import attrs
import msgspec

from twisted.web.server import Request

from cluster.gateway.access import Caller
from cluster.gateway.compat import judge0, judge0_answers, judge0_info
from cluster.gateway.compat.judge0 import Given, Rejected, Submission
from cluster.gateway.compat.judge0_about import UNKNOWN, Judge0About
from cluster.gateway.compat.judge0_answers import Moments, NotText
from cluster.gateway.compat.parts import CompatParts, authorization_of
from cluster.gateway.door import Entrance
from cluster.gateway.endpoint import Endpoint, argument, body_of
from cluster.gateway.jobs import Full, KeptJob
from cluster.gateway.replies import JSON, HttpProblem, Reply
from cluster.limits import MIB
from cluster.wire.jobs import Reason, Refusal

BATCH_BYTES = 32 * MIB
"""What the submissions of one batch may weigh: it is made in one step, maybe of one of them twenty times."""

_FULL = {"error": "queue is full"}
_ENOUGH = "there should be at least one submission in a batch"
_TOO_LARGE = "these submissions are too large to be shown together: ask for fewer at once"
_TOO_MANY = f"number of submissions in a batch should be less than or equal to {judge0.BATCH_MAX}"


class Refused(Exception):
    """A request that is answered with an error; carries the reply."""

    def __init__(
        self,
        value: object,
        status: HTTPStatus = HTTPStatus.BAD_REQUEST,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(str(value))
        self.reply = _json(value, status, headers)


@attrs.frozen
class _Note:
    """What is kept with a job.

    Attributes:
        created: seconds since 1970.
    """

    submission: Submission
    created: float


class Judge0:
    """The endpoints. A refusal is an object with an `error`, or one with the mistakes by attribute."""

    def __init__(self, parts: CompatParts) -> None:
        """Submissions are kept with the gateway's jobs, and forgotten with them."""
        self._parts = parts
        self._about = Judge0About(parts)
        self.open_paths = frozenset(path for path, _method, _endpoint in self._about.endpoints())

    def entrances(self) -> Iterable[Entrance]:
        """Where bodies are sent that strangers need not send."""
        paths = ("/submissions", "/submissions/", "/submissions/batch")
        return (Entrance(path, authorization_of, _refused) for path in paths)

    def endpoints(self) -> Iterable[tuple[str, str, Endpoint]]:
        """Path, method, and what answers."""
        return (
            ("/submissions", "POST", self.create),
            ("/submissions/", "POST", self.create),
            ("/submissions/batch", "POST", self.create_batch),
            ("/submissions/batch", "GET", self.show_batch),
            ("/submissions/<token>", "GET", self.show),
            ("/submissions/<token>", "DELETE", self.destroy),
            *self._about.endpoints(),
        )

    # --- submissions --------------------------------------------------------------------------------

    async def create(self, request: Request) -> Reply:
        """Take a submission; with `wait=true` answer with what became of it."""
        try:
            caller = self._sender(request)
            fields = _fields(request)
            job = self._open(_attributes(request), _flag(request, b"base64_encoded"), caller)
        except Refused as refused:
            return refused.reply
        except Rejected as rejected:
            return _json(rejected.errors, HTTPStatus.UNPROCESSABLE_ENTITY)
        self._call_back_later(job)
        token = _token(job)
        if not _flag(request, b"wait"):
            return _json({"token": token}, HTTPStatus.CREATED)
        await job.wait()
        if _overloaded(job):
            return _json(_FULL, HTTPStatus.SERVICE_UNAVAILABLE)
        try:
            told = self._document(job, fields, base64=_flag(request, b"base64_encoded"))
        except NotText:
            error = judge0_answers.NOT_TEXT.format(what="this submission")
            return _json({"error": error, "token": token}, HTTPStatus.CREATED)
        return _json(told, HTTPStatus.CREATED)

    async def create_batch(self, request: Request) -> Reply:
        """Take up to twenty, or none; the answers are in their order, mistakes among them."""
        jobs: list[KeptJob] = []
        try:
            caller = self._sender(request)
            given = _batch(_attributes(request).get("submissions"))
            encoded = _flag(request, b"base64_encoded")
            answers: list[object] = []
            for number, one in enumerate(given):
                if number:  # the first was counted with the request
                    with _in_its_words():
                        self._parts.access.spend(caller)
                try:
                    job = self._open(one if isinstance(one, dict) else {}, encoded, caller)
                except Rejected as rejected:
                    answers.append(rejected.errors)
                else:
                    jobs.append(job)
                    answers.append({"token": _token(job)})
        except Refused as refused:
            for job in jobs:  # nobody will ever hear of their tokens
                self._parts.jobs().delete(job)
            return refused.reply
        for job in jobs:
            self._call_back_later(job)
        return _json(answers, HTTPStatus.CREATED if jobs else HTTPStatus.UNPROCESSABLE_ENTITY)

    async def show(self, request: Request, token: str) -> Reply:
        """A submission as it is now."""
        try:
            fields = _fields(request)
            return _json(
                self._document(self._find(request, token), fields, base64=_flag(request, b"base64_encoded"))
            )
        except Refused as refused:
            return refused.reply
        except NotText:
            return _json(
                {"error": judge0_answers.NOT_TEXT.format(what="this submission")}, HTTPStatus.BAD_REQUEST
            )

    async def show_batch(self, request: Request) -> Reply:
        """Several; null for one that is not known."""
        tokens = [token for token in (argument(request, b"tokens") or "").strip().split(",") if token]
        base64 = _flag(request, b"base64_encoded")
        try:
            fields = _fields(request)
            caller = self._caller(request)
            jobs = [self._known(token, caller) for token in _batch(tokens)]
            if sum(job.size for job in jobs if job is not None) > BATCH_BYTES:
                return _json({"error": _TOO_LARGE}, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            told = [None if job is None else self._document(job, fields, base64=base64) for job in jobs]
        except Refused as refused:
            return refused.reply
        except NotText:
            error = judge0_answers.NOT_TEXT.format(what="one or more submissions")
            return _json({"error": error}, HTTPStatus.BAD_REQUEST)
        return _json({"submissions": told})

    async def destroy(self, request: Request, token: str) -> Reply:
        """Forget one that has ended; its attributes are told once more, in base64."""
        try:
            fields = _fields(request)
            job = self._find(request, token)
        except Refused as refused:
            return refused.reply
        if job.answered is None:
            state = judge0_info.PROCESSING
            error = (
                f"submission cannot be deleted because its status is {state} ({judge0_info.STATUSES[state]})"
            )
            return _json({"error": error}, HTTPStatus.BAD_REQUEST)
        told = self._document(job, fields, base64=True)
        self._parts.jobs().delete(job)
        return _json(told)

    # --- what they share ----------------------------------------------------------------------------

    def _caller(self, request: Request) -> Caller:
        with _in_its_words():
            return self._parts.caller(request)

    def _sender(self, request: Request) -> Caller:
        with _in_its_words():
            return self._parts.sender(request)

    def _open(self, given: Given, encoded: bool, caller: Caller) -> KeptJob:
        parts = self._parts
        submission = judge0.submission_of(
            given, encoded, parts.limits, parts.settings.source_bytes, parts.callbacks.refusal
        )
        note = _Note(submission, parts.utc())
        cache = parts.settings.compat.cache
        try:
            job = parts.jobs().open(
                submission.program,
                cache,
                cache,
                tenant=caller.name or "",
                share=caller.share,
                note=note,
                note_bytes=submission.extra_bytes,
            )
        except Full:
            raise Refused(_FULL, HTTPStatus.SERVICE_UNAVAILABLE) from None
        if _overloaded(job):
            parts.jobs().forget(job)
            raise Refused(_FULL, HTTPStatus.SERVICE_UNAVAILABLE)
        return job

    def _call_back_later(self, job: KeptJob) -> None:
        note = job.note
        assert isinstance(note, _Note)  # noqa: S101 (for the type checker: `_open` has made it)
        if url := note.submission.callback_url:
            job.wait().addCallback(lambda _ended: self._call_back(job, url))

    def _call_back(self, job: KeptJob, url: str) -> None:
        told = self._document(job, judge0_answers.DEFAULT_FIELDS, base64=True)
        self._parts.callbacks.send(url, msgspec.json.encode(told))

    def _known(self, token: str, caller: Caller) -> KeptJob | None:
        with _in_its_words():
            self._parts.access.read(caller)
        try:
            job = self._parts.jobs().get(uuid.UUID(token).hex)
        except ValueError:
            return None
        if job is None or self._parts.access.hides(job.tenant, caller):
            return None
        return job if isinstance(job.note, _Note) else None

    def _find(self, request: Request, token: str) -> KeptJob:
        job = self._known(token, self._caller(request))
        if job is None:
            raise Refused(UNKNOWN, HTTPStatus.NOT_FOUND)
        return job

    def _document(self, job: KeptJob, fields: tuple[str, ...], *, base64: bool) -> dict[str, Any]:
        note = job.note
        assert isinstance(note, _Note)  # noqa: S101 (for the type checker: `_known` has looked)
        ended = None if job.answered is None else judge0_answers.ended_of(job.answered, note.submission)
        finished = None if job.ended is None else note.created + job.ended - job.created
        return judge0_answers.document(
            _token(job),
            note.submission,
            ended,
            Moments(note.created, finished),
            fields,
            base64=base64,
            version=self._parts.newest_version,
        )


@contextlib.contextmanager
def _in_its_words() -> Iterator[None]:
    """What is refused inside is refused as Judge0 would."""
    try:
        yield
    except HttpProblem as problem:
        raise Refused({"error": problem.detail}, problem.status, problem.headers) from problem


def _token(job: KeptJob) -> str:
    return str(uuid.UUID(job.id))


def _overloaded(job: KeptJob) -> bool:
    result = None if job.answered is None else job.answered.result
    return isinstance(result, Refusal) and result.reason in {Reason.OVERLOADED, Reason.STOPPING}


def _attributes(request: Request) -> dict[str, Any]:
    try:
        return judge0.attributes_of(body_of(request), request.getHeader("Content-Type") or "")
    except ValueError as error:
        raise Refused({"error": str(error)}) from error


def _batch(given: object) -> list[Any]:
    """A list of one to twenty."""
    if not isinstance(given, list) or not given:
        raise Refused({"error": _ENOUGH})
    if len(given) > judge0.BATCH_MAX:
        raise Refused({"error": _TOO_MANY})
    return given


def _fields(request: Request) -> tuple[str, ...]:
    fields, unknown = judge0_answers.fields_of(argument(request, b"fields") or "")
    if unknown:
        raise Refused({"error": f"invalid fields: [{', '.join(unknown)[:500]}]"})
    return fields


def _flag(request: Request, name: bytes) -> bool:
    return argument(request, name) == "true"


def _refused(problem: HttpProblem) -> Reply:
    return _json({"error": problem.detail}, problem.status, problem.headers)


def _json(value: object, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, msgspec.json.encode(value), JSON, headers or {})
