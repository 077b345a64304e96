"""The page for people (H7): files of the package, and headers that keep strangers out."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from importlib.resources import files
from pathlib import PurePath

from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from twisted.web.server import Request

from cluster.gateway.endpoint import Endpoint
from cluster.gateway.replies import TEXT, HttpProblem, Reply

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, nothing inline: what a program printed can't become part of the page."""

_HTML = "text/html"

_POINTER = (
    "This is a javacluster gateway. POST JSON to /v1/run, or Java source to /compileandrun (Content-Type: "
    "text/x-java-source) to have it compiled and run; GET /openapi.json for everything; or open this address "
    "in a browser.\n"
)


_TYPES = {".css": "text/css", ".js": "text/javascript"}


class Page:
    """`/`, and below `/pages/` what it is made of."""

    def __init__(self) -> None:
        folder = files("cluster.gateway").joinpath("pages")
        self._files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}

    def endpoints(self) -> Iterable[tuple[str, str, Endpoint]]:
        """Path, method, and what answers."""
        return (("/", "GET", self.front), ("/pages/<name>", "GET", self.part))

    async def front(self, request: Request) -> Reply:
        """The page for those who ask for HTML, a line of text for the others."""
        accept = parse_accept_header(request.getHeader("Accept"), MIMEAccept)
        if accept.best_match(["text/plain", _HTML], "text/plain") != _HTML:
            return Reply(HTTPStatus.OK, _POINTER.encode(), TEXT, {"Vary": "Accept"})
        return self._file("index.html", _HTML, {"Vary": "Accept"})

    async def part(self, _request: Request, name: str) -> Reply:
        """How it looks, and what it does."""
        kind = _TYPES.get(PurePath(name).suffix)
        if kind is None or name not in self._files:
            raise HttpProblem(HTTPStatus.NOT_FOUND, "the page has no such part")
        return self._file(name, kind)

    def _file(self, name: str, kind: str, headers: dict[str, str] | None = None) -> Reply:
        policy = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer", **(headers or {})}
        return Reply(HTTPStatus.OK, self._files[name], f"{kind}; charset=utf-8", policy)
