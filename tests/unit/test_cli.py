"""Commands: one line that says what to do, and an exit status that a script can read."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from click.testing import CliRunner, Result

from cluster.cli import main
from cluster.local import Layout, LocalCluster
from cluster.version import __version__

GONE = "http://127.0.0.1:9"
"""Where nothing answers: the discard port."""


class Gateway(http.server.BaseHTTPRequestHandler):
    """Answers every program with what the test put here."""

    status = 200
    body = b"answer"
    headers_sent: ClassVar[dict[str, str]] = {}
    asked: ClassVar[list[tuple[str, str]]] = []

    def do_POST(self) -> None:
        """Keep what was asked; answer what was put here."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append((self.headers["Content-Type"], body.decode()))
        self.send_response(self.status)
        for name, value in self.headers_sent.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A stand-in gateway's address."""
    monkeypatch.setattr(Gateway, "asked", [])
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


def _ran(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def program(tmp_path: Path) -> str:
    """A source file."""
    file = tmp_path / "P.java"
    file.write_text("public class P {}", encoding="utf-8")
    return str(file)


def test_run_prints_the_answer(gateway: str, program: str) -> None:
    ran = _ran("run", "--gateway", gateway, program)
    assert (ran.exit_code, ran.stdout) == (0, "answer\n")
    assert Gateway.asked == [("text/x-java-source; charset=utf-8", "public class P {}")]


def test_run_tells_a_failed_program_by_status_1(
    gateway: str, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _answer(monkeypatch, 400, "my fault\ntrace", X_Job_Verdict="runtime_error")
    ran = _ran("run", "--gateway", gateway, program)
    assert (ran.exit_code, ran.stdout, ran.stderr) == (1, "", "my fault\ntrace\n")


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_run_tells_what_may_work_later_by_status_75(
    gateway: str, program: str, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    _answer(monkeypatch, status, "no_leader: nobody leads\n", Retry_After="2")
    ran = _ran("run", "--gateway", gateway, program)
    assert (ran.exit_code, ran.stderr) == (75, "Error: no_leader: nobody leads\n")


def test_run_tells_a_refused_request_by_status_65(
    gateway: str, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _answer(monkeypatch, 413, json.dumps({"detail": "too large: 1 MiB at most"}))
    ran = _ran("run", "--gateway", gateway, program)
    assert (ran.exit_code, ran.stderr) == (65, "Error: refused (413): too large: 1 MiB at most\n")


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


def test_version_names_the_protocol_too() -> None:
    assert _ran("version").stdout == f"javacluster {__version__} (protocol 1)\n"


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

async def start(config, reactor):
    from twisted.internet import reactor as installed
    assert reactor is installed
    {ending}

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
