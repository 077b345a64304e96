"""What clients send: whole connections, byte by byte (H8)."""

# mypy: allow-untyped-calls
# Twisted's transports are not annotated.

from __future__ import annotations

import functools
import json
from collections.abc import Iterator

from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from zope.interface import implementer

from cluster.config import CompatSettings, GatewaySettings
from cluster.core.effects import Answer
from cluster.gateway.door import ASIDE_BYTES
from cluster.gateway.site import make_site
from cluster.tokens import Token, digest_of
from tests.fuzz.bodies import BYTES_MAX, JOBE, JUDGE0, PISTON, SOURCE, V1
from tests.fuzz.target import Target, require
from tests.unit.gateway.connections import Connection
from tests.unit.gateway.fakes import Gateway, returned


@implementer(ILogObserver)
class _Logged:
    """What nobody handled and Twisted only logged."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self)

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_failure") is not None or event.get("log_level") is LogLevel.critical:
            self.events.append(event)

    def take(self) -> list[LogEvent]:
        taken, self.events = self.events, []
        return taken


_SETTINGS = GatewaySettings(
    source_bytes=1000,
    request_bytes=4000,
    compat=CompatSettings(interfaces=("jobe", "piston", "judge0")),
)


SECRET = "jc_sesame"  # noqa: S105  (of a gateway without a network)


@functools.cache
def _gateways() -> tuple[Gateway, Gateway, _Logged]:
    """An open one and one that asks for a token, for all: their routes take 50 ms each to compile.

    Each connection ends with everything of it forgotten.
    """
    asking = Gateway(_SETTINGS)
    asking.access.needed = True
    asking.access.replace([Token(name="ann", sha256=digest_of(SECRET), rate=1.0, burst=2)])
    return Gateway(_SETTINGS), asking, _Logged()


def connection(data: bytes) -> None:
    """One client's connection, in two pieces that the first byte cuts; every job it sends is answered."""
    if not data:
        return
    free, asking, logged = _gateways()
    _connection(free, logged, data, _SETTINGS.request_bytes)
    stranger = SECRET.encode() not in data
    _connection(asking, logged, data, ASIDE_BYTES if stranger else _SETTINGS.request_bytes)
    require(not (stranger and asking.events), "no program of a stranger's is taken")


def _connection(gateway: Gateway, logged: _Logged, data: bytes, held_max: int) -> None:
    gateway.events.clear()
    gateway.observer.responses.clear()
    site = make_site(
        gateway.resource,
        _SETTINGS,
        gateway.clock,
        gateway.observer.responded,
        gateway.resource.unwelcome,
        gateway.resource.aside,
    )
    one = Connection(site)
    cut, stream = data[0], data[1:]
    one.send(stream[:cut])
    if not one.transport.disconnecting:
        one.send(stream[cut:])
    require(site.body_bytes <= held_max, "no more of a body is held than its sender may send")
    for event in list(gateway.events):
        if (request := getattr(event, "request", None)) is not None:
            _answer(gateway, request)
    gateway.clock.advance(0.1)
    written = one.send_nothing()
    require(not written or written.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")), "an answer is HTTP")
    for _endpoint, status in gateway.observer.responses:
        require(status not in {500, 502}, f"a bad request is nobody's fault but its sender's: {status}")
    one.gone()
    gateway.clock.advance(3600)
    require(site.connections == 0, "nothing of it stays: no connection")
    require(site.body_bytes == 0, "no body")
    require(not logged.take(), "nothing fails unseen")


def _answer(gateway: Gateway, request: int) -> None:
    gateway.requests.answered(Answer(request, "ab" * 16, returned(b"x"), False, 0.0))


def _request(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: g", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def _seeds_connection() -> Iterator[bytes]:
    as_json = "Content-Type: application/json"
    java = "Content-Type: text/x-java-source"
    yield b"\x10" + _request("POST", "/compileandrun", SOURCE.encode(), java, "Cache-Control: no-cache")
    yield b"\xff" + _request("POST", "/v1/run", json.dumps(V1[0]).encode(), as_json)
    yield b"\x80" + _request("POST", "/v1/jobs", json.dumps(V1[1]).encode(), as_json, "Idempotency-Key: k")
    yield b"\x40" + _request("GET", "/v1/jobs/" + "ab" * 16 + "?wait=1") + _request("GET", "/cluster-info")
    yield b"\x40" + _request("GET", "/metrics") + _request("HEAD", "/") + _request("GET", "/openapi.json")
    yield b"\x40" + _request("POST", "/jobe/index.php/restapi/runs", json.dumps(JOBE).encode(), as_json)
    yield b"\x40" + _request("POST", "/api/v2/execute", json.dumps(PISTON).encode(), as_json)
    yield b"\x40" + _request("POST", "/submissions?wait=true", json.dumps(JUDGE0).encode(), as_json)
    yield b"\x40" + _request("DELETE", "/v1/jobs/x") + _request("OPTIONS", "*") + _request("GET", "/logs/0")
    yield (
        b"\x40POST /compileandrun HTTP/1.1\r\nHost: g\r\nContent-Type: text/x-java-source\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nclass\r\n5\r\n A {}\r\n0\r\n\r\n"
    )
    known = (as_json, f"Authorization: Bearer {SECRET}")
    yield b"\x60" + _request("POST", "/v1/run", json.dumps(V1[0]).encode(), *known) * 3
    yield b"\x60" + _request("PUT", "/jobe/index.php/restapi/files/x", b"{}", as_json, f"X-API-KEY: {SECRET}")
    for path in ("/v1/run", "/v1/nothing"):
        yield b"\xff" + _request("POST", path, b" " * 3000)[:-500]
    yield b"\x60" + _request("POST", "/v1/nothing", b"x" * 1025) + _request("POST", "/v1/cluster", b"{}")
    yield b"\x40GET / HTTP/1.0\r\nAuthorization: Bearer jc_x\r\nExpect: 100-continue\r\n\r\n"


TARGETS = (
    Target(
        "http", "answers or closes; no fault of ours, nothing stays", connection, _seeds_connection, BYTES_MAX
    ),
)
