"""What a client says and what it makes of the answers: pure, for the blocking client and Twisted's alike."""

from __future__ import annotations

import base64
import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypedDict, TypeVar

import attrs
import msgspec

from cluster.errors import ClusterError, JobError, RemoteProtocolError, Unavailable
from cluster.gateway.schemas import LimitsAsked, TestInput

T = TypeVar("T")

ANSWER_MAX = 64 * 1024 * 1024
"""Bytes of an answer that are read."""

TRY_LATER = frozenset({429, 502, 503, 504})
AGAIN = frozenset({429, 503})
"""Of these the statuses after which the same request may be sent again: the cluster did not run it."""

JSON = "application/json"
KEY_BYTES = 16


@attrs.frozen
class Retry:
    """How often a request is sent again, and how long in between.

    Attributes:
        tries: how often it is sent at most.
        first_s: pause before the second try; doubled before each further one.
        longest_s: no pause is longer, whatever the gateway asks for.
    """

    tries: int = 6
    first_s: float = 0.25
    longest_s: float = 5.0

    def pauses(self) -> Iterator[float]:
        """One pause for each try after the first."""
        for number in range(self.tries - 1):
            yield min(self.longest_s, self.first_s * 2**number)

    def pause(self, planned_s: float, error: ClusterError) -> float:
        """The planned pause, or the one that the gateway asks for."""
        asked = error.retry_after_s if isinstance(error, Refused) else 0.0
        return min(self.longest_s, max(planned_s, asked))


class Refused(Unavailable):
    """The cluster can't run it now and has not run it: the same request may be sent again."""


class NodeView(msgspec.Struct, frozen=True):
    """One node as a gateway sees it (H2); what it does not tell keeps its default."""

    id: int
    role: str = ""
    state: str | None = None
    status: str = ""
    epoch: int = 0
    slots: int = 0
    running: int = 0


class ClusterView(msgspec.Struct, frozen=True):
    """The cluster as a gateway sees it (H2)."""

    leader: int | None = None
    epoch: int = 0
    ready: bool = False
    not_ready_reason: str = ""
    nodes: tuple[NodeView, ...] = ()

    def node(self, number: int) -> NodeView | None:
        """Its row, if it is listed."""
        return next((node for node in self.nodes if node.id == number), None)


class ProgramParts(TypedDict, total=False):
    """What goes with a source, all of it optional (H4).

    Attributes:
        files: several sources by relative name, instead of one text.
        main_class: the class to start, where several could be.
        args, stdin: what it is given; or
        tests: several inputs for one compilation, each made by `input_of`.
        limits: what is left out is the gateway's own limit.
        tenant: who asks.
    """

    files: Mapping[str, str]
    main_class: str
    args: Sequence[str]
    stdin: str | bytes
    tests: Sequence[TestInput]
    limits: LimitsAsked
    tenant: str


def request_of(source: str, parts: ProgramParts) -> bytes:
    """The JSON of a request (H4)."""
    request: dict[str, Any] = {"source": source} if "files" not in parts else {"files": parts["files"]}
    request |= {
        name: parts[name] for name in ("main_class", "args", "tests", "limits", "tenant") if name in parts
    }
    if "stdin" in parts:
        request["stdin_base64"] = _base64(parts["stdin"])
    return msgspec.json.encode(request)


def input_of(stdin: str | bytes = b"", args: Sequence[str] = ()) -> TestInput:
    """One of the `tests` of a request."""
    return TestInput(args=tuple(args), stdin_base64=_base64(stdin))


def _base64(data: str | bytes) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def new_key() -> str:
    """A fresh `Idempotency-Key`: with it a request that is sent twice runs once."""
    return secrets.token_hex(KEY_BYTES)


def headers_of(token: str, key: str = "", *, fresh: bool = False) -> dict[str, str]:
    """The headers of a request with a JSON body."""
    headers = {"Content-Type": JSON, "Accept": JSON}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if key:
        headers["Idempotency-Key"] = key
    if fresh:
        headers["Cache-Control"] = "no-cache"
    return headers


def decoded(status: int, retry_after: str, body: bytes, kind: type[T], reason: str = "") -> T:
    """An answer's value.

    Raises:
        Refused: the cluster can't run it now, and has not.
        Unavailable: it could not finish it.
        JobError: the gateway refuses the request itself.
        RemoteProtocolError: it failed, or what answers is no gateway.
    """
    if status >= HTTPStatus.BAD_REQUEST:
        detail = first_line(body.decode(errors="replace")) or reason or str(status)
        if status in TRY_LATER:
            kind_of_error = Refused if status in AGAIN else Unavailable
            raise kind_of_error(detail, seconds_of(retry_after))
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise RemoteProtocolError("the gateway failed", detail)
        raise JobError(f"refused ({status}): {detail}")
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise RemoteProtocolError("not a gateway's answer", str(error)) from error


def first_line(text: str) -> str:
    """The line that people need: of plain text the first, of problem+json its detail."""
    with contextlib.suppress(msgspec.DecodeError):
        problem: Any = msgspec.json.decode(text)
        if isinstance(problem, dict):
            return str(problem.get("detail") or problem.get("title") or "")
    return text.strip().partition("\n")[0]


def seconds_of(retry_after: str) -> float:
    """What `Retry-After` asks for; one second where it says nothing that is understood."""
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 1.0
