"""The tables of docs/drop-in.md against the code: every call, field, outcome and status, and none besides."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from cluster.config import CompatSettings, GatewaySettings
from cluster.gateway.compat import jobe, judge0, piston
from cluster.gateway.compat.endpoints import INTERFACES
from cluster.gateway.compat.jobe_routes import BASE as JOBE
from cluster.gateway.compat.judge0_answers import ALL_FIELDS, DEFAULT_FIELDS
from cluster.gateway.compat.judge0_info import STATUSES
from cluster.gateway.compat.piston_routes import BASE as PISTON
from cluster.limits import Limits
from tests.documentation.reference import DOCS
from tests.unit.gateway.fakes import Gateway, a_view

SOURCE = "public class A { public static void main(String[] a) { } }"
METHODS = {"GET", "POST", "PUT", "DELETE"}
TEXT = (DOCS / "drop-in.md").read_text(encoding="utf-8")
_NAMES = re.compile(r"`([^`]+)`")


def section(title: str) -> str:
    """What stands below a heading of the second level."""
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def tables(title: str) -> dict[str, list[list[str]]]:
    """The tables of a section by the head of their first column: the cells of each row."""
    found: dict[str, list[list[str]]] = {}
    rows: list[list[str]] | None = None
    for line in section(title).splitlines():
        if not line.startswith("| "):
            rows = None
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if rows is None:
            rows = found[cells[0]] = []
        elif not set(cells[0]) <= {"-", " ", ":"}:
            rows.append(cells)
    return found


def names(rows: list[list[str]]) -> dict[str, str]:
    """What the first column names, and what the last one says of it."""
    return {name: cells[-1] for cells in rows for name in _NAMES.findall(cells[0])}


class Read(dict[str, Any]):
    """A request that remembers what of it was looked at."""

    def __init__(self, given: dict[str, Any], seen: set[str]) -> None:
        super().__init__(given)
        self._seen = seen

    def get(self, key: str, default: Any = None) -> Any:
        self._seen.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        self._seen.add(key)
        return super().__getitem__(key)


def accepted(described: dict[str, str]) -> set[str]:
    """Those that do something."""
    return {name for name, words in described.items() if words != "ignored"}


# --- calls -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gateway() -> Gateway:
    interfaces = CompatSettings(interfaces=("jobe", "piston", "judge0"))
    gateway = Gateway(GatewaySettings(compat=interfaces))
    nodes = tuple(attrs.evolve(node, java="17.0.15") for node in gateway.view.nodes)
    gateway.view = a_view(nodes=nodes)
    return gateway


def calls(rows: list[list[str]], base: str) -> Iterator[tuple[str, str, bool]]:
    """Method, path, and whether it is served; a path without a method has the one before it."""
    for cells in rows:
        method = ""
        for name in _NAMES.findall(cells[0].partition("(")[0]):
            first, _space, rest = name.partition(" ")
            if first in METHODS:
                method = first
            path = (rest if first in METHODS else name).partition("?")[0]
            if method and (rest or path.startswith("/")):
                yield method, base + re.sub(r"TOKEN|ID", "<>", path), "not served" not in cells[-1]


@pytest.mark.parametrize(
    ("title", "name", "base"),
    [("Jobe", "jobe", f"{JOBE}/"), ("Piston", "piston", f"{PISTON}/"), ("Judge0", "judge0", "")],
)
def test_every_call_is_in_its_table(gateway: Gateway, title: str, name: str, base: str) -> None:
    described = list(calls(tables(title)["call"], base))
    settings = GatewaySettings(compat=CompatSettings(interfaces=(name,)))  # type: ignore[arg-type]
    alone = Gateway(settings)
    routes = {
        (method, re.sub(r"<\w+>", "<>", path).rstrip("/"))
        for path, method, _endpoint in alone.resource.site.endpoints()
        if path not in OUR_OWN
    }
    assert {(method, path) for method, path, served in described if served} == routes
    for method, path, served in described:
        code = gateway.fetch(method, path.replace("<>", "nobody12"), data=b"{}")[0].code
        if not served:
            assert code in {404, 405}, f"{method} {path}: {code}"


OUR_OWN = {path for path, _method, _endpoint in Gateway().resource.site.endpoints()}


def test_each_interface_has_its_section() -> None:
    assert {name.lower() for name in re.findall(r"^## (Jobe|Piston|Judge0)$", TEXT, re.MULTILINE)} == set(
        INTERFACES
    )


# --- Jobe --------------------------------------------------------------------------------------------


def test_jobes_fields_are_those_that_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    spec: set[str] = set()
    parameters: set[str] = set()
    given = {"language_id": "java", "sourcecode": SOURCE, "parameters": Read({"cputime": 1}, parameters)}
    monkeypatch.setattr(jobe, "_run_spec", lambda _body: Read(given, spec))
    jobe.program_of(b"", Limits(), 1000, lambda _file: None)
    described = tables("Jobe")
    assert accepted(names(described["field of `run_spec`"])) == spec
    assert accepted(names(described["field of `parameters`"])) == parameters


def test_jobes_answer_and_outcomes_are_those_that_it_gives() -> None:
    described = tables("Jobe")
    assert set(names(described["field of the answer"])) == set(jobe.RunResult.__struct_fields__)
    told = {int(cells[0]): cells[1] for cells in described["`outcome`"]}
    given = {*jobe.OUTCOMES.values(), jobe.SERVER_OVERLOAD}
    assert {number for number, when in told.items() if not when.startswith("never")} == given
    assert [number for number, when in told.items() if when.startswith("never")] == [jobe.ILLEGAL_SYSCALL]


# --- Piston ------------------------------------------------------------------------------------------


def test_pistons_fields_are_those_that_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[str] = set()
    files: set[str] = set()
    given = {"language": "java", "version": "*", "files": [Read({"content": SOURCE}, files)]}
    monkeypatch.setattr(piston, "_decoded", lambda _body: Read(given, asked))
    piston.program_of(b"", ["17.0.15"], Limits(), 1000)
    described = names(tables("Piston")["field of the request"])
    nested = {name.partition(".")[2] for name in described if "." in name} | {"content", "encoding"}
    plain = {name for name in described if "." not in name} - {"content", "encoding"} - VALUES
    assert (plain | {"files"}, nested) == (asked, files)


VALUES = {"utf8", "base64", "hex"}
"""Of `encoding`, not fields."""


def test_pistons_answer_is_the_one_that_it_gives() -> None:
    described = tables("Piston")
    assert set(names(described["field of the answer"])) == set(piston.Execution.__struct_fields__)
    stage = names(described["field of a stage"])
    assert set(stage) == set(piston.Stage.__struct_fields__)
    codes = {*piston._STATUS.values(), "EL", "XX"}
    assert set(_NAMES.findall(stage["status"])) == codes


# --- Judge0 ------------------------------------------------------------------------------------------


def test_judge0s_attributes_are_those_that_are_read() -> None:
    seen: set[str] = set()
    given = Read({"source_code": SOURCE, "language_id": 62}, seen)
    judge0.submission_of(given, False, Limits(), 1000, lambda _url: "")
    described = names(tables("Judge0")["attribute of a submission"])
    assert set(described) == seen


def test_judge0s_answer_has_all_that_can_be_asked_for() -> None:
    sent = set(names(tables("Judge0")["attribute of a submission"]))
    told = set(names(tables("Judge0")["attribute of the answer"]))
    assert sent | told == set(ALL_FIELDS)
    assert not sent & told
    words = section("Judge0").partition("Without `fields`:")[2].partition("\n\n")[0]
    assert tuple(_NAMES.findall(words)) == DEFAULT_FIELDS


def test_judge0s_statuses_are_all_fourteen() -> None:
    told = dict(cells[0].split(" ", 1) for cells in tables("Judge0")["status"])
    assert {int(number): name for number, name in told.items()} == STATUSES
