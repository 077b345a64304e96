"""Judge0's endpoints that tell of the service itself."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

import msgspec

from twisted.web.server import Request

from cluster.gateway.compat import judge0, judge0_info
from cluster.gateway.compat.parts import CompatParts
from cluster.gateway.endpoint import Endpoint
from cluster.gateway.replies import JSON, TEXT, Reply
from cluster.version import __version__

UNKNOWN = {"status": 404, "error": "Not Found"}


class Judge0About:
    """Who asks them needs no token."""

    def __init__(self, parts: CompatParts) -> None:
        self._parts = parts

    def endpoints(self) -> Iterable[tuple[str, str, Endpoint]]:
        """Path, method, and what answers."""
        return (
            ("/languages", "GET", self.languages),
            ("/languages/", "GET", self.languages),
            ("/languages/all", "GET", self.all_languages),
            ("/languages/<language>", "GET", self.language),
            ("/statuses", "GET", self.statuses),
            ("/config_info", "GET", self.config_info),
            ("/about", "GET", self.about),
            ("/version", "GET", self.version),
            ("/isolate", "GET", self.isolate),
            ("/license", "GET", self.license),
            ("/workers", "GET", self.workers),
        )

    async def languages(self, _request: Request) -> Reply:
        """Java, by the two numbers that it has."""
        return _json(judge0_info.languages(self._parts.newest_version, archived=False))

    async def all_languages(self, _request: Request) -> Reply:
        """The same, and that none is archived."""
        return _json(judge0_info.languages(self._parts.newest_version, archived=True))

    async def language(self, _request: Request, language: str) -> Reply:
        """One of them."""
        number = int(language) if language.isascii() and language.isdigit() and len(language) < 10 else 0  # noqa: PLR2004
        if number not in judge0.JAVA_IDS:
            return _json(UNKNOWN, HTTPStatus.NOT_FOUND)
        return _json(judge0_info.language(number, self._parts.newest_version))

    async def statuses(self, _request: Request) -> Reply:
        """All fourteen."""
        return _json(judge0_info.statuses())

    async def config_info(self, _request: Request) -> Reply:
        """This gateway's limits."""
        return _json(judge0_info.config_info(self._parts.limits, self._parts.settings.compat))

    async def about(self, _request: Request) -> Reply:
        """Which Judge0 this speaks like."""
        return _json(judge0_info.about(__version__))

    async def version(self, _request: Request) -> Reply:
        """The same, as text."""
        return Reply(HTTPStatus.OK, judge0_info.VERSION.encode(), TEXT)

    async def isolate(self, _request: Request) -> Reply:
        """What confines the programs here."""
        levels = sorted({node.sandbox for node in self._parts.view().nodes if node.sandbox})
        return Reply(HTTPStatus.OK, f"javacluster {__version__}: {', '.join(levels)}\n".encode(), TEXT)

    async def license(self, _request: Request) -> Reply:
        """Ours."""
        return Reply(HTTPStatus.OK, b"javacluster is licensed under the Apache License 2.0\n", TEXT)

    async def workers(self, _request: Request) -> Reply:
        """The slots of the living nodes."""
        return _json(judge0_info.workers(self._parts.view()))


def _json(value: object, status: HTTPStatus = HTTPStatus.OK) -> Reply:
    return Reply(status, msgspec.json.encode(value), JSON)
