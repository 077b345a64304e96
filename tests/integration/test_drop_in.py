"""Clients of other systems against a real cluster: Judge0's own, a Piston client, CodeRunner's requests.

What each interface keeps and changes: docs/drop-in.md. The question is the same for all: read words from a
support file and standard input, print them in order.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import judge0  # type: ignore[import-untyped]  # it has no types
import pytest
from ultra_piston import File, PistonClient  # type: ignore[import-untyped]  # it has no types
from ultra_piston.errors import BadRequestError  # type: ignore[import-untyped]  # the same

from tests.integration.live import Live, eventually, live_cluster

pytestmark = pytest.mark.integration

KEY = b"a key of sixteen bytes at least"

HEAD = "import java.io.*; import java.nio.file.*; import java.util.*; import java.util.stream.*;\n"
ANSWER = (
    HEAD
    + """public class Sorter {
    public static void main(String[] args) throws IOException {
        List<String> words = new ArrayList<>(Files.readAllLines(Path.of("words.txt")));
        try (BufferedReader in = new BufferedReader(new InputStreamReader(System.in))) {
            in.lines().forEach(words::add);
        }
        System.out.println(Joiner.join(words.stream().sorted().collect(Collectors.toList())));
    }
}
"""
)
HELPER = (
    "import java.util.List; class Joiner {"
    ' static String join(List<String> w) { return String.join(" ", w); } }'
)
WORDS = b"pear\napple\n"
STDIN = "fig\n"
EXPECTED = "apple fig pear\n"

WRONG = ANSWER.replace(".sorted()", "")
BROKEN = ANSWER.replace("sorted()", "sorted(")
ENDLESS = ANSWER.replace("System.out.println(", 'System.out.println("part"); while (true) { } /*').replace(
    "));\n    }\n}", "));*/\n    }\n}"
)
GREEDY = ANSWER.replace(
    "System.out.println(", "List<byte[]> all = new ArrayList<>(); while (true) all.add(new byte[1 << 20]); /*"
).replace("));\n    }\n}", "));*/\n    }\n}")
THROWING = ANSWER.replace("words.stream()", "Stream.of(words.get(99))")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    base = tmp_path_factory.mktemp("drop-in")
    key = base / "callback.key"
    key.write_bytes(KEY)
    key.chmod(0o600)
    settings: dict[str, Any] = {
        "gateway__compat__interfaces": "[jobe, piston, judge0]",
        "gateway__compat__callback_allow": "[127.0.0.1]",
        "gateway__compat__callback_key_file": str(key),
    }
    with live_cluster(base / "c", peers=1, **settings) as live:
        yield live


# --- Jobe: what CodeRunner sends ---------------------------------------------------------------------

JOBE = "/jobe/index.php/restapi"
HEADERS = {
    "User-Agent": "CodeRunner",
    "Content-Type": "application/json; charset=utf-8",
    "Accept-Charset": "utf-8",
    "Accept": "application/json",
}


class CodeRunner:
    """Moodle's side: runs first, and uploads its files when it is told that one is missing."""

    def __init__(self, cluster: Live) -> None:
        self._cluster = cluster
        self.uploads = 0

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = b"" if body is None else json.dumps(body).encode()
        answer = self._cluster.request(method, f"{JOBE}/{path}", data, HEADERS)
        return answer.status, json.loads(answer.text) if answer.text else None

    def run(self, source: str, files: dict[str, bytes], stdin: str, **parameters: Any) -> dict[str, Any]:
        spec = {
            "language_id": "java",
            "sourcecode": source,
            "sourcefilename": "Sorter.java",
            "input": stdin,
            "file_list": [[hashlib.md5(data).hexdigest(), name] for name, data in files.items()],  # noqa: S324
            "parameters": parameters,
        }
        code, answer = self.ask("POST", "runs", {"run_spec": spec})
        if code == 404:
            for data in files.values():
                self.uploads += 1
                contents = {"file_contents": base64.b64encode(data).decode()}
                assert self.ask("PUT", f"files/{hashlib.md5(data).hexdigest()}", contents)[0] == 204  # noqa: S324
            code, answer = self.ask("POST", "runs", {"run_spec": spec})
        assert code == 200, answer
        result: dict[str, Any] = answer
        return result


def test_a_coderunner_question_gets_jobes_outcomes(cluster: Live) -> None:
    runner = CodeRunner(cluster)
    assert runner.ask("GET", "languages")[1][0][0] == "java"
    files = {"words.txt": WORDS, "Joiner.java": HELPER.encode()}

    right = runner.run(ANSWER, files, STDIN, cputime=5, memorylimit=200)
    assert (right["outcome"], right["stdout"], right["stderr"], right["cmpinfo"]) == (15, EXPECTED, "", "")
    assert runner.uploads == 2
    assert runner.ask("HEAD", f"files/{hashlib.md5(WORDS).hexdigest()}")[0] == 204  # noqa: S324

    wrong = runner.run(WRONG, files, STDIN)  # CodeRunner itself compares
    assert (wrong["outcome"], wrong["stdout"]) == (15, "pear apple fig\n")

    broken = runner.run(BROKEN, files, STDIN)
    assert (broken["outcome"], broken["stdout"]) == (11, "")
    assert "Sorter.java:8: error" in broken["cmpinfo"]

    late = runner.run(ENDLESS, files, STDIN, cputime=1)
    assert (late["outcome"], late["stdout"], late["stderr"]) == (13, "part\n", "")

    greedy = runner.run(GREEDY, files, STDIN, memorylimit=64)
    assert (greedy["outcome"], greedy["stderr"]) == (17, "")

    thrown = runner.run(THROWING, files, STDIN)
    assert thrown["outcome"] == 12
    assert "IndexOutOfBoundsException" in thrown["stderr"]
    assert "\t" not in thrown["stderr"]
    assert runner.uploads == 2


def test_what_jobes_own_tester_sends_is_answered_as_it_expects(cluster: Live) -> None:
    """The Java cases of Jobe's `testsubmit.py`, and its checks of files and errors, in our words."""
    runner = CodeRunner(cluster)
    text = "public class Test { public static void main(String[] args) { System.out.println(%s); } }"
    good = {"language_id": "java", "sourcecode": text % '"What a lot"', "parameters": {"cputime": 5}}
    for name in ({"sourcefilename": "Test.java"}, {}):
        code, answer = runner.ask("POST", "runs", {"run_spec": good | name})
        assert (code, answer["outcome"], answer["stdout"]) == (200, 15, "What a lot\n")
    code, answer = runner.ask("POST", "runs", {"run_spec": good | {"sourcecode": text % "'What"}})
    assert (code, answer["outcome"]) == (200, 11)
    endless = text.replace("System.out.println(%s)", 'while (true) System.out.print("Hello")')
    code, answer = runner.ask("POST", "runs", {"run_spec": good | {"sourcecode": endless}})
    assert (code, answer["outcome"]) == (200, 13)
    assert runner.ask("HEAD", "files/nosuchfile99")[0] == 404
    assert runner.ask("PUT", "files/randomid0129798", {"file_contents": "not base64"})[0] == 400
    assert runner.ask("POST", "runs", {"run_spec": {"language_id": "java"}})[0] == 400


# --- Piston: ultra-piston, a client from PyPI --------------------------------------------------------


def piston(cluster: Live) -> PistonClient:
    url = f"http://127.0.0.1:{cluster.http_port}/api/v2/"
    return PistonClient(base_url=url, rate_limit=0)


def test_a_piston_client_runs_a_program_as_ever(cluster: Live) -> None:
    client = piston(cluster)
    (runtime, *_others) = client.get_runtimes()
    assert runtime.language == "java"
    assert client.get_packages()[0].installed
    code = (
        "import java.util.*; public class A { public static void main(String[] a) {"
        "String line = new Scanner(System.in).nextLine();"
        "System.out.println(a[0] + line); System.err.print(2); System.exit(3); } }"
    )
    file = File(name="A.java", content=code)
    done = client.post_execute("java", "15.0.2", file, stdin="in", args=["1"])
    assert (done.language, done.version) == ("java", runtime.version)
    assert (done.run.stdout, done.run.stderr, done.run.output) == ("1in\n", "2", "1in\n2")
    assert (done.run.code, done.run.signal) == (3, None)
    assert done.compile is not None
    assert done.compile.code == 0

    broken = client.post_execute("java", "*", File(name="A.java", content="class A {"))
    assert broken.run.code == 1
    assert "reached end of file" in broken.run.stderr

    endless = File(name="A.java", content="class A { public static void main(String[] a) { while (true); } }")
    late = client.post_execute("java", "*", endless, run_timeout=700)
    assert (late.run.code, late.run.signal) == (None, "SIGKILL")

    with pytest.raises(BadRequestError, match="status_code=400"):
        client.post_execute("python", "3", file)


def test_files_of_a_piston_request_are_there(cluster: Live) -> None:
    files = [
        {"name": "Sorter.java", "content": ANSWER},
        {"name": "Joiner.java", "content": HELPER},
        {"name": "words.txt", "content": base64.b64encode(WORDS).decode(), "encoding": "base64"},
    ]
    body = {"language": "java", "version": "*", "files": files, "stdin": STDIN}
    answer = cluster.request("POST", "/api/v2/execute", json.dumps(body).encode(), HEADERS)
    run = json.loads(answer.text)["run"]
    assert (run["stdout"], run["status"], run["code"]) == (EXPECTED, None, 0), answer


# --- Judge0: its own client --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def service(cluster: Live) -> judge0.Client:
    return judge0.Client(f"http://127.0.0.1:{cluster.http_port}")


def test_judge0s_own_client_gets_judge0s_statuses(service: judge0.Client) -> None:
    service.retry_strategy = judge0.RegularPeriodRetry(wait_time_sec=0.1)
    assert service.version == "1.13.1"
    assert [one.id for one in service.get_languages()] == [62, 91]
    assert service.get_language(62).name.startswith("Java (OpenJDK")
    assert len(service.get_statuses()) == 14
    source = ANSWER.replace("Sorter", "Main")
    files = [judge0.File(name="words.txt", content=WORDS), judge0.File(name="Joiner.java", content=HELPER)]
    sources = {
        judge0.Status.ACCEPTED: source,
        judge0.Status.WRONG_ANSWER: WRONG.replace("Sorter", "Main"),
        judge0.Status.COMPILATION_ERROR: BROKEN.replace("Sorter", "Main"),
        judge0.Status.TIME_LIMIT_EXCEEDED: ENDLESS.replace("Sorter", "Main"),
        judge0.Status.RUNTIME_ERROR_NZEC: THROWING.replace("Sorter", "Main"),
    }
    submissions = [
        judge0.Submission(
            source_code=text,
            language=judge0.JAVA,
            stdin=STDIN,
            expected_output=EXPECTED,
            additional_files=judge0.Filesystem(content=files),
            cpu_time_limit=1.0 if status is judge0.Status.TIME_LIMIT_EXCEEDED else None,
        )
        for status, text in sources.items()
    ]
    done = judge0.run(client=service, submissions=submissions)
    assert [one.status for one in done] == list(sources)
    accepted, _wrong, broken, late, thrown = done
    assert (accepted.stdout, accepted.stderr, accepted.exit_code) == (EXPECTED, None, 0)
    assert accepted.memory > 1000
    assert accepted.finished_at >= accepted.created_at
    assert "Main.java:8: error" in broken.compile_output
    assert late.stdout == "part\n"
    assert "IndexOutOfBoundsException" in thrown.stderr


def test_memory_beyond_its_limit_says_so(cluster: Live) -> None:
    text = "public class Main { public static void main(String[] a) { int[] x = new int[1 << 28]; } }"
    body = {"source_code": text, "language_id": 62, "memory_limit": 64000}
    answer = cluster.request("POST", "/submissions?wait=true", json.dumps(body).encode(), HEADERS)
    told = json.loads(answer.text)
    assert (answer.status, told["status"]["id"]) == (201, 11)
    assert told["message"].startswith("Memory limit exceeded")


class _Listener(BaseHTTPRequestHandler):
    """Whoever asked to be called back."""

    got: ClassVar[list[tuple[str, dict[str, str], bytes]]] = []

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.got.append((self.path, headers, body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def test_a_call_back_comes_signed_and_to_nobody_else(cluster: Live) -> None:
    def metrics() -> str:
        return cluster.request("GET", "/metrics").text

    server = HTTPServer(("127.0.0.1", 0), _Listener)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/done?x=1"
        text = 'public class Main { public static void main(String[] a) { System.out.print("called"); } }'
        body = {"source_code": text, "language_id": 62, "callback_url": url}
        answer = cluster.request("POST", "/submissions", json.dumps(body).encode(), HEADERS)
        token = json.loads(answer.text)["token"]
        eventually(lambda: 'callbacks_total{result="sent"} 1.0' in metrics(), "the call-back")
        counted = re.findall(r'javacluster_callbacks_total\{result="(\w+)"\} (\S+)', metrics())
        assert dict(counted) == {"sent": "1.0", "failed": "0.0", "dropped": "0.0"}
        # One that counts as sent is not tried again: exactly one has come, and no other will.
        ((path, headers, sent),) = _Listener.got
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    told = json.loads(sent)
    assert path == "/done?x=1"
    assert (told["token"], base64.b64decode(told["stdout"])) == (token, b"called")
    signature = hmac.new(KEY, sent, hashlib.sha256).hexdigest()
    assert headers["x-javacluster-signature"] == f"sha256={signature}"
    for inside in ("http://localhost:1/", "http://127.0.0.2/", "http://169.254.169.254/latest/"):
        body["callback_url"] = inside
        answer = cluster.request("POST", "/submissions", json.dumps(body).encode(), HEADERS)
        assert (answer.status, list(json.loads(answer.text))) == (422, ["callback_url"])
