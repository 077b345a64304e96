"""Jobe's interface: every field of its requests, every outcome, its words (docs/drop-in.md)."""

from __future__ import annotations

import base64
import json
from typing import Any

import attrs
import msgspec
import pytest

from cluster.config import CompatSettings, GatewaySettings
from cluster.gateway.compat.jobe import MISSING, OUTCOMES, limits_of
from cluster.gateway.compat.jobe_routes import BASE, FILE_OVERHEAD, Files
from cluster.limits import MIB, Limits
from cluster.tokens import Token, digest_of
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
from tests.unit.gateway.fakes import JOB, Gateway, a_view

SOURCE = "public class Test { public static void main(String[] a) {} }"
JSON = {"Content-Type": "application/json; charset=utf-8"}
FILE = "0cc175b9c0f1b6a831c399e269772661"


@pytest.fixture
def gateway() -> Gateway:
    compat = CompatSettings(interfaces=("jobe",), files_bytes=5000)
    gateway = Gateway(GatewaySettings(source_bytes=1000, compat=compat))
    gateway.view = a_view(nodes=tuple(_with_java(node) for node in gateway.view.nodes))
    return gateway


def _with_java(node: Any) -> Any:
    return attrs.evolve(node, java={1: "17.0.15", 2: "21.0.1", 3: "17.0.15"}.get(node.id, ""))


def spec(**changes: Any) -> bytes:
    return json.dumps({"run_spec": {"language_id": "java", "sourcecode": SOURCE} | changes}).encode()


def program(gateway: Gateway, **changes: Any) -> Program:
    gateway.send("POST", f"{BASE}/runs", data=spec(**changes), headers=JSON)
    return gateway.arrived().program


def result(gateway: Gateway, outcome: Outcome | Refusal) -> dict[str, Any]:
    sent = gateway.send("POST", f"{BASE}/runs", data=spec(), headers=JSON)
    gateway.answer(outcome)
    response, body = gateway.result(sent)
    assert response.code == 200
    decoded: dict[str, Any] = json.loads(body)
    assert set(decoded) == {"run_id", "outcome", "cmpinfo", "stdout", "stderr"}
    return decoded


def refusal(gateway: Gateway, body: bytes) -> tuple[int, str]:
    before = len(gateway.events)
    response, answer = gateway.fetch("POST", f"{BASE}/runs", data=body, headers=JSON)
    assert len(gateway.events) == before
    return response.code, json.loads(answer)


def put(gateway: Gateway, file: str, data: bytes) -> int:
    body = json.dumps({"file_contents": base64.b64encode(data).decode()}).encode()
    code: int = gateway.fetch("PUT", f"{BASE}/files/{file}", data=body, headers=JSON)[0].code
    return code


def test_it_is_off_unless_it_is_switched_on() -> None:
    response, _body = Gateway().fetch("GET", f"{BASE}/languages")
    assert response.code == 404


@pytest.mark.parametrize("path", ["languages", "languages/"])
def test_languages_are_pairs_and_dead_nodes_have_none(gateway: Gateway, path: str) -> None:
    response, body = gateway.fetch("GET", f"{BASE}/{path}")
    assert (response.code, json.loads(body)) == (200, [["java", "17.0.15"]])


def test_a_run_becomes_a_program_that_no_cache_answers(gateway: Gateway) -> None:
    asked = program(gateway, sourcefilename="Test.java", input="one\n", language_id="Java")
    assert asked.sources == (Source("Test.java", SOURCE),)
    assert asked.inputs == (Input((), b"one\n"),)
    assert asked.limits == Limits()
    assert (gateway.arrived().use_cache, gateway.arrived().keep) == (False, False)


@pytest.mark.parametrize("name", [None, "", "prog.java", "test.py"])
def test_without_a_good_name_the_compiler_finds_it(gateway: Gateway, name: str | None) -> None:
    assert program(gateway, sourcefilename=name).sources[0].name == ""


@pytest.mark.parametrize(
    ("parameters", "limits"),
    [
        ({"cputime": 2}, {"cpu_s": 2.0, "wall_s": 4.0}),
        ({"cputime": "1.5"}, {"cpu_s": 1.5, "wall_s": 3.0}),
        ({"cputime": 0, "memorylimit": 0, "streamsize": 0}, {}),
        ({"cputime": "5; rm -rf /", "memorylimit": [], "numprocs": 1}, {}),
        ({"memorylimit": 100}, {"memory_bytes": 100_000_000}),
        ({"memorylimit": 1}, {"memory_bytes": 32 * MIB}),
        ({"memorylimit": 4000}, {}),
        ({"memorylimit": 1e308, "streamsize": "1e308", "disklimit": 1e308}, {}),
        ({"streamsize": 0.5, "disklimit": 20}, {"output_bytes": 500_000, "tmp_bytes": 20_000_000}),
    ],
)
def test_parameters_become_limits(parameters: dict[str, Any], limits: dict[str, Any]) -> None:
    assert limits_of(parameters, Limits()) == msgspec.structs.replace(Limits(), **limits)


def test_run_arguments_and_a_main_class_are_passed_on(gateway: Gateway) -> None:
    asked = program(
        gateway, parameters={"runargs": ["Arg1", 2], "main_class": "Other", "compileargs": ["-g"]}
    )
    assert asked.inputs[0].args == ("Arg1", "2")
    assert asked.main_class == "Other"


def test_files_are_uploaded_and_used_by_id(gateway: Gateway) -> None:
    data, helper = "randomid0129798", "randomid0980128"
    listed = [[data, "words.txt"], [helper, "Helper.java", True]]
    assert refusal(gateway, spec(file_list=listed, sourcefilename="Test.java")) == (404, MISSING)
    assert gateway.fetch("HEAD", f"{BASE}/files/{data}")[0].code == 404
    assert (put(gateway, data, b"one\n"), put(gateway, helper, b"class Helper {}")) == (204, 204)
    assert gateway.fetch("HEAD", f"{BASE}/files/{data}")[0].code == 204
    asked = program(gateway, file_list=listed, sourcefilename="Test.java")
    assert asked.files == (DataFile("words.txt", b"one\n"),)
    assert asked.sources == (Source("Test.java", SOURCE), Source("Helper.java", "class Helper {}"))
    assert asked.main_class == "Test"


def test_kept_files_are_bounded_and_the_unused_go_first() -> None:
    each = FILE_OVERHEAD + 1
    files = Files(2 * each + 10)
    assert files.put(None, "a", b"12345")
    assert files.put(None, "b", b"12345")
    assert files.get(None, "a") == b"12345"
    assert files.put(None, "c", b"1")
    assert (files.get(None, "a"), files.get(None, "b"), files.held) == (b"12345", None, 2 * each + 6)
    assert files.put(None, "a", b"1")
    assert files.held == 2 * each + 2
    assert not files.put(None, "d", b"x" * (each + 11))
    assert files.held == 2 * each + 2


def test_h9_a_tenants_files_do_not_push_out_anothers() -> None:
    """Whoever has most makes room; nobody has more than the others left him."""
    files = Files(10 * (FILE_OVERHEAD + 10))
    for number in range(10):
        assert files.put("greedy", f"{number:08}", b"")
    assert files.put("good", "00000000", b"mine")
    for number in range(20):
        assert files.put("greedy", f"{number:08}", b"")
    assert files.get("good", "00000000") == b"mine"
    assert not files.put("good", "00000001", b"x" * 9 * FILE_OVERHEAD)
    assert files.get("greedy", "00000019") == b""


def test_empty_files_need_room_too() -> None:
    files = Files(100 * (FILE_OVERHEAD + 8))
    for number in range(10_000):
        assert files.put("tenant", f"{number:08}", b"")
    assert len(files) == 100
    assert files.held == 100 * (FILE_OVERHEAD + 8)
    assert files.get("tenant", "00009900") == b""
    assert files.get("tenant", "00009899") is None


def test_a_file_is_its_tenants_own() -> None:
    """Another one neither sees it, nor runs with it, nor changes it."""
    gateway = Gateway(GatewaySettings(compat=CompatSettings(interfaces=("jobe",))))
    gateway.access.needed = True
    gateway.access.replace(
        [Token(name=name, sha256=digest_of(name), rate=1.0, burst=3) for name in ("mine", "theirs")]
    )

    def send(tenant: str, method: str, path: str, data: bytes = b"") -> int:
        headers = JSON | {"X-API-KEY": tenant}
        code: int = gateway.fetch(method, f"{BASE}/{path}", data=data, headers=headers)[0].code
        return code

    def contents(text: bytes) -> bytes:
        return json.dumps({"file_contents": base64.b64encode(text).decode()}).encode()

    run = spec(file_list=[[FILE, "words.txt"]])
    assert send("mine", "PUT", f"files/{FILE}", contents(b"mine")) == 204
    assert (send("mine", "HEAD", f"files/{FILE}"), send("theirs", "HEAD", f"files/{FILE}")) == (204, 404)
    assert send("theirs", "POST", "runs", run) == 404
    assert send("theirs", "PUT", f"files/{FILE}", contents(b"theirs")) == 204
    gateway.send("POST", f"{BASE}/runs", data=run, headers=JSON | {"X-API-KEY": "mine"})
    assert gateway.arrived().program.files == (DataFile("words.txt", b"mine"),)
    assert [send("theirs", "PUT", f"files/{FILE}", contents(b"")) for _time in range(2)] == [204, 401]


@pytest.mark.parametrize(
    ("file", "body", "code"),
    [
        ("short", b'{"file_contents": ""}', 400),
        (FILE, b"{}", 400),
        (FILE, b"no json", 400),
        (FILE, b'{"x": ' + b"[" * 1500, 400),
        (FILE, b'{"file_contents": "not base64!"}', 400),
        (FILE, json.dumps({"file_contents": base64.b64encode(bytes(5001)).decode()}).encode(), 413),
    ],
)
def test_a_bad_upload_is_refused(gateway: Gateway, file: str, body: bytes, code: int) -> None:
    response, answer = gateway.fetch("PUT", f"{BASE}/files/{file}", data=body, headers=JSON)
    assert response.code == code
    assert json.loads(answer).startswith("put: ")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"what", "Non-JSON post data received"),
        (b"[]", "Non-JSON post data received"),
        (b"[" * 1500, "Non-JSON post data received"),
        (b"{}", "No run_spec attribute found in post data"),
        (b'{"run_spec": 1}', "No run_spec attribute found in post data"),
        (
            b'{"run_spec": {"language_id": "java"}}',
            "run_spec is missing the required attribute 'sourcecode'",
        ),
        (b'{"run_spec": {"sourcecode": ""}}', "run_spec is missing the required attribute 'language_id'"),
        (spec(language_id="cobol"), "Language 'cobol' is not known"),
        (spec(sourcefilename="../Evil.java"), "The sourcefilename for the run_spec is illegal"),
        (spec(sourcefilename=".hidden.java"), "The sourcefilename for the run_spec is illegal"),
        (spec(sourcefilename={}), "The sourcefilename for the run_spec is illegal"),
        (spec(file_list=[["id", "f"]]), "Invalid file specifier"),
        (spec(file_list=[[FILE, "../f"]]), "Invalid file specifier"),
        (spec(file_list="x"), "Invalid file specifier"),
        (spec(parameters={"cputime": 60}), "cputime exceeds maximum allowed on this Jobe server (5 secs)"),
        (spec(parameters={"runargs": ["\0"]}), "The runargs"),
    ],
)
def test_a_bad_run_spec_is_refused_in_jobes_words(gateway: Gateway, body: bytes, words: str) -> None:
    code, text = refusal(gateway, body)
    assert code == 400
    assert text.startswith(words)


def test_too_much_source_is_refused(gateway: Gateway) -> None:
    assert refusal(gateway, spec(sourcecode="x" * 1001))[0] == 413


def _outcome(run: Run, message: str = "") -> Outcome:
    return Outcome(run.verdict, message, Compilation(main_class="Test", entry="main"), (run,), worker=1)


@pytest.mark.parametrize(
    ("run", "outcome", "stdout", "stderr"),
    [
        (Run(Verdict.OK, stdout=b"hi\n", exit_code=0), 15, "hi\n", ""),
        (Run(Verdict.OK, stdout=b"hi", stderr=b"warned", exit_code=0), 12, "hi", "warned"),
        (Run(Verdict.OK, value=b"returned", exit_code=0), 15, "returned", ""),
        (
            Run(Verdict.RUNTIME_ERROR, stdout=b"a", stderr=b"Exception\n\tat A.main", exit_code=1),
            12,
            "a",
            "Exception\n        at A.main",
        ),
        (Run(Verdict.RUNTIME_ERROR, exit_code=3), 12, "", "Exited with status 3"),
        (Run(Verdict.TIME_LIMIT, "cpu", stdout=b"part", stderr=b"x"), 13, "part", ""),
        (Run(Verdict.OUTPUT_LIMIT, "stdout", stdout=b"much"), 13, "much", ""),
        (Run(Verdict.MEMORY_LIMIT, "heap", stderr=b"OutOfMemoryError", exit_code=1), 17, "", ""),
        (Run(Verdict.SIGNALLED, signal=11), 12, "", "Killed by signal 11"),
        (Run(Verdict.OK, stdout=b"\xff\x01\n\tA", exit_code=0), 15, "\\xff\\x01\n\tA", ""),
        (Run(Verdict.TIME_LIMIT, "compile", "compiling took longer than 10 s"), 11, "", ""),
    ],
)
def test_every_ending_has_its_outcome(
    gateway: Gateway, run: Run, outcome: int, stdout: str, stderr: str
) -> None:
    told = result(gateway, _outcome(run))
    assert (told["outcome"], told["stdout"], told["stderr"]) == (outcome, stdout, stderr)
    assert told["run_id"] == JOB
    assert bool(told["cmpinfo"]) == (outcome == 11)


def test_every_verdict_has_an_outcome() -> None:
    assert set(OUTCOMES) == set(Verdict)


def test_a_compile_error_brings_the_compilers_words(gateway: Gateway) -> None:
    text = "Test.java:1: error: ';' expected"
    told = result(gateway, Outcome(Verdict.COMPILE_ERROR, "short", Compilation(text=text)))
    assert (told["outcome"], told["cmpinfo"]) == (11, text)


def test_warnings_are_no_failure(gateway: Gateway) -> None:
    outcome = Outcome(Verdict.OK, "", Compilation(text="Note: unchecked"), (Run(Verdict.OK, exit_code=0),))
    told = result(gateway, outcome)
    assert (told["outcome"], told["cmpinfo"]) == (15, "")


@pytest.mark.parametrize("verdict", [Verdict.INTERNAL_ERROR, Verdict.WORKER_LOST, Verdict.EXPIRED])
def test_our_own_failures_are_internal_errors(gateway: Gateway, verdict: Verdict) -> None:
    told = result(gateway, Outcome(verdict, "so it went"))
    assert (told["outcome"], told["stderr"]) == (20, "so it went")


def test_overload_is_an_outcome_and_no_status(gateway: Gateway) -> None:
    told = result(gateway, Refusal(Reason.OVERLOADED, "1000 wait"))
    assert (told["outcome"], told["stderr"]) == (21, "1000 wait")


def test_a_client_that_leaves_cancels_its_run(gateway: Gateway) -> None:
    """H8."""
    sent = gateway.send("POST", f"{BASE}/runs", data=spec(), headers=JSON)
    assert gateway.requests.pending == 1
    sent.addErrback(lambda _gone: None)
    sent.cancel()
    gateway.client.flush()
    assert gateway.requests.pending == 0
