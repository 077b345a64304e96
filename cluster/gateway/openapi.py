"""`/openapi.json`: paths by hand, schemas from the very types that decode the requests (H6)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from cluster.config import GatewaySettings
from cluster.gateway.cluster_info import ClusterInfo
from cluster.gateway.replies import JSON, PROBLEM
from cluster.gateway.schemas import (
    KEY_CHARACTERS_MAX,
    JobDocument,
    Problem,
    ProgramResult,
    RunRequest,
    Runtimes,
    Stats,
)
from cluster.limits import Limits
from cluster.version import __version__

_EVENTS = "text/event-stream"
_TEXT = "text/plain"
_TEMPLATE = "#/components/schemas/{name}"
_TYPES = (RunRequest, ProgramResult, JobDocument, Problem, Runtimes, Stats, ClusterInfo)

_JOB_HEADERS = {
    "X-Job-Id": "The job's id.",
    "X-Job-Verdict": "How it ended; `pending` while it has not.",
    "Cached-Response": "`true` when it was taken from the gateway's memory.",
    "Server-Timing": "Milliseconds in the queue, compiling, running.",
}

_WORDS = {
    400: "Malformed.",
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


def document(limits: Limits, settings: GatewaySettings) -> bytes:
    """The whole description, with this gateway's own limits in it."""
    _schemas, components = msgspec.json.schema_components(_TYPES, ref_template=_TEMPLATE)
    _complete(components, limits, settings)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "javacluster",
                "version": __version__,
                "summary": "Compiles and runs Java on a cluster that survives the loss of its machines.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "paths": _paths(settings),
            "components": {"schemas": components},
        }
    )


def _complete(components: dict[str, Any], limits: Limits, settings: GatewaySettings) -> None:
    """Say what types can't: the caps, and what goes together."""
    for name, schema in components["LimitsAsked"]["properties"].items():
        schema["maximum"] = getattr(limits, name)
    request = components["RunRequest"]
    request["oneOf"] = [{"required": ["source"]}, {"required": ["files"]}]
    request["allOf"] = [
        {"not": {"required": ["stdin", "stdin_base64"]}},
        *({"not": {"required": ["tests", name]}} for name in ("args", "stdin", "stdin_base64")),
    ]
    request["properties"]["source"] |= {"maxLength": settings.source_bytes}
    components["TestInput"]["not"] = {"required": ["stdin", "stdin_base64"]}


def _paths(settings: GatewaySettings) -> dict[str, Any]:
    job = [_parameter("path", "job", {"type": "string", "pattern": "^[0-9a-f]{32}$"}, required=True)]
    wait = _parameter("query", "wait", {"type": "integer", "minimum": 0, "maximum": 60})
    problems = (400, 409, 413, 415, 422, 500, 502, 503, 504)
    return {
        "/v1/run": {
            "post": _operation(
                "run",
                "Run a program and wait for its result.",
                {"200": _answer("The result, whatever the program's verdict.", ProgramResult, _JOB_HEADERS)},
                problems,
                _sent(RunRequest),
                _request_headers(),
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
                (400, 409, 413, 415, 422, 500, 503),
                _sent(RunRequest),
                _request_headers(),
            )
        },
        "/v1/jobs/{job}": {
            "parameters": job,
            "get": _operation(
                "getJob",
                "A job as it is now, or once it has ended or `wait` seconds have passed.",
                {"200": _answer("The job.", JobDocument, _JOB_HEADERS)},
                (400, 404),
                parameters=[wait],
            ),
            "delete": _operation(
                "cancelJob",
                "Cancel a job if it is pending, and forget it.",
                {"200": _answer("The job as it was last.", JobDocument, _JOB_HEADERS)},
                (400, 404),
            ),
        },
        "/v1/jobs/{job}/events": {
            "parameters": job,
            "get": _operation(
                "getJobEvents",
                "Server-sent events: `queued`, `compiled`, `verdict`; ends after the verdict.",
                {
                    "200": {
                        "description": "Events; the data of `verdict` is a JobDocument.",
                        "content": {_EVENTS: {}},
                    }
                },
                (400, 404, 503),
            ),
        },
        "/v1/runtimes": _read("getRuntimes", "The JDKs and the limits.", Runtimes),
        "/v1/stats": _read("getStats", "Throughput and latency of the last minutes.", Stats),
        "/v1/cluster": _read("getCluster", "Every node, as this one sees it.", ClusterInfo),
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
    lines = {"type": "integer", "minimum": 0, "maximum": 50_000}
    return _operation(
        f"{kind}Log",
        f"The end of a node's {kind} log.",
        {"200": _raw("Lines, the oldest first.", _TEXT)},
        (400, 404, 502, 503),
        parameters=[_parameter("query", "lines", lines), _parameter("query", "node", node)],
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
) -> dict[str, Any]:
    described = {str(status): _answer(_WORDS[status], Problem, kind=PROBLEM) for status in problems}
    operation: dict[str, Any] = {"operationId": name, "summary": summary, "responses": answers | described}
    if body is not None:
        operation["requestBody"] = body
    if parameters:
        operation["parameters"] = parameters
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


def _raw(text: str, kind: str) -> dict[str, Any]:
    return {"description": text, "content": {kind: {"schema": {"type": "string"}}}}


def _sent(kind: type) -> dict[str, Any]:
    return {"required": True, "content": {JSON: {"schema": _reference(kind)}}}


def _reference(kind: type) -> dict[str, str]:
    return {"$ref": _TEMPLATE.format(name=kind.__name__)}


def _parameter(where: str, name: str, schema: dict[str, Any], required: bool = False) -> dict[str, Any]:
    return {"in": where, "name": name, "required": required, "schema": schema}


def _request_headers() -> list[dict[str, Any]]:
    key = {"type": "string", "pattern": "^[!-~]+$", "minLength": 1, "maxLength": KEY_CHARACTERS_MAX}
    cache = {"type": "string", "examples": ["no-cache", "no-store"]}
    return [_parameter("header", "Idempotency-Key", key), _parameter("header", "Cache-Control", cache)]
