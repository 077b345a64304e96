"""The page for people (H7): three files of the package, and headers that keep strangers out."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from importlib.resources import files

from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from twisted.web.server import Request

from cluster.gateway.endpoint import Endpoint
from cluster.gateway.replies import TEXT, Reply

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


class Page:
    """`/`, and what it is made of."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def endpoints(self) -> Iterable[tuple[str, str, Endpoint]]:
        """Path, method, and what answers."""
        return (("/", "GET", self.front), ("/page.css", "GET", self.style), ("/page.js", "GET", self.script))

    async def front(self, request: Request) -> Reply:
        """The page for those who ask for HTML, a line of text for the others."""
        accept = parse_accept_header(request.getHeader("Accept"), MIMEAccept)
        if accept.best_match(["text/plain", _HTML], "text/plain") != _HTML:
            return Reply(HTTPStatus.OK, _POINTER.encode(), TEXT, {"Vary": "Accept"})
        return self._file("index.html", _HTML, {"Vary": "Accept"})

    async def style(self, _request: Request) -> Reply:
        """How it looks."""
        return self._file("page.css", "text/css")

    async def script(self, _request: Request) -> Reply:
        """What it does."""
        return self._file("page.js", "text/javascript")

    def _file(self, name: str, kind: str, headers: dict[str, str] | None = None) -> Reply:
        if name not in self._kept:
            self._kept[name] = files("cluster.gateway").joinpath("pages", name).read_bytes()
        policy = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer", **(headers or {})}
        return Reply(HTTPStatus.OK, self._kept[name], f"{kind}; charset=utf-8", policy)
