"""JSON becomes a program, or a refusal that names the place: H4, P3, and the limits."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.gateway.programs import OUTPUTS_MAX, STREAMS, program_of, read_request
from cluster.gateway.replies import HttpProblem
from cluster.gateway.schemas import FILES_MAX, MEMORY_MIN, TESTS_MAX, RunRequest
from cluster.limits import FRAME_MAX, Limits
from cluster.wire.jobs import Input, Program, Source

CAPS = Limits()
SOURCE = "class A {}"


def read(body: bytes | dict[str, Any], kind: str | None = "application/json") -> Program:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return program_of(read_request(data, kind, None), CAPS, 1000)


def refused(body: bytes | dict[str, Any], kind: str | None = "application/json") -> HttpProblem:
    with pytest.raises(HttpProblem) as caught:
        read(body, kind)
    return caught.value


def test_source_alone_is_a_program_with_the_gateways_limits() -> None:
    assert read({"source": SOURCE}) == Program((Source("", SOURCE),), limits=CAPS)


def test_everything_that_may_be_asked_for() -> None:
    program = read(
        {
            "files": {"b/B.java": "class B {}", "A.java": SOURCE},
            "main_class": "b.B",
            "args": ["x", "é"],
            "stdin": "in",
            "limits": {"wall_s": 1, "memory_bytes": MEMORY_MIN, "output_bytes": 10},
            "tenant": "class-3b",
        }
    )
    assert program.sources == (Source("A.java", SOURCE), Source("b/B.java", "class B {}"))
    assert program.main_class == "b.B"
    assert program.inputs == (Input(("x", "é"), b"in"),)
    assert (program.limits.wall_s, program.limits.output_bytes) == (1, 10)
    assert program.limits.cpu_s == CAPS.cpu_s


@pytest.mark.parametrize("name", ["Ünï", "名", "\uff21", "\ufb01", "\U0001d400x", "\U00020000", "a-b$_9"])
def test_a_file_may_be_called_as_any_class_may(name: str) -> None:
    """P1: also in letters of the planes beyond the first."""
    (source,) = read({"files": {f"{name}/{name}.java": SOURCE}}).sources
    assert source.name == f"{name}/{name}.java"


def test_each_test_is_an_input() -> None:
    """P3."""
    program = read({"source": SOURCE, "tests": [{}, {"args": ["1"], "stdin_base64": "/wA="}]})
    assert program.inputs == (Input(), Input(("1",), b"\xff\x00"))


def test_a_whole_number_may_be_written_with_a_point() -> None:
    """JSON knows one kind of number."""
    limits = read(b'{"source":"x","limits":{"processes":8.0,"wall_s":2}}').limits
    assert repr((limits.processes, limits.wall_s)) == "(8, 2.0)"
    assert refused(b'{"source":"x","limits":{"processes":8.5}}').path == "$.limits.processes"


@pytest.mark.parametrize("name", Limits.__struct_fields__)
@pytest.mark.parametrize("value", ["0", "-1", '"1"', "null", "true", "1e400", "[]", "above"])
def test_a_bad_limit_is_refused_by_its_path(name: str, value: str) -> None:
    """Never unlimited, never silently less."""
    text = repr(getattr(CAPS, name) * 2) if value == "above" else value
    problem = refused(f'{{"source":"{SOURCE}","limits":{{"{name}":{text}}}}}'.encode())
    assert (problem.status, problem.path) == (422, f"$.limits.{name}")
    assert problem.detail.startswith(f"$.limits.{name}: ")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "$"),
        ({"source": SOURCE, "files": {"A.java": SOURCE}}, "$"),
        ({"source": ""}, "$.source"),
        ({"source": None}, "$.source"),
        ({"sorce": SOURCE}, "$"),
        ([], "$"),
        ({"files": {}}, "$.files"),
        ({"files": {f"A{i}.java": "x" for i in range(FILES_MAX + 1)}}, "$.files"),
        *(
            ({"files": {name: SOURCE}}, "$.files")
            for name in (
                "A",
                "/A.java",
                "../A.java",
                "a/../A.java",
                "a//A.java",
                "A.java\n",
                "a\\A.java",
                "\0.java",
                "./A.java",
                "C:/A.java",
                "a/" * 2000 + "A.java",
            )
        ),
        ({"source": SOURCE, "args": "x"}, "$.args"),
        ({"source": SOURCE, "args": ["x", "\0"]}, "$.args[1]"),
        ({"source": SOURCE, "stdin": "x", "stdin_base64": ""}, "$.stdin_base64"),
        ({"source": SOURCE, "stdin_base64": "x"}, "$.stdin_base64"),
        ({"source": SOURCE, "stdin_base64": "AA==\n"}, "$.stdin_base64"),
        ({"source": SOURCE, "stdin_base64": "AA\n=="}, "$.stdin_base64"),
        ({"source": SOURCE, "stdin_base64": "AA==AA=="}, "$.stdin_base64"),
        ({"source": SOURCE, "stdin_base64": "A\u00e9=="}, "$.stdin_base64"),
        ({"source": SOURCE, "stdin_base64": "_-8="}, "$.stdin_base64"),
        ({"source": SOURCE, "tests": []}, "$.tests"),
        ({"source": SOURCE, "tests": [{}] * (TESTS_MAX + 1)}, "$.tests"),
        ({"source": SOURCE, "tests": [{}], "args": []}, "$.tests"),
        ({"source": SOURCE, "tests": [{}], "stdin": ""}, "$.tests"),
        ({"source": SOURCE, "tests": [{}, {"stdin": "", "stdin_base64": ""}]}, "$.tests[1].stdin_base64"),
        ({"source": SOURCE, "tenant": "a b"}, "$.tenant"),
        ({"source": SOURCE, "network": True}, "$"),
        ({"source": SOURCE, "limits": {"network": True}}, "$.limits"),
    ],
)
def test_what_breaks_the_schema_is_422_with_its_place(body: Any, path: str) -> None:
    """F7, N7: names that lead anywhere; and there is no switch for a network."""
    problem = refused(json.dumps(body).encode())
    assert (problem.status, problem.path) == (422, path)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b'{"source":"\xff"}', "application/json", 400),
        (b'{"source":"\\ud800"}', "application/json", 400),
        (b'{"source":"x","limits":{"wall_s":NaN}}', "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"{}", None, 415),
        (json.dumps({"source": "x" * 1001}).encode(), "application/json", 413),
        (
            json.dumps({"files": {f"A{i}.java": "x" * 300 for i in range(4)}}).encode(),
            "application/json",
            413,
        ),
    ],
)
def test_what_is_no_such_json_has_its_status(body: bytes, kind: str | None, status: int) -> None:
    assert refused(body, kind).status == status


def test_a_compressed_body_is_refused() -> None:
    with pytest.raises(HttpProblem) as caught:
        read_request(b"{}", "application/json", "gzip")
    assert caught.value.status == 415


def test_parameters_of_the_type_are_allowed() -> None:
    assert read(b'{"source":"class A {}"}', "Application/JSON; charset=utf-8").sources


def test_many_tests_share_what_may_be_written() -> None:
    """Every outcome must fit a frame."""
    program = read({"source": SOURCE, "tests": [{}] * TESTS_MAX})
    assert program.limits.output_bytes * STREAMS * TESTS_MAX <= OUTPUTS_MAX < FRAME_MAX
    too_much = {"source": SOURCE, "tests": [{}] * TESTS_MAX, "limits": {"output_bytes": CAPS.output_bytes}}
    assert refused(too_much).path == "$.limits.output_bytes"


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """Never another error."""
    with contextlib.suppress(HttpProblem):
        read(body)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def test_what_may_be_megabytes_is_matched_against_no_pattern() -> None:
    """H8: 8 MiB of base64 took 0.34 s of everybody's time before they were decoded, which tells as much."""
    told = msgspec.json.schema(RunRequest)["$defs"]["RunRequest"]["properties"]["stdin_base64"]
    pattern = re.compile(told["pattern"])
    for text in (
        "",
        "AA==",
        "AAA=",
        "AAAA",
        "/+8=",
        "A",
        "AA",
        "AAA",
        "AA==\n",
        "AA==AA==",
        "_-8=",
        "=",
        "A\u00e9==",
    ):
        decoded = msgspec.json.decode(
            msgspec.json.encode({"source": "x", "stdin_base64": text}), type=RunRequest
        )
        try:
            program_of(decoded, Limits(), 1000)
        except HttpProblem:
            assert not pattern.fullmatch(text)
        else:
            assert pattern.fullmatch(text)


_NAMES = ("source", "files", "main_class", "args", "stdin", "stdin_base64", "tests", "limits", "tenant")


@given(st.dictionaries(st.sampled_from(_NAMES), _JSON, max_size=4))
def test_any_json_is_read_or_refused(body: dict[str, Any]) -> None:
    with contextlib.suppress(HttpProblem):
        read(msgspec.json.encode(body))
