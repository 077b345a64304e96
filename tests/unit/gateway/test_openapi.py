"""The description and the routes are one list (H6): no endpoint, and no need of a token, can be forgotten."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

import attrs
import pytest

from cluster.config import CompatSettings, GatewaySettings
from cluster.gateway.log_access import LINES_MAX
from cluster.tokens import Token, digest_of
from tests.documentation.reference import DOCS
from tests.unit.gateway.fakes import Gateway, a_view

Name = Literal["jobe", "piston", "judge0"]
SWITCHED_ON: tuple[tuple[Name, ...], ...] = (
    (),
    ("jobe",),
    ("piston",),
    ("judge0",),
    ("jobe", "piston", "judge0"),
)
METHODS = {"get", "post", "put", "delete"}


def a_gateway(*interfaces: Name) -> Gateway:
    gateway = Gateway(GatewaySettings(compat=CompatSettings(interfaces=interfaces)))
    nodes = tuple(attrs.evolve(node, java="17.0.15") for node in gateway.view.nodes)
    gateway.view = a_view(nodes=nodes)
    return gateway


def described(gateway: Gateway) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(gateway.fetch("GET", "/openapi.json")[1])
    return told


def operations(told: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, item in told["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


@pytest.mark.parametrize("interfaces", SWITCHED_ON, ids=lambda names: "-".join(names) or "none")
def test_every_route_is_described_and_nothing_else(interfaces: tuple[Name, ...]) -> None:
    gateway = a_gateway(*interfaces)
    routes = [
        (method, re.sub(r"<(\w+)>", r"{\1}", path)) for path, method, _ in gateway.resource.site.endpoints()
    ]
    assert len(set(routes)) == len(routes)
    assert set(operations(described(gateway))) == set(routes)


@pytest.mark.parametrize("interfaces", SWITCHED_ON, ids=lambda names: "-".join(names) or "none")
def test_names_and_variables_are_complete(interfaces: tuple[Name, ...]) -> None:
    told = described(a_gateway(*interfaces))
    names = [operation["operationId"] for operation in operations(told).values()]
    assert len(set(names)) == len(names)
    schemes = set(told["components"]["securitySchemes"])
    for (_method, path), operation in operations(told).items():
        variables = set(re.findall(r"{(\w+)}", path))
        assert variables == {one["name"] for one in told["paths"][path].get("parameters", ())}
        assert operation["summary"]
        assert operation["responses"]
        assert {name for one in operation.get("security", ()) for name in one} <= schemes


def test_every_endpoint_is_explained() -> None:
    """For people: in docs/http.md, as requests are written there."""
    text = (DOCS / "http.md").read_text(encoding="utf-8")
    for _method, path in operations(described(a_gateway())):
        written = path.replace("{job}", "ID").replace("{name}", "")
        assert f"`{written}`" in text or f" {written}`" in text, path


def test_a_token_is_described_where_one_is_needed_and_nowhere_else() -> None:
    """H9: what a stranger gets is what the description says."""
    gateway = a_gateway("jobe", "piston", "judge0")
    gateway.access.needed = True
    gateway.access.replace([Token(name="ann", sha256=digest_of("secret"))])
    told = described(gateway)
    for (method, path), operation in operations(told).items():
        code = gateway.fetch(method, path.replace("{", "").replace("}", ""), data=b"")[0].code
        needed = "security" in operation and {} not in operation["security"]
        refused = code == 403 if path.startswith("/jobe/") else code == 401
        assert needed == refused, f"{method} {path}: {code}"


@pytest.mark.parametrize("interfaces", SWITCHED_ON, ids=lambda names: "-".join(names) or "none")
def test_the_methods_that_a_path_tells_are_those_that_are_described(interfaces: tuple[Name, ...]) -> None:
    gateway = a_gateway(*interfaces)
    every: dict[str, set[str]] = {}
    for method, path in operations(described(gateway)):
        every.setdefault(path, set()).update({method, "HEAD"} if method == "GET" else {method})
    for path, methods in every.items():
        if path == "/compileandrun":  # the original's has no OPTIONS
            continue
        response, _ = gateway.fetch("OPTIONS", path.replace("{", "").replace("}", ""))
        told = response.headers.getRawHeaders("Allow")[0]
        assert (response.code, set(told.split(", "))) == (204, methods), path


def test_where_nobody_is_asked_a_token_may_still_be_sent() -> None:
    told = described(a_gateway("judge0"))
    for key in (("POST", "/v1/run"), ("POST", "/submissions")):
        assert {} in operations(told)[key]["security"]


def test_the_parameters_of_a_log_are_those_that_it_takes() -> None:
    """H3: each at its bounds, and one beyond."""
    gateway = a_gateway()
    for kind in ("summary", "verbose"):
        parameters = operations(described(gateway))["GET", f"/logs/{kind}"]["parameters"]
        bounds = {one["name"]: one["schema"]["maximum"] for one in parameters}
        assert bounds == {"lines": LINES_MAX, "node": 2**31 - 1, "follow": 1}
        for name, most in bounds.items():
            assert gateway.fetch("GET", f"/logs/{kind}?{name}={most + 1}")[0].code == 400
        assert gateway.fetch("HEAD", f"/logs/{kind}?follow=1&lines={LINES_MAX}")[0].code == 200


@pytest.mark.parametrize("path", ["/cluster-info", "/v1/cluster"])
def test_the_forms_of_the_cluster_are_those_that_it_has(path: str) -> None:
    """H2."""
    gateway = a_gateway()
    operation = operations(described(gateway))["GET", path]
    (form,) = operation["parameters"]
    kinds = [
        gateway.fetch("GET", f"{path}?format={one}")[0].headers.getRawHeaders("Content-Type")[0]
        for one in form["schema"]["enum"]
    ]
    assert {kind.partition(";")[0] for kind in kinds} == set(operation["responses"]["200"]["content"])


def test_patterns_are_such_that_any_regular_expression_reads_alike() -> None:
    """No range beyond U+FFFF (JavaScript without its Unicode flag refuses it), no half a pair (Rust does)."""
    told = described(a_gateway("jobe", "piston", "judge0"))
    patterns = [found for found in _values(told, "pattern") if isinstance(found, str)]
    assert any(r"\.java" in pattern for pattern in patterns)
    assert all(pattern.isascii() and not re.search(r"\\U|\\u[dD][89a-fA-F]", pattern) for pattern in patterns)


def _values(told: Any, key: str) -> list[Any]:
    """All that stand under a key, at any depth."""
    if isinstance(told, list):
        return [found for each in told for found in _values(each, key)]
    if not isinstance(told, dict):
        return []
    own = [told[key]] if key in told else []
    return own + [found for each in told.values() for found in _values(each, key)]
