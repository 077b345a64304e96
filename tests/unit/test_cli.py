"""Commands: one line that says what to do, and an exit status that a script can read."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner, Result

from cluster.cli import main
from cluster.local import Layout, LocalCluster
from cluster.version import PROTOCOL_VERSION, __version__

GONE = "http://127.0.0.1:9"
"""Where nothing answers: the discard port."""


class Gateway(http.server.BaseHTTPRequestHandler):
    """Answers every program with what the test put here."""

    status = 200
    body = b"answer"
    headers_sent: ClassVar[dict[str, str]] = {}
    asked: ClassVar[list[tuple[str, str]]] = []
    tokens: ClassVar[list[str | None]] = []
    before: ClassVar[list[tuple[str, dict[str, object]]]] = []

    def do_POST(self) -> None:
        """Keep what was asked; answer what was put here."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append((self.headers["Content-Type"], body.decode()))
        self.tokens.append(self.headers["Authorization"])
        self.send_response(self.status)
        if (
            self.status == 200
            and self.headers["Accept"] == "text/event-stream"
            and self.body[:7] == b'{"job":'
        ):
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.wfile.write(_stream(json.loads(self.body), self.before))
            return
        for name, value in self.headers_sent.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def _stream(result: dict[str, Any], before: list[tuple[str, dict[str, object]]]) -> bytes:
    """A result as a gateway tells it by events; `before` is what it tells first."""
    told: list[tuple[str, dict[str, object]]] = [("queued", {"job": "j", "age_s": 0}), *before]
    for number, run in enumerate(result["runs"]):
        for stream in ("stdout", "stderr"):
            text = {"base64": run[f"{stream}_base64"]} if f"{stream}_base64" in run else {}
            text = text or {"text": run.get(stream, "")}
            told.append(("output", {"job": "j", "run": number, "stream": stream, "offset": 0, **text}))
    told.append(("verdict", {"job": "j", "status": "finished", "age_s": 1, "result": result}))
    lines = [f"id: 1\nevent: {name}\ndata: {json.dumps(data)}\n\n: alive\n\n" for name, data in told]
    return "".join(lines).encode()


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A stand-in gateway's address."""
    monkeypatch.setattr(Gateway, "asked", [])
    monkeypatch.setattr(Gateway, "tokens", [])
    monkeypatch.setattr(Gateway, "before", [])
    server = http.server.HTTPServer(("127.0.0.1", 0), Gateway)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def _answer(monkeypatch: pytest.MonkeyPatch, status: int, body: str, **headers: str) -> None:
    monkeypatch.setattr(Gateway, "status", status)
    monkeypatch.setattr(Gateway, "body", body.encode())
    monkeypatch.setattr(
        Gateway, "headers_sent", {key.replace("_", "-"): text for key, text in headers.items()}
    )


def _ran(*arguments: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(main, arguments, input=stdin)


@pytest.fixture
def program(tmp_path: Path) -> str:
    """A source file."""
    file = tmp_path / "P.java"
    file.write_text("public class P {}", encoding="utf-8")
    return str(file)


def _result(verdict: str = "ok", entry: str = "main", text: str = "", **run: object) -> str:
    """A gateway's answer."""
    compilation = {"diagnostics": [], "text": text, "seconds": 0.1, "main_class": "P", "entry": entry}
    runs = [] if verdict == "compile_error" else [{"verdict": verdict, **run}]
    return json.dumps(
        {
            "job": "j",
            "verdict": verdict,
            "message": "m",
            "worker": 2,
            "compilation": compilation,
            "runs": runs,
        }
    )


def test_run_sends_everything_and_prints_what_the_program_wrote(
    gateway: str, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H4."""
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "Q.java").write_text("class Q {}", encoding="utf-8")
    _answer(monkeypatch, 200, _result(stdout="out", stderr="err", exit_code=0))
    options = ("--main-class", "P", "--limit", "wall_s=2", "--gateway", gateway)
    ran = _ran(
        "run", *options, program, str(tmp_path / "q" / "Q.java"), "--", "-x", "two words", stdin=b"\xff"
    )
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "out", "err")
    kind, body = Gateway.asked[0]
    assert kind == "application/json"
    assert json.loads(body) == {
        "files": {"P.java": "public class P {}", "q/Q.java": "class Q {}"},
        "main_class": "P",
        "args": ["-x", "two words"],
        "stdin_base64": "/w==",
        "limits": {"wall_s": 2.0},
    }


def test_run_sends_a_single_file_without_its_name(
    gateway: str, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P2: it may be called anything, as with `java FILE`."""
    _answer(monkeypatch, 200, _result())
    _ran("run", "--gateway", gateway, program)
    assert json.loads(Gateway.asked[0][1])["source"] == "public class P {}"


def test_run_prints_the_very_bytes(gateway: str, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """R3."""
    _answer(monkeypatch, 200, _result(stdout="\ufffd", stdout_base64="/w=="))
    assert _ran("run", "--gateway", gateway, program).stdout_bytes == b"\xff"


def test_run_prints_what_run_returned(gateway: str, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _answer(monkeypatch, 200, _result(entry="run", value="hello"))
    assert _ran("run", "--gateway", gateway, program).stdout == "hello\n"
    _answer(monkeypatch, 200, _result(entry="run", value=None))
    assert _ran("run", "--gateway", gateway, program).stdout == "null\n"


@pytest.mark.parametrize(
    ("answer", "status", "stderr"),
    [
        (_result("runtime_error", exit_code=3), 3, ""),
        (_result("runtime_error", exit_code=1, stderr="trace\n"), 1, "trace\n"),
        (_result("signalled", signal=11), 139, "signalled: m\n"),
        (_result("time_limit", exit_code=None), 1, "time_limit: m\n"),
    ],
)
def test_run_ends_as_the_program_did(
    gateway: str, program: str, monkeypatch: pytest.MonkeyPatch, answer: str, status: int, stderr: str
) -> None:
    """H: command line."""
    _answer(monkeypatch, 200, answer)
    ran = _ran("run", "--gateway", gateway, program)
    assert (ran.exit_code, ran.stderr) == (status, stderr)


def test_run_names_a_single_file_as_it_is_called_here(
    gateway: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P2: it travels without its name, and a class that is not public is compiled as Main.java."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.java").write_text("class B {", encoding="utf-8")
    (tmp_path / "c.java").write_text("class C {}", encoding="utf-8")
    told = "Main.java:1: error: reached end\nclass B {\n  Main.java:7\n1 error\n"
    _answer(monkeypatch, 200, _result("compile_error", text=told))
    ran = _ran("run", "--gateway", gateway, "b.java")
    assert (ran.exit_code, ran.stderr) == (1, told.replace("Main.java:1", "b.java:1"))
    _answer(monkeypatch, 200, _result("compile_error", text=told))
    assert _ran("run", "--gateway", gateway, "b.java", "c.java").stderr == told


def test_run_can_tell_the_time_and_speak_json(
    gateway: str, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _answer(monkeypatch, 200, _result(stdout="out"))
    ran = _ran("run", "--json", "--time", "--gateway", gateway, program)
    assert json.loads(ran.stdout)["runs"][0]["stdout"] == "out"
    assert ran.stderr.startswith("ok, node 2: queue ")


def _output(text: str, stream: str = "stdout") -> tuple[str, dict[str, object]]:
    return "output", {"job": "j", "run": 0, "stream": stream, "offset": 0, "text": text}


RESTARTED: tuple[str, dict[str, object]] = ("restarted", {"job": "j"})


def test_run_does_not_write_twice_what_a_second_attempt_writes_again(
    gateway: str, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W13: its worker was lost in the middle of a line."""
    _answer(monkeypatch, 200, _result(stdout=" two three"))
    monkeypatch.setattr(Gateway, "before", [_output("one t"), RESTARTED, _output("one")])
    ran = _ran("run", "--gateway", gateway, program)
    assert (ran.stdout, ran.stderr) == ("one two three", "")


def test_run_says_when_a_second_attempt_writes_otherwise(
    gateway: str, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _answer(monkeypatch, 200, _result(stdout="now"))
    monkeypatch.setattr(Gateway, "before", [_output("then"), RESTARTED])
    ran = _ran("run", "--gateway", gateway, program)
    assert ran.stdout == "thennow"
    assert "another attempt wrote otherwise" in ran.stderr


def test_run_sends_the_token_of_its_environment(
    gateway: str, program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """H9: never an argument, which everybody could read."""
    _answer(monkeypatch, 200, _result())
    _ran("run", "--gateway", gateway, program)
    monkeypatch.setenv("JAVACLUSTER_TOKEN_FILE", str(tmp_path / "token"))
    (tmp_path / "token").write_text("jc_file\n")
    _ran("run", "--gateway", gateway, program)
    monkeypatch.setenv("JAVACLUSTER_TOKEN", "jc_variable")
    _ran("run", "--gateway", gateway, program)
    assert Gateway.tokens == [None, "Bearer jc_file", "Bearer jc_variable"]


def test_run_without_the_token_that_is_needed_says_what_to_do(
    gateway: str, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _answer(monkeypatch, 401, json.dumps({"detail": "send a token"}))
    ran = _ran("run", "--gateway", gateway, program)
    assert ran.exit_code == 65
    assert "JAVACLUSTER_TOKEN" in ran.stderr


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_run_tells_what_may_work_later_by_status_75(
    gateway: str, program: str, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    _answer(monkeypatch, status, json.dumps({"detail": "nobody leads"}), Retry_After="2")
    ran = _ran("run", "--gateway", gateway, program)
    assert (ran.exit_code, ran.stderr) == (75, "Error: nobody leads\n")


def test_run_tells_a_refused_request_by_status_65(
    gateway: str, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _answer(monkeypatch, 422, json.dumps({"detail": "$.limits.wall_s: too much"}))
    ran = _ran("run", "--gateway", gateway, program)
    assert (ran.exit_code, ran.stderr) == (65, "Error: refused (422): $.limits.wall_s: too much\n")


@pytest.mark.parametrize(("status", "body"), [(500, "{}"), (200, "nonsense"), (200, "{}")])
def test_run_tells_a_broken_gateway_by_status_70(
    gateway: str, program: str, monkeypatch: pytest.MonkeyPatch, status: int, body: str
) -> None:
    _answer(monkeypatch, status, body)
    ran = _ran("run", "--gateway", gateway, program)
    assert ran.exit_code == 70
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize("limit", ["wall=1", "wall_s", "wall_s=x"])
def test_a_limit_that_is_none_is_wrong_usage(program: str, limit: str) -> None:
    assert _ran("run", "--limit", limit, program).exit_code == 2


def test_run_without_a_gateway_is_told_in_one_line(program: str) -> None:
    ran = _ran("run", "--gateway", GONE, program)
    assert ran.exit_code == 75
    assert GONE in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_run_of_a_file_that_is_not_there_names_it(gateway: str) -> None:
    ran = _ran("run", "--gateway", gateway, "none.java")
    assert ran.exit_code == 65
    assert "none.java" in ran.stderr


@pytest.mark.parametrize("text", ["novalue", "=1", "a..b=1", "a.b=["])
def test_a_setting_that_is_no_setting_is_wrong_usage(text: str, tmp_path: Path) -> None:
    assert _ran("up", "--directory", str(tmp_path / "c"), "--set", text).exit_code == 2
    assert not (tmp_path / "c").exists()


def test_check_config_prints_a_line_for_each_problem(tmp_path: Path) -> None:
    file = tmp_path / "node.yml"
    file.write_text("cluster: x")
    ran = _ran("check-config", str(file))
    assert ran.exit_code == 78
    assert ran.stderr.startswith(f"{file}: $: ")
    assert _ran("check-config", str(tmp_path / "none.yml")).exit_code == 78


def test_status_shows_what_the_process_table_knows_when_no_gateway_answers(tmp_path: Path) -> None:
    LocalCluster(tmp_path / "c").make(Layout(peers=1, http_port=9999))
    ran = _ran("status", "--json", "--directory", str(tmp_path / "c"))
    shown = json.loads(ran.stdout)
    assert ran.exit_code == 0
    assert [row["state"] for row in shown["nodes"]] == ["not started", "not started"]
    assert "javacluster up" in shown["remark"]


@pytest.mark.parametrize("form", ["--json", "--interval=1"])
def test_status_can_be_watched_until_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    LocalCluster(tmp_path / "c").make(Layout(peers=1, http_port=9999))
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("cluster.commands_watch.time.sleep", nap)
    ran = _ran("status", "--watch", form, "--directory", str(tmp_path / "c"))
    assert (ran.exit_code, naps) == (0, [1.0, 1.0])
    if form == "--json":
        assert [len(json.loads(line)["nodes"]) for line in ran.stdout.splitlines()] == [2, 2]
    else:
        assert ran.stdout.count("id  role") == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell: str) -> None:
    ran = _ran("completion", shell)
    assert ran.exit_code == 0
    assert "_JAVACLUSTER_COMPLETE" in ran.stdout


def test_a_shell_is_told_commands_and_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = str(tmp_path / "c")
    LocalCluster(tmp_path / "c").make(Layout(peers=2))
    monkeypatch.setenv("_JAVACLUSTER_COMPLETE", "bash_complete")
    for typed, offered in (
        ("javacluster sta", {"status", "start"}),
        (f"javacluster kill --directory {directory} ", {"0", "1", "2", "leader"}),
        (f"javacluster logs --directory {directory} ", {"0", "1", "2"}),
    ):
        monkeypatch.setenv("COMP_WORDS", typed)
        monkeypatch.setenv("COMP_CWORD", str(len(typed.split(" ")) - 1))
        told = CliRunner().invoke(main, prog_name="javacluster").stdout
        assert {line.partition(",")[2] for line in told.splitlines()} == offered


def test_the_log_of_a_node_that_is_down_is_read_from_its_file(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path / "c")
    cluster.make(Layout(peers=1))
    log = cluster.node_directory(1) / "log"
    log.mkdir(parents=True)
    (log / "summary.log").write_text("t1 one\nt2 two\nt3 three\n", encoding="utf-8")
    where = ("--directory", str(tmp_path / "c"))
    assert _ran("logs", "1", "-n", "2", *where).stdout == "t2 two\nt3 three\n"
    assert _ran("logs", "1", "-n", "0", *where).stdout == ""
    told = _ran("logs", "1", "-n", "1", "--json", *where).stdout
    assert json.loads(told) == {"node": 1, "time": "t3", "text": "three"}


def test_version_names_the_protocol_too() -> None:
    assert _ran("version").stdout == f"javacluster {__version__} (protocol {PROTOCOL_VERSION})\n"


def test_every_command_has_one_line_of_help() -> None:
    for name, command in main.commands.items():
        assert command.get_short_help_str(200), name
        assert _ran(name, "--help").exit_code == 0


NODE = """
import sys, types
import cluster
from cluster.cli import main
from cluster.local import Layout, LocalCluster
from cluster.errors import ConfigError, EnvironmentFault

async def start(config, reactor, kept):
    from twisted.internet import reactor as installed
    assert reactor is installed
    assert kept == {{"http": 3}}, "taken before Twisted takes it out of the environment (D4)"
    {ending}

import os
import twisted.internet.interfaces
assert "twisted.internet.endpoints" not in sys.modules
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="http")
cluster.service = sys.modules["cluster.service"] = types.ModuleType("cluster.service")
cluster.service.start = start
main(["node", "--config", sys.argv[1]])
"""
"""The `node` command with a stand-in for the node itself; in a process of its own, as it runs the reactor."""


@pytest.mark.parametrize(
    ("ending", "status", "said"),
    [
        ("print(type(reactor).__name__, config.node)", 0, ""),
        ("raise ConfigError('$.a: one', '$.b: two')", 78, "Error: $.a: one; $.b: two\n"),
        ("raise EnvironmentFault('no JDK: install one')", 69, "Error: no JDK: install one\n"),
    ],
)
def test_a_node_ends_with_the_status_of_its_end(tmp_path: Path, ending: str, status: int, said: str) -> None:
    cluster = LocalCluster(tmp_path / "c")
    cluster.make(Layout(peers=1))
    ran = subprocess.run(
        [sys.executable, "-c", NODE.format(ending=ending), str(cluster.config_file(1))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (status, said)
    assert ran.stdout == ("" if status else "BootTimeReactor 1\n")
