"""The paths of `/openapi.json`, each operation by hand; the schemas are those of the decoding types (H6)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cluster.config import GatewaySettings
from cluster.gateway.cluster_info import ClusterInfo
from cluster.gateway.log_access import LINES_MAX
from cluster.gateway.replies import JSON, PROBLEM
from cluster.gateway.schemas import (
    KEY_CHARACTERS_MAX,
    AssignedEvent,
    CompiledEvent,
    JobDocument,
    OutputEvent,
    Problem,
    ProgramResult,
    QueuedEvent,
    RestartedEvent,
    RunRequest,
    Runtimes,
    Stats,
)

_EVENTS = "text/event-stream"
_TEXT = "text/plain"
TEMPLATE = "#/components/schemas/{name}"
_EVENT_TYPES = {
    "queued": QueuedEvent,
    "assigned": AssignedEvent,
    "restarted": RestartedEvent,
    "compiled": CompiledEvent,
    "output": OutputEvent,
    "verdict": JobDocument,
}
"""What the `data:` of each event holds."""

TYPES = (RunRequest, ProgramResult, Problem, Runtimes, Stats, ClusterInfo, *_EVENT_TYPES.values())

_JOB_HEADERS = {
    "X-Job-Id": "The job's id.",
    "X-Job-Verdict": "How it ended; `pending` while it has not.",
    "Cached-Response": "`true` when it was taken from the gateway's memory.",
    "Server-Timing": "Milliseconds in the queue, compiling, running.",
}

_WORDS = {
    400: "Malformed.",
    401: "A token is needed, or this one is not known: see `WWW-Authenticate`.",
    429: "The token's tenant is over its rate: see `Retry-After`.",
    404: "Nothing is known by that name.",
    413: "Too large.",
    415: "Another content type than this one takes.",
    409: "The idempotency key was used for another program, or its job was deleted.",
    422: "Not what the schema asks for.",
    500: "A fault inside the cluster.",
    502: "The cluster lost the job, three times; or another node does not answer.",
    503: "Overloaded, without leader or worker, or cancelled: see `Retry-After`.",
    504: "Past the deadline.",
}


def paths_of(settings: GatewaySettings) -> dict[str, Any]:
    """Every path that a gateway serves itself, without the drop-in interfaces."""
    job = [_parameter("path", "job", {"type": "string", "pattern": "^[0-9a-f]{32}$"}, required=True)]
    wait = _parameter("query", "wait", {"type": "integer", "minimum": 0, "maximum": 60})
    problems = (400, 401, 409, 413, 415, 422, 429, 500, 502, 503, 504)
    return {
        "/v1/run": {
            "post": _operation(
                "run",
                "Run a program and wait for its result, or follow its events (`Accept: text/event-stream`).",
                {"200": _result_or_events()},
                problems,
                _sent(RunRequest),
                _request_headers(),
                guarded=True,
            )
        },
        "/v1/jobs": {
            "post": _operation(
                "sendJob",
                "Send a program and come back for its result.",
                {
                    "202": _answer(
                        "Taken.", JobDocument, {"Location": "Where to come back to.", **_JOB_HEADERS}
                    )
                },
                (400, 401, 409, 413, 415, 422, 429, 500, 503),
                _sent(RunRequest),
                _request_headers(),
                guarded=True,
            )
        },
        "/v1/jobs/{job}": {
            "parameters": job,
            "get": _operation(
                "getJob",
                "A job as it is now, or once it has ended or `wait` seconds have passed.",
                {"200": _answer("The job.", JobDocument, _JOB_HEADERS)},
                (400, 401, 404),
                parameters=[wait],
                guarded=True,
            ),
            "delete": _operation(
                "cancelJob",
                "Cancel a job if it is pending, and forget it.",
                {"200": _answer("The job as it was last.", JobDocument, _JOB_HEADERS)},
                (400, 401, 404),
                guarded=True,
            ),
        },
        "/v1/jobs/{job}/events": {
            "parameters": job,
            "get": _operation(
                "getJobEvents",
                "A job's events, from the beginning or behind `Last-Event-ID`; ends after the verdict.",
                {
                    "200": {
                        "description": _events_text(),
                        "content": {_EVENTS: {"schema": _events_schema()}},
                    },
                    "204": {"description": "The job has ended, and `Last-Event-ID` is its last event's."},
                },
                (400, 401, 404, 503),
                parameters=[
                    _parameter(
                        "header", "Last-Event-ID", {"type": "integer", "minimum": 0, "maximum": 999_999_999}
                    )
                ],
                guarded=True,
            ),
        },
        "/v1/runtimes": _read("getRuntimes", "The JDKs and the limits.", Runtimes),
        "/v1/stats": _read("getStats", "Throughput and latency of the last minutes.", Stats),
        **{
            path: {"get": _cluster(name)}
            for path, name in (("/v1/cluster", "getCluster"), ("/cluster-info", "clusterInfo"))
        },
        "/openapi.json": {
            "get": _operation(
                "openapi",
                "This description.",
                {"200": {"description": "OpenAPI 3.1.", "content": {JSON: {"schema": {"type": "object"}}}}},
            )
        },
        "/": {
            "get": _operation(
                "front",
                "The page for people (`Accept: text/html`), or a line that says where to begin.",
                {"200": _raw("As the client would rather have it.", _TEXT, "text/html")},
            )
        },
        "/pages/{name}": {
            "parameters": [_parameter("path", "name", {"type": "string"}, required=True)],
            "get": _operation(
                "pagePart",
                "What the page is made of.",
                {"200": _raw("A style sheet or a script.", "text/css", "text/javascript")},
                (404,),
            ),
        },
        "/compileandrun": {
            "post": _operation(
                "compileAndRun",
                "The original's interface: source in, result out, as text.",
                {
                    "200": _raw("What `run()` returned or `main` printed.", _TEXT),
                    **{
                        str(status): _raw(text, _TEXT)
                        for status, text in (
                            _WORDS | {400: "The program failed, or the request is no source."}
                        ).items()
                        if status not in {404, 409, 415, 422}
                    },
                },
                (),
                {
                    "required": True,
                    "content": {
                        "text/x-java-source": {
                            "schema": {
                                "type": "string",
                                "minLength": 1,
                                "maxLength": settings.source_bytes,
                            }
                        }
                    },
                },
                guarded=True,
            )
        },
        **{
            path: {"get": _operation(name, text, {"200": _raw(text, _TEXT)}, problems_)}
            for path, name, text, problems_ in (
                ("/livez", "livez", "The process answers.", ()),
                ("/readyz", "readyz", "The node can do what its role is for.", (503,)),
                ("/metrics", "metrics", "For Prometheus.", ()),
            )
        },
        **{f"/logs/{kind}": {"get": _log(kind)} for kind in ("summary", "verbose")},
    }


def _log(kind: str) -> dict[str, Any]:
    node = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
    lines = {"type": "integer", "minimum": 0, "maximum": LINES_MAX}
    follow = {"type": "integer", "minimum": 0, "maximum": 1}
    return _operation(
        f"{kind}Log",
        f"The end of a node's {kind} log; with `follow=1`, on the node itself, also what is added to it.",
        {"200": _raw("Lines, the oldest first; of a log that is followed, for ever.", _TEXT)},
        (400, 401, 404, 502, 503),
        parameters=[
            _parameter("query", "lines", lines),
            _parameter("query", "node", node),
            _parameter("query", "follow", follow),
        ],
        guarded=True,
    )


def _cluster(name: str) -> dict[str, Any]:
    answer = _answer("As JSON, or a line a node.", ClusterInfo)
    answer["content"] |= _raw("", _TEXT)["content"]
    return _operation(
        name,
        "Every node, as this one sees it.",
        {"200": answer},
        (400,),
        parameters=[_parameter("query", "format", {"type": "string", "enum": ["json", "text"]})],
    )


def _read(name: str, text: str, kind: type) -> dict[str, Any]:
    return {"get": _operation(name, text, {"200": _answer(text, kind)})}


def _operation(
    name: str,
    summary: str,
    answers: dict[str, Any],
    problems: Iterable[int] = (),
    body: dict[str, Any] | None = None,
    parameters: list[dict[str, Any]] | None = None,
    *,
    guarded: bool = False,
) -> dict[str, Any]:
    described = {str(status): _answer(_WORDS[status], Problem, kind=PROBLEM) for status in problems}
    operation: dict[str, Any] = {"operationId": name, "summary": summary, "responses": answers | described}
    if body is not None:
        operation["requestBody"] = body
    if parameters:
        operation["parameters"] = parameters
    if guarded:
        operation["security"] = [{"bearer": []}]
    return operation


def _answer(
    text: str, kind_of_value: type, headers: dict[str, str] | None = None, kind: str = JSON
) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": text, "content": {kind: {"schema": _reference(kind_of_value)}}}
    if headers:
        answer["headers"] = {
            name: {"description": meaning, "schema": {"type": "string"}} for name, meaning in headers.items()
        }
    return answer


def _result_or_events() -> dict[str, Any]:
    answer = _answer(
        "The result, whatever the program's verdict; or its events.", ProgramResult, _JOB_HEADERS
    )
    answer["content"][_EVENTS] = {"schema": _events_schema()}
    return answer


def _events_text() -> str:
    told = ", ".join(f"`{name}`: {kind.__name__}" for name, kind in _EVENT_TYPES.items())
    return f"Server-sent events. What the data of each is: {told}."


def _events_schema() -> dict[str, Any]:
    """One event, as the stream is a sequence of these; its data is JSON, of the type that its name says."""
    return {
        "type": "object",
        "required": ["event", "data"],
        "properties": {
            "id": {"type": "string"},
            "event": {"type": "string", "enum": list(_EVENT_TYPES)},
            "data": {"type": "string", "contentMediaType": JSON},
        },
        "x-events": {name: _reference(kind) for name, kind in _EVENT_TYPES.items()},
    }


def _raw(text: str, *kinds: str) -> dict[str, Any]:
    return {"description": text, "content": {kind: {"schema": {"type": "string"}} for kind in kinds}}


def _sent(kind: type) -> dict[str, Any]:
    return {"required": True, "content": {JSON: {"schema": _reference(kind)}}}


def _reference(kind: type) -> dict[str, str]:
    return {"$ref": TEMPLATE.format(name=kind.__name__)}


def _parameter(where: str, name: str, schema: dict[str, Any], required: bool = False) -> dict[str, Any]:
    return {"in": where, "name": name, "required": required, "schema": schema}


def _request_headers() -> list[dict[str, Any]]:
    key = {"type": "string", "pattern": "^[!-~]+$", "minLength": 1, "maxLength": KEY_CHARACTERS_MAX}
    cache = {"type": "string", "examples": ["no-cache", "no-store"]}
    return [_parameter("header", "Idempotency-Key", key), _parameter("header", "Cache-Control", cache)]
