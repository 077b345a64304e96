"""Connections held open by the hundred keep nobody out, and nothing of them stays (H8, X2, issue 7)."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from tests.integration.hostile_clients import (
    HONEST,
    OWN_FILES,
    crowd,
    figures,
    honest,
    memory_of,
    raise_files,
)
from tests.integration.live import Live, live_cluster

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Its gateway takes fewer connections than will come, as any gateway does in the end."""
    directory = tmp_path_factory.mktemp("hostile") / "c"
    with live_cluster(directory, peers=3, gateway__connections_max=100) as live:
        yield live


def test_honest_programs_are_answered_whoever_else_is_there(cluster: Live) -> None:
    before = cluster.info()
    for figure in figures(cluster, raise_files(400)):
        assert len(figure.seconds) == HONEST, figure.line()
        assert figure.left <= OWN_FILES, figure.line()
        assert figure.files < 400, figure.line()
    after = cluster.info()
    assert (after["leader"], after["epoch"]) == (before["leader"], before["epoch"]), "no election"


NO_TEXT = """public class A {
    public static void main(String[] args) {
        byte[] bytes = new byte[512 * 1024];
        java.util.Arrays.fill(bytes, (byte) 0xff);
        System.out.write(bytes, 0, bytes.length);
        System.err.write(bytes, 0, bytes.length);
        System.out.flush();
        System.err.flush();
    }
}"""
UNREAD_MIB = 60.0
"""What twelve readers may add. Bytes that are no text are four times as many in JSON: 52 MiB for each."""


def test_h8_answers_that_nobody_reads_cost_next_to_nothing(cluster: Live) -> None:
    """However large they are: they are made as they are read."""
    sent = json.dumps({"source": NO_TEXT, "tests": [{"args": [str(number)]} for number in range(12)]})
    answer = cluster.request("POST", "/v1/jobs", sent.encode(), {"Content-Type": "application/json"})
    assert answer.status == 202, answer
    path = f"/v1/jobs/{json.loads(answer.text)['job']}"
    whole = cluster.request("GET", f"{path}?wait=60", seconds=90)
    told = json.loads(whole.text)
    assert told["status"] == "finished", told.get("problem")
    assert len(whole.text.encode()) > 50 * 2**20
    assert {len(run["stderr_base64"]) for run in told["result"]["runs"]} == {699_052}
    pid = cluster.status()[0]["pid"]
    before = memory_of(pid)
    with ExitStack() as stack:
        for number in range(12):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", cluster.http_port)))
            one.sendall(f"GET {path}{'/events' if number % 2 else ''} HTTP/1.1\r\nHost: g\r\n\r\n".encode())
            assert one.recv(12) == b"HTTP/1.1 200"
        assert len(honest(cluster, "unread")) == HONEST
        assert memory_of(pid) < before + UNREAD_MIB


SLEEP = "public class A { public static void main(String[] args) throws Exception { Thread.sleep(8000); } }"


def test_h9_long_polls_on_one_job_keep_nobody_out(cluster: Live) -> None:
    """More of them than the gateway takes connections: some wait, the rest is refused and makes room."""
    sent = json.dumps({"source": SLEEP}).encode()
    answer = cluster.request("POST", "/v1/jobs", sent, {"Content-Type": "application/json"})
    assert answer.status == 202, answer
    ask = f"GET /v1/jobs/{json.loads(answer.text)['job']}?wait=60 HTTP/1.1\r\nHost: g\r\n\r\n".encode()
    with crowd(cluster.http_port, 150, ask) as (made, _):
        assert len(made) == 150
        assert len(honest(cluster, "polls")) == HONEST
        begun = [beginning_of(one) for one in made]
    assert begun.count(b"HTTP/1.1 200") == 25, "half of half of the connections wait until the job ends"


def beginning_of(connection: socket.socket) -> bytes:
    """Of its answer, once it is there; nothing, if it was cut."""
    connection.setblocking(True)
    connection.settimeout(30)
    with suppress(ConnectionResetError):
        return connection.recv(12)
    return b""
