"""What the endpoints of all modules share: their type, and reading a request's query."""

# mypy: allow-untyped-calls
# Twisted's web requests are not annotated.

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from functools import lru_cache
from http import HTTPStatus

from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from twisted.internet.interfaces import IAddress
from twisted.web.server import Request

from cluster.core.fair_share import FairRoom
from cluster.errors import Unavailable
from cluster.gateway.replies import HttpProblem, Reply
from cluster.gateway.sources import HEADERS_KEPT

Endpoint = Callable[..., Awaitable[Reply | None]]
"""Takes the request, and by name the variable parts of its path; gives None when it has answered itself."""


RETRY_S = 2.0


def begin(request: Request, status: int, content_type: str) -> None:
    """Status and the headers of every answer."""
    request.setResponseCode(status)
    if status != HTTPStatus.NO_CONTENT:
        request.setHeader("Content-Type", content_type)
    request.setHeader("Cache-Control", "no-store")


def from_address(address: IAddress | None) -> str:
    """Whoever is there, without a token; no tenant is called like that."""
    return f"@{getattr(address, 'host', '')}"


def address_of(request: Request) -> str:
    """Where it comes from, as a holder of what it takes (`core.fair_share`)."""
    return from_address(request.getClientAddress())


@contextlib.contextmanager
def place_in(room: FairRoom, holder: str, what: str) -> Iterator[None]:
    """A place of his in a table, for as long as the body runs.

    Raises:
        Unavailable: he has as many as he may; `what` says of what.
    """
    if not room.admits(holder):
        raise Unavailable(f"as many {what} are open here as may be yours: close one, or try later", RETRY_S)
    room.take(holder)
    try:
        yield
    finally:
        room.give_back(holder)


def counted(request: Request) -> bool:
    """It was counted for its sender's rate already, before its body was read (`door`)."""
    return bool(getattr(request, "counted", False))


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
