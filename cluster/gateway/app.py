"""The HTTP interface, and the only module that knows Klein (A6).

`NodeSite` is what every node serves; `GatewaySite` adds what faces clients. Each method is one endpoint and
returns a `Reply`; errors are raised as `ClusterError` and become replies in one place. A client's disconnect
cancels the method at its `await`.
"""

# mypy: allow-untyped-calls
# Twisted's web requests and resources are not annotated.

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import cast
from urllib.parse import unquote

from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from klein import Klein
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.server import Request

from cluster.core.effects import Level
from cluster.core.fair_share import FairRoom
from cluster.errors import ClusterError, Unavailable
from cluster.gateway import cluster_info
from cluster.gateway.access import Header
from cluster.gateway.api import Api
from cluster.gateway.assets import Page
from cluster.gateway.channel import OTHER
from cluster.gateway.compat.described import SCHEMES, compat_paths
from cluster.gateway.compat.endpoints import compat_interfaces
from cluster.gateway.compat.parts import CompatParts, authorization_of
from cluster.gateway.door import ASIDE_BYTES, OUR_OWN, Door
from cluster.gateway.endpoint import (
    Endpoint,
    address_of,
    argument,
    begin,
    counted,
    integer,
    place_in,
    preferred,
)
from cluster.gateway.front import COMPILE_AND_RUN, Answering, Front, path_of
from cluster.gateway.log_access import (
    FOLLOWERS_MAX,
    LINES_DEFAULT,
    LINES_MAX,
    LogStream,
    beginning,
)
from cluster.gateway.openapi import Description, document
from cluster.gateway.outgoing import Outgoing
from cluster.gateway.parts import GatewayParts, NodeParts
from cluster.gateway.pieces import LARGE, pieces_of
from cluster.gateway.relay import Answered
from cluster.gateway.replies import JSON, TEXT, HttpProblem, Reply, job_reply, problem_of, problem_reply
from cluster.gateway.sources import cache_wishes, read_source
from cluster.identity import Role
from cluster.wire.jobs import Outcome, Verdict

METRICS = "text/plain; version=0.0.4; charset=utf-8"

_NOTHING = HttpProblem(HTTPStatus.NOT_FOUND, "there is nothing here; / names the endpoints")

_VARIABLE = re.compile(r"^(/v1/(job)s/)[^/<]+")
"""The part of a path that differs from job to job: answers are counted by route, not by job."""


class NodeSite:
    """`/cluster-info`, `/v1/cluster`, the logs, `/livez`, `/readyz`, `/metrics`.

    Attributes:
        klein: matches what is asked to an endpoint, whatever it is.
        direct: the endpoints of the paths without a variable part, by method and path as they are sent.
    """

    _log = Logger()

    def __init__(self, parts: NodeParts) -> None:
        self._parts = parts
        self._followers = FairRoom(FOLLOWERS_MAX)
        self._outgoing = Outgoing(parts.clock)
        self.klein = Klein()
        self.klein.url_map.merge_slashes = False
        self.direct: dict[tuple[bytes, bytes], Answering] = {}
        self._methods: dict[str, set[str]] = {}
        for path, method, endpoint in self.endpoints():
            self._add(path, {method, "HEAD"} if method == "GET" else {method}, endpoint)
        self.klein.handle_errors(Exception)(self.failed)

    def endpoints(self) -> Iterable[tuple[str, str, Endpoint]]:
        """Path, method, and what answers."""
        return (
            ("/cluster-info", "GET", self.cluster_info),
            ("/v1/cluster", "GET", self.cluster_info),
            ("/logs/summary", "GET", self.summary_log),
            ("/logs/verbose", "GET", self.verbose_log),
            ("/livez", "GET", self.livez),
            ("/readyz", "GET", self.readyz),
            ("/metrics", "GET", self.metrics),
        )

    async def cluster_info(self, request: Request) -> Reply:
        """The cluster as this node sees it (H2)."""
        form = argument(request, b"format")
        if form is None:
            form = "json" if preferred(request, JSON, "text/plain") == JSON else "text"
        view = self._parts.view()
        if form == "text":
            return Reply(HTTPStatus.OK, cluster_info.as_text(view))
        if form == "json":
            return Reply(HTTPStatus.OK, cluster_info.as_json(view), JSON)
        raise HttpProblem(HTTPStatus.BAD_REQUEST, f"format={form}: must be json or text")

    async def summary_log(self, request: Request) -> Reply | None:
        """State changes, leaders, failures, jobs (H3)."""
        return await self._log_reply(request, Level.SUMMARY)

    async def verbose_log(self, request: Request) -> Reply | None:
        """Every message besides (H3)."""
        return await self._log_reply(request, Level.VERBOSE)

    async def livez(self, _request: Request) -> Reply:
        """The process answers."""
        return Reply(HTTPStatus.OK, b"alive\n")

    async def readyz(self, _request: Request) -> Reply:
        """The node can do what its role is for, or 503 with the reason."""
        view = self._parts.view()
        if not view.ready:
            raise Unavailable(view.not_ready_reason or "not ready yet")
        return Reply(HTTPStatus.OK, b"ready\n")

    async def metrics(self, _request: Request) -> Reply:
        """For Prometheus (H10)."""
        return Reply(HTTPStatus.OK, self._parts.exposition(), METRICS)

    def unwelcome(self, _path: bytes, _header: Header) -> Reply | bool:
        """The answer to a body that need not even be read: here, nobody is asked for a token."""
        return False

    def tenant(self, _header: Header) -> str | None:
        """Whose token is sent: here, nobody's."""
        return None

    def takes_bodies(self, _path: bytes) -> bool:
        """Whether bodies are read at this path: here, at none."""
        return False

    def aside(self, path: bytes) -> Reply | None:
        """The answer to more than `ASIDE_BYTES` where no bodies are taken; None: they are. `path` as sent."""
        if self.takes_bodies(path):
            return None
        text = unquote(path.partition(b"?")[0].decode(errors="replace"))
        problem = _NOTHING
        if not text.startswith("//") and self.klein.url_map.bind("node").allowed_methods(text):
            large = f"nothing that is sent here is read: {ASIDE_BYTES} bytes are the most"
            problem = HttpProblem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, large)
        return problem_reply(problem, plain=False)

    def guard(self, request: Request) -> None:
        """Let only those see the logs who may: here, everybody."""

    def holder(self, request: Request) -> str:
        """By whom what this request holds is counted: here, by where it comes from."""
        return address_of(request)

    async def peer_log(self, node: int, _kind: Level, _lines: int, _authorization: str | None) -> Reply:
        """Another node's log: only a gateway fetches it."""
        raise HttpProblem(HTTPStatus.BAD_REQUEST, f"node={node}: ask a gateway, or that node itself")

    async def _log_reply(self, request: Request, kind: Level) -> Reply | None:
        self.guard(request)
        lines = integer(request, b"lines", LINES_DEFAULT, LINES_MAX)
        follow = integer(request, b"follow", 0, 1)
        me = self._parts.view().me
        node = integer(request, b"node", me, 2**31 - 1)
        if node != me:
            if follow:
                raise HttpProblem(
                    HTTPStatus.BAD_REQUEST, "follow=1 works on the node itself: leave out node="
                )
            return await self.peer_log(node, kind, lines, request.getHeader("Authorization"))
        if not follow or request.method == b"HEAD":
            return Reply(HTTPStatus.OK, self._parts.logs.tail(kind, lines))
        with place_in(self._followers, self.holder(request), "streams of logs"):
            begin(request, HTTPStatus.OK, TEXT)
            request.write(beginning(self._parts.logs.tail(kind, lines)))
            self._parts.observer.responded(f"/logs/{kind.value}", HTTPStatus.OK)
            await LogStream(request, self._parts.logs, kind).done
        return None

    def _add(self, path: str, methods: set[str], endpoint: Endpoint) -> None:
        observer, clock = self._parts.observer, self._parts.clock

        async def answer(request: IRequest, **parts: str) -> bytes | None:
            observer.opened(path)
            began = clock.seconds()
            try:
                reply = await endpoint(cast(Request, request), **parts)
            finally:
                observer.closed(path, clock.seconds() - began)
            if reply is None:
                return None
            if reply.pieces is None and len(reply.body) <= LARGE:
                return self._send(cast(Request, request), path, reply)
            return await self._give(cast(Request, request), path, reply)

        self._methods.setdefault(path, set()).update(methods)
        self.klein.route(path, methods=sorted(methods), endpoint=f"{min(methods)} {path}")(answer)
        if "<" not in path:
            self.direct.update(((method.encode(), path.encode()), answer) for method in methods)

    async def _give(self, request: Request, route: str, reply: Reply) -> bytes | None:
        """A large one as its client takes it; who has too much untaken already is refused (H8)."""
        if request.method == b"HEAD":
            return self._send(request, route, reply)
        pieces = reply.pieces or pieces_of(reply.body)
        with self._outgoing.place(self.holder(request), pieces):
            self._send(request, route, reply)
            await self._outgoing.write(request, pieces)
        return None

    def _send(self, request: Request, route: str, reply: Reply) -> bytes:
        begin(request, reply.status, reply.content_type)
        for name, value in reply.headers.items():
            request.setHeader(name, value)
        if reply.status != HTTPStatus.NO_CONTENT and reply.pieces is None:
            request.setHeader("Content-Length", str(len(reply.body)))
        self._parts.observer.responded(route, reply.status)
        return reply.body

    def _refuse(self, request: Request, path: str, reply: Reply) -> bytes:
        route = _VARIABLE.sub(r"\1<\2>", path)
        return self._send(request, route if route in self._methods else OTHER, reply)

    def failed(self, request: IRequest, failure: Failure) -> bytes:
        """Every error of every endpoint ends here."""
        known = cast(Request, request)
        path = path_of(known)
        error = failure.value
        if isinstance(error, MethodNotAllowed):
            return self._wrong_method(known, path, error)
        if isinstance(error, NotFound):
            return self._refuse(known, path, problem_reply(_NOTHING, plain=False))
        if isinstance(error, HTTPException):
            problem = HttpProblem(error.code or HTTPStatus.BAD_REQUEST, error.description or "bad request")
        elif isinstance(error, ClusterError):
            problem = problem_of(error)
        else:
            problem = problem_of(ClusterError("unexpected"))
        if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            self._log.failure("answering {path} failed", failure, path=path)
        return self._refuse(known, path, problem_reply(problem, plain=path == COMPILE_AND_RUN))

    def _wrong_method(self, request: Request, path: str, error: MethodNotAllowed) -> bytes:
        # Of a path that is a route itself; another one, with a variable, may match it too.
        allowed = ", ".join(sorted(self._methods.get(path) or error.valid_methods or ()))
        if request.method == b"OPTIONS" and path != COMPILE_AND_RUN:
            return self._refuse(request, path, Reply(HTTPStatus.NO_CONTENT, headers={"Allow": allowed}))
        problem = HttpProblem(HTTPStatus.METHOD_NOT_ALLOWED, f"use {allowed} here", {"Allow": allowed})
        return self._refuse(request, path, problem_reply(problem, plain=path == COMPILE_AND_RUN))


class GatewaySite(NodeSite):
    """What every node serves, and `POST /compileandrun`."""

    def __init__(self, parts: NodeParts, gateway: GatewayParts) -> None:
        self._gateway = gateway
        self._api = Api(
            gateway.requests,
            gateway.access,
            gateway.settings,
            gateway.limits,
            parts.view,
            parts.clock,
            self.answered,
            parts.observer.responded,
            self.holder,
        )
        self._page = Page()
        compat = CompatParts(
            gateway.requests,
            gateway.access,
            gateway.settings,
            gateway.limits,
            parts.view,
            parts.clock,
            lambda: self._api.jobs,
            self.answered,
            gateway.utc,
            gateway.callbacks,
        )
        self._compat = compat_interfaces(compat)
        entrances = (one for interface in self._compat.values() for one in interface.entrances())
        self._door = Door(gateway.access, (*OUR_OWN, *entrances))
        super().__init__(parts)

    def endpoints(self) -> Iterable[tuple[str, str, Endpoint]]:
        """Path, method, and what answers."""
        return (
            *super().endpoints(),
            *self._api.endpoints(),
            (COMPILE_AND_RUN, "POST", self.compile_and_run),
            *(endpoint for interface in self._compat.values() for endpoint in interface.endpoints()),
            *Description(self._describe).endpoints(),
            *self._page.endpoints(),
        )

    def _describe(self) -> bytes:
        gateway = self._gateway
        return document(
            gateway.limits,
            gateway.settings,
            tokens_needed=gateway.access.needed,
            more=compat_paths(self._compat),
            more_schemes=SCHEMES if self._compat else {},
        )

    async def compile_and_run(self, request: Request) -> Reply:
        """Compile and run bare source: the original's interface (H1)."""
        began = self._parts.clock.seconds()
        caller = self._gateway.access.caller(request.getHeader("Authorization"))
        if not counted(request):
            self._gateway.access.spend(caller)
        assert request.content is not None  # noqa: S101 (for the type checker: set before any handler runs)
        program = read_source(
            request.content.read(),
            request.getHeader("Content-Type"),
            request.getHeader("Content-Encoding"),
            self._gateway.settings.source_bytes,
            self._gateway.limits,
        )
        use_cache, keep = cache_wishes(request.getHeader("Cache-Control"))
        answer, _leave = self._gateway.requests.submit(
            program, use_cache, keep, tenant=caller.name or "", share=caller.share
        )
        answered = await answer
        self.answered(answered, self._parts.clock.seconds() - began)
        return job_reply(answered)

    def answered(self, answered: Answered, seconds: float) -> None:
        """Count an answer, `seconds` after its request came in."""
        result = answered.result
        ok = isinstance(result, Outcome) and result.verdict is Verdict.OK
        self._api.recent.add(self._parts.clock.seconds(), seconds, ok, answered.cached)
        self._parts.observer.answered(result, answered.cached, seconds)

    def unwelcome(self, path: bytes, header: Header) -> Reply | bool:
        """Programs are read from those who may send them, and no faster than they may (H8, H9)."""
        return self._door.refusal(path, header)

    def takes_bodies(self, path: bytes) -> bool:
        """Where programs, or what goes with them, are sent (H8)."""
        return self._door.takes_bodies(path)

    def guard(self, request: Request) -> None:
        """Logs are for those who may send programs, and no more often than they may (H9)."""
        access = self._gateway.access
        access.read(access.caller(request.getHeader("Authorization")))

    def holder(self, request: Request) -> str:
        """By its tenant, where it has one (H9)."""
        name = self.tenant(request.getHeader)
        return address_of(request) if name is None else name

    def tenant(self, header: Header) -> str | None:
        """Whose token is sent, whatever comes of it (H9)."""
        access = self._gateway.access
        return access.name_of(authorization_of(header)) if len(access) else None

    async def peer_log(self, node: int, kind: Level, lines: int, authorization: str | None) -> Reply:
        """Another node's log, fetched from it (H3); another gateway asks for the same token."""
        known = self._parts.view().node(node)
        if known is None:
            raise HttpProblem(HTTPStatus.NOT_FOUND, f"node={node}: no such node is known here")
        # To nobody who only says that it is one: it would have the tokens of all who read its log.
        token = authorization if known.configured and known.role is Role.GATEWAY else None
        return Reply(HTTPStatus.OK, await self._gateway.peer_logs.tail(known, kind, lines, token))


def node_resource(parts: NodeParts) -> Front[NodeSite]:
    """What every node's HTTP port serves."""
    site = NodeSite(parts)
    return Front(site, site.klein.resource())


def gateway_resource(parts: NodeParts, gateway: GatewayParts) -> Front[GatewaySite]:
    """What a gateway's HTTP port serves."""
    site = GatewaySite(parts, gateway)
    return Front(site, site.klein.resource())
