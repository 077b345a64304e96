"""What the endpoints of all modules share: their type, and reading a request's query."""

# mypy: allow-untyped-calls
# Twisted's web requests are not annotated.

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import lru_cache
from http import HTTPStatus

from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from twisted.web.server import Request

from cluster.gateway.replies import HttpProblem, Reply
from cluster.gateway.sources import HEADERS_KEPT

Endpoint = Callable[..., Awaitable[Reply | None]]
"""Takes the request, and by name the variable parts of its path; gives None when it has answered itself."""


def begin(request: Request, status: int, content_type: str) -> None:
    """Status and the headers of every answer."""
    request.setResponseCode(status)
    if status != HTTPStatus.NO_CONTENT:
        request.setHeader("Content-Type", content_type)
    request.setHeader("Cache-Control", "no-store")


def address_of(request: Request) -> str:
    """Where it comes from; no tenant is called like that."""
    return f"@{getattr(request.getClientAddress(), 'host', '')}"


def body_of(request: Request) -> bytes:
    """The whole body, which `site` has bounded."""
    assert request.content is not None  # noqa: S101 (for the type checker: set before any handler runs)
    body: bytes = request.content.read()
    return body


def argument(request: Request, name: bytes) -> str | None:
    """A query parameter; the last one, if it was given twice."""
    values = request.args.get(name)
    return None if not values else values[-1].decode(errors="replace")


def preferred(request: Request, *kinds: str) -> str:
    """Which of these types of content the client would rather have; the first one, if it does not say."""
    return _preferred(request.getHeader("Accept"), kinds)


@lru_cache(maxsize=HEADERS_KEPT)
def _preferred(accept: str | None, kinds: tuple[str, ...]) -> str:
    return parse_accept_header(accept, MIMEAccept).best_match(kinds, kinds[0]) or kinds[0]


def integer(request: Request, name: bytes, default: int, largest: int) -> int:
    """A query parameter that counts something: digits only; more than the cap is an error, not a surprise."""
    text = argument(request, name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(largest)) and int(text) <= largest):
        raise HttpProblem(
            HTTPStatus.BAD_REQUEST, f"{name.decode()}={text[:40]}: must be a whole number from 0 to {largest}"
        )
    return int(text)
