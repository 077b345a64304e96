"""A steady load of distinct programs from several clients, each request with the whole of its story.

A client does what the documentation tells clients to do: it takes 503 and 429 at their word (`Retry-After`),
and when its gateway's connection breaks it asks another gateway. Whatever came of each try is written down;
judging it is the account's affair.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Callable

import msgspec

ANSWER_S = 90.0
"""How long one try may take: longer than a gateway lets its clients wait (`work.deadline_s`)."""

GIVE_UP_S = 60.0
"""A request that is refused again and again is given up this long after its first try."""

RETRY_AFTER_MAX_S = 5.0
ELSEWHERE_S = 0.05
"""Between a connection that broke and the next try, at another gateway."""

SLOW_EVERY = 4
SLOW_MS = (400, 1200, 2500)
"""Every fourth program sleeps one of these, so that faults find jobs that run."""

_OK = 200
_TRY_LATER = frozenset({429, 503})

_PROGRAM = """public class P{number} {{
  public String run() throws Exception {{
    long x = {number}; for (int i = 0; i < 1000; i++) x = (x * 31 + 7) % 1000003;
    Thread.sleep({sleep_ms});
    return "{tag} " + x;
  }}
}}
"""


class Try(msgspec.Struct, frozen=True):
    """One HTTP exchange.

    Attributes:
        begin, end: monotonic seconds.
        status: 0 when the connection broke or could not be made.
        said: the answer's first line, or what became of the connection.
        retry_after: the header's text.
        job: the `X-Job-Id`.
        connected: whether the request was sent at all.
    """

    gateway: int
    begin: float
    end: float
    status: int
    said: str = ""
    retry_after: str = ""
    job: str = ""
    connected: bool = True


class Request(msgspec.Struct, frozen=True):
    """What one client wanted, and every try of it; the last one is final."""

    client: int
    number: int
    expected: str
    tries: tuple[Try, ...]

    @property
    def begin(self) -> float:
        """When it was first sent."""
        return self.tries[0].begin

    @property
    def end(self) -> float:
        """When its client was done with it."""
        return self.tries[-1].end

    @property
    def answered_rightly(self) -> bool:
        """Whether the client got what the program returns."""
        last = self.tries[-1]
        return last.status == _OK and last.said == self.expected


def program(seed: int, number: int) -> tuple[str, str]:
    """A program that no other number has, and what it returns."""
    x = number
    for _ in range(1000):
        x = (x * 31 + 7) % 1000003
    tag = f"s{seed}-{number}"
    sleep = SLOW_MS[number // SLOW_EVERY % len(SLOW_MS)] if number % SLOW_EVERY == 0 else 0
    return _PROGRAM.format(number=number, tag=tag, sleep_ms=sleep), f"{tag} {x}"


class Load:
    """Clients, each a thread that sends a program, waits for its answer, and rests until its next turn.

    Attributes:
        done: every finished request, in the order in which they ended.
    """

    def __init__(self, gateways: dict[int, tuple[str, int]], clients: int, rate: float, seed: int) -> None:
        """Prepare to send.

        Args:
            gateways: node, and host and HTTP port of each.
            clients: how many send at once.
            rate: requests a second of all together, as long as answers come in time.
            seed: makes the programs of one drill unlike those of another.
        """
        self.done: list[Request] = []
        self._gateways = sorted(gateways.items())
        self._period = clients / rate
        self._seed = seed
        self._next = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._client, args=(number,), daemon=True) for number in range(clients)
        ]

    def start(self) -> None:
        """Begin to send."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> bool:
        """Send nothing new and wait for every answer that is owed; tells whether all came to an end."""
        self._stopping.set()
        deadline = time.monotonic() + ANSWER_S + GIVE_UP_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def sent(self) -> int:
        """Requests begun."""
        return self._next

    def _client(self, client: int) -> None:
        turn = time.monotonic() + self._period * client / len(self._threads)
        while not self._stopping.wait(max(0.0, turn - time.monotonic())):
            turn = max(turn + self._period, time.monotonic())
            with self._lock:
                self._next += 1
                number = self._next
            request = self._request(client, number)
            with self._lock:
                self.done.append(request)

    def _request(self, client: int, number: int) -> Request:
        """Try until there is an answer, or `GIVE_UP_S` has passed."""
        source, expected = program(self._seed, number)
        at = client
        tries: list[Try] = []
        while True:
            gateway, (host, port) = self._gateways[at % len(self._gateways)]
            tried = _exchange(gateway, host, port, source)
            tries.append(tried)
            again = tried.status == 0 or tried.status in _TRY_LATER
            if not again or tried.end - tries[0].begin > GIVE_UP_S:
                return Request(client, number, expected, tuple(tries))
            if tried.status == 0:
                at += 1
                time.sleep(ELSEWHERE_S)
            else:
                at += len(tries) > 1  # refused twice: perhaps another gateway is better off
                time.sleep(min(RETRY_AFTER_MAX_S, _seconds(tried.retry_after)))


def _exchange(gateway: int, host: str, port: int, source: str) -> Try:
    begin = time.monotonic()
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER_S)
    connected = False

    def ended(status: int, said: str, header: Callable[[str], str | None] = lambda _name: None) -> Try:
        retry_after, job = header("Retry-After") or "", header("X-Job-Id") or ""
        return Try(gateway, begin, time.monotonic(), status, said, retry_after, job, connected)

    with contextlib.closing(connection):
        try:
            connection.connect()
            connected = True
            connection.request("POST", "/compileandrun", source, {"Content-Type": "text/x-java-source"})
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return ended(0, f"{type(error).__name__}: {error}")
        return ended(response.status, text.partition("\n")[0], response.getheader)


def _seconds(text: str) -> float:
    return float(text) if text.isdigit() else 1.0
