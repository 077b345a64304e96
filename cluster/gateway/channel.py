"""One HTTP/1.1 connection: bounded headers, a bounded time a request, an answer to whatever comes (H8).

What can't be parsed is answered here, as nothing else ever hears of it. A client that closes its sending side
once it has asked (`nc -N`, `socat`) gets its answer; the same end of stream comes from one that is gone, and
whose job is to be cancelled at once (W9). To tell them apart something is sent that every client puts up
with: an interim `100 Continue`, or in a stream of events a comment. A machine that has closed the
connection for good answers that with a reset.
"""

# ruff: noqa: N802, N815
# Overridden methods and attributes keep Twisted's spelling.
# mypy: allow-untyped-calls
# Twisted's HTTP server is not annotated.

from __future__ import annotations

import socket
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.interfaces import IAddress, IDelayedCall, IHalfCloseableProtocol, ITCPTransport
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.server import Request
from zope.interface import implementer

from cluster.gateway.progress import acknowledged
from cluster.gateway.replies import HttpProblem, problem_reply

if TYPE_CHECKING:
    from cluster.gateway.site import BoundedRequest, BoundedSite

HEADERS_MAX = 100
HEADER_BYTES_MAX = 16 * 1024
"""Request line and headers together."""
RECEIVE_S = 30.0
"""A request must be here whole within this time of its first byte, however busily it trickles."""
LINGER_S = 2.0
"""How long the rest of a refused request is read and thrown away before the connection is closed."""

STALLED_S = 60.0
"""A client that takes nothing of its answer for so long is cut; however little it takes, it is not."""
STALL_LOOKS = 6
"""How often it is looked in that time whether it took something."""

INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
"""Not 102: some clients, Python's `http.client` among them, skip no other interim answer than 100."""
LOOKS_S = (0.005, 0.02, 0.05, 0.1, 0.25, 1.0)
"""When, after something was sent into a half-closed connection, it is looked whether a reset came back."""
LOOK_AGAIN_S = 5.0
"""And how long until something is sent again."""

MODERN = (b"/v1/", b"/jobe/", b"/api/v2/", b"/submissions")
"""Paths whose bodies are JSON, and so their errors."""

OTHER = "other"
"""The endpoint that refusals here are counted under: no path was looked at yet."""

_NO_URI = Request.uri
"""A request's, until it was dealt with."""

LENGTH_LINE_MAX = 80
"""Bytes of a `Content-Length`, name and all; a number of more digits than Python reads is no length."""

_HEADER = "a malformed header"
_NO_LENGTH = "its length is no number, is given twice, or its Transfer-Encoding is not chunked"


@implementer(IHalfCloseableProtocol)
class BoundedChannel(HTTPChannel):
    """One HTTP/1.1 connection with bounded headers and a bounded time for each request to arrive."""

    maxHeaders = HEADERS_MAX
    totalHeadersSize = HEADER_BYTES_MAX
    site: BoundedSite
    _path = b""
    """Of the request that arrives; HTTPChannel sets it on the instance, and deletes it once it is here."""

    def __init__(self, site: BoundedSite, request: type[BoundedRequest], address: str) -> None:
        super().__init__()
        self.site = site
        self.address = address
        self.factory = site
        self.requestFactory = request
        self._answering = False
        self._refused = False
        self._told = False
        self._lost = False
        self._host: IAddress | None = None
        self._asked_all = False
        self._suspect: tuple[str, bytes | None] = ("", None)
        self._begun = False
        self._untaken: Request | None = None
        self._too_slow: IDelayedCall | None = None
        self._stalled: IDelayedCall | None = None
        self._taken = 0
        self._looks_left = 0
        self._look: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Count it."""
        self.site.joined(self)
        super().connectionMade()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Count it, and let its requests go."""
        self._lost = True
        self.site.left(self)
        self._arrived()
        self._moves()
        if self._look is not None:
            self._look.cancel()
            self._look = None
        super().connectionLost(reason)

    def getHost(self) -> IAddress:
        """Our end; asked of the kernel once, not for every request: it does not change."""
        if self._host is None:
            self._host = super().getHost()
        return self._host

    # --- a request arrives --------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """The first byte of a request starts its clock, unless all of it came at once."""
        if self._refused:
            return
        self._begun = True
        super().dataReceived(data)
        self._arriving()

    def lineReceived(self, line: bytes) -> None:
        """So does the first line of one that was buffered behind another."""
        if self._refused:
            return
        self._begun = True
        self._suspect = ("the request can't be parsed at", line)
        if self._receivedHeaderSize + len(line) > HEADER_BYTES_MAX:
            self.lineLengthExceeded(line)
            return
        super().lineReceived(line)

    def headerReceived(self, line: bytes) -> bool:
        """One header, or none."""
        if self._refused:
            return False
        if self._receivedHeaderCount >= HEADERS_MAX:
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {HEADERS_MAX} headers")
            return False
        self._suspect = (_HEADER, line)
        if len(line) > LENGTH_LINE_MAX and _name(line) == b"content-length":
            self._respondToBadRequestAndDisconnect()  # Twisted would raise what int() does
            return False
        return bool(super().headerReceived(line))

    def allHeadersReceived(self) -> None:
        """A refused request has no more than it had."""
        if not self._refused:
            super().allHeadersReceived()

    def rawDataReceived(self, data: bytes) -> None:
        """A piece of a body, or of what comes behind it."""
        self._suspect = ("a chunk of the body is malformed", None)
        super().rawDataReceived(data)

    def lineLengthExceeded(self, line: bytes) -> None:
        """A line, or all of them together, that nothing needs."""
        del line
        text = f"the request line and the headers are larger than {HEADER_BYTES_MAX} bytes"
        self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text)

    def checkPersistence(self, request: Request, version: bytes) -> bool:
        """Whether another request may follow this one."""
        persistent = bool(super().checkPersistence(request, version))
        if persistent and self.site.leaving:
            _say_close(request)
            return False
        return persistent

    def last(self) -> None:
        """No other request will follow the one that is here, if there is one, and its client is told so."""
        if self.requests and self.persistent:
            self.persistent = False
            if not self.requests[0].startedWriting:
                _say_close(self.requests[0])

    def allContentReceived(self) -> None:
        """A request is here whole: its answer may take as long as it takes."""
        if self._refused:
            return
        self._arrived()
        self._answering = True
        self.site.busy(self)
        # What comes behind it is kept, as while it is dealt with, until its turn comes.
        self._handlingRequest = True
        self.setRawMode()
        self.site.turns.do(self._handle)

    def _handle(self) -> None:
        if not self._lost:
            super().allContentReceived()

    def requestDone(self, request: Request) -> None:
        """Ready for the next one, once the client has taken what it was given.

        Requests that were sent one behind another are small, and their answers are not: who reads none of
        them gets no more of them.
        """
        self._answering = False
        self.site.idle(self)
        if self._waitingForTransport and self.persistent:
            self._untaken = request
            return
        super().requestDone(request)
        if self._asked_all and not self._answering:
            self.loseConnection()

    def pauseProducing(self) -> None:
        """The client does not take what it is sent: not for ever."""
        super().pauseProducing()
        if self._stalled is None:
            self._taken = self._acknowledged()
            self._looks_left = STALL_LOOKS
            self._watch()

    def resumeProducing(self) -> None:
        """It does."""
        self._moves()
        super().resumeProducing()
        untaken, self._untaken = self._untaken, None
        if untaken is not None:
            self.requestDone(untaken)

    def _moves(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _watch(self) -> None:
        self._stalled = self.site.reactor.callLater(STALLED_S / STALL_LOOKS, self._look_for_progress)

    def _look_for_progress(self) -> None:
        """All of a large answer may take its reader an hour; nothing of it for a while: nobody reads."""
        self._stalled = None
        taken = self._acknowledged()
        self._looks_left = STALL_LOOKS if taken != self._taken else self._looks_left - 1
        self._taken = taken
        if self._looks_left:
            self._watch()
        else:
            self.cut()

    def _acknowledged(self) -> int:
        return acknowledged(cast(Any, self.transport).getHandle())

    # --- refusals -----------------------------------------------------------------------------------

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Twisted found something wrong: say what it was looking at."""
        text, line = self._suspect
        if line is not None:
            if text is _HEADER and _name(line) in {b"content-length", b"transfer-encoding"}:
                text = _NO_LENGTH
            text = f"{text}: {_shown(line)}"
        self.refuse(HTTPStatus.BAD_REQUEST, text)

    def refuse(self, status: HTTPStatus, text: str) -> None:
        """Answer a request of which no handler will ever hear; close once its client can have read that."""
        if self._refused:
            return
        if self._told:
            self.cut()
            return
        self._refused = True
        self._arrived()
        reply = problem_reply(HttpProblem(status, text), plain=not self._path.startswith(MODERN))
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nCached-Response: false\r\n"
            f"Content-Type: {reply.content_type}\r\nContent-Length: {len(reply.body)}\r\n\r\n"
        )
        cast(ITCPTransport, self.transport).write(head.encode() + reply.body)
        self.site.count_response(OTHER, status)
        self.setTimeout(None)
        self._too_slow = self.site.reactor.callLater(LINGER_S, self._give_up)

    def told(self) -> None:
        """The request that is arriving has its answer already: its time does not matter, nor its form."""
        self._told = True
        self._arrived()

    def cut(self) -> None:
        """Close now, whatever is still to be sent."""
        cast(ITCPTransport, self.transport).abortConnection()

    def _arriving(self) -> None:
        """Part of a request is here: the rest of it has its time."""
        if self._begun and self._too_slow is None and not (self._answering or self._told or self._lost):
            self._too_slow = self.site.reactor.callLater(RECEIVE_S, self._trickled)

    def _arrived(self) -> None:
        self._begun = False
        if self._too_slow is not None:
            self._too_slow.cancel()
            self._too_slow = None

    def _trickled(self) -> None:
        self._too_slow = None
        self.refuse(HTTPStatus.REQUEST_TIMEOUT, f"the request did not arrive within {RECEIVE_S:g} s")

    def _give_up(self) -> None:
        self._too_slow = None
        self.cut()

    # --- the client has sent all that it will -------------------------------------------------------

    def readConnectionLost(self) -> None:
        """It asks nothing more: it is gone, or it waits."""
        self._asked_all = True
        if not self._answering:
            cast(ITCPTransport, self.transport).loseConnection()
        else:
            self._send_something()

    def writeConnectionLost(self) -> None:
        """We never close that side alone."""

    def _send_something(self) -> None:
        """Anything that a client which still reads will bear."""
        self._look = None
        request: Any = self.requests[0]
        something = request.alive if request.startedWriting else INTERIM
        # One that still waits for its turn was not told its version yet.
        version = self._version if request.uri == _NO_URI else request.clientproto
        if request.moving:  # what shows that it is there is how it takes the pieces
            self._look_after(0)
        elif not something or (not request.startedWriting and version != b"HTTP/1.1"):
            self.cut()
        else:
            (request.write if request.startedWriting else cast(ITCPTransport, self.transport).write)(
                something
            )
            self._look_after(0)

    def _look_after(self, number: int) -> None:
        last = number == len(LOOKS_S)
        wait_s = LOOK_AGAIN_S if last else LOOKS_S[number]
        self._look = self.site.reactor.callLater(wait_s, self._look_now, number, last=last)

    def _look_now(self, number: int, *, last: bool) -> None:
        self._look = None
        if cast(Any, self.transport).getHandle().getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.cut()
        elif self._answering:
            if last:
                self._send_something()
            else:
                self._look_after(number + 1)


def _say_close(request: Request) -> None:
    request.responseHeaders.setRawHeaders(b"Connection", [b"close"])


def _name(line: bytes) -> bytes:
    """Of a header."""
    return line.partition(b":")[0].strip().lower()


def _shown(line: bytes) -> str:
    """The beginning of what a stranger sent, fit to be printed."""
    return repr(line[:80].decode("ascii", "replace"))
