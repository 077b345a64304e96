"""The HTTP server around a resource: every size, count and time bounded before a handler is reached (H8).

A body above the limit is refused as soon as its length is known, or its chunks exceed it: the 413 is on its
way while the rest is still coming, and that rest is thrown away, not stored. The connection is then closed,
after a pause in which the client can read the answer: closing at once, with bytes unread, would reset it.
"""

# ruff: noqa: N802, N815
# Overridden methods and attributes keep Twisted's spelling.
# mypy: allow-untyped-calls
# Twisted's HTTP server is not annotated.

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from io import BytesIO

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol, IReactorTime
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.http import Request as PlainRequest
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from cluster.config import GatewaySettings
from cluster.core.fair_share import FairRoom
from cluster.gateway.access import Header
from cluster.gateway.channel import LINGER_S, MODERN, OTHER, BoundedChannel
from cluster.gateway.door import ASIDE_BYTES
from cluster.gateway.endpoint import from_address
from cluster.gateway.replies import HttpProblem, Reply, problem_reply
from cluster.gateway.turns import Turns

LEAVING_S = 1.0
"""Once the port is closed: how long a connection that is open may still begin a request."""
FLUSH_S = 2.0
"""How long clients have to take the last of their answers."""

CountResponse = Callable[[str, int], None]

Unwelcome = Callable[[bytes, Header], Reply | bool]
"""Given a path as it was sent and the headers, the answer to a body that need not even be read.

Where it is to be read: whether it has been counted for its sender's rate.
"""

Tenant = Callable[[Header], str | None]
"""Given the headers, whose token is sent; None: nobody's."""

Aside = Callable[[bytes], Reply | None]
"""Given a path as it was sent, the answer to more than `ASIDE_BYTES` there; None: bodies are taken there."""

_FULL_TEXT = b"too many connections are open here; try later\n"
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nCached-Response: false\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n\r\n%b" % (len(_FULL_TEXT), _FULL_TEXT)
)


class BoundedRequest(Request):
    """A request whose body is counted as it comes, against its own limit and against everybody's.

    Attributes:
        alive: what may be sent at any time into an answer that has begun, so that its client proves to be
            there; empty: nothing may.
        counted: for its sender's rate, when it began (`endpoint.counted`).
        moving: its answer is written piece by piece, as its client takes it, and nothing fits in between.
    """

    channel: BoundedChannel
    site: BoundedSite
    defaultContentType = None
    alive = b""
    counted = False
    moving = False

    def __init__(self, channel: BoundedChannel, *args: object, **kwargs: object) -> None:
        super().__init__(channel, *args, **kwargs)
        self._bounds = channel.site
        self._body = BytesIO()
        self._held = 0
        self._holder = ""
        self._limit = 0
        self._modern = False
        self._aside: Reply | None = None
        self._refused = False
        self._linger: IDelayedCall | None = None

    def gotLength(self, length: int | None) -> None:
        """The headers are here: refuse what is known to be too large."""
        self.content = self._body = BytesIO()
        # `_path` is where the channel keeps what becomes the request's own path once all of it is here.
        path = self.channel._path  # noqa: SLF001
        self._modern = path.startswith(MODERN)
        settings = self._bounds.settings
        self._limit = settings.request_bytes if self._modern else settings.source_bytes
        if length != 0 and (aside := self._bounds.aside(path)) is not None:
            self._aside, self._limit = aside, ASIDE_BYTES
        if length is not None and length > self._limit:
            self._refuse_large()
        elif length != 0:
            told = self._bounds.unwelcome(path, self._header)
            if isinstance(told, Reply):
                self._answer_early(told)
            else:
                self.counted = told
                self._holder = self._bounds.tenant(self._header) or self.channel.address

    def handleContentChunk(self, data: bytes) -> None:
        """A piece of the body: keep it, or refuse."""
        if self._refused:
            return
        if self._held + len(data) > self._limit:
            self._refuse_large()
        elif not self._bounds.bodies.admits(self._holder, len(data)):
            text = "too many programs are waiting here, or too much of yours; try later"
            self._refuse(HttpProblem(HTTPStatus.SERVICE_UNAVAILABLE, text, {"Retry-After": "1"}))
        else:
            self._held += len(data)
            self._bounds.bodies.take(self._holder, len(data))
            self._body.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """All of it is here."""
        if not self._refused:
            super().requestReceived(command, path, version)
            return
        self._stop_lingering()
        self.finish()

    def connectionLost(self, reason: Failure) -> None:
        """The client is gone."""
        self._stop_lingering()
        self._release()
        super().connectionLost(reason)

    def finish(self) -> None:
        """The answer is written; the body's room is free again."""
        self._release()
        super().finish()

    def _refuse_large(self) -> None:
        if self._aside is not None:
            self._answer_early(self._aside)
            return
        text = f"the body is larger than {self._limit} bytes"
        self._refuse(HttpProblem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text))

    def _header(self, name: str) -> str | None:
        """The last of that name, whatever its bytes are: nobody has looked at them yet."""
        sent = self.requestHeaders.getRawHeaders(name.encode())
        return None if not sent else sent[-1].decode("utf-8", "replace")

    def _refuse(self, problem: HttpProblem) -> None:
        self._answer_early(problem_reply(problem, plain=not self._modern))

    def _answer_early(self, reply: Reply) -> None:
        """Answer now, whatever else is still coming."""
        self.channel.told()
        self._refused = True
        self._release()
        self.content = self._body = BytesIO()
        self.channel.persistent = 0
        self.method, self.clientproto = b"POST", b"HTTP/1.1"
        self.setResponseCode(reply.status)
        for name, value in (
            ("Cached-Response", "false"),
            ("Connection", "close"),
            ("Content-Type", reply.content_type),
            ("Content-Length", str(len(reply.body))),
            *reply.headers.items(),
        ):
            self.setHeader(name, value)
        self._bounds.count_response(OTHER, reply.status)
        self.write(reply.body)
        # A client that waits for "100 Continue" will send nothing more, so there is nothing to wait for.
        waits = self.requestHeaders.hasHeader(b"Expect")
        self.requestHeaders.removeHeader(b"Expect")
        if waits:
            self.channel.loseConnection()
        else:
            self._linger = self._bounds.reactor.callLater(LINGER_S, self._abort)

    def _abort(self) -> None:
        self._linger = None
        self.channel.cut()

    def _stop_lingering(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    def _release(self) -> None:
        self._bounds.bodies.give_back(self._holder, self._held)
        self._held = 0


class _Full(Protocol):
    """A connection too many: told so, and closed."""

    def connectionMade(self) -> None:
        """Say it."""
        assert self.transport is not None  # noqa: S101 (for the type checker: set before this call)
        self.transport.write(_FULL)
        self.transport.loseConnection()


class BoundedSite(Site):
    """A `Site` that counts what it holds and keeps no access log: the metrics count, the core logs jobs.

    Attributes:
        connections: open now.
        evicted: closed so far to make room, while they asked nothing or had not asked it whole.
        leaving: no connection serves another request after the present or the next one.
        bodies: bytes of those that are arriving or wait for their answers, by whose they are.
    """

    def __init__(
        self,
        resource: IResource,
        settings: GatewaySettings,
        reactor: IReactorTime,
        count_response: CountResponse,
        unwelcome: Unwelcome,
        aside: Aside,
        tenant: Tenant,
    ) -> None:
        super().__init__(
            resource, timeout=settings.idle_timeout_s, reactor=reactor, parsePOSTFormSubmission=False
        )
        self.settings = settings
        self.count_response = count_response
        self.unwelcome = unwelcome
        self.aside = aside
        self.tenant = tenant
        self.turns = Turns(reactor)
        self.evicted = 0
        self._open: dict[BoundedChannel, None] = {}
        self._idle: dict[BoundedChannel, None] = {}
        """Those that owe no answer, the longest without one first."""
        self.bodies = FairRoom(settings.pending_bytes)
        self._from = FairRoom(settings.connections_max)
        """Connections, by the address that they come from."""
        self.leaving = False
        self._awaited: list[tuple[Mapping[BoundedChannel, None], Deferred[None]]] = []
        """While it leaves: what must become empty, and who waits for that."""

    @property
    def body_bytes(self) -> int:
        """Of all bodies together."""
        return self.bodies.held

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._open)

    def joined(self, channel: BoundedChannel) -> None:
        """A connection is open."""
        self._open[channel] = None
        self._idle[channel] = None
        self._from.take(channel.address)

    def left(self, channel: BoundedChannel) -> None:
        """It is closed."""
        if channel in self._open:
            del self._open[channel]
            self._from.give_back(channel.address)
        self.busy(channel)

    def busy(self, channel: BoundedChannel) -> None:
        """It has asked, and is owed an answer."""
        self._idle.pop(channel, None)
        for channels, fires in tuple(self._awaited):
            if not channels and not fires.called:
                fires.callback(None)

    def idle(self, channel: BoundedChannel) -> None:
        """It has its answer."""
        if channel in self._open and not self.leaving:
            self._idle[channel] = None

    def leave(self) -> Deferred[None]:
        """The port was closed: each connection that is open gets one more answer at most (deployment D4).

        A client that connected in time, or that sends its next request on a connection which it could not
        know to be closing, is not sent away. Fires once nobody is left who may ask, after `LEAVING_S` at the
        latest.
        """
        self.leaving = True
        for channel in self._open:
            channel.last()
        return self._emptied(self._idle, LEAVING_S)

    def flush(self) -> Deferred[None]:
        """Every answer is written: close, once it is taken. Fires when that is done, or `FLUSH_S` passed."""
        for channel in list(self._open):
            channel.loseConnection()
        return self._emptied(self._open, FLUSH_S)

    def _emptied(self, channels: Mapping[BoundedChannel, None], at_latest_s: float) -> Deferred[None]:
        """Fires when none of them is left, or the time has passed."""
        fires: Deferred[None] = Deferred()
        if channels:
            late = self.reactor.callLater(at_latest_s, fires.callback, None)
            fires.addBoth(lambda _: late.cancel() if late.active() else None)
            self._awaited.append((channels, fires))
        else:
            fires.callback(None)
        return fires

    def startFactory(self) -> None:
        """Open no access log."""

    def stopFactory(self) -> None:
        """There is none to close."""

    def log(self, request: PlainRequest) -> None:
        """Write no access log."""

    def buildProtocol(self, addr: IAddress | None) -> IProtocol:  # type: ignore[override]
        """A connection; when there are too many, instead of the one that has been idle for longest.

        Connections that are held open, or whose request trickles in, so keep nobody out. When each is owed an
        answer, the oldest of the address that has most gives way to one that has clearly fewer (H9); else the
        new one is refused.
        """
        address = from_address(addr)
        if self.connections >= self.settings.connections_max:
            oldest = next(iter(self._idle), None) or self._giving_way(address)
            if oldest is None:
                self.count_response(OTHER, HTTPStatus.SERVICE_UNAVAILABLE)
                return _Full()
            self.left(oldest)
            self.evicted += 1
            oldest.cut()
        channel = BoundedChannel(self, BoundedRequest, address)
        channel.timeOut = self.timeOut  # type: ignore[assignment]  # a float will do
        channel.callLater = self.reactor.callLater  # type: ignore[assignment,method-assign]  # as Site does
        return channel

    def _giving_way(self, address: str) -> BoundedChannel | None:
        if max(self._from.holders.values()) <= self._from.of(address) + 1:
            return None  # they would only take turns
        going = self._from.giving_way(address, 1, ((one, one.address, 1) for one in self._open))
        return None if going is None else next(iter(going))


def _count_nothing(_endpoint: str, _status: int) -> None:
    """For a site without metrics."""


def _welcome(_path: bytes, _header: Header) -> bool:
    """For a site that asks nobody."""
    return False


def _nobody(_header: Header) -> None:
    """For a site that knows no tokens."""


def _anywhere(_path: bytes) -> None:
    """For a site that takes bodies at every path."""


def make_site(
    resource: IResource,
    settings: GatewaySettings,
    reactor: IReactorTime,
    count_response: CountResponse = _count_nothing,
    unwelcome: Unwelcome = _welcome,
    aside: Aside = _anywhere,
    tenant: Tenant = _nobody,
) -> BoundedSite:
    """What a TCP port serves."""
    return BoundedSite(resource, settings, reactor, count_response, unwelcome, aside, tenant)
