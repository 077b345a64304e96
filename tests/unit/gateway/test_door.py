"""Bodies that are refused by their headers: H8, H9, in the words of the interface that they are for."""

# mypy: allow-untyped-calls
# Twisted's StringTransport is not annotated.

from __future__ import annotations

import json

import pytest

from twisted.internet.task import Clock

from cluster.config import CompatSettings, GatewaySettings
from cluster.gateway.app import node_resource
from cluster.gateway.replies import Reply
from cluster.gateway.site import BoundedSite, make_site
from cluster.tokens import Token, digest_of
from tests.unit.gateway.connections import Connection
from tests.unit.gateway.fakes import Gateway

JOBE = "/jobe/index.php/restapi"
KNOWN = "ann's"

ENTRANCES = [
    # method, path, status for a stranger, status over the rate, and how either is told
    ("POST", "/compileandrun", 401, 429, "text/plain; charset=utf-8"),
    ("POST", "/v1/run", 401, 429, "application/problem+json"),
    ("POST", "/v1/jobs", 401, 429, "application/problem+json"),
    ("POST", f"{JOBE}/runs", 403, 401, "application/json"),
    ("PUT", f"{JOBE}/files/randomid0129798", 403, 401, "application/json"),
    ("POST", "/api/v2/execute", 401, 429, "application/json"),
    ("POST", "/submissions", 401, 429, "application/json"),
    ("POST", "/submissions/", 401, 429, "application/json"),
    ("POST", "/submissions/batch", 401, 429, "application/json"),
]


@pytest.fixture
def gateway() -> Gateway:
    """One that asks for tokens, with all drop-in interfaces."""
    gateway = Gateway(GatewaySettings(compat=CompatSettings(interfaces=("jobe", "piston", "judge0"))))
    gateway.access.needed = True
    gateway.access.replace([Token(name="ann", sha256=digest_of(KNOWN), rate=1.0, burst=1)])
    return gateway


@pytest.fixture
def site(gateway: Gateway) -> BoundedSite:
    return make_site(
        gateway.resource,
        gateway.settings,
        Clock(),
        gateway.observer.responded,
        gateway.resource.unwelcome,
        gateway.resource.aside,
        gateway.resource.tenant,
    )


def begin(site: BoundedSite, method: str, path: str, token: str) -> tuple[int, dict[str, str], bytes]:
    """The answer to headers that announce a body, while nothing of it was sent; status 0: there is none."""
    connection = Connection(site)
    raw = connection.send(
        f"{method} {path} HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n{token}"
        "Content-Length: 500000\r\n\r\n".encode("latin-1")
    )
    head, _, body = raw.partition(b"\r\n\r\n")
    if not head:
        return 0, {}, b""
    first, *lines = head.decode().splitlines()
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


@pytest.mark.parametrize(("method", "path", "stranger", "limited", "kind"), ENTRANCES)
@pytest.mark.parametrize(
    "token", ["", "Authorization: \xd7\r\n", "Authorization: Bearer wrong\r\n", "X-API-KEY: wrong\r\n"]
)
def test_a_strangers_body_is_not_read(
    gateway: Gateway,
    site: BoundedSite,
    method: str,
    path: str,
    stranger: int,
    limited: int,
    kind: str,
    token: str,
) -> None:
    del limited
    status, headers, body = begin(site, method, path, token)
    assert (status, headers["Content-Type"]) == (stranger, kind)
    assert b"token" in body
    assert kind.startswith("text/") or json.loads(body)
    assert headers["Connection"] == "close"
    assert site.body_bytes == 0
    assert gateway.events == []
    assert gateway.observer.responses == [("other", stranger)]


@pytest.mark.parametrize(("method", "path", "stranger", "limited", "kind"), ENTRANCES)
def test_nor_is_one_of_somebody_over_his_rate(
    site: BoundedSite, method: str, path: str, stranger: int, limited: int, kind: str
) -> None:
    del stranger
    token = f"Authorization: Bearer {KNOWN}\r\n"
    assert begin(site, method, path, token)[0] == 0, "who may is read, and it counts though it never comes"
    status, headers, body = begin(site, method, path, token)
    assert (status, headers["Content-Type"], headers["Retry-After"]) == (limited, kind, "1")
    assert b"1 programs a second" in body


def test_a_program_counts_once(gateway: Gateway, site: BoundedSite) -> None:
    """H9: when its body begins, and not again when it is here."""
    connection = Connection(site)
    body = '{"source": "class A {}"}'
    sent = (
        f"POST /v1/jobs HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {KNOWN}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )
    assert connection.send(sent.encode()).startswith(b"HTTP/1.1 202")
    assert Connection(site).send(sent.encode()).startswith(b"HTTP/1.1 429")
    assert gateway.access.counters["ann", "taken"] == 1


@pytest.mark.parametrize(
    "path", ["/v1/run?", "/v1/run?a=/other", "/v1/r%75n", "//v1/run", f"{JOBE}/fil%65s/randomid0129798"]
)
def test_no_spelling_of_a_path_leads_around_it(gateway: Gateway, path: str) -> None:
    """What is routed to an endpoint that takes bodies is looked at; what is not leads to a 404."""
    refused = gateway.resource.unwelcome(path.encode(), lambda _name: None)
    routed = gateway.fetch("PUT" if "fil" in path else "POST", path)[0].code != 404
    assert isinstance(refused, Reply) == routed


def test_every_endpoint_that_takes_a_body_is_looked_at(gateway: Gateway) -> None:
    """None can be forgotten: each `POST` and `PUT` of the route table."""
    takers = {
        path.replace("<file>", "randomid0129798")
        for path, method, _endpoint in gateway.resource.site.endpoints()
        if method in {"POST", "PUT"}
    }
    assert takers == {path for _method, path, *_rest in ENTRANCES}


def test_where_nobody_is_asked_every_body_is_read() -> None:
    gateway = Gateway()
    site = make_site(
        gateway.resource,
        gateway.settings,
        Clock(),
        unwelcome=gateway.resource.unwelcome,
        aside=gateway.resource.aside,
    )
    assert begin(site, "POST", "/v1/run", "")[0] == 0


ASIDE = [
    # method, path, status of a large body, of a small one
    ("POST", "/v1/nothing", 404, 404),
    ("POST", "/jobe/nothing", 404, 404),
    ("POST", "//v1/run", 404, 404),
    ("POST", "/v1/cluster", 413, 405),
    ("DELETE", "/v1/jobs/0123456789abcdef0123456789abcdef", 413, 401),
    ("POST", "/", 413, 405),
    ("GET", "/cluster-info?format=json", 413, 200),
]


@pytest.mark.parametrize(("method", "path", "large", "small"), ASIDE)
def test_where_no_bodies_are_taken_nobody_can_fill_the_room_of_others(
    site: BoundedSite, method: str, path: str, large: int, small: int
) -> None:
    """H8: no token is asked for there, so what is announced, or comes in chunks, is not held either."""
    status, headers, body = begin(site, method, path, "")
    assert (status, headers["Content-Type"]) == (large, "application/problem+json")
    assert json.loads(body)["status"] == large
    assert site.body_bytes == 0
    start = f"{method} {path} HTTP/1.1\r\nHost: g\r\n".encode()
    chunked = Connection(site)
    piece = b"400\r\n" + b"x" * 1024 + b"\r\n"
    assert chunked.send(start + b"Transfer-Encoding: chunked\r\n\r\n" + piece) == b""
    assert chunked.send(piece).startswith(b"HTTP/1.1 %d " % large)
    assert site.body_bytes == 0
    usual = Connection(site).send(start + b"Content-Length: 2\r\n\r\n{}")
    assert usual.startswith(b"HTTP/1.1 %d " % small), "as without a body"


def test_a_node_that_takes_no_programs_holds_no_bodies(gateway: Gateway) -> None:
    peer = node_resource(gateway.node_parts)
    site = make_site(peer, gateway.settings, Clock(), unwelcome=peer.unwelcome, aside=peer.aside)
    assert begin(site, "POST", "/v1/run", "")[0] == 404
    assert begin(site, "POST", "/v1/cluster", "")[0] == 413
    assert site.body_bytes == 0
