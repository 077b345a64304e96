"""Each endpoint right and wrong, by `curl`: a table of requests and the statuses that they get (H1-H9).

The gateway asks for tokens, so that 401 and 429 are in it too, and serves the drop-in interfaces. What only a
struck cluster says (502, 503, 504) is in `test_quorum_loss.py`, `test_work_clients.py` and the unit tests of
the gateway.
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
from typing import Any

import attrs
import pytest
import yaml

from cluster import tokens
from cluster.tokens import Token, digest_of, new_token
from tests.integration.live import Live, eventually, live_cluster
from tests.integration.status_table import (
    ANN,
    ARGUMENT_MAX,
    AS_ANN,
    AS_BOB,
    BOB,
    DROP_INS,
    EVE,
    HELLO,
    JSON,
    PROGRAM,
    SUBMISSION,
    TABLE,
    data,
)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl"),
]

ONE_IS_ENOUGH = frozenset({"409", "413", "415", "429", "500", "502", "503", "504", "default"})
"""Statuses that come from what all endpoints share, or from a struck cluster: not asked of each."""


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
    settings: dict[str, Any] = {
        "gateway__tokens_file": file,
        "gateway__compat__interfaces": "[jobe, piston, judge0]",
    }
    with live_cluster(directory / "c", peers=1, **settings) as live:
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
    said = curl(cluster, "/submissions?wait=true", *JSON, *AS_ANN, *data(SUBMISSION))
    token = json.loads(said.body)["token"]
    wrong = []
    for row in (*TABLE, *DROP_INS):
        path = row.path.replace("{job}", job).replace("{bobs}", bobs).replace("{token}", token)
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


def method_of(arguments: tuple[str, ...]) -> str:
    """What curl makes of them."""
    if "-X" in arguments:
        return arguments[arguments.index("-X") + 1]
    return "GET" if "--data-binary" not in arguments else "POST"


def test_every_endpoint_of_the_description_is_in_the_table(cluster: Live) -> None:
    """Each method of each path: a row that succeeds, one that does not, and each status that it has."""
    described = json.loads(curl(cluster, "/openapi.json").body)["paths"]
    literal = {path for path in described if "{" not in path}
    lacking = []
    for path, item in described.items():
        pattern = re.compile("[^/]+".join(map(re.escape, re.split(r"{\w+}", path))))
        rows = [
            (method_of(row.arguments), row.status)
            for row in (*TABLE, *DROP_INS)
            if pattern.fullmatch(at := row.path.partition("?")[0]) and (at == path or at not in literal)
        ]
        for name, operation in item.items():
            if name == "parameters":
                continue
            mine = {status for method, status in rows if method == name.upper()}
            wanted = {code for code in operation["responses"] if code not in ONE_IS_ENOUGH}
            missing = [code for code in wanted if int(code) not in mine]
            if not any(status < 300 for status in mine):
                missing.append("one that succeeds")
            if not any(status >= 400 for _method, status in rows):
                missing.append("one that does not")
            if missing:
                lacking.append(f"{name.upper()} {path}: no row with {', '.join(missing)}")
    assert not lacking, "\n".join(lacking)


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
