"""What every node shows: H2, H3, H6."""

from __future__ import annotations

import json
import re
from typing import Any

import attrs
import pytest

from twisted.internet.defer import Deferred, fail

from cluster.gateway import cluster_info
from cluster.gateway.app import node_resource
from cluster.gateway.log_access import FOLLOWERS_MAX, PEER_TIMEOUT_S
from cluster.gateway.view import NodeView
from cluster.identity import Role, State, Status
from tests.support.deferreds import success_result_of
from tests.unit.gateway.fakes import Gateway, a_view, client_of, header

TEXT_FORM = b"Server 0 - OBSERVER\nServer 1 - FOLLOWER\nServer 3 - LEADER\n"


@pytest.mark.parametrize("path", ["/cluster-info", "/v1/cluster"])
def test_cluster_info_is_json_with_every_node(gateway: Gateway, path: str) -> None:
    """H2: failed nodes too, with what is known of them."""
    response, body = gateway.fetch("GET", path)
    info = json.loads(body)
    assert response.code == 200
    assert header(response, "Content-Type") == "application/json"
    assert (info["cluster"], info["leader"], info["epoch"], info["state"]) == ("demo", 3, 12, "OBSERVING")
    assert [(node["id"], node["status"]) for node in info["nodes"]] == [
        (0, "ALIVE"),
        (1, "SUSPECT"),
        (2, "FAILED"),
        (3, "ALIVE"),
    ]
    assert info["nodes"][3]["heartbeat_age_s"] == 0.1
    assert info["nodes"][3]["tcp"] == 8032


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/cluster-info?format=text", {}),
        ("/cluster-info", {"Accept": "text/plain"}),
        ("/cluster-info", {"Accept": "text/plain;q=0.9, application/json;q=0.5"}),
    ],
)
def test_cluster_info_as_text_has_the_originals_lines(
    gateway: Gateway, path: str, headers: dict[str, str]
) -> None:
    """H2: a node that failed is absent."""
    response, body = gateway.fetch("GET", path, headers=headers)
    assert (response.code, body) == (200, TEXT_FORM)
    assert header(response, "Content-Type") == "text/plain; charset=utf-8"


def test_a_browser_and_curl_get_json(gateway: Gateway) -> None:
    for accept in ("*/*", "text/html, application/json;q=0.9", "application/json, text/plain"):
        response, _ = gateway.fetch("GET", "/cluster-info", headers={"Accept": accept})
        assert header(response, "Content-Type") == "application/json"


def test_without_a_leader_the_nodes_are_still_there(gateway: Gateway) -> None:
    """H2: and nobody is called leader on the strength of an old statement."""
    gateway.view = a_view(leader=None, epoch=0)
    info = json.loads(gateway.fetch("GET", "/cluster-info")[1])
    assert info["leader"] is None
    assert [node["state"] for node in info["nodes"]] == ["OBSERVING", "FOLLOWING", None, None]
    assert b"LEADER" not in gateway.fetch("GET", "/cluster-info?format=text")[1]


def test_a_leader_without_its_lease_claims_nothing() -> None:
    """L3."""
    view = a_view(me=3, state=State.LEADING, leader=3, may_act=False)
    info = json.loads(cluster_info.as_json(view))
    assert (info["leader"], info["state"]) == (None, None)
    assert b"Server 3 - UNKNOWN\n" in cluster_info.as_text(view)
    holding = attrs.evolve(view, may_act=True)
    assert json.loads(cluster_info.as_json(holding))["leader"] == 3
    assert b"Server 3 - LEADER\n" in cluster_info.as_text(holding)


def test_an_unknown_format_is_400(gateway: Gateway) -> None:
    response, body = gateway.fetch("GET", "/cluster-info?format=xml")
    assert response.code == 400
    assert b"json or text" in body


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/logs/summary", b"s1\ns2\ns3\n"),
        ("/logs/verbose", b"v1\nv2\n"),
        ("/logs/summary?lines=2", b"s2\ns3\n"),
        ("/logs/summary?lines=0", b""),
        ("/logs/summary?node=0&lines=1", b"s3\n"),
        ("/logs/verbose?node=3&lines=1", b"v2\n"),
    ],
)
def test_logs_are_text_from_here_or_from_another_node(gateway: Gateway, path: str, body: bytes) -> None:
    """H3."""
    response, text = gateway.fetch("GET", path)
    assert (response.code, text) == (200, body)
    assert header(response, "Content-Type") == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/logs/summary?lines=-1", 400),
        ("/logs/summary?lines=50001", 400),
        ("/logs/summary?lines=" + "9" * 5000, 400),
        ("/logs/summary?lines=", 400),
        ("/logs/summary?lines=%C2%B2", 400),
        ("/logs/summary?follow=yes", 400),
        ("/logs/summary?node=x", 400),
        ("/logs/summary?node=3&follow=1", 400),
        ("/logs/summary?node=99", 404),
        ("/logs/other", 404),
        ("/logs", 404),
    ],
)
def test_a_bad_question_about_logs_is_told_why(gateway: Gateway, path: str, status: int) -> None:
    """H3."""
    response, body = gateway.fetch("GET", path)
    assert response.code == status
    assert header(response, "Content-Type") == "application/problem+json"
    assert json.loads(body)["status"] == status
    assert len(body) < 300


def test_only_a_gateway_fetches_another_nodes_log(gateway: Gateway) -> None:
    client = client_of(node_resource(gateway.node_parts))
    response = success_result_of(client.get("http://node/logs/summary?node=1"))
    assert response.code == 400


def test_a_node_without_http_is_502(gateway: Gateway) -> None:
    gateway.view = a_view(nodes=(NodeView(5, Role.PEER, status=Status.FAILED),))
    response, body = gateway.fetch("GET", "/logs/summary?node=5")
    assert response.code == 502
    assert b"node 5" in body


@pytest.mark.parametrize("host", ["10.0.0.1/latest/meta-data?", "user@10.0.0.1", "a b", "x#", "\u00e4"])
def test_a_node_whose_address_is_none_is_asked_nothing(gateway: Gateway, host: str) -> None:
    """A worker that joined says itself where it is: it is not to choose what this gateway asks whom."""
    gateway.view = a_view(nodes=(NodeView(5, Role.WORKER, status=Status.ALIVE, host=host, http=80),))
    response, body = gateway.fetch("GET", "/logs/summary?node=5")
    assert response.code == 502
    assert b"no address" in body


def test_a_node_that_does_not_answer_is_502_in_time(gateway: Gateway) -> None:
    """H3: bounded; nothing hangs for ever."""
    waiting: list[Deferred[Any]] = []

    class SilentPeer:
        def get(self, _url: str, **_kwargs: Any) -> Deferred[Any]:
            waiting.append(Deferred())
            return waiting[0]

    gateway.parts.peer_logs._http = SilentPeer()  # type: ignore[assignment]  # it has the method that is used
    sent = gateway.send("GET", "/logs/summary?node=3")
    gateway.clock.advance(PEER_TIMEOUT_S)
    response, body = gateway.result(sent)
    assert response.code == 502
    assert b"did not answer" in body
    assert waiting[0].called


def test_a_node_that_refuses_the_connection_is_502(gateway: Gateway) -> None:
    """H3."""

    class RefusingPeer:
        def get(self, _url: str, **_kwargs: Any) -> Deferred[Any]:
            return fail(ConnectionRefusedError("refused"))

    gateway.parts.peer_logs._http = RefusingPeer()  # type: ignore[assignment]  # as above
    response, body = gateway.fetch("GET", "/logs/summary?node=3")
    assert response.code == 502
    assert b"node 3 can't be reached" in body
    assert gateway.clock.getDelayedCalls() == []


def test_following_streams_the_end_and_then_lines_as_they_come(gateway: Gateway) -> None:
    """H3."""
    response = success_result_of(gateway.send("GET", "/logs/summary?follow=1&lines=1", unbuffered=True))
    seen: list[bytes] = []
    gateway.client.collect(response, seen.append).addErrback(lambda _gone: None)
    gateway.client.flush()
    gateway.logs.callbacks[0](b"s4\n")
    gateway.client.flush()
    assert b"".join(seen) == b"s3\ns4\n"


def test_followers_are_bounded(gateway: Gateway) -> None:
    """H8."""
    streams: list[Any] = [gateway.send("GET", "/logs/summary?follow=1") for _ in range(FOLLOWERS_MAX // 2)]
    response, _ = gateway.fetch("GET", "/logs/summary?follow=1")
    assert response.code == 503
    assert header(response, "Retry-After") == "2"
    assert len(streams) == len(gateway.logs.callbacks) == FOLLOWERS_MAX // 2


def test_health_and_metrics(gateway: Gateway) -> None:
    """H6."""
    assert gateway.fetch("GET", "/livez")[1] == b"alive\n"
    assert gateway.fetch("GET", "/readyz")[0].code == 200
    response, body = gateway.fetch("GET", "/metrics")
    assert body == b"metric 1\n"
    assert (header(response, "Content-Type") or "").startswith("text/plain; version=0.0.4")


def test_a_node_that_is_not_ready_says_why(gateway: Gateway) -> None:
    """H6: alive all the same."""
    gateway.view = a_view(ready=False, not_ready_reason="no leader is known")
    response, body = gateway.fetch("GET", "/readyz")
    assert response.code == 503
    assert json.loads(body)["detail"] == "no leader is known"
    assert gateway.fetch("GET", "/livez")[0].code == 200


def test_the_front_page_points_to_the_endpoints(gateway: Gateway) -> None:
    response, body = gateway.fetch("GET", "/", headers={"Accept": "*/*"})
    assert response.code == 200
    assert b"/compileandrun" in body
    assert body.count(b"\n") == 1


def test_a_browser_gets_the_page_and_nothing_from_elsewhere(gateway: Gateway) -> None:
    """H7: every file it names is served here, under a policy that lets nothing else in."""
    response, body = gateway.fetch(
        "GET", "/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    )
    assert header(response, "Content-Type") == "text/html; charset=utf-8"
    assert header(response, "Vary") == "Accept"
    page = body.decode()
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", page)
    named = set(re.findall(r'(?:src|href)="(/[^"]*)"', page))
    assert {"/pages/page.css", "/pages/page.js"} <= named
    seen: set[str] = set()
    while named - seen:
        path = min(named - seen)
        seen.add(path)
        response, text = gateway.fetch("GET", path)
        assert response.code == 200, path
        if path.startswith("/pages/"):
            named |= set(re.findall(r'from "([^"]*)"', text.decode()))
            assert not re.search(r"""["'(](?:https?:)?//(?!www\.w3\.org/2000/svg)""", text.decode()), path
            policy = header(response, "Content-Security-Policy") or ""
            assert policy.startswith("default-src 'none'")
            assert "unsafe" not in policy


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("HEAD", "/livez", 200),
        ("HEAD", "/logs/summary?follow=1", 200),
        ("HEAD", "/cluster-info", 200),
        ("POST", "/livez", 405),
        ("PUT", "/cluster-info", 405),
        ("OPTIONS", "/cluster-info", 204),
        ("GET", "/nothing", 404),
        ("GET", "/livez/", 404),
        ("GET", "//livez", 404),
        ("GET", "/%ff", 400),
        ("GET", "/%6civez", 200),
        ("GET", "/%63ompileandrun", 405),
        ("GET", "/%00", 404),
    ],
)
def test_methods_and_addresses(gateway: Gateway, method: str, path: str, status: int) -> None:
    response, body = gateway.fetch(method, path)
    assert response.code == status
    assert body == b"" or method != "HEAD"
    if status in {204, 405} and "ompile" not in path:
        assert header(response, "Allow") == "GET, HEAD"
    assert (header(response, "Cached-Response") is not None) == ("ompile" in path)
    if status in {400, 404}:
        assert header(response, "Content-Type") == "application/problem+json"


def test_every_answer_forbids_sniffing_and_names_no_server(gateway: Gateway) -> None:
    """H8: what a program printed is never taken for a page."""
    for path in ("/", "/livez", "/nothing"):
        response, _ = gateway.fetch("GET", path)
        assert header(response, "X-Content-Type-Options") == "nosniff"
        assert header(response, "Server") is None


def test_a_plain_node_compiles_nothing(gateway: Gateway) -> None:
    client = client_of(node_resource(gateway.node_parts))
    response = success_result_of(client.post("http://node/compileandrun", data=b"class A {}"))
    assert response.code == 404
    assert header(response, "Cached-Response") == "false"
