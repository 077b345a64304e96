"""What the command line asks a node over HTTP (H1, H2, H3).

One request a connection, blocking: a command has nothing else to do meanwhile.
"""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from cluster.errors import JobError, RemoteProtocolError, Unavailable
from cluster.gateway.schemas import ProgramResult

ANSWER_MAX = 64 * 1024 * 1024
"""Bytes of an answer that are read."""

PATIENCE_S = 90.0
"""How long an answer may take: longer than a gateway lets its clients wait (`work.deadline_s`)."""

GLANCE_S = 2.0
"""How long a look at the cluster's state may take."""

_OK = 200
_THEIR_FAULT = 500
_TRY_LATER = frozenset({429, 502, 503, 504})


class Reply(msgspec.Struct, frozen=True):
    """What a gateway answered to a program.

    Attributes:
        ok: the program ran and returned; else `text` tells what went wrong with it.
        cached: taken from the gateway's cache (C3).
    """

    ok: bool
    text: str
    cached: bool
    job: str = ""


class NodeView(msgspec.Struct, frozen=True):
    """One node as a gateway sees it (H2); what it does not tell keeps its default."""

    id: int
    role: str = ""
    state: str | None = None
    status: str = ""
    epoch: int = 0
    slots: int = 0
    running: int = 0


class ClusterView(msgspec.Struct, frozen=True):
    """The cluster as a gateway sees it (H2)."""

    leader: int | None = None
    epoch: int = 0
    ready: bool = False
    not_ready_reason: str = ""
    nodes: tuple[NodeView, ...] = ()

    def node(self, number: int) -> NodeView | None:
        """Its row, if it is listed."""
        return next((node for node in self.nodes if node.id == number), None)


def run(gateway: str, source: bytes, patience_s: float = PATIENCE_S) -> Reply:
    """Send one source file to be compiled and run (H1).

    Raises:
        Unavailable: no gateway there, or it can't serve now; trying again may help.
        JobError: the gateway refuses the request itself.
        RemoteProtocolError: what answers is no gateway.
    """
    with _connected(gateway, patience_s) as connection:
        connection.request(
            "POST", "/compileandrun", source, {"Content-Type": "text/x-java-source; charset=utf-8"}
        )
        response = connection.getresponse()
        text = response.read(ANSWER_MAX).decode("utf-8", "replace")
        if response.status in _TRY_LATER:
            raise Unavailable(_first_line(text) or response.reason, _seconds(response))
        if response.status != _OK and not response.getheader("X-Job-Verdict"):
            raise JobError(f"refused ({response.status}): {_first_line(text) or response.reason}")
        return Reply(
            response.status == _OK,
            text,
            response.getheader("Cached-Response", "") == "true",
            response.getheader("X-Job-Id", ""),
        )


def run_program(
    gateway: str, request: Mapping[str, Any], *, fresh: bool = False, patience_s: float = PATIENCE_S
) -> ProgramResult:
    """Send a program as JSON and wait for its whole result (H4).

    Args:
        gateway: its address.
        request: as `RunRequest` has it.
        fresh: an answer that is known already will not do (C3).
        patience_s: how long to wait.

    Raises:
        Unavailable: no gateway there, or it can't serve now; trying again may help.
        JobError: the gateway refuses the request itself.
        RemoteProtocolError: what answers is no gateway.
    """
    headers = {"Content-Type": "application/json", **({"Cache-Control": "no-cache"} if fresh else {})}
    with _connected(gateway, patience_s) as connection:
        connection.request("POST", "/v1/run", msgspec.json.encode(request), headers)
        response = connection.getresponse()
        body = response.read(ANSWER_MAX)
    if response.status in _TRY_LATER:
        raise Unavailable(_first_line(body.decode(errors="replace")) or response.reason, _seconds(response))
    if response.status != _OK:
        detail = _first_line(body.decode(errors="replace")) or response.reason
        if response.status >= _THEIR_FAULT:
            raise RemoteProtocolError("the gateway failed", detail)
        raise JobError(f"refused ({response.status}): {detail}")
    try:
        return msgspec.json.decode(body, type=ProgramResult)
    except msgspec.DecodeError as error:
        raise RemoteProtocolError("not a result", str(error)) from error


def look(gateway: str, patience_s: float = GLANCE_S) -> ClusterView:
    """The cluster's state now (H2).

    Raises:
        Unavailable: no gateway there.
        RemoteProtocolError: what answers is no gateway.
    """
    return _decoded(look_raw(gateway, patience_s))


def look_raw(gateway: str, patience_s: float = GLANCE_S) -> bytes:
    """The same as the gateway's own JSON."""
    with _connected(gateway, patience_s) as connection:
        connection.request("GET", "/cluster-info", headers={"Accept": "application/json"})
        response = connection.getresponse()
        body = response.read(ANSWER_MAX)
        if response.status != _OK:
            raise Unavailable(f"{gateway}/cluster-info answers {response.status} {response.reason}")
        return body


def log_lines(node: str, level: str, lines: int, *, follow: bool) -> Iterator[str]:
    """The end of a node's log (H3), and with `follow` what is added to it, for ever.

    Raises:
        Unavailable: the node does not answer, or stopped while it was followed.
    """
    with _connected(node, None if follow else PATIENCE_S) as connection:
        connection.request("GET", f"/logs/{level}?lines={lines}{'&follow=1' if follow else ''}")
        response = connection.getresponse()
        if response.status != _OK:
            raise Unavailable(f"{node}/logs/{level} answers {response.status} {response.reason}")
        for line in response:
            yield line.decode("utf-8", "replace").rstrip("\n")


@contextlib.contextmanager
def _connected(url: str, patience_s: float | None) -> Iterator[http.client.HTTPConnection]:
    """A connection whose failures carry the words of our own error tree."""
    parts = urlsplit(url if "//" in url else f"http://{url}")
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=patience_s)
    try:
        yield connection
    except TimeoutError as error:
        raise Unavailable(f"no answer from {url} within {patience_s:g} s") from error
    except OSError as error:
        raise Unavailable(
            f"no node answers at {url} ({error.strerror or error}): `javacluster status` tells what runs"
        ) from error
    except http.client.HTTPException as error:
        raise RemoteProtocolError("not http", f"{url}: {error!r}") from error
    finally:
        connection.close()


def _decoded(body: bytes) -> ClusterView:
    try:
        return msgspec.json.decode(body, type=ClusterView)
    except msgspec.DecodeError as error:
        raise RemoteProtocolError("not a cluster", str(error)) from error


def _first_line(text: str) -> str:
    """The line that people need: of plain text the first, of problem+json its detail."""
    with contextlib.suppress(msgspec.DecodeError):
        problem: Any = msgspec.json.decode(text)
        if isinstance(problem, dict):
            return str(problem.get("detail") or problem.get("title") or "")
    return text.strip().partition("\n")[0]


def _seconds(response: http.client.HTTPResponse) -> float:
    text = response.getheader("Retry-After", "")
    return float(text) if text.isdigit() else 1.0
