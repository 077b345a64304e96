"""What the command line asks a node over HTTP (H1, H2, H3).

One request a connection, blocking: a command has nothing else to do meanwhile.
"""

from __future__ import annotations

import contextlib
import http.client
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from cluster.client.answers import ANSWER_MAX, TRY_LATER, ClusterView, first_line, seconds_of
from cluster.client.calls import PATIENCE_S
from cluster.errors import ClusterError, EnvironmentFault, JobError, RemoteProtocolError, Unavailable
from cluster.gateway.schemas import JobDocument, OutputEvent, ProgramResult, RestartedEvent

GLANCE_S = 2.0
"""How long a look at the cluster's state may take."""

T = TypeVar("T")

_OK = 200
_WHO = 401
_THEIR_FAULT = 500


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


def token_of_environment() -> str | None:
    """The bearer token that this process was given (H9).

    It is in $JAVACLUSTER_TOKEN, or in the file that $JAVACLUSTER_TOKEN_FILE names; never in an argument.

    Raises:
        EnvironmentFault: the file can't be read.
    """
    if token := os.environ.get("JAVACLUSTER_TOKEN", "").strip():
        return token
    name = os.environ.get("JAVACLUSTER_TOKEN_FILE")
    if not name:
        return None
    try:
        return Path(name).read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentFault(f"JAVACLUSTER_TOKEN_FILE: {error}") from error


def run(gateway: str, source: bytes, patience_s: float = PATIENCE_S, token: str | None = None) -> Reply:
    """Send one source file to be compiled and run (H1).

    Raises:
        Unavailable: no gateway there, or it can't serve now; trying again may help.
        JobError: the gateway refuses the request itself.
        RemoteProtocolError: what answers is no gateway.
    """
    with _connected(gateway, patience_s) as connection:
        headers = {"Content-Type": "text/x-java-source; charset=utf-8", **_authorization(token)}
        connection.request("POST", "/compileandrun", source, headers)
        response = connection.getresponse()
        text = response.read(ANSWER_MAX).decode("utf-8", "replace")
        if response.status in TRY_LATER:
            raise Unavailable(
                first_line(text) or response.reason, seconds_of(response.getheader("Retry-After", ""))
            )
        if response.status != _OK and not response.getheader("X-Job-Verdict"):
            raise _refused(response.status, first_line(text) or response.reason)
        return Reply(
            response.status == _OK,
            text,
            response.getheader("Cached-Response", "") == "true",
            response.getheader("X-Job-Id", ""),
        )


def run_program(
    gateway: str,
    request: Mapping[str, Any],
    *,
    fresh: bool = False,
    patience_s: float = PATIENCE_S,
    token: str | None = None,
) -> ProgramResult:
    """Send a program as JSON and wait for its whole result (H4).

    Args:
        gateway: its address.
        request: as `RunRequest` has it.
        fresh: an answer that is known already will not do (C3).
        patience_s: how long to wait.
        token: a bearer token, where the gateway asks for one (H9).

    Raises:
        Unavailable: no gateway there, or it can't serve now; trying again may help.
        JobError: the gateway refuses the request itself.
        RemoteProtocolError: what answers is no gateway.
    """
    with _connected(gateway, patience_s) as connection:
        response = _post(connection, request, token, "application/json", fresh=fresh)
        body = response.read(ANSWER_MAX)
    _check(response, body)
    return _convert(body, ProgramResult)


def follow_program(
    gateway: str,
    request: Mapping[str, Any],
    *,
    fresh: bool = False,
    patience_s: float = PATIENCE_S,
    token: str | None = None,
) -> Iterator[OutputEvent | RestartedEvent | ProgramResult]:
    """Send a program as JSON and follow it (H5): what it writes as it comes, and its whole result in the end.

    Arguments and errors are those of `run_program`; `patience_s` is how long nothing at all may come. Leaving
    the iterator early cancels the program.
    """
    with _connected(gateway, patience_s) as connection:
        response = _post(connection, request, token, "text/event-stream", fresh=fresh)
        if response.status != _OK:
            _check(response, response.read(ANSWER_MAX))
        if not response.getheader("Content-Type", "").startswith("text/event-stream"):
            raise RemoteProtocolError("not a stream of events", response.getheader("Content-Type", ""))
        for name, data in _events(response):
            if name == "output":
                yield _convert(data, OutputEvent)
            elif name == "restarted":
                yield _convert(data, RestartedEvent)
            elif name == "verdict":
                job = _convert(data, JobDocument)
                if job.problem is not None:
                    raise _problem(job.problem.status, job.problem.detail)
                assert job.result is not None  # noqa: S101 (for the type checker: one of them is there)
                yield job.result
                return
    raise Unavailable("the gateway went away before the program had ended: try again")


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


def log_lines(node: str, level: str, lines: int, *, follow: bool, token: str | None = None) -> Iterator[str]:
    """The end of a node's log (H3), and with `follow` what is added to it, for ever.

    Raises:
        Unavailable: the node does not answer, or stopped while it was followed.
    """
    with _connected(node, None if follow else PATIENCE_S) as connection:
        path = f"/logs/{level}?lines={lines}{'&follow=1' if follow else ''}"
        connection.request("GET", path, headers=_authorization(token))
        response = connection.getresponse()
        if response.status == _WHO:
            raise _refused(_WHO, first_line(response.read(ANSWER_MAX).decode(errors="replace")))
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


def _authorization(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _post(
    connection: http.client.HTTPConnection,
    request: Mapping[str, Any],
    token: str | None,
    accept: str,
    *,
    fresh: bool,
) -> http.client.HTTPResponse:
    headers = {"Content-Type": "application/json", "Accept": accept, **_authorization(token)}
    if fresh:
        headers["Cache-Control"] = "no-cache"
    connection.request("POST", "/v1/run", msgspec.json.encode(request), headers)
    return connection.getresponse()


def _check(response: http.client.HTTPResponse, body: bytes) -> None:
    """Raise what another status than 200 means."""
    if response.status != _OK:
        detail = first_line(body.decode(errors="replace")) or response.reason
        raise _problem(response.status, detail, seconds_of(response.getheader("Retry-After", "")))


def _problem(status: int, detail: str, retry_after_s: float = 1.0) -> ClusterError:
    if status in TRY_LATER:
        return Unavailable(detail, retry_after_s)
    if status >= _THEIR_FAULT:
        return RemoteProtocolError("the gateway failed", detail)
    return _refused(status, detail)


def _refused(status: int, detail: str) -> JobError:
    hint = ": set JAVACLUSTER_TOKEN or JAVACLUSTER_TOKEN_FILE" if status == _WHO else ""
    return JobError(f"refused ({status}): {detail}{hint}")


def _events(response: http.client.HTTPResponse) -> Iterator[tuple[str, bytes]]:
    """Name and data of each event; the gateway writes each datum in one line."""
    name, data = "", b""
    for line in response:
        field, _, value = line.rstrip(b"\n").partition(b": ")
        if field == b"event":
            name = value.decode("ascii", "replace")
        elif field == b"data":
            data = value
        elif not field and name:
            yield name, data
            name, data = "", b""


def _convert(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise RemoteProtocolError("not a result", str(error)) from error


def _decoded(body: bytes) -> ClusterView:
    try:
        return msgspec.json.decode(body, type=ClusterView)
    except msgspec.DecodeError as error:
        raise RemoteProtocolError("not a cluster", str(error)) from error
