"""Judge0's interface: every call, attribute and status, its words (docs/drop-in.md)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import zipfile
from typing import Any

import attrs
import pytest

from cluster.config import CompatSettings, GatewaySettings
from cluster.core.events import RequestAbandoned, RequestArrived
from cluster.gateway.compat.callbacks import SIGNATURE
from cluster.gateway.compat.judge0 import Submission
from cluster.gateway.compat.judge0_answers import ALL_FIELDS, DEFAULT_FIELDS, Moments, document
from cluster.limits import MIB
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

SOURCE = "public class Main { public static void main(String[] a) {} }"
JSON = {"Content-Type": "application/json"}
TOKEN = "01234567-89ab-cdef-0123-456789abcdef"  # noqa: S105  (names a submission)
NOBODY = "00000000-0000-4000-8000-000000000000"
HOST = "grader.example.org"


@pytest.fixture
def gateway() -> Gateway:
    compat = CompatSettings(
        interfaces=("judge0",), callback_allow=(HOST, "192.0.2.0/24"), callback_key_file="key"
    )
    gateway = Gateway(GatewaySettings(source_bytes=2000, compat=compat))
    java = {1: "17.0.15", 3: "17.0.15"}
    nodes = tuple(
        attrs.evolve(node, java=java.get(node.id, ""), sandbox="bubblewrap" if node.id in java else "")
        for node in gateway.view.nodes
    )
    gateway.view = a_view(nodes=nodes)
    return gateway


def body(**changes: Any) -> bytes:
    return json.dumps({"source_code": SOURCE, "language_id": 62} | changes).encode()


def post(gateway: Gateway, sent: bytes, query: str = "", headers: dict[str, str] | None = None) -> Any:
    return gateway.send("POST", f"/submissions{query}", data=sent, headers=headers or JSON)


def create(gateway: Gateway, **changes: Any) -> Program:
    response, answer = gateway.result(post(gateway, body(**changes)))
    assert (response.code, json.loads(answer)) == (201, {"token": TOKEN})
    return gateway.arrived().program


def told(gateway: Gateway, query: str = "") -> dict[str, Any]:
    response, answer = gateway.fetch("GET", f"/submissions/{TOKEN}{query}")
    assert response.code == 200
    decoded: dict[str, Any] = json.loads(answer)
    return decoded


def document_of(gateway: Gateway, run: Run, query: str = "", **changes: Any) -> dict[str, Any]:
    create(gateway, **changes)
    gateway.clock.advance(2.5)
    gateway.answer(Outcome(run.verdict, "", Compilation(), (run,), worker=1))
    return told(gateway, query)


def wrong(gateway: Gateway, **changes: Any) -> dict[str, list[str]]:
    response, answer = gateway.result(post(gateway, body(**changes)))
    assert response.code == 422
    assert gateway.events == []
    decoded: dict[str, list[str]] = json.loads(answer)
    return decoded


def encoded(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def archive(compression: int = zipfile.ZIP_DEFLATED, **files: bytes) -> str:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as opened:
        for name, data in files.items():
            opened.writestr(name.replace("__", "/").replace("_", "."), data)
    return encoded(buffer.getvalue())


def _behind(text: str) -> str:
    """The archive without some of its first bytes: its list says that they are there."""
    return encoded(base64.b64decode(text)[14:])


def _understated(text: str) -> str:
    """The archive, whose end says that it lists one file: readers go by the list's size."""
    data = bytearray(base64.b64decode(text))
    data[-14:-10] = b"\1\0\1\0"
    return encoded(bytes(data))


def test_it_is_off_unless_it_is_switched_on() -> None:
    assert Gateway().fetch("GET", "/languages")[0].code == 404


def test_a_submission_becomes_a_program_that_no_cache_answers(gateway: Gateway) -> None:
    asked = create(gateway, stdin="in", command_line_arguments="a 'b c' $x;y", language_id="91")
    assert asked.sources == (Source("", SOURCE),)
    assert asked.inputs == (Input(("a", "b c", "xy"), b"in"),)
    assert (gateway.arrived().use_cache, gateway.arrived().keep) == (False, False)


def test_a_form_will_do(gateway: Gateway) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    response, _answer = gateway.result(
        post(gateway, b"language_id=62&source_code=class+A+%7B%7D", headers=form)
    )
    assert response.code == 201
    assert gateway.arrived().program.sources[0].text == "class A {}"


def test_texts_may_come_and_go_in_base64(gateway: Gateway) -> None:
    sent = body(source_code=encoded(SOURCE), stdin=encoded(b"\xff"), expected_output=encoded("x" * 60))
    gateway.result(post(gateway, sent, "?base64_encoded=true"))
    assert gateway.arrived().program == Program((Source("", SOURCE),), inputs=(Input((), b"\xff"),))
    gateway.answer(Outcome(Verdict.OK, "", None, (Run(Verdict.OK, stdout=b"x" * 60, exit_code=0),)))
    answer = told(gateway, "?base64_encoded=true&fields=stdout,stdin,status_id,source_code")
    assert list(answer) == ["stdout", "stdin", "status_id", "source_code"]
    assert answer["stdout"] == encoded("x" * 60)[:60] + "\n" + encoded("x" * 60)[60:] + "\n"
    assert (answer["stdin"], answer["status_id"]) == ("/w==\n", 3)


def test_limits_are_kilobytes_and_seconds_and_may_be_texts(gateway: Gateway) -> None:
    limits = create(
        gateway, cpu_time_limit="1.5", wall_time_limit=3, memory_limit=64000, max_processes_and_or_threads=40
    ).limits
    assert (limits.cpu_s, limits.wall_s, limits.memory_bytes, limits.processes) == (1.5, 3, 64000 * 1024, 40)


def test_what_no_jvm_starts_with_is_raised(gateway: Gateway) -> None:
    limits = create(gateway, memory_limit=2048, max_processes_and_or_threads=1).limits
    assert (limits.memory_bytes, limits.processes) == (32 * MIB, 32)


def test_several_runs_share_the_room_for_output(gateway: Gateway) -> None:
    program = create(gateway, number_of_runs=20)
    assert len(program.inputs) == 20
    assert program.limits.output_bytes == 24 * MIB // 60


def test_additional_files_are_unpacked(gateway: Gateway) -> None:
    files = archive(words_txt=b"one", data__in_bin=b"\xff", lib__Helper_java=b"package lib;")
    program = create(gateway, additional_files=files)
    assert program.sources == (Source("", SOURCE), Source("lib/Helper.java", "package lib;"))
    assert program.files == (DataFile("data/in.bin", b"\xff"), DataFile("words.txt", b"one"))
    assert program.main_class == "Main"


def test_an_archive_inside_an_archive_is_a_file(gateway: Gateway) -> None:
    """Stored, its own list is in the outer one's bytes: that is nobody's but its reader's."""
    inner = base64.b64decode(archive(zipfile.ZIP_STORED, **{f"d{i}/": b"" for i in range(1001)}))
    program = create(gateway, additional_files=archive(zipfile.ZIP_STORED, inner_zip=inner))
    assert program.files == (DataFile("inner.zip", inner),)


@pytest.mark.parametrize(
    ("changes", "attribute", "words"),
    [
        ({"source_code": ""}, "source_code", "can't be blank"),
        ({"source_code": None}, "source_code", "can't be blank"),
        ({"source_code": 7}, "source_code", "is not a text"),
        ({"source_code": "x" * 2001}, "source_code", "2001 bytes of source"),
        ({"language_id": None}, "language_id", "can't be blank"),
        ({"language_id": 71}, "language_id", "language with id 71 doesn't exist"),
        ({"language_id": "java"}, "language_id", "is not a number"),
        ({"cpu_time_limit": 6}, "cpu_time_limit", "must be less than or equal to 5"),
        ({"cpu_time_limit": -1}, "cpu_time_limit", "must be greater than or equal to 0"),
        ({"cpu_time_limit": "NaN"}, "cpu_time_limit", "is not a number"),
        ({"language_id": "inf"}, "language_id", "is not a number"),
        ({"cpu_time_limit": "-inf"}, "cpu_time_limit", "is not a number"),
        ({"wall_time_limit": 0.5}, "wall_time_limit", "must be greater than or equal to 1"),
        ({"wall_time_limit": 100000}, "wall_time_limit", "must be less than or equal to 10"),
        ({"memory_limit": 1000}, "memory_limit", "must be greater than or equal to 2048"),
        ({"memory_limit": 10**9}, "memory_limit", "must be less than or equal to 262144"),
        ({"stack_limit": 10**9}, "stack_limit", "must be less than or equal to 128000"),
        ({"max_processes_and_or_threads": 999}, "max_processes_and_or_threads", "less than or equal to 64"),
        ({"max_file_size": 10**6}, "max_file_size", "must be less than or equal to 4096"),
        ({"number_of_runs": 21}, "number_of_runs", "must be less than or equal to 20"),
        ({"cpu_extra_time": 6}, "cpu_extra_time", "must be less than or equal to 5"),
        ({"compiler_options": "-O"}, "compiler_options", "setting compiler options is not allowed"),
        ({"enable_network": True}, "enable_network", "enabling network is not allowed"),
        (
            {"enable_per_process_and_thread_time_limit": "true"},
            "enable_per_process_and_thread_time_limit",
            "this option cannot be enabled",
        ),
        (
            {"enable_per_process_and_thread_memory_limit": True},
            "enable_per_process_and_thread_memory_limit",
            "this option cannot be enabled",
        ),
        ({"command_line_arguments": "x" * 513}, "command_line_arguments", "is too long"),
        ({"command_line_arguments": "'"}, "command_line_arguments", "can't be split"),
        ({"callback_url": "http://127.0.0.1/"}, "callback_url", "is not a host that callbacks may go to"),
        ({"additional_files": encoded("no archive")}, "additional_files", "the archive can't be read"),
        ({"additional_files": archive(x__x=b"")[:20]}, "additional_files", "the archive can't be read"),
        (
            {"additional_files": _behind(archive(x=b"x" * 50))},
            "additional_files",
            "the archive can't be read",
        ),
        ({"additional_files": archive(big=bytes(11 * MIB))}, "additional_files", "the archive holds more"),
        (
            {"additional_files": archive(zipfile.ZIP_STORED, **{f"d{i}/": b"" for i in range(1001)})},
            "additional_files",
            "the archive lists more than 1000 files and folders",
        ),
        (
            {
                "additional_files": _understated(
                    archive(zipfile.ZIP_STORED, **{f"d{i}/": b"" for i in range(1001)})
                )
            },
            "additional_files",
            "the archive lists more than 1000 files and folders",
        ),
        (
            {"additional_files": archive(zipfile.ZIP_BZIP2, big=bytes(11 * MIB))},
            "additional_files",
            "the archive's 'big' is neither stored nor deflated",
        ),
        (
            {"additional_files": archive(zipfile.ZIP_LZMA, big=bytes(11 * MIB))},
            "additional_files",
            "the archive's 'big' is neither stored nor deflated",
        ),
    ],
)
def test_mistakes_are_told_by_attribute(
    gateway: Gateway, changes: dict[str, Any], attribute: str, words: str
) -> None:
    errors = wrong(gateway, **changes)
    assert list(errors) == [attribute]
    assert words in errors[attribute][0]


def test_all_mistakes_are_told_at_once(gateway: Gateway) -> None:
    assert set(wrong(gateway, source_code="", language_id=1, stack_limit=-1)) == {
        "source_code",
        "language_id",
        "stack_limit",
    }


@pytest.mark.parametrize("sent", [b"{", b"[]", b"\xff", b"[" * 1500])
def test_what_is_no_object_is_refused(gateway: Gateway, sent: bytes) -> None:
    response, answer = gateway.result(post(gateway, sent))
    assert (response.code, list(json.loads(answer))) == (400, ["error"])


@pytest.mark.parametrize(
    ("run", "status", "message", "code", "signal"),
    [
        (Run(Verdict.OK, stdout=b"x", exit_code=0), 3, None, 0, None),
        (Run(Verdict.TIME_LIMIT, "cpu", signal=9), 5, "Time limit exceeded", 0, 9),
        (Run(Verdict.TIME_LIMIT, "wall", signal=9), 5, "Time limit exceeded (wall clock)", 0, 9),
        (Run(Verdict.RUNTIME_ERROR, exit_code=2), 11, "Exited with error status 2", 2, None),
        (
            Run(Verdict.MEMORY_LIMIT, "heap", "OutOfMemoryError", exit_code=1),
            11,
            "Memory limit exceeded: OutOfMemoryError",
            1,
            None,
        ),
        (Run(Verdict.MEMORY_LIMIT, "native", signal=9), 12, "Memory limit exceeded: native", 0, 9),
        (Run(Verdict.OUTPUT_LIMIT, "stdout", "too much", signal=9), 8, "too much", 0, 25),
        (Run(Verdict.SIGNALLED, signal=11), 7, "Caught fatal signal 11", 0, 11),
        (Run(Verdict.SIGNALLED, signal=8), 9, "Caught fatal signal 8", 0, 8),
        (Run(Verdict.SIGNALLED, signal=6), 10, "Caught fatal signal 6", 0, 6),
        (Run(Verdict.SIGNALLED, signal=15), 12, "Caught fatal signal 15", 0, 15),
        (Run(Verdict.INTERNAL_ERROR, message="broken"), 13, "broken", 0, None),
    ],
)
def test_every_ending_has_its_status(
    gateway: Gateway, run: Run, status: int, message: str | None, code: int, signal: int | None
) -> None:
    fields = "?fields=status,message,exit_code,exit_signal"
    assert document_of(gateway, run, fields) == {
        "status": {
            "id": status,
            "description": json.loads(gateway.fetch("GET", "/statuses")[1])[status - 1]["description"],
        },
        "message": message,
        "exit_code": code,
        "exit_signal": signal,
    }


@pytest.mark.parametrize(
    ("expected", "status"),
    [("1 \n2\n\n", 3), ("1\n2", 3), ("1\n3", 4), ("", 4), (None, 3), (" 1\n2", 4)],
)
def test_what_is_expected_is_compared_but_for_white_space_at_ends(
    gateway: Gateway, expected: str | None, status: int
) -> None:
    run = Run(Verdict.OK, stdout=b"1\n2  \n", exit_code=0)
    assert document_of(gateway, run, "?fields=status_id", expected_output=expected) == {"status_id": status}


@pytest.mark.parametrize(
    ("merged", "expected", "status"),
    [(True, "1\n2", 3), (True, "1", 4), (False, "1", 3), (False, "1\n2", 4)],
)
def test_what_is_compared_is_what_is_shown(
    gateway: Gateway, merged: bool, expected: str, status: int
) -> None:
    run = Run(Verdict.OK, stdout=b"1\n", stderr=b"2\n", exit_code=0)
    asked = {"expected_output": expected, "redirect_stderr_to_stdout": merged}
    assert document_of(gateway, run, "?fields=status_id", **asked) == {"status_id": status}


def test_compile_errors_come_as_compile_output(gateway: Gateway) -> None:
    create(gateway)
    gateway.answer(Outcome(Verdict.COMPILE_ERROR, "x", Compilation(text="Main.java:1: error")))
    answer = told(gateway)
    assert answer["status"] == {"id": 6, "description": "Compilation Error"}
    assert answer["compile_output"] == "Main.java:1: error"
    assert [answer[name] for name in ("stdout", "stderr", "time", "memory", "message")] == [None] * 5


def test_a_compilation_that_takes_too_long_says_so(gateway: Gateway) -> None:
    answer = document_of(gateway, Run(Verdict.TIME_LIMIT, "compile"))
    assert answer["status"]["id"] == 6
    assert answer["compile_output"] == "Compilation time limit exceeded."


@pytest.mark.parametrize("outcome", [Outcome(Verdict.WORKER_LOST), Refusal(Reason.QUEUE_TIMEOUT, "late")])
def test_our_own_failures_are_internal_errors(gateway: Gateway, outcome: Outcome | Refusal) -> None:
    create(gateway)
    gateway.answer(outcome)
    answer = told(gateway)
    assert answer["status"] == {"id": 13, "description": "Internal Error"}
    assert answer["message"]


def test_the_default_attributes_are_judge0s(gateway: Gateway) -> None:
    create(gateway)
    pending = told(gateway)
    assert tuple(pending) == DEFAULT_FIELDS
    assert pending["status"] == {"id": 2, "description": "Processing"}
    run = Run(Verdict.OK, stdout=b"x\n", exit_code=0, wall_s=0.5, cpu_s=0.25, peak_memory_bytes=2048)
    gateway.answer(Outcome(Verdict.OK, "", Compilation(), (run,), worker=1))
    assert told(gateway) == {
        "token": TOKEN,
        "time": "0.250",
        "memory": 2,
        "stdout": "x\n",
        "stderr": None,
        "compile_output": None,
        "message": None,
        "status": {"id": 3, "description": "Accepted"},
    }


def test_every_attribute_can_be_asked_for(gateway: Gateway) -> None:
    run = Run(Verdict.OK, stdout=b"x", stderr=b"e", exit_code=0, wall_s=0.5)
    answer = document_of(gateway, run, "?fields=*", expected_output="x", redirect_stderr_to_stdout=True)
    assert tuple(answer) == ALL_FIELDS
    assert set(document(TOKEN, _blank(), None, Moments(0.0), ALL_FIELDS, base64=True)) == set(ALL_FIELDS)
    assert (answer["stdout"], answer["stderr"]) == ("xe", None)
    assert (answer["created_at"], answer["finished_at"]) == (
        "2023-11-14T22:13:20.500Z",
        "2023-11-14T22:13:23.000Z",
    )
    assert (answer["cpu_time_limit"], answer["wall_time"]) == ("5.0", "0.500")
    assert answer["language"] == {"id": 62, "name": "Java (OpenJDK 17.0.15)"}


def _blank() -> Submission:
    return Submission(source_code=b"", language_id=62, program=Program(()))


def test_averages_are_told_over_all_runs(gateway: Gateway) -> None:
    create(gateway, number_of_runs=2, expected_output="x")
    runs = (
        Run(Verdict.OK, stdout=b"x", exit_code=0, cpu_s=0.1, peak_memory_bytes=1024),
        Run(Verdict.OK, stdout=b"y", exit_code=0, cpu_s=0.3, peak_memory_bytes=3072),
    )
    gateway.answer(Outcome(Verdict.OK, "", Compilation(), runs))
    answer = told(gateway)
    assert (answer["time"], answer["memory"], answer["status"]["id"]) == ("0.200", 2, 4)


@pytest.mark.parametrize("query", ["?fields=nothing", "?fields=token,nothing"])
def test_attributes_that_do_not_exist_are_refused(gateway: Gateway, query: str) -> None:
    create(gateway)
    response, answer = gateway.fetch("GET", f"/submissions/{TOKEN}{query}")
    assert (response.code, json.loads(answer)) == (400, {"error": "invalid fields: [nothing]"})


def test_bytes_that_are_no_text_need_base64(gateway: Gateway) -> None:
    sent = post(gateway, body(), "?wait=true")
    gateway.answer(Outcome(Verdict.OK, "", None, (Run(Verdict.OK, stdout=b"\xfe", exit_code=0),)))
    response, answer = gateway.result(sent)
    assert response.code == 201
    assert json.loads(answer)["token"] == TOKEN
    assert "use base64_encoded=true" in json.loads(answer)["error"]
    assert gateway.fetch("GET", f"/submissions/{TOKEN}")[0].code == 400
    assert told(gateway, "?base64_encoded=true")["stdout"] == "/g==\n"


def test_a_client_may_wait(gateway: Gateway) -> None:
    sent = post(gateway, body(), "?wait=true&fields=stdout")
    gateway.answer(Outcome(Verdict.OK, "", None, (Run(Verdict.OK, stdout=b"x", exit_code=0),)))
    response, answer = gateway.result(sent)
    assert (response.code, json.loads(answer)) == (201, {"stdout": "x"})


@pytest.mark.parametrize("query", ["", "?wait=true"])
def test_overload_is_a_full_queue(gateway: Gateway, query: str) -> None:
    def refuse(event: Any) -> None:
        gateway.events.append(event)
        gateway.answer(Refusal(Reason.OVERLOADED, "1000 wait"))

    gateway.requests._feed = refuse
    response, answer = gateway.result(post(gateway, body(), query))
    assert (response.code, json.loads(answer)) == (503, {"error": "queue is full"})
    assert gateway.fetch("GET", f"/submissions/{TOKEN}")[0].code == 404


@pytest.mark.parametrize("token", [NOBODY, "x", "batch2", f"{TOKEN}0"])
def test_an_unknown_token_is_not_found(gateway: Gateway, token: str) -> None:
    for method in ("GET", "DELETE"):
        response, answer = gateway.fetch(method, f"/submissions/{token}")
        assert (response.code, json.loads(answer)) == (404, {"status": 404, "error": "Not Found"})


def test_only_what_has_ended_can_be_deleted(gateway: Gateway) -> None:
    create(gateway)
    response, answer = gateway.fetch("DELETE", f"/submissions/{TOKEN}")
    assert response.code == 400
    assert json.loads(answer)["error"].endswith("because its status is 2 (Processing)")
    gateway.answer(Outcome(Verdict.OK, "", None, (Run(Verdict.OK, stdout=b"x", exit_code=0),)))
    response, answer = gateway.fetch("DELETE", f"/submissions/{TOKEN}?fields=stdout")
    assert (response.code, json.loads(answer)) == (200, {"stdout": "eA==\n"})
    assert gateway.fetch("GET", f"/submissions/{TOKEN}")[0].code == 404


def test_batches_keep_their_order_and_their_mistakes(gateway: Gateway) -> None:
    tokens = iter([JOB, "f" * 32])
    gateway.requests.new_job_id = lambda: next(tokens)
    submissions = [json.loads(body()), {"language_id": 62}, json.loads(body(stdin="2")), 7]
    response, answer = gateway.result(
        gateway.send(
            "POST", "/submissions/batch", data=json.dumps({"submissions": submissions}).encode(), headers=JSON
        )
    )
    first, second, third, fourth = json.loads(answer)
    assert response.code == 201
    assert (first, second) == ({"token": TOKEN}, {"source_code": ["can't be blank"]})
    assert third == {"token": "ffffffff-ffff-ffff-ffff-ffffffffffff"}
    assert set(fourth) == {"source_code", "language_id"}
    query = f"?tokens={third['token']},{NOBODY},{TOKEN}&fields=token,stdin"
    response, answer = gateway.fetch("GET", f"/submissions/batch{query}")
    assert json.loads(answer) == {
        "submissions": [{"token": third["token"], "stdin": "2"}, None, {"token": TOKEN, "stdin": None}]
    }


def test_a_batch_is_not_as_large_as_twenty_times_the_largest(gateway: Gateway) -> None:
    """H8: it is made in one step, and the same submission may be asked for again and again."""
    gateway.fetch(
        "POST",
        "/submissions",
        data=json.dumps({"source_code": SOURCE, "language_id": 62}).encode(),
        headers=JSON,
    )
    gateway.answer(Outcome(Verdict.OK, runs=(Run(Verdict.OK, stdout=b"x" * (2 * MIB)),)))
    for count, status in ((15, 200), (16, 413)):
        path = "/submissions/batch?tokens=" + ",".join([TOKEN] * count)
        response, answer = gateway.fetch("GET", path + "&fields=token")
        assert response.code == status
    assert "ask for fewer" in json.loads(answer)["error"]


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [
        ("POST", "/submissions/batch", {"submissions": []}),
        ("POST", "/submissions/batch", {}),
        ("POST", "/submissions/batch", {"submissions": [{}] * 21}),
        ("GET", "/submissions/batch", None),
        ("GET", "/submissions/batch?tokens=" + ",".join([NOBODY] * 21), None),
    ],
)
def test_a_batch_has_one_to_twenty(gateway: Gateway, method: str, path: str, sent: Any) -> None:
    response, answer = gateway.fetch(
        method, path, data=json.dumps(sent).encode() if sent is not None else b"", headers=JSON
    )
    assert response.code == 400
    assert "in a batch" in json.loads(answer)["error"]


def test_a_batch_of_mistakes_alone_is_422(gateway: Gateway) -> None:
    sent = json.dumps({"submissions": [{}]}).encode()
    assert gateway.fetch("POST", "/submissions/batch", data=sent, headers=JSON)[0].code == 422


def test_a_batch_is_taken_whole_or_not_at_all(gateway: Gateway) -> None:
    """Nobody has the tokens of those before the one that was refused: they end, and call nobody back."""
    gateway.access.needed = True
    gateway.access.replace([Token(name="course", sha256=digest_of("secret"), rate=1.0, burst=2)])
    tokens = iter([JOB, "f" * 32])
    gateway.requests.new_job_id = lambda: next(tokens)
    one = json.loads(body(callback_url=f"https://{HOST}/done"))
    sent = json.dumps({"submissions": [one] * 3}).encode()
    known = {"X-Auth-Token": "secret"}
    response, answer = gateway.fetch("POST", "/submissions/batch", data=sent, headers=JSON | known)
    assert (response.code, list(json.loads(answer))) == (429, ["error"])
    arrived = [event.request for event in gateway.events if isinstance(event, RequestArrived)]
    cancelled = [event.request for event in gateway.events if isinstance(event, RequestAbandoned)]
    assert (len(arrived), cancelled) == (2, arrived)
    assert gateway.fetch("GET", f"/submissions/{TOKEN}", headers=known)[0].code == 404
    assert gateway.puts == []


def test_a_call_back_is_signed_and_holds_the_default_attributes(gateway: Gateway) -> None:
    create(gateway, callback_url=f"https://{HOST}/done")
    assert gateway.puts == []
    gateway.answer(Outcome(Verdict.OK, "", None, (Run(Verdict.OK, stdout=b"x", exit_code=0),)))
    ((url, sent, headers, answer),) = gateway.puts
    assert url == f"https://{HOST}/done"
    decoded = json.loads(sent)
    assert (tuple(decoded), decoded["stdout"]) == (DEFAULT_FIELDS, "eA==\n")
    signature = hmac.new(b"0123456789abcdef", sent, hashlib.sha256).hexdigest()
    assert headers == {"Content-Type": "application/json", SIGNATURE: f"sha256={signature}"}
    answer.callback(200)
    assert gateway.callbacks.sent == 1


def test_it_tells_of_itself(gateway: Gateway) -> None:
    def get(path: str) -> Any:
        response, answer = gateway.fetch("GET", path)
        assert response.code == 200, path
        return json.loads(answer)

    names = [(62, "Java (OpenJDK 17.0.15)"), (91, "Java (JDK 17.0.15)")]
    assert get("/languages") == [{"id": number, "name": name} for number, name in names]
    assert get("/languages/all")[0] == {"id": 62, "name": names[0][1], "is_archived": False}
    assert set(get("/languages/62")) == {"id", "name", "is_archived", "source_file", "compile_cmd", "run_cmd"}
    for unknown in ("71", "java", "9" * 30):
        assert gateway.fetch("GET", f"/languages/{unknown}")[0].code == 404
    assert [status["id"] for status in get("/statuses")] == list(range(1, 15))
    assert get("/about")["version"] == "1.13.1"
    assert get("/workers") == [
        {"queue": "default", "size": 0, "available": 4, "idle": 3, "working": 1, "paused": 0, "failed": 0}
    ]
    for path in ("/version", "/isolate", "/license"):
        assert gateway.fetch("GET", path)[1].strip()


def test_the_configuration_tells_the_gateways_limits(gateway: Gateway) -> None:
    config = json.loads(gateway.fetch("GET", "/config_info")[1])
    assert (config["cpu_time_limit"], config["max_wall_time_limit"], config["memory_limit"]) == (
        5,
        10,
        262144,
    )
    assert config["enable_callbacks"] is True
    assert config["allow_enable_network"] is config["enable_compiler_options"] is False
    assert len(config) == 40


# --- H9: who may ask, in each system's own way -------------------------------------------------------


def _guarded() -> Gateway:
    compat = CompatSettings(interfaces=("jobe", "piston", "judge0"))
    gateway = Gateway(GatewaySettings(compat=compat))
    gateway.access.needed = True
    gateway.access.replace(
        [
            Token(name="course", sha256=digest_of("secret"), rate=1.0, burst=2),
            Token(name="other", sha256=digest_of("another")),
        ]
    )
    nodes = tuple(attrs.evolve(node, java="17.0.15") for node in gateway.view.nodes)
    gateway.view = a_view(nodes=nodes)
    return gateway


@pytest.mark.parametrize(
    "header",
    [
        {"Authorization": "Bearer secret"},
        {"Authorization": "secret"},
        {"X-Auth-Token": "secret"},
        {"X-API-KEY": "secret"},
    ],
)
def test_a_token_may_come_as_the_other_systems_clients_send_theirs(header: dict[str, str]) -> None:
    gateway = _guarded()
    response, _answer = gateway.result(post(gateway, body(), headers=JSON | header))
    assert response.code == 201
    assert gateway.arrived().tenant == "course"


_JOBE = "/jobe/index.php/restapi"
_RUN = b'{"run_spec": {"language_id": "java", "sourcecode": ""}}'
_EXECUTE = b'{"language": "java", "version": "*", "files": [{"content": ""}]}'


@pytest.mark.parametrize(
    ("method", "path", "sent", "code"),
    [
        ("POST", "/submissions", body(), 401),
        ("POST", "/submissions/batch", b'{"submissions": [{}]}', 401),
        ("GET", f"/submissions/{TOKEN}", b"", 401),
        ("GET", f"/submissions/batch?tokens={TOKEN}", b"", 401),
        ("DELETE", f"/submissions/{TOKEN}", b"", 401),
        ("POST", "/api/v2/execute", _EXECUTE, 401),
        ("POST", f"{_JOBE}/runs", _RUN, 403),
        ("PUT", f"{_JOBE}/files/randomid0129798", b"{}", 403),
        ("GET", f"{_JOBE}/files/randomid0129798", b"", 403),
    ],
)
@pytest.mark.parametrize("header", [{}, {"X-API-KEY": "wrong"}, {"Authorization": "Bearer wrong"}])
def test_strangers_are_refused_everywhere(
    method: str, path: str, sent: bytes, code: int, header: dict[str, str]
) -> None:
    gateway = _guarded()
    response, answer = gateway.fetch(method, path, data=sent, headers=JSON | header)
    assert response.code == code
    assert "token" in answer.decode()
    assert gateway.events == []


def test_a_rate_is_kept_in_each_systems_words() -> None:
    """CodeRunner takes 401 for too many submissions."""
    gateway = _guarded()
    known = JSON | {"X-API-KEY": "secret"}
    for _number in range(2):
        gateway.send("POST", f"{_JOBE}/runs", data=_RUN, headers=known)
    codes = {
        path: gateway.fetch("POST", path, data=sent, headers=known)[0].code
        for path, sent in ((f"{_JOBE}/runs", _RUN), ("/api/v2/execute", _EXECUTE), ("/submissions", body()))
    }
    assert codes == {f"{_JOBE}/runs": 401, "/api/v2/execute": 429, "/submissions": 429}
    assert len(gateway.events) == 2


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        (f"{_JOBE}/runs", b"what"),
        (f"{_JOBE}/files/randomid0129798", b"what"),
        ("/api/v2/execute", b"what"),
        ("/submissions", b"what"),
        ("/submissions/batch", b"what"),
    ],
)
def test_what_can_not_be_read_counts_for_the_rate_too(path: str, sent: bytes) -> None:
    """H9: to find that out costs as much."""
    gateway = _guarded()
    method = "PUT" if "files" in path else "POST"
    codes = [
        gateway.fetch(method, path, data=sent, headers=JSON | {"X-API-KEY": "secret"})[0].code
        for _time in range(3)
    ]
    assert codes == [400, 400, 401 if path.startswith(_JOBE) else 429]


@pytest.mark.parametrize(
    "path",
    [
        *(f"{_JOBE}/languages", "/api/v2/runtimes", "/api/v2/packages", "/languages", "/languages/all"),
        *("/languages/62", "/statuses", "/config_info", "/about", "/version", "/isolate", "/license"),
        "/workers",
    ],
)
def test_what_a_service_tells_of_itself_needs_no_token(path: str) -> None:
    """H9: as `/v1/runtimes` and `/cluster-info` do not."""
    assert _guarded().fetch("GET", path)[0].code == 200


def test_a_submission_is_its_tenants_own() -> None:
    gateway = _guarded()
    gateway.result(post(gateway, body(), headers=JSON | {"X-Auth-Token": "secret"}))
    mine = gateway.fetch("GET", f"/submissions/{TOKEN}", headers={"X-Auth-Token": "secret"})[0].code
    theirs = gateway.fetch("GET", f"/submissions/{TOKEN}", headers={"X-Auth-Token": "another"})[0].code
    assert (mine, theirs) == (200, 404)
    gateway.access.needed = False
    for method, path in (("GET", f"/{TOKEN}"), ("DELETE", f"/{TOKEN}")):
        assert gateway.fetch(method, f"/submissions{path}")[0].code == 404, "nor anybody's without a token"
