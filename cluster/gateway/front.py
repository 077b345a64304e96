"""What is done with a request before its endpoint, and with what comes of it.

Klein finds the endpoint of any path, which is a sixth of what a cached answer costs. Most requests are for
a path that has no variable part and is spelt as it is defined: those are looked up here instead.
"""

# mypy: allow-untyped-calls
# Twisted's web requests and resources are not annotated.

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Generic, Protocol, TypeVar, cast

from werkzeug.exceptions import NotFound

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from cluster.gateway.access import Header
from cluster.gateway.replies import HttpProblem, Reply

COMPILE_AND_RUN = "/compileandrun"

HOSTS_KEPT = 64
"""A gateway has a few names, whatever else may be sent: whether they are good is found out once."""

Answering = Callable[[Request], Awaitable[bytes | None]]
"""An endpoint that sets status and headers, and gives the body; None: it has written that itself."""


class Endpoints(Protocol):
    """What is served: `app.NodeSite`."""

    @property
    def direct(self) -> Mapping[tuple[bytes, bytes], Answering]:
        """Endpoints by method and path, as these are sent."""

    def failed(self, request: IRequest, failure: Failure) -> bytes:
        """Turn an error into an answer."""

    def unwelcome(self, path: bytes, header: Header) -> Reply | bool:
        """The answer to a body that need not be read; otherwise, whether it is counted for a rate already."""

    def tenant(self, header: Header) -> str | None:
        """Whose token is sent; None: nobody's."""

    def aside(self, path: bytes) -> Reply | None:
        """That to a large one where none is taken."""


S_co = TypeVar("S_co", bound=Endpoints, covariant=True)


@implementer(IResource)
class Front(Resource, Generic[S_co]):
    """Before Klein: defaults that hold for every answer, and addresses that Klein can't route or need not.

    Attributes:
        site: the endpoints.
        unwelcome: the answer to a body that need not be read; for `site.make_site`.
        tenant: whose token is sent; for the same.
        aside: that to a large one where none is taken; for the same.
    """

    isLeaf = True  # noqa: N815 (Twisted's name)
    _log = Logger()

    def __init__(self, site: S_co, klein: IResource) -> None:
        """Ask `klein` where to find what `site` has not at hand."""
        super().__init__()
        self.site = site
        self._klein = klein
        self.unwelcome = site.unwelcome
        self.tenant = site.tenant
        self.aside = site.aside

    def render(self, request: IRequest) -> int | bytes:
        """Route it."""
        known = cast(Request, request)
        known.defaultContentType = None
        known.responseHeaders.removeHeader(b"Server")
        known.setHeader(b"X-Content-Type-Options", b"nosniff")
        endpoint = self.site.direct.get((known.method, known.path))
        path = known.path.decode() if endpoint is not None else path_of(known)
        if f"/{path.lstrip('/')}".startswith(COMPILE_AND_RUN):
            known.setHeader(b"Cached-Response", b"false")
        if path.startswith("//"):  # Klein would take it for the path with one slash
            return self.site.failed(known, Failure(NotFound()))
        if not _is_clean(known):
            text = "the address or a header is malformed: not UTF-8, or no host"
            return self.site.failed(known, Failure(HttpProblem(HTTPStatus.BAD_REQUEST, text)))
        if endpoint is not None:
            return self._answer(known, endpoint)
        return cast("int | bytes", self._klein.render(known))

    def _answer(self, request: Request, endpoint: Answering) -> int:
        """Write what comes of it; a client that leaves meanwhile cancels it, as Klein does."""
        gone = False

        async def serve() -> None:
            try:
                body = await endpoint(request)
            except Exception:  # noqa: BLE001 (whatever it is becomes an answer)
                if gone:
                    return
                body = self.site.failed(request, Failure())
            if gone:
                return
            if body is not None:
                request.write(body)
            request.finish()

        def leave(_reason: Failure) -> None:
            nonlocal gone
            gone = True
            serving.cancel()

        serving = Deferred.fromCoroutine(serve())
        serving.addErrback(
            lambda failure: self._log.failure("answering {path} failed", failure, path=request.path)
        )
        if not serving.called:  # most are answered by now
            request.notifyFinish().addErrback(leave)
        return NOT_DONE_YET


def _is_clean(request: Request) -> bool:
    """Whether Klein can decode the address, and endpoints the headers."""
    try:
        b"/".join(request.postpath or ()).decode("utf-8")
        request.method.decode("ascii")
        for _name, values in request.requestHeaders.getAllRawHeaders():
            b"".join(values).decode("utf-8")
    except UnicodeError:
        return False
    return _is_host(request.getRequestHostname())


@lru_cache(maxsize=HOSTS_KEPT)
def _is_host(name: bytes) -> bool:
    """Whether it is an internationalised domain name, or an address."""
    try:
        name.decode("ascii").encode("idna")
    except UnicodeError:
        return False
    return True


def path_of(request: Request) -> str:
    """The path that is routed: decoded, whole, whether Klein has moved its segments yet or not."""
    segments = (*(request.prepath or ()), *(request.postpath or ()))
    return "/" + b"/".join(segments).decode(errors="replace")
