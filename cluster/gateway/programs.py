"""Reading a JSON request: from bytes to a `Program` within its limits, or a refusal that names the place."""

from __future__ import annotations

import binascii
from http import HTTPStatus

import msgspec
from msgspec import UNSET, UnsetType

from cluster.gateway.replies import JSON, HttpProblem
from cluster.gateway.schemas import (
    STDIN_MAX,
    LimitsAsked,
    RunRequest,
    TestInput,
)
from cluster.gateway.sources import media_type
from cluster.limits import MIB, Limits
from cluster.wire.jobs import Input, Program, Source

OUTPUTS_MAX = 24 * MIB
"""What all runs of one job may write together, so that every outcome fits a frame (`limits.FRAME_MAX`)."""
STREAMS = 3
"""Standard output, standard error and the value of `run()` are limited each."""

_DECODER = msgspec.json.Decoder(RunRequest)


def read_request(body: bytes, content_type: str | None, content_encoding: str | None) -> RunRequest:
    """Decode a body against the schema.

    Raises:
        HttpProblem: 415 for another type; 400 for what is no JSON; 422 for what breaks the schema.
    """
    kind, _charset = media_type(content_type)
    if kind.lower() != JSON:
        raise HttpProblem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send Content-Type: {JSON}; got {kind[:80] or 'none'}"
        )
    if content_encoding not in {None, "", "identity"}:
        raise HttpProblem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Content-Encoding {content_encoding[:80]} is not supported"
        )
    try:
        return _DECODER.decode(body)
    except msgspec.ValidationError as error:
        message, separator, path = str(error).rpartition(" - at `")
        if not separator:
            raise _invalid("$", str(error)) from error
        raise _invalid(path.rstrip("`").rpartition("`")[2], message) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HttpProblem(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}") from error


def program_of(request: RunRequest, caps: Limits, source_bytes: int) -> Program:
    """The program that a request asks for.

    Raises:
        HttpProblem: 422 for a contradiction or a limit above its cap; 413 for too much source.
    """
    sources = _sources(request)
    if (size := sum(len(source.text.encode()) for source in sources)) > source_bytes:
        raise HttpProblem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{size} bytes of source: {source_bytes} are the most"
        )
    inputs = _inputs(request)
    return Program(sources, request.main_class, inputs, _limits(request.limits, caps, len(inputs)))


def _sources(request: RunRequest) -> tuple[Source, ...]:
    if (request.source is UNSET) == (request.files is UNSET):
        raise _invalid("$", "exactly one of `source` and `files` is needed")
    if not isinstance(request.files, UnsetType):
        for name in request.files:
            if name.endswith("\n"):
                raise _invalid("$.files", "a file's name ends in a line end")
        return tuple(Source(name, text) for name, text in sorted(request.files.items()))
    assert not isinstance(request.source, UnsetType)  # noqa: S101 (for the type checker: one is set)
    return (Source("", request.source),)


def _inputs(request: RunRequest) -> tuple[Input, ...]:
    if isinstance(request.tests, UnsetType):
        args = () if isinstance(request.args, UnsetType) else request.args
        one = TestInput(args=args, stdin=request.stdin, stdin_base64=request.stdin_base64)
        return (Input(one.args, _stdin(one, "$")),)
    if request.args is not UNSET or request.stdin is not UNSET or request.stdin_base64 is not UNSET:
        raise _invalid("$.tests", "give each test its own args and stdin, not the request")
    return tuple(
        Input(test.args, _stdin(test, f"$.tests[{index}]")) for index, test in enumerate(request.tests)
    )


def _stdin(given: TestInput, where: str) -> bytes:
    if not isinstance(given.stdin, UnsetType) and given.stdin_base64 is not UNSET:
        raise _invalid(f"{where}.stdin_base64", "it is given as text already")
    if not isinstance(given.stdin_base64, UnsetType):
        try:
            data = binascii.a2b_base64(given.stdin_base64, strict_mode=True)
        except ValueError as error:  # binascii.Error, or what is not even ASCII
            raise _invalid(f"{where}.stdin_base64", f"not base64: {error}") from error
    else:
        data = b"" if isinstance(given.stdin, UnsetType) else given.stdin.encode()
    if len(data) > STDIN_MAX:
        raise _invalid(f"{where}.stdin", f"{len(data)} bytes: {STDIN_MAX} are the most")
    return data


def _limits(asked: LimitsAsked, caps: Limits, runs: int) -> Limits:
    chosen = {}
    share = max(1, OUTPUTS_MAX // (STREAMS * runs))
    for name in Limits.__struct_fields__:
        value, cap = getattr(asked, name), getattr(caps, name)
        if value is not UNSET and value > cap:
            raise _invalid(f"$.limits.{name}", f"{value:g} is more than this gateway allows ({cap:g})")
        chosen[name] = cap if value is UNSET else type(cap)(value)
    if asked.output_bytes is UNSET:
        chosen["output_bytes"] = min(chosen["output_bytes"], share)
    elif chosen["output_bytes"] > share:
        text = f"{asked.output_bytes:g} is too much for {runs} tests: {share} is the most for each"
        raise _invalid("$.limits.output_bytes", text)
    return Limits(**chosen)


def _invalid(path: str, message: str) -> HttpProblem:
    return HttpProblem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{path}: {message}", path=path)
