"""The two logs of H3: the seam to a node's own, a live stream of one, and other nodes' logs."""

# ruff: noqa: N802
# IPushProducer's methods keep Twisted's spelling.
# mypy: allow-untyped-calls
# Twisted's web requests are not annotated.

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

import treq
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse
from twisted.web.server import Request
from zope.interface import implementer

from cluster.core.effects import Level
from cluster.errors import Unavailable
from cluster.gateway.replies import HttpProblem
from cluster.gateway.view import NodeView

LINES_DEFAULT = 5_000
LINES_MAX = 50_000
FOLLOWERS_MAX = 64
"""Streams open at once on one node; one client may have half of them (`core.fair_share`)."""
FOLLOW_BACKLOG_MAX = 256 * 1024
"""Bytes kept for a reader that does not read; past it the stream is cut."""
PEER_TIMEOUT_S = 5.0
PEER_LOG_MAX = 8 * 1024 * 1024
"""Bytes taken from another node's log at most."""

_BAD_GATEWAY = 502
_HOST = re.compile(r"[A-Za-z0-9._:-]+")
"""A name or an address; what else is in it could be another path, or another host."""


class LogSource(Protocol):
    """A node's own two logs."""

    def tail(self, kind: Level, lines: int) -> bytes:
        """The last lines, oldest first, bounded in bytes too."""
        ...

    def follow(self, kind: Level, callback: Callable[[bytes], None]) -> Callable[[], None]:
        """Call back with whole lines as they come, until the returned function is called."""
        ...


@implementer(IPushProducer)
class LogStream:
    """One `?follow=1`: lines go to the client as they come; a reader that falls behind is cut."""

    def __init__(self, request: Request, logs: LogSource, kind: Level) -> None:
        self._request = request
        self._paused = False
        self._backlog: list[bytes] = []
        self._backlog_bytes = 0
        self.done: Deferred[None] = Deferred(lambda _done: self._stop())
        """Never fires by itself: it is cancelled when the client goes away."""
        request.registerProducer(self, True)
        self._unfollow = logs.follow(kind, self.lines)

    def lines(self, data: bytes) -> None:
        """Send some lines, or keep them while the client's side is full."""
        if not self._paused:
            self._request.write(data)
            return
        self._backlog.append(data)
        self._backlog_bytes += len(data)
        if self._backlog_bytes > FOLLOW_BACKLOG_MAX:
            self._unfollow()
            self._backlog.clear()
            self._request.channel.forceAbortClient()

    def pauseProducing(self) -> None:
        """The client does not keep up."""
        self._paused = True

    def resumeProducing(self) -> None:
        """It has caught up."""
        self._paused = False
        waiting, self._backlog, self._backlog_bytes = b"".join(self._backlog), [], 0
        if waiting:
            self._request.write(waiting)

    def stopProducing(self) -> None:
        """The connection is closing; the cancelled `done` does the rest."""
        self._stop()

    def _stop(self) -> None:
        self._unfollow()
        self._backlog.clear()


def beginning(tail: bytes) -> bytes:
    """What a stream of a log begins with: its last lines, as far as they can wait for a slow reader."""
    return tail if len(tail) <= FOLLOW_BACKLOG_MAX else tail[-FOLLOW_BACKLOG_MAX:].partition(b"\n")[2]


class PeerLogs:
    """Fetches another node's log from its own HTTP port: bounded in bytes and time."""

    def __init__(self, http: HTTPClient, clock: IReactorTime) -> None:
        self._http = http
        self._clock = clock

    async def tail(self, node: NodeView, kind: Level, lines: int, authorization: str | None = None) -> bytes:
        """The last lines of that node's log, asked for with that `Authorization`.

        Raises:
            HttpProblem: 502, it can't be reached, or answers nonsense.
        """
        if not node.http or not node.host:
            raise HttpProblem(_BAD_GATEWAY, f"node {node.id} serves no HTTP that is known here")
        if not _HOST.fullmatch(node.host):  # of a worker that joined it is what that says of itself
            raise HttpProblem(_BAD_GATEWAY, f"node {node.id} says that it is at no address")
        host = f"[{node.host}]" if ":" in node.host else node.host
        url = f"http://{host}:{node.http}/logs/{kind.value}?lines={lines}"
        answer = Deferred.fromCoroutine(self._get(url, authorization))
        answer.addTimeout(PEER_TIMEOUT_S, self._clock)
        try:
            return await answer
        except CancelledError:
            raise
        except DeferredTimeout as error:
            raise HttpProblem(
                _BAD_GATEWAY, f"node {node.id} did not answer within {PEER_TIMEOUT_S:g} s"
            ) from error
        except Exception as error:
            reason = str(error) or type(error).__name__
            raise HttpProblem(_BAD_GATEWAY, f"node {node.id} can't be reached: {reason}") from error

    async def _get(self, url: str, authorization: str | None) -> bytes:
        headers = Headers({} if authorization is None else {"Authorization": [authorization]})
        response: IResponse = await self._http.get(
            url, unbuffered=True, allow_redirects=False, headers=headers
        )
        if response.code != 200:  # noqa: PLR2004 (the one good status)
            raise Unavailable(f"it answered {response.code}")
        parts: list[bytes] = []
        size = 0

        def collect(data: bytes) -> None:
            nonlocal size
            size += len(data)
            if size > PEER_LOG_MAX:
                raise Unavailable(f"its answer is larger than {PEER_LOG_MAX} bytes")
            parts.append(data)

        await treq.collect(response, collect)
        return b"".join(parts)
