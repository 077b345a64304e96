"""The client that counts answers from the cache: it knows a whole answer, and a right one."""

from __future__ import annotations

import pytest

from cluster.bench.hits import post, right, whole
from cluster.errors import RemoteProtocolError

HEAD = b"HTTP/1.1 200 OK\r\nCached-Response: true\r\nContent-Length: 8"
ANSWER = HEAD + b"\r\n\r\nhello n0"


def test_an_answer_is_whole_with_the_last_byte_of_its_body() -> None:
    assert [length for length in range(len(ANSWER) + 1) if whole(ANSWER[:length])] == [len(ANSWER)]


@pytest.mark.parametrize("received", [b"HTTP/1.1 200 OK\r\n\r\nhello n0", ANSWER + b"H"])
def test_what_is_no_answer_to_one_request_is_an_error(received: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        whole(received)


@pytest.mark.parametrize(
    ("answer", "is_right"),
    [
        (ANSWER, True),
        (ANSWER.replace(b"true", b"false"), False),
        (ANSWER.replace(b"n0", b"n1"), False),
        (ANSWER.replace(b"200 OK", b"503 Service Unavailable"), False),
        (b"HTTP/1.1 200 OK\r\n\r\nCached-Response: true\r\nhello n0", False),
    ],
)
def test_only_a_kept_answer_counts(answer: bytes, is_right: bool) -> None:
    assert right(answer, b"hello n0") is is_right


def test_a_request_says_how_long_it_is() -> None:
    head, _end, body = post("/v1/run", "application/json", b"{}").partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/run HTTP/1.1\r\n")
    assert b"Content-Length: 2" in head
    assert body == b"{}"
