"""Piston's interface: every field of its requests, every status, its words (docs/drop-in.md)."""

from __future__ import annotations

import base64
import json
from typing import Any

import attrs
import pytest

from cluster.config import CompatSettings, GatewaySettings
from cluster.gateway.compat.piston_routes import BASE
from cluster.gateway.compat.versions import newest_matching
from cluster.limits import MIB
from cluster.wire.jobs import (
    Compilation,
    DataFile,
    Input,
    Outcome,
    Program,
    Reason,
    Refusal,
    Run,
    Source,
    Verdict,
)
from tests.unit.gateway.fakes import Gateway, a_view

SOURCE = "class A { public static void main(String[] a) {} }"
JSON = {"Content-Type": "application/json"}
VERSIONS = ["17.0.15", "21.0.1"]


@pytest.fixture
def gateway() -> Gateway:
    gateway = Gateway(GatewaySettings(compat=CompatSettings(interfaces=("piston",))))
    java = {1: "17.0.15", 2: "11.0.1", 3: "21.0.1"}
    nodes = tuple(attrs.evolve(node, java=java.get(node.id, "")) for node in gateway.view.nodes)
    gateway.view = a_view(nodes=nodes)
    return gateway


def body(**changes: Any) -> bytes:
    asked = {"language": "java", "version": "*", "files": [{"name": "A.java", "content": SOURCE}]} | changes
    return json.dumps(asked).encode()


def program(gateway: Gateway, **changes: Any) -> Program:
    gateway.send("POST", f"{BASE}/execute", data=body(**changes), headers=JSON)
    return gateway.arrived().program


def execution(gateway: Gateway, outcome: Outcome, **changes: Any) -> dict[str, Any]:
    sent = gateway.send("POST", f"{BASE}/execute", data=body(**changes), headers=JSON)
    gateway.answer(outcome)
    response, answer = gateway.result(sent)
    assert response.code == 200
    decoded: dict[str, Any] = json.loads(answer)
    return decoded


def refusal(gateway: Gateway, sent: bytes, headers: dict[str, str] | None = None) -> tuple[int, str]:
    response, answer = gateway.fetch("POST", f"{BASE}/execute", data=sent, headers=headers or JSON)
    assert gateway.events == []
    told = json.loads(answer)
    assert list(told) == ["message"]
    return response.code, told["message"]


def test_it_is_off_unless_it_is_switched_on() -> None:
    assert Gateway().fetch("GET", f"{BASE}/runtimes")[0].code == 404


def test_runtimes_and_packages_are_the_jdks_of_the_living_nodes(gateway: Gateway) -> None:
    response, answer = gateway.fetch("GET", f"{BASE}/runtimes")
    assert response.code == 200
    assert json.loads(answer) == [
        {"language": "java", "version": "17.0.15", "aliases": []},
        {"language": "java", "version": "21.0.1", "aliases": []},
    ]
    packages = json.loads(gateway.fetch("GET", f"{BASE}/packages")[1])
    assert packages[0] == {"language": "java", "language_version": "17.0.15", "installed": True}


@pytest.mark.parametrize(
    ("selector", "version"),
    [
        ("*", "21.0.1"),
        ("x", "21.0.1"),
        ("17", "17.0.15"),
        ("17.x", "17.0.15"),
        ("17.0.15", "17.0.15"),
        ("=17.0.15", "17.0.15"),
        ("^17.0.1", "17.0.15"),
        ("~17.0", "17.0.15"),
        (">=11", "21.0.1"),
        (">17", "21.0.1"),
        ("<21", "17.0.15"),
        ("<=17", "17.0.15"),
        ("15.0.2", "21.0.1"),  # older than what is here: a newer JDK runs it
        ("25.0.0", None),
        ("22.x", None),
        ("^15", None),
        ("", None),
        ("latest", None),
        pytest.param("9" * 5000, None, id="more digits than any number has"),
        pytest.param("17." * 5000 + "0", None, id="more parts than any version has"),
        ("\u0661\u0667", None),
        ("1.2.3 || 4", None),
    ],
)
def test_a_selector_means_the_newest_version_that_it_allows(selector: str, version: str | None) -> None:
    assert newest_matching(VERSIONS, selector) == version


def test_without_a_living_jdk_no_runtime_is_known() -> None:
    assert newest_matching([], "*") is None


def test_a_request_becomes_a_program_that_no_cache_answers(gateway: Gateway) -> None:
    asked = program(gateway, args=["1", "b c"], stdin="in")
    assert asked == Program((Source("A.java", SOURCE),), inputs=(Input(("1", "b c"), b"in\n"),))
    assert (gateway.arrived().use_cache, gateway.arrived().keep) == (False, False)


@pytest.mark.parametrize(
    ("stdin", "given"), [(None, b"\n"), ("", b"\n"), ("x\n", b"x\n"), ("\u00fc", b"\xc3\xbc\n")]
)
def test_standard_input_ends_in_a_line_end(gateway: Gateway, stdin: str | None, given: bytes) -> None:
    assert program(gateway, stdin=stdin).inputs[0].stdin == given


def test_files_are_told_apart_by_encoding_and_name(gateway: Gateway) -> None:
    files = [
        {"name": "raw.bin", "content": base64.b64encode(b"\x00\xff").decode(), "encoding": "base64"},
        {"content": SOURCE},
        {"name": "lib/Helper.java", "content": "package lib;", "encoding": "utf8"},
        {"name": "words.txt", "content": "one\n", "encoding": "strange"},
        {"name": "more.txt", "content": "two\n", "encoding": ["base64"]},
        {"name": "hex.bin", "content": "00ff", "encoding": "hex"},
    ]
    asked = program(gateway, files=files)
    assert asked.sources == (Source("", SOURCE), Source("lib/Helper.java", "package lib;"))
    assert asked.files == (
        DataFile("hex.bin", b"\x00\xff"),
        DataFile("more.txt", b"two\n"),
        DataFile("raw.bin", b"\x00\xff"),
        DataFile("words.txt", b"one\n"),
    )


def test_constraints_become_limits(gateway: Gateway) -> None:
    constraints = {
        "run_timeout": 3000,
        "run_cpu_time": 1500,
        "compile_timeout": 10000,
        "compile_cpu_time": 9000,
        "run_memory_limit": 100 * MIB,
        "compile_memory_limit": -1,
    }
    limits = program(gateway, **constraints).limits
    assert (limits.wall_s, limits.cpu_s, limits.compile_s) == (3.0, 1.5, 9.0)
    assert limits.memory_bytes == 100 * MIB


@pytest.mark.parametrize("value", [0, None, -1])
def test_no_memory_limit_means_the_gateways(gateway: Gateway, value: int | None) -> None:
    assert program(gateway, run_memory_limit=value).limits.memory_bytes == 256 * MIB


def test_a_memory_limit_that_no_jvm_starts_with_is_raised(gateway: Gateway) -> None:
    assert program(gateway, run_memory_limit=1000).limits.memory_bytes == 32 * MIB


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"{", "the body is not JSON"),
        (b"[" * 1500, "the body is not JSON"),
        (b"[]", "language is required as a string"),
        (body(language=None), "language is required as a string"),
        (body(language=1), "language is required as a string"),
        (body(version=17), "version is required as a string"),
        (body(files={}), "files is required as an array"),
        (body(files=[{"content": SOURCE}, {"name": "x"}]), "files[1].content is required as a string"),
        (body(language="python"), "python-* runtime is unknown"),
        (body(version="99.0.0"), "java-99.0.0 runtime is unknown"),
        (
            body(files=[{"content": "AA==", "encoding": "base64"}]),
            "files must include at least one utf8 encoded file",
        ),
        (body(run_timeout="3000"), "If specified, run_timeout must be a number"),
        (body(run_timeout=10001), "run_timeout cannot exceed the configured limit of 10000"),
        (body(run_timeout=-1), "run_timeout must be non-negative"),
        (body(run_memory_limit=2**40), "run_memory_limit cannot exceed the configured limit of"),
        (body(args="x"), "args must be an array"),
        (body(stdin=["x"]), "stdin must be a string"),
        (body(files=[{"content": SOURCE}, {"name": "../x", "content": ""}]), "the file name '../x'"),
        (
            body(files=[{"content": SOURCE}, {"name": "x", "content": "g", "encoding": "hex"}]),
            "files[1].content is not hex",
        ),
        (body(files=[{"name": "A.java", "content": ""}] * 2), "the file A.java is there twice"),
        (body(files=[{"content": "x" * (MIB + 1)}]), "1048577 bytes of source"),
    ],
)
def test_a_bad_request_is_refused_in_pistons_words(gateway: Gateway, sent: bytes, message: str) -> None:
    code, told = refusal(gateway, sent)
    assert code == 400
    assert told.startswith(message)


def test_only_json_is_taken(gateway: Gateway) -> None:
    code, message = refusal(gateway, body(), {"Content-Type": "text/plain"})
    assert (code, message) == (415, "requests must be of type application/json")


def _outcome(run: Run, text: str = "") -> Outcome:
    return Outcome(run.verdict, "", Compilation(text=text, seconds=0.25), (run,), worker=1)


STAGE = {
    "stdout",
    "stderr",
    "output",
    "code",
    "signal",
    "message",
    "status",
    "cpu_time",
    "wall_time",
    "memory",
}


def test_both_stages_are_told_whole(gateway: Gateway) -> None:
    run = Run(
        Verdict.OK, stdout=b"out", stderr=b"err", exit_code=0, wall_s=0.5, cpu_s=0.25, peak_memory_bytes=7
    )
    told = execution(gateway, _outcome(run, "Note: unchecked"), version="17.x")
    assert (told["language"], told["version"]) == ("java", "17.0.15")
    assert set(told["run"]) == set(told["compile"]) == STAGE
    assert told["run"] == {
        "stdout": "out",
        "stderr": "err",
        "output": "outerr",
        "code": 0,
        "signal": None,
        "message": None,
        "status": None,
        "cpu_time": 250.0,
        "wall_time": 500.0,
        "memory": 7,
    }
    assert (told["compile"]["code"], told["compile"]["stderr"]) == (0, "Note: unchecked")
    assert told["compile"]["wall_time"] == 250.0


@pytest.mark.parametrize(
    ("run", "status", "code", "signal", "message"),
    [
        (Run(Verdict.RUNTIME_ERROR, exit_code=3), "RE", 3, None, "Exited with error status 3"),
        (Run(Verdict.TIME_LIMIT, "cpu", signal=9), "TO", None, "SIGKILL", "Time limit exceeded"),
        (
            Run(Verdict.TIME_LIMIT, "wall", signal=9),
            "TO",
            None,
            "SIGKILL",
            "Time limit exceeded (wall clock)",
        ),
        (Run(Verdict.OUTPUT_LIMIT, "stdout", signal=9), "OL", None, "SIGKILL", "stdout length exceeded"),
        (Run(Verdict.OUTPUT_LIMIT, "stderr", signal=9), "EL", None, "SIGKILL", "stderr length exceeded"),
        (
            Run(Verdict.MEMORY_LIMIT, "heap", "OutOfMemoryError", exit_code=1),
            "RE",
            1,
            None,
            "OutOfMemoryError",
        ),
        (Run(Verdict.MEMORY_LIMIT, "native", signal=9), "SG", None, "SIGKILL", "memory_limit"),
        (Run(Verdict.SIGNALLED, signal=11, message="it crashed"), "SG", None, "SIGSEGV", "it crashed"),
        (Run(Verdict.INTERNAL_ERROR, message="broken"), "XX", None, None, "broken"),
    ],
)
def test_every_ending_has_its_status(
    gateway: Gateway, run: Run, status: str, code: int | None, signal: str | None, message: str
) -> None:
    told = execution(gateway, _outcome(run))["run"]
    assert (told["status"], told["code"], told["signal"], told["message"]) == (status, code, signal, message)


def test_bytes_that_are_no_text_are_replaced(gateway: Gateway) -> None:
    told = execution(gateway, _outcome(Run(Verdict.OK, stdout=b"a\xff", exit_code=0)))
    assert told["run"]["stdout"] == "a\ufffd"


def test_a_compile_error_is_in_both_stages(gateway: Gateway) -> None:
    """As there: clients that look at `run` alone see it."""
    told = execution(gateway, Outcome(Verdict.COMPILE_ERROR, "x", Compilation(text="A.java:1: error: x")))
    assert told["run"] == told["compile"]
    assert (told["run"]["code"], told["run"]["stderr"]) == (1, "A.java:1: error: x")


def test_a_compilation_that_takes_too_long_is_killed(gateway: Gateway) -> None:
    run = Run(Verdict.TIME_LIMIT, "compile", "compiling took longer than 10 s")
    told = execution(gateway, Outcome(Verdict.TIME_LIMIT, run.message, Compilation(), (run,)))
    assert (told["compile"]["status"], told["compile"]["signal"]) == ("TO", "SIGKILL")


@pytest.mark.parametrize(
    ("result", "code"),
    [(Refusal(Reason.OVERLOADED, "1000 wait"), 503), (Outcome(Verdict.EXPIRED, "late"), 504)],
)
def test_what_the_cluster_could_not_run_is_a_status_with_a_message(
    gateway: Gateway, result: Outcome | Refusal, code: int
) -> None:
    sent = gateway.send("POST", f"{BASE}/execute", data=body(), headers=JSON)
    gateway.answer(result)
    response, answer = gateway.result(sent)
    assert response.code == code
    assert json.loads(answer) == {"message": result.message}
