"""Whatever is sent, the answer is a clear error and the next request is served (H1, H8, R2, X3)."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Iterator

import pytest

from tests.integration.live import HELLO, Live, eventually, live_cluster

pytestmark = pytest.mark.integration

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One cluster for all of these: that it goes on serving is the point."""
    with live_cluster(tmp_path_factory.mktemp("bad") / "c", work__slots=1, limits__wall_s=5) as live:
        yield live


@pytest.fixture(autouse=True)
def _still_serves(cluster: Live, request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    label = request.node.name.replace('"', "")
    assert cluster.run(HELLO.format(label)).text == f"Hello world! {label}"


def _class(body: str) -> str:
    return f"public class Bad {{ {body} }}"


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/json", "nonsense"])
def test_another_content_type_is_refused_with_the_right_one_named(
    cluster: Live, content_type: str | None
) -> None:
    answer = cluster.run(HELLO.format(0), content_type)
    assert (answer.status, answer.cached) == (400, "false")
    assert "text/x-java-source" in answer.text


def test_a_charset_parameter_is_no_other_content_type(cluster: Live) -> None:
    assert cluster.run(HELLO.format("utf-8"), "text/x-java-source; charset=utf-8").status == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_another_method_is_told_the_one_that_works(cluster: Live, method: str) -> None:
    answer = cluster.request(method, "/compileandrun")
    assert (answer.status, answer.cached) == (405, "false")
    assert "POST" in answer.headers["allow"]


def test_an_empty_body_is_refused(cluster: Live) -> None:
    answer = cluster.run(b"")
    assert (answer.status, answer.cached) == (400, "false")
    assert "empty" in answer.text


def test_a_body_of_10_mb_is_too_large(cluster: Live) -> None:
    answer = cluster.run(b"/" * (10 * MIB))
    assert (answer.status, answer.cached) == (413, "false")


def test_bytes_that_are_not_utf8_are_refused(cluster: Live) -> None:
    answer = cluster.run(b'public class Bad { String s = "\xff\xfe\x80"; }')
    assert (answer.status, answer.cached) == (400, "false")
    assert "UTF-8" in answer.text


@pytest.mark.parametrize(
    ("source", "told"),
    [
        pytest.param("this is not Java", "error", id="not Java"),
        pytest.param(_class("int run() { return undefined; }"), "undefined", id="does not compile"),
        pytest.param(_class("public int other;"), "run", id="no entry point"),
        pytest.param(
            "class First { public static void main(String[] a) {} }"
            " class Second { public static void main(String[] a) {} }",
            "Second",
            id="two candidates",
        ),
        pytest.param(
            _class('public String run() { throw new IllegalStateException("my fault"); }'),
            "my fault",
            id="exception",
        ),
        pytest.param(_class("public String run() { System.exit(3); return null; }"), "3", id="exit 3"),
        pytest.param(_class("public String run() { while (true) { } }"), "time_limit", id="endless loop"),
        pytest.param(
            _class('public String run() { while (true) System.out.println("x".repeat(9999)); }'),
            "output_limit",
            id="output flood",
        ),
        pytest.param(
            _class(
                "public String run() { var all = new java.util.ArrayList<long[]>();"
                " while (true) all.add(new long[1000000]); }"
            ),
            "memory_limit",
            id="memory bomb",
        ),
    ],
)
def test_a_program_that_fails_is_told_why(cluster: Live, source: str, told: str) -> None:
    answer = cluster.run(source)
    assert (answer.status, answer.cached) == (400, "false"), answer
    assert told in answer.text
    assert answer.headers["x-job-verdict"] != "ok"


def test_the_same_program_again_is_answered_from_the_cache(cluster: Live) -> None:
    first, second = (cluster.run(HELLO.format("twice")) for _ in range(2))
    assert (first.cached, second.cached) == ("false", "true")
    assert first.text == second.text


def test_garbage_on_the_datagram_ports_changes_nothing(cluster: Live) -> None:
    rng = random.Random(1)
    epoch = cluster.info()["epoch"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as garbage:
        for node in range(4):
            for size in (0, 1, 17, 200, 1200, 60_000):
                for _ in range(20):
                    garbage.sendto(rng.randbytes(size), ("127.0.0.1", cluster.base_port + 10 * node))
    assert cluster.info()["epoch"] == epoch
    assert cluster.alive() == {1, 2, 3}


def test_garbage_on_the_work_ports_is_hung_up_on(cluster: Live) -> None:
    rng = random.Random(2)
    for node in (1, 2, 3):
        for content in (b"", b"GET / HTTP/1.1\r\n\r\n", rng.randbytes(100_000)):
            with (
                socket.create_connection(
                    ("127.0.0.1", cluster.base_port + 10 * node + 2), timeout=30
                ) as wire,
                contextlib.suppress(OSError),
            ):
                wire.sendall(content)
                wire.shutdown(socket.SHUT_WR)
                while wire.recv(4096):
                    pass
    eventually(lambda: cluster.alive() == {1, 2, 3}, "everybody is alive")
