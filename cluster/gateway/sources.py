"""Reading `POST /compileandrun`: from headers and bytes to a `Program`, or to a clear refusal (H1)."""

from __future__ import annotations

from functools import lru_cache

from werkzeug.http import parse_options_header

from cluster.gateway.replies import HttpProblem
from cluster.limits import Limits
from cluster.wire.jobs import Program, Source

CONTENT_TYPE = "text/x-java-source"

HEADERS_KEPT = 64
"""Clients send a few values of `Content-Type` and `Accept`, again and again: each is parsed once."""

_BAD_REQUEST = 400
_TOO_LARGE = 413


@lru_cache(maxsize=HEADERS_KEPT)
def media_type(content_type: str | None) -> tuple[str, str]:
    """Type and charset that a `Content-Type` names: an empty type for none, UTF-8 for no charset."""
    kind, parameters = parse_options_header(content_type or "")
    return kind, parameters.get("charset", "utf-8")


def read_source(
    body: bytes, content_type: str | None, content_encoding: str | None, source_bytes: int, limits: Limits
) -> Program:
    """The program that a body of bare source is.

    Raises:
        HttpProblem: 413 past `source_bytes`; 400 for another type, charset or encoding, or nothing.
    """
    if len(body) > source_bytes:
        raise HttpProblem(_TOO_LARGE, f"the body is larger than {source_bytes} bytes")
    kind, charset = media_type(content_type)
    if kind.lower() != CONTENT_TYPE:
        raise HttpProblem(
            _BAD_REQUEST, f'Content-Type is not supported, must be "{CONTENT_TYPE}"; got "{kind or "none"}"'
        )
    if charset.lower() not in {"utf-8", "utf8"}:
        raise HttpProblem(_BAD_REQUEST, f'charset "{charset}" is not supported: send the source as utf-8')
    if content_encoding not in {None, "", "identity"}:
        raise HttpProblem(
            _BAD_REQUEST, f'Content-Encoding "{content_encoding}" is not supported: send the source as it is'
        )
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise HttpProblem(
            _BAD_REQUEST,
            f"the body is not valid UTF-8: byte 0x{body[error.start]:02x} at offset {error.start}",
        ) from error
    if not text.strip():
        raise HttpProblem(_BAD_REQUEST, "the body is empty: send Java source")
    return Program(sources=(Source("", text),), limits=limits)


def cache_wishes(cache_control: str | None) -> tuple[bool, bool]:
    """Whether a kept answer will do, and whether this one may be kept (C3)."""
    wishes = {part.strip().lower() for part in (cache_control or "").split(",")}
    no_store = "no-store" in wishes
    return not (no_store or "no-cache" in wishes), not no_store
