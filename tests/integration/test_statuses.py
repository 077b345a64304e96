"""Each endpoint right and wrong, by `curl`: a table of requests and the statuses that they get (H1-H9).

The gateway asks for tokens, so that 401 and 429 are in it too. What only a struck cluster says (502, 503, 504)
is in `test_quorum_loss.py`, `test_work_clients.py` and the unit tests of the gateway.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import yaml

from cluster import tokens
from cluster.tokens import Token, digest_of, new_token
from tests.integration.live import Live, eventually, live_cluster

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl"),
]

ANN, BOB, EVE = new_token(), new_token(), new_token()
JAVA = ("-H", "Content-Type: text/x-java-source")
JSON = ("-H", "Content-Type: application/json")
AS_ANN = ("-H", f"Authorization: Bearer {ANN}")
AS_BOB = ("-H", f"Authorization: Bearer {BOB}")
AS_EVE = ("-H", f"Authorization: Bearer {EVE}")
HELLO = 'public class A { public String run() { return "hi"; } }'
PROGRAM = json.dumps({"source": HELLO})
NOBODY = "0" * 32
ARGUMENT_MAX = 30_000
"""A longer argument goes through a pipe: the kernel does not take any length."""
PROBLEM = "application/problem+json"


@attrs.frozen
class Row:
    """A request, as arguments of curl, and what must come back.

    Attributes:
        path: with its query; `{job}` stands for a finished job of Ann's, `{bobs}` for one of Bob's.
        headers: names that must be there, or whole lines.
        body: a piece of it.
    """

    path: str
    arguments: tuple[str, ...]
    status: int
    headers: tuple[str, ...] = ()
    body: str = ""


def data(text: str) -> tuple[str, ...]:
    return ("--data-binary", text)


def put(text: str, *headers: str) -> tuple[str, ...]:
    """JSON as Ann."""
    return (*JSON, *AS_ANN, *(part for header in headers for part in ("-H", header)), *data(text))


FRESH = "Cached-Response: false"
TABLE = [
    # H1: the original's interface; `Cached-Response` on every answer
    Row("/compileandrun", (*JAVA, *AS_ANN, *data(HELLO)), 200, ("Cached-Response", "X-Job-Id", "Server-Timing"), "hi"),
    Row("/compileandrun", (*JAVA, *AS_ANN, *data(HELLO)), 200, ("Cached-Response: true", "Age"), "hi"),
    Row("/compileandrun", ("-H", "Content-Type: text/x-java-source; charset=utf-8", *AS_ANN, *data(HELLO)), 200),
    Row("/compileandrun", (*JAVA, *AS_ANN, *data("class A {")), 400, (FRESH, "X-Job-Verdict: compile_error"), "Main.java:1"),
    Row(
        "/compileandrun",
        (*JAVA, *AS_ANN, *data("public class A { public String run() { return null.toString(); } }")),
        400,
        (FRESH,),
    ),
    Row("/compileandrun", (*JAVA, *AS_ANN, *data("")), 400, (FRESH,), "empty"),
    Row("/compileandrun", (*JSON, *AS_ANN, *data(HELLO)), 400, (FRESH,), "Content-Type"),
    Row("/compileandrun", (*JAVA, *AS_ANN, "-H", "Content-Encoding: gzip", *data(HELLO)), 400, (FRESH,)),
    Row("/compileandrun", (*JAVA, *AS_ANN, "-X", "PUT", *data(HELLO)), 405, (FRESH, "Allow: POST")),
    Row("/compileandrun", AS_ANN, 405, (FRESH, "Allow: POST")),
    Row("/compileandrun", (*JAVA, *AS_ANN, "-H", "Expect:", *data("x" * 2_000_000)), 413, (FRESH,)),
    Row("/compileandrun", (*JAVA, *data(HELLO)), 401, (FRESH, "WWW-Authenticate: Bearer")),
    Row("/compileandrun", (*JAVA, "-H", "Authorization: Bearer jc_no", *data(HELLO)), 401, (FRESH, "invalid_token")),
    Row("/compileandrun/more", (*JAVA, *AS_ANN, *data(HELLO)), 404, (FRESH,)),
    # H4
    Row("/v1/run", put(PROGRAM), 200, ("X-Job-Verdict: ok",), '"value":"hi"'),
    Row("/v1/run", put(json.dumps({"source": "class A {"})), 200, ("X-Job-Verdict: compile_error",)),
    Row("/v1/run", put(PROGRAM, "Accept: text/event-stream"), 200, ("text/event-stream",), "event: verdict"),
    Row("/v1/run", put(PROGRAM, "Idempotency-Key: table"), 200, ("X-Job-Id",)),
    Row("/v1/run", put(json.dumps({"source": HELLO + " "}), "Idempotency-Key: table"), 409, (PROBLEM,)),
    Row("/v1/run", put(PROGRAM, "Idempotency-Key;"), 400, (PROBLEM,)),
    Row("/v1/run", put("{"), 400, (PROBLEM,), "not JSON"),
    Row("/v1/run", put("[" * 100_000), 422, (PROBLEM,)),
    Row("/v1/run", put("{}"), 422, (PROBLEM,), "exactly one of"),
    Row("/v1/run", put('{"source": ' + "[" * 50_000), 422, (PROBLEM,)),
    Row("/v1/run", put(json.dumps({"source": HELLO, "limits": {"wall_s": 1e9}})), 422, (PROBLEM,), "$.limits.wall_s"),
    Row("/v1/run", put(json.dumps({"source": HELLO, "bogus": 1})), 422, (PROBLEM,), "bogus"),
    Row("/v1/run", put(json.dumps({"source": "x" * 1_100_000}), "Expect:"), 413, (PROBLEM,)),
    Row("/v1/run", (*JAVA, *AS_ANN, *data(HELLO)), 415, (PROBLEM,)),
    Row("/v1/run", (*AS_ANN, "-X", "GET"), 405, (PROBLEM, "Allow: POST")),
    Row("/v1/run", (*JSON, *data(PROGRAM)), 401, (PROBLEM, "WWW-Authenticate: Bearer")),
    # H5
    Row("/v1/jobs", put(PROGRAM), 202, ("Location: /v1/jobs/",), '"status":"'),
    Row("/v1/jobs", put("{"), 400, (PROBLEM,)),
    Row("/v1/jobs", put("{}"), 422, (PROBLEM,)),
    Row("/v1/jobs", AS_ANN, 405, (PROBLEM, "Allow: POST")),
    Row("/v1/jobs", (*JSON, *data(PROGRAM)), 401, (PROBLEM,)),
    Row("/v1/jobs/{job}?wait=10", AS_ANN, 200, ("X-Job-Verdict: ok",), '"status":"finished"'),
    Row("/v1/jobs/{job}?wait=x", AS_ANN, 400, (PROBLEM,)),
    Row("/v1/jobs/{job}?wait=61", AS_ANN, 400, (PROBLEM,)),
    Row("/v1/jobs/{job}", (), 401, (PROBLEM,)),
    Row("/v1/jobs/{job}", AS_BOB, 404, (PROBLEM,)),
    Row("/v1/jobs/" + NOBODY, AS_ANN, 404, (PROBLEM,)),
    Row("/v1/jobs/x", AS_ANN, 404, (PROBLEM,)),
    Row("/v1/jobs/{job}", (*AS_ANN, "-X", "PATCH"), 405, (PROBLEM, "Allow")),
    Row("/v1/jobs/{job}/events", AS_ANN, 200, ("text/event-stream",), "id: 1\nevent: queued"),
    Row("/v1/jobs/{job}/events", (*AS_ANN, "-H", "Last-Event-ID: 1"), 200, ("text/event-stream",), "event: verdict"),
    Row("/v1/jobs/{job}/events", (*AS_ANN, "-H", "Last-Event-ID: no"), 400, (PROBLEM,)),
    Row("/v1/jobs/{job}/events", (), 401, (PROBLEM,)),
    Row("/v1/jobs/{bobs}/events", AS_ANN, 404, (PROBLEM,)),
    Row("/v1/jobs/{bobs}", (*AS_ANN, "-X", "DELETE"), 404, (PROBLEM,)),
    Row("/v1/jobs/{bobs}", (*AS_BOB, "-X", "DELETE"), 200),
    Row("/v1/jobs/{bobs}", AS_BOB, 404, (PROBLEM,)),
    # H2
    Row("/cluster-info", (), 200, ("application/json",), '"leader":1'),
    Row("/cluster-info?format=text", (), 200, ("text/plain",), "Server 1 - LEADER"),
    Row("/cluster-info", ("-H", "Accept: text/plain"), 200, ("text/plain",), "Server 1 - LEADER"),
    Row("/cluster-info?format=xml", (), 400, (PROBLEM,)),
    Row("/cluster-info", data("x"), 405, (PROBLEM, "Allow: GET, HEAD")),
    Row("/v1/cluster", (), 200, ("application/json",)),
    # H3
    Row("/logs/summary?lines=5", AS_ANN, 200, ("text/plain",)),
    Row("/logs/verbose?lines=5&node=1", AS_ANN, 200, ("text/plain",)),
    Row("/logs/summary?lines=-1", AS_ANN, 400, (PROBLEM,)),
    Row("/logs/summary?node=77", AS_ANN, 404, (PROBLEM,)),
    Row("/logs/summary?node=1&follow=1", AS_ANN, 400, (PROBLEM,)),
    Row("/logs/summary", (), 401, (PROBLEM,)),
    Row("/logs/verbose?node=77", AS_ANN, 404, (PROBLEM,)),
    Row("/logs/verbose?follow=2", AS_ANN, 400, (PROBLEM,)),
    Row("/logs/verbose", (), 401, (PROBLEM,)),
    Row("/logs/other", AS_ANN, 404, (PROBLEM,)),
    # H6, H7
    Row("/v1/runtimes", (), 200, ("application/json",), '"language":"java"'),
    Row("/v1/stats", (), 200, ("application/json",)),
    Row("/livez", (), 200, (), "alive"),
    Row("/readyz", (), 200, (), "ready"),
    Row("/metrics", (), 200, ("version=0.0.4",), "javacluster_tokens 3"),
    Row("/openapi.json", (), 200, ("application/json",), '"openapi":"3.1.0"'),
    Row("/", (), 200, ("text/plain",), "/v1/run"),
    Row("/", ("-H", "Accept: text/html"), 200, ("text/html", "Content-Security-Policy"), "<!doctype html>"),
    Row("/pages/page.js", (), 200, ("text/javascript",)),
    Row("/pages/..%2f..%2fservice.py", (), 404, (PROBLEM,)),
    Row("/nothing", (), 404, (PROBLEM,)),
    Row("/livez", ("-X", "DELETE"), 405, (PROBLEM, "Allow: GET, HEAD")),
    Row("/livez", ("-X", "OPTIONS"), 204, ("Allow: GET, HEAD",)),
    # H8: what can't be parsed
    Row("/v1/run", ("-H", "Content-Length: 5", "-H", "Content-Length: 6", *data("x")), 400, (PROBLEM, FRESH)),
    Row("/compileandrun", ("-H", "Content-Length: no", *data("x")), 400, (FRESH,), "length"),
    Row("/livez", tuple(part for n in range(120) for part in ("-H", f"X-{n}: y")), 431, (FRESH,)),
    Row("/livez", ("-H", "X-Long: " + "y" * 20_000), 431, (FRESH,)),
    Row("/livez", ("-H", "Host: \xff"), 400),
    # H9
    Row("/v1/run", (*JSON, *AS_EVE, *data(PROGRAM)), 200),
    Row("/v1/run", (*JSON, *AS_EVE, *data(PROGRAM)), 429, (PROBLEM, "Retry-After")),
    Row("/compileandrun", (*JAVA, *AS_EVE, *data(HELLO)), 429, (FRESH, "Retry-After")),
]  # fmt: skip


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    directory = tmp_path_factory.mktemp("statuses")
    file = directory / "tokens.yml"
    rows = (
        Token(name="ann", sha256=digest_of(ANN), rate=1000, burst=1000),
        Token(name="bob", sha256=digest_of(BOB), rate=1000, burst=1000),
        Token(name="eve", sha256=digest_of(EVE), rate=0.001, burst=1),
    )
    file.write_text(tokens.render(rows))
    with live_cluster(directory / "c", peers=1, gateway__tokens_file=file) as live:
        yield live


@attrs.frozen
class Said:
    """An answer, as curl prints it."""

    status: int
    head: str
    body: str


def curl(cluster: Live, path: str, *arguments: str) -> Said:
    """One request."""
    url = f"http://127.0.0.1:{cluster.http_port}{path}"
    body = max(arguments, key=len, default="")
    sent = body.encode() if len(body) > ARGUMENT_MAX else b""
    arguments = tuple("@-" if sent and argument is body else argument for argument in arguments)
    command = ["curl", "-sS", "-i", "--path-as-is", "--max-time", "60", *arguments, url]
    done = subprocess.run(command, capture_output=True, timeout=90, input=sent, check=False)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode(errors="replace").replace("\r\n", "\n")
    while text.startswith("HTTP/1.1 100"):
        text = text.partition("\n\n")[2]
    head, _, body = text.partition("\n\n")
    return Said(int(head.split()[1]), head, body)


def a_job(cluster: Live, token: tuple[str, ...]) -> str:
    """A finished job's id."""
    said = curl(cluster, "/v1/jobs", *JSON, *token, *data(PROGRAM))
    job: str = json.loads(said.body)["job"]
    curl(cluster, f"/v1/jobs/{job}?wait=30", *token)
    return job


def test_every_endpoint_right_and_wrong(cluster: Live) -> None:
    job, bobs = a_job(cluster, AS_ANN), a_job(cluster, AS_BOB)
    wrong = []
    for row in TABLE:
        path = row.path.replace("{job}", job).replace("{bobs}", bobs)
        said = curl(cluster, path, *row.arguments)
        missing = [text for text in row.headers if text.lower() not in said.head.lower()]
        if said.status != row.status or missing or row.body not in said.body:
            shown = " ".join(argument[:60] for argument in row.arguments)
            wrong.append(
                f"{path} {shown}: {said.status} instead of {row.status}; {missing}; {said.body[:200]}"
            )
        if "compileandrun" in path:
            assert "cached-response: " in said.head.lower(), row
    assert not wrong, "\n".join(wrong)


def test_every_endpoint_of_the_description_is_in_the_table(cluster: Live) -> None:
    described = json.loads(curl(cluster, "/openapi.json").body)["paths"]
    walked = {row.path.partition("?")[0].replace("{bobs}", "{job}") for row in TABLE}
    assert set(described) <= walked
    for path, operations in described.items():
        for answers in (one["responses"] for one in operations.values() if isinstance(one, dict)):
            seen = {
                str(row.status)
                for row in TABLE
                if row.path.partition("?")[0].replace("{bobs}", "{job}") == path
            }
            wanted = set(answers) - {"500", "502", "503", "504", "409", "413", "415", "429"}
            assert wanted <= seen, f"{path}: no row with {sorted(wanted - seen)}"


def test_the_command_line_gives_its_token_and_says_when_it_lacks_one(
    cluster: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H9."""
    file = tmp_path / "A.java"
    file.write_text(HELLO)
    refused = cluster.command("run", str(file))
    assert refused.code == 65
    assert "JAVACLUSTER_TOKEN" in refused.err
    monkeypatch.setenv("JAVACLUSTER_TOKEN", BOB)
    assert cluster.command("run", str(file)).out == "hi\n"
    assert cluster.command("logs", "-n", "1").code == 0
    assert cluster.command("status").code == 0


def test_a_reload_lets_new_tokens_in_and_old_ones_out(cluster: Live) -> None:
    """H9: without a restart; a broken file changes nothing."""
    file = Path(str(cluster.settings["gateway.tokens_file"]))
    before = tokens.load(file)
    new = new_token()
    gateway = cluster.status()[0]["pid"]

    def status_of(token: str) -> int:
        return curl(cluster, "/logs/summary?lines=1", "-H", f"Authorization: Bearer {token}").status

    try:
        file.write_text(tokens.render((*before[1:], Token(name="new", sha256=digest_of(new)))))
        assert status_of(new) == 401
        os.kill(gateway, signal.SIGHUP)
        eventually(lambda: status_of(new) == 200, "the new token is good")
        assert status_of(ANN) == 401
        file.write_text("tokens: nonsense\n")
        os.kill(gateway, signal.SIGHUP)
        log = cluster.directory / "node-0" / "log"
        eventually(
            lambda: "tokens not read again" in "".join(f.read_text() for f in log.glob("summary*")),
            "it says so",
        )
        assert status_of(new) == 200
        assert cluster.status()[0]["pid"] == gateway
    finally:
        file.write_text(tokens.render(before))
        os.kill(gateway, signal.SIGHUP)
        eventually(lambda: status_of(ANN) == 200, "the first tokens are good again")


def test_output_comes_while_the_program_runs(cluster: Live) -> None:
    """H5: the first line is there before the last one is written."""
    source = (
        "public class Slow { public static void main(String[] a) throws Exception {"
        ' System.out.println("first"); System.in.read(); Thread.sleep(1500); System.out.println("last"); } }'
    )
    body = json.dumps({"source": source})
    url = f"http://127.0.0.1:{cluster.http_port}/v1/run"
    command = ["curl", "-sSN", *JSON, *AS_ANN, "-H", "Accept: text/event-stream", *data(body), url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as followed:
        assert followed.stdout is not None
        seen = ""
        while "first" not in seen:
            seen += followed.stdout.readline()
        assert "verdict" not in seen
        rest = followed.stdout.read()
    assert rest.index('"text":"last\\n"') < rest.index("event: verdict")
    assert '"stdout":"first\\nlast\\n"' in rest


def test_a_gateway_that_others_can_reach_refuses_to_start_without_tokens(cluster: Live) -> None:
    """H9."""
    config = cluster.directory / "node-0" / "node.yml"
    text = config.read_text()
    settings = yaml.safe_load(text)
    del settings["gateway"]["tokens_file"]
    elsewhere = config.with_name("elsewhere.yml")
    elsewhere.write_text(yaml.safe_dump({**settings, "listen": "0.0.0.0"}))  # noqa: S104  (it must be refused)
    ran = cluster_command("check-config", str(elsewhere))
    assert ran.returncode == 78
    assert "$.gateway.tokens_file" in ran.stderr
    ran = cluster_command("node", "--config", str(elsewhere))
    assert ran.returncode == 78
    assert "allow_anonymous" in ran.stderr


def cluster_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A command that belongs to no local cluster."""
    command = [sys.executable, "-m", "cluster.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


H10 = {
    "jobs by verdict": (0, r'javacluster_jobs_total\{verdict="ok"\} [1-9]'),
    "and by refusal": (0, r'javacluster_jobs_total\{verdict="compile_error"\} [1-9]'),
    "latency by phase": (
        0,
        r'javacluster_job_seconds_bucket\{le="\+Inf",phase="(queue|compile|run|total)"\} [1-9]',
    ),
    "queue": (1, r"javacluster_queue 0\.0"),
    "slots": (1, r"javacluster_slots [1-9]"),
    "busy slots": (1, r"javacluster_slots_busy 0\.0"),
    "pool": (1, r"javacluster_pool_waiting \d"),
    "cold starts": (1, r"javacluster_cold_starts_total \d"),
    "cache": (0, r'javacluster_cache_events_total\{event="hits"\} [1-9]'),
    "cached answers": (0, r"javacluster_cached_answers_total [1-9]"),
    "epoch": (1, r"javacluster_epoch [1-9]"),
    "state": (1, r'javacluster_state\{state="LEADING"\} 1\.0'),
    "lease": (1, r"javacluster_lease_seconds (\d|\+Inf)"),
    "elections": (1, r"javacluster_ballots_total \d"),
    "gossip in": (0, r'javacluster_messages_total\{kind="Gossip",what="received"\} [1-9]'),
    "gossip out": (0, r'javacluster_messages_total\{kind="Gossip",what="sent"\} [1-9]'),
    "drops by reason": (1, r'javacluster_messages_total\{kind="\w+",what="dropped"\} [1-9]'),
    "loop lag": (0, r"javacluster_loop_lag_seconds \d"),
    "restarts": (0, r"javacluster_boot [1-9]"),
    "restarts of the compiler": (1, r'javacluster_compiler_restarts_total\{reason="crash"\} \d'),
    "answers by endpoint and status": (
        0,
        r'javacluster_http_responses_total\{endpoint="/v1/run",status="200"\} [1-9]',
    ),
    "requests under way": (0, r'javacluster_http_open\{endpoint="/metrics"\} 1\.0'),
    "streams": (
        0,
        r'javacluster_http_responses_total\{endpoint="/v1/jobs/<job>/events",status="200"\} [1-9]',
    ),
    "their time": (0, r'javacluster_http_seconds_count\{endpoint="/v1/jobs/<job>/events"\} [1-9]'),
    "strangers": (0, r'javacluster_tenant_requests_total\{result="refused",tenant=""\} [1-9]'),
    "tenants over their rate": (
        0,
        r'javacluster_tenant_requests_total\{result="limited",tenant="eve"\} [1-9]',
    ),
    "connections": (0, r"javacluster_http_connections [1-9]"),
}
"""What H10 names, and by which node it is told: 0 the gateway, 1 the peer."""


@pytest.mark.parametrize("what", H10)
def test_every_number_is_in_the_metrics(cluster: Live, what: str) -> None:
    """H10; after the table, which gave each of them a reason to be."""
    node, pattern = H10[what]
    if what == "drops by reason":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"nonsense", ("127.0.0.1", cluster.base_port + 10))
    eventually(lambda: re.search(pattern, cluster.request("GET", "/metrics", node=node).text), what)
