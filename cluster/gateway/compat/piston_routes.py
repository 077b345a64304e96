"""Piston's endpoints below `/api/v2`."""

# mypy: allow-untyped-calls
# Twisted's web requests are not annotated.

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus

import msgspec

from twisted.web.server import Request

from cluster.gateway.compat import piston
from cluster.gateway.compat.parts import CompatParts, authorization_of
from cluster.gateway.compat.piston import PistonError
from cluster.gateway.door import Entrance
from cluster.gateway.endpoint import Endpoint, body_of
from cluster.gateway.replies import JSON, HttpProblem, Reply, job_headers, status_of
from cluster.wire.jobs import Refusal, Verdict

BASE = "/api/v2"


class Piston:
    """The endpoints. A refusal is an object with a `message`."""

    open_paths = frozenset({f"{BASE}/runtimes", f"{BASE}/packages"})

    def __init__(self, parts: CompatParts) -> None:
        """Nothing is kept."""
        self._parts = parts

    def entrances(self) -> Iterable[Entrance]:
        """Where bodies are sent that strangers need not send."""
        return (Entrance(f"{BASE}/execute", authorization_of, _refused),)

    def endpoints(self) -> Iterable[tuple[str, str, Endpoint]]:
        """Path, method, and what answers."""
        return (
            (f"{BASE}/runtimes", "GET", self.runtimes),
            (f"{BASE}/packages", "GET", self.packages),
            (f"{BASE}/execute", "POST", self.execute),
        )

    async def runtimes(self, _request: Request) -> Reply:
        """One for each JDK in the cluster."""
        return _json(
            [
                {"language": piston.LANGUAGE, "version": version, "aliases": list(piston.ALIASES)}
                for version in self._parts.versions()
            ]
        )

    async def packages(self, _request: Request) -> Reply:
        """The same as packages, all installed."""
        return _json(
            [
                {"language": piston.LANGUAGE, "language_version": version, "installed": True}
                for version in self._parts.versions()
            ]
        )

    async def execute(self, request: Request) -> Reply:
        """Compile and run, and wait for it."""
        parts = self._parts
        try:
            caller = parts.sender(request)
            if not (request.getHeader("Content-Type") or "").lower().startswith(JSON):
                return _json({"message": "requests must be of type application/json"}, 415)
            program, version = piston.program_of(
                body_of(request), parts.versions(), parts.limits, parts.settings.source_bytes
            )
            answered = await parts.run(program, caller)
        except PistonError as error:
            return _json({"message": str(error)}, HTTPStatus.BAD_REQUEST)
        except HttpProblem as problem:
            return _refused(problem)
        result = answered.result
        if isinstance(result, Refusal) or result.verdict in {Verdict.CANCELLED, Verdict.EXPIRED}:
            message = {"message": result.message or "the cluster could not run it: try again"}
            return _json(message, status_of(result), job_headers(answered))
        return _json(piston.execution_of(answered, version))


def _refused(problem: HttpProblem) -> Reply:
    return _json({"message": problem.detail}, problem.status, problem.headers)


def _json(value: object, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, msgspec.json.encode(value), JSON, headers or {})
