"""Bearer tokens (H9): who may, how often, with which share; whose job is whose."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest

from twisted.internet.task import Clock

from cluster.config import GatewaySettings
from cluster.core.fair_share import FairRoom
from cluster.errors import ConfigError
from cluster.gateway.access import ANONYMOUS, Access, Caller, access_of
from cluster.gateway.replies import HttpProblem
from cluster.gateway.view import NodeView
from cluster.identity import Role, Status
from cluster.tokens import Token, digest_of, new_token, parse, render
from tests.unit.gateway.fakes import JAVA, JOB, Gateway, a_view, header, returned

ANN, BOB = new_token(), new_token()
TOKENS = (
    Token(name="ann", sha256=digest_of(ANN), rate=2, burst=3, share=5),
    Token(name="bob", sha256=digest_of(BOB)),
)
JSON = {"Content-Type": "application/json"}
PROGRAM = b'{"source": "class A {}", "tenant": "somebody-else"}'


def access(*, anonymous: bool = False, clock: Clock | None = None) -> Access:
    return Access(TOKENS, (clock or Clock()).seconds, anonymous=anonymous)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def guarded(gateway: Gateway) -> Gateway:
    """A gateway that asks for tokens."""
    gateway.access.needed = True
    gateway.access.replace(TOKENS)
    gateway.access._clock = gateway.clock.seconds
    return gateway


def test_a_token_names_its_tenant_and_share() -> None:
    assert access().caller(f"Bearer {ANN}") == Caller("ann", 5)
    assert access().caller(f"bearer   {BOB} ") == Caller("bob", 1)


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", f"Bearer {ANN}x", f"Basic {ANN}", ANN, "Bearer \u00e9"],
    ids=["none", "empty", "no token", "empty token", "longer", "another scheme", "no scheme", "not ASCII"],
)
def test_without_a_good_token_there_is_a_challenge(authorization: str | None) -> None:
    with pytest.raises(HttpProblem) as caught:
        access().caller(authorization)
    assert caught.value.status == 401
    assert caught.value.headers["WWW-Authenticate"].startswith('Bearer realm="javacluster"')
    assert ANN not in str(caught.value)


def test_where_anybody_may_a_wrong_token_is_still_wrong() -> None:
    assert access(anonymous=True).caller(None) == ANONYMOUS
    with pytest.raises(HttpProblem):
        access(anonymous=True).caller("Bearer wrong")


def test_a_tenant_has_a_burst_and_then_its_rate() -> None:
    clock = Clock()
    it = access(clock=clock)
    ann, bob = Caller("ann", 5), Caller("bob", 1)
    for _ in range(3):
        it.spend(ann)
    with pytest.raises(HttpProblem) as caught:
        it.spend(ann)
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (429, "1")
    it.spend(bob)
    clock.advance(0.5)
    it.spend(ann)
    with pytest.raises(HttpProblem):
        it.spend(ann)
    clock.advance(3600)
    for _ in range(3):
        it.spend(ann)
    with pytest.raises(HttpProblem):
        it.spend(ann)
    assert it.counters["ann", "limited"] == 3
    clock.advance(3600)
    for _ in range(100):
        it.look(ann)
    assert it.counters["ann", "taken"] == 7


def test_a_new_file_keeps_what_was_used_and_forgets_who_is_gone() -> None:
    clock = Clock()
    it = access(clock=clock)
    for _ in range(3):
        it.spend(Caller("ann"))
    it.replace(TOKENS[:1])
    with pytest.raises(HttpProblem):
        it.spend(Caller("ann"))
    with pytest.raises(HttpProblem):
        it.caller(f"Bearer {BOB}")
    assert len(it) == 1


def test_two_tokens_of_one_name_are_one_tenant() -> None:
    other = new_token()
    it = access()
    it.replace((*TOKENS, Token(name="bob", sha256=digest_of(other))))
    assert it.caller(f"Bearer {other}") == it.caller(f"Bearer {BOB}")


# --- the file ----------------------------------------------------------------------------------------


def test_the_file_holds_no_token_and_comes_back_as_it_was() -> None:
    text = render(TOKENS)
    assert ANN not in text
    assert parse(text) == TOKENS
    assert parse(render(())) == parse("") == ()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("tokens: [{name: a}]", "$.tokens[0]"),
        (f"tokens: [{{name: 'a b', sha256: {'a' * 64}}}]", "$.tokens[0].name"),
        (f"tokens: [{{name: a, sha256: {'g' * 64}}}]", "$.tokens[0].sha256"),
        (f"tokens: [{{name: a, sha256: {'a' * 64}, rate: 0}}]", "$.tokens[0].rate"),
        (f"tokens: [{{name: a, sha256: {'a' * 64}, rat: 1}}]", "$.tokens[0]"),
        (f"tokens: [{{name: a, sha256: {'a' * 64}}}, {{name: b, sha256: {'a' * 64}}}]", "$.tokens"),
        (f"tokens: [{{name: a, sha256: {'a' * 64}}}, {{name: a, sha256: {'b' * 64}, share: 2}}]", "$.tokens"),
        ("tokens: {", "not YAML"),
        ("[]", "$"),
    ],
)
def test_a_file_that_says_anything_else_is_refused_with_its_place(text: str, place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert str(caught.value).startswith(place)


# --- the endpoints -----------------------------------------------------------------------------------

GUARDED = [
    ("POST", "/compileandrun", JAVA, b"class A {}"),
    ("POST", "/v1/run", JSON, PROGRAM),
    ("POST", "/v1/jobs", JSON, PROGRAM),
    ("GET", f"/v1/jobs/{JOB}", {}, b""),
    ("DELETE", f"/v1/jobs/{JOB}", {}, b""),
    ("GET", f"/v1/jobs/{JOB}/events", {}, b""),
    ("GET", "/logs/summary", {}, b""),
    ("GET", "/logs/verbose?node=1", {}, b""),
]


@pytest.mark.parametrize(("method", "path", "headers", "body"), GUARDED)
@pytest.mark.parametrize("token", [{}, bearer("jc_wrong")])
def test_a_stranger_is_challenged(
    guarded: Gateway, method: str, path: str, headers: dict[str, str], body: bytes, token: dict[str, str]
) -> None:
    response, text = guarded.fetch(method, path, headers=headers | token, data=body)
    assert response.code == 401
    assert (header(response, "WWW-Authenticate") or "").startswith("Bearer")
    if path == "/compileandrun":
        assert header(response, "Cached-Response") == "false"
    assert text
    assert not guarded.events


@pytest.mark.parametrize(
    "path",
    ["/", "/livez", "/readyz", "/metrics", "/openapi.json", "/cluster-info", "/v1/runtimes", "/v1/stats"],
)
def test_what_runs_nothing_is_open(guarded: Gateway, path: str) -> None:
    assert guarded.fetch("GET", path)[0].code == 200


@pytest.mark.parametrize(("path", "headers", "body"), [row[1:] for row in GUARDED[:3]])
def test_a_jobs_tenant_comes_from_its_token(
    guarded: Gateway, path: str, headers: dict[str, str], body: bytes
) -> None:
    """H9: whatever the request says."""
    guarded.send("POST", path, headers=headers | bearer(ANN), data=body)
    assert (guarded.arrived().tenant, guarded.arrived().share) == ("ann", 5)


def test_past_its_rate_a_tenant_is_told_when_to_come_back(guarded: Gateway) -> None:
    for _ in range(3):
        guarded.send("POST", "/compileandrun", headers=JAVA | bearer(ANN), data=b"class A {}")
    response, text = guarded.fetch("POST", "/v1/run", headers=JSON | bearer(ANN), data=PROGRAM)
    assert (response.code, header(response, "Retry-After")) == (429, "1")
    assert b"2 programs a second" in text
    response, _ = guarded.fetch("POST", "/compileandrun", headers=JAVA | bearer(ANN), data=b"class A {}")
    assert (response.code, header(response, "Cached-Response")) == (429, "false")
    guarded.send("POST", "/v1/run", headers=JSON | bearer(BOB), data=PROGRAM)
    assert guarded.arrived().tenant == "bob"


@pytest.mark.parametrize(("path", "headers", "body"), [row[1:] for row in GUARDED[:3]])
def test_what_is_no_program_counts_as_one(
    guarded: Gateway, path: str, headers: dict[str, str], body: bytes
) -> None:
    """H9: to find out what it is costs the gateway as much."""
    del body
    codes = [
        guarded.fetch("POST", path, headers=headers | bearer(ANN), data=b"")[0].code for _time in range(5)
    ]
    assert codes == [400, 400, 400, 429, 429]


def test_a_job_is_its_tenants_own(guarded: Gateway) -> None:
    guarded.fetch("POST", "/v1/jobs", headers=JSON | bearer(ANN), data=PROGRAM)
    for method, path in (("GET", ""), ("GET", "/events"), ("DELETE", "")):
        response, _ = guarded.fetch(method, f"/v1/jobs/{JOB}{path}", headers=bearer(BOB))
        assert response.code == 404
    guarded.answer(returned(b"ann's"))
    assert guarded.fetch("GET", f"/v1/jobs/{JOB}", headers=bearer(ANN))[0].code == 200


def test_where_anybody_may_a_tenants_name_and_jobs_are_still_its_own(guarded: Gateway) -> None:
    """H9: who sends no token sends in nobody's lane but his own."""
    guarded.access.needed = False
    guarded.send("POST", "/v1/run", headers=JSON, data=b'{"source": "class A {}", "tenant": "ann"}')
    assert guarded.arrived().tenant == ""
    guarded.send("POST", "/v1/run", headers=JSON, data=PROGRAM)
    assert guarded.arrived().tenant == "", "no name that a stranger makes up is a lane of its own"
    guarded.fetch("POST", "/v1/jobs", headers=JSON | bearer(ANN), data=PROGRAM)
    for method, path in (("GET", ""), ("GET", "/events"), ("DELETE", "")):
        assert guarded.fetch(method, f"/v1/jobs/{JOB}{path}")[0].code == 404
    guarded.answer(returned(b"ann's"))
    assert guarded.fetch("GET", f"/v1/jobs/{JOB}", headers=bearer(ANN))[0].code == 200


def test_h8_to_ask_for_jobs_and_logs_is_rated_too(guarded: Gateway) -> None:
    """H9: what comes of a program may be large; ten times as often as programs may be sent, at least 10/s."""
    guarded.fetch("POST", "/v1/jobs", headers=JSON | bearer(ANN), data=PROGRAM)
    asks = (f"/v1/jobs/{JOB}", "/logs/summary")
    for number in range(100):
        assert guarded.fetch("GET", asks[number % 2], headers=bearer(ANN))[0].code == 200
    for path in asks:
        response, _ = guarded.fetch("GET", path, headers=bearer(ANN))
        assert (response.code, header(response, "Retry-After")) == (429, "1")
    assert guarded.fetch("GET", "/logs/summary", headers=bearer(BOB))[0].code == 200
    guarded.clock.advance(1)
    for _ in range(20):
        assert guarded.fetch("GET", asks[0], headers=bearer(ANN))[0].code == 200
    assert guarded.fetch("GET", asks[0], headers=bearer(ANN))[0].code == 429
    assert guarded.fetch("POST", "/v1/jobs", headers=JSON | bearer(ANN), data=PROGRAM)[0].code == 202


@pytest.mark.parametrize("ask", ["?wait=60", "/events", "key"])
def test_h9_who_waits_a_thousand_times_keeps_nobody_from_waiting(guarded: Gateway, ask: str) -> None:
    """Long polls, repeated keyed runs and streams of events: one tenant has half of the places."""
    api = guarded.resource.site._api
    api._waits, api._streams = FairRoom(8), FairRoom(8)
    guarded.access.replace([msgspec.structs.replace(token, rate=1000, burst=1000) for token in TOKENS])

    def wait(token: str) -> Any:
        if ask == "key":
            headers = JSON | bearer(token) | {"Idempotency-Key": "k"}
            return guarded.send("POST", "/v1/run", data=PROGRAM, headers=headers)
        return guarded.send("GET", f"/v1/jobs/{ids[token]}{ask}", headers=bearer(token))

    ids = {}
    for token, job in ((ANN, "a" * 32), (BOB, "b" * 32)):
        guarded.requests.new_job_id = lambda job=job: job  # type: ignore[misc]
        _, body = guarded.fetch("POST", "/v1/jobs", headers=JSON | bearer(token), data=PROGRAM)
        ids[token] = json.loads(body)["job"]
    waiting = [wait(ANN) for _ in range(4)]
    response, _ = guarded.result(wait(ANN))
    assert (response.code, header(response, "Retry-After")) == (503, "2")
    other = wait(BOB)
    assert api._waits.held + api._streams.held == 5
    for one in (*waiting, other):
        one.addErrback(lambda _gone: None)
        one.cancel()
    guarded.client.flush()
    assert api._waits.held == 0


def test_a_job_of_nobody_in_particular_is_found_without_a_token(guarded: Gateway) -> None:
    guarded.access.needed = False
    guarded.fetch("POST", "/v1/jobs", headers=JSON, data=PROGRAM)
    assert guarded.fetch("GET", f"/v1/jobs/{JOB}")[0].code == 200


def test_a_token_goes_to_other_gateways_and_to_nobody_else(guarded: Gateway) -> None:
    """H3: they ask for the same one; a peer has no business with it."""
    seen: list[Any] = []

    async def tail(node: Any, _kind: Any, _lines: int, authorization: str | None = None) -> bytes:
        seen.append((node.id, authorization))
        return b""

    guarded.parts.peer_logs.tail = tail  # type: ignore[method-assign,assignment]
    view = a_view(me=9)
    pretender = NodeView(55, Role.GATEWAY, status=Status.ALIVE, host="10.0.0.66", http=80)
    guarded.view = attrs.evolve(view, nodes=(*view.nodes, pretender))
    for node in (0, 1, 55):
        assert guarded.fetch("GET", f"/logs/summary?node={node}", headers=bearer(BOB))[0].code == 200
    assert seen == [(0, f"Bearer {BOB}"), (1, None), (55, None)], "nor to one that calls itself a gateway"


@pytest.mark.parametrize(
    ("text", "allow", "expected"),
    [("", False, "no token"), ("tokens: 7", False, "$.tokens"), ("", True, ""), (render(TOKENS), False, "")],
)
def test_a_gateway_without_the_tokens_that_it_needs_does_not_start(
    tmp_path: Path, text: str, allow: bool, expected: str
) -> None:
    file = tmp_path / "tokens.yml"
    file.write_text(text)
    settings = GatewaySettings(tokens_file=str(file), allow_anonymous=allow)
    if expected:
        with pytest.raises(ConfigError, match=re.escape(expected)):
            access_of(settings, Clock().seconds)
    else:
        assert access_of(settings, Clock().seconds).needed != allow
    with pytest.raises(ConfigError, match="keys token"):
        access_of(GatewaySettings(tokens_file=str(tmp_path / "none.yml")), Clock().seconds)
