"""What too much does to a cluster: refusals, a tenant's flood, clients that leave (W4, W9; real processes).

One cluster of two slots and a short queue, its clients on the same machine, five questions in one run:

- *alone*: how long a job takes when nothing waits;
- *full*: what the cluster gets through, and how long a job takes, when the queue is always full and nobody is
  refused: a client for each place;
- *overload*: many times that rate, whatever comes back; what is refused must be refused at once, and what is
  accepted must take no longer than when the queue was merely full;
- *flood*: one tenant floods, another asks now and then;
- *leaving*: a client hangs up; how long until the slot of its run is given to the next job, and until its
  place in the queue is free. Both ends are on one machine, so the leader's own log has the moment.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import itertools
import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event

from cluster import client
from cluster.bench import HTTP_ABOVE_BASE, Spread
from cluster.drill import history
from cluster.drill.promises import OK, Exchange, Phase, Pressure, phase_of
from cluster.errors import ClusterError
from cluster.local import GATEWAY, HOST, READY_S, Layout, LocalCluster
from cluster.processes import wait_until

PEERS, SLOTS, QUEUE = 3, 2, 8
"""Two followers of one slot each work; the leader does not."""

SETTINGS = {"work.slots": 1, "work.queue_max": QUEUE, "limits.wall_s": 30}
"""The other bounds are the shipped ones."""

ANSWER_S = 90.0
JOB_MS = 200
CALM_SHARE = 0.1
"""The calm tenant's part of what the cluster gets through: far less than half."""
LEAVINGS = 20
LONG_MS = 20_000
LOGGED_S = 1.0
"""What a node logs is in its file after this time."""

_SOURCE = """public class P{number} {{
  public String run() throws Exception {{ Thread.sleep({milliseconds}); return "{number}"; }}
}}
"""
_CANCELLED = re.compile(r"^(\S+) \d+: job ([0-9a-f]{8}) cancelled by its client$", re.MULTILINE)


class _Client:
    """Sends programs that no other call sends, so that none is answered from the cache or shared."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._numbers = itertools.count(1)

    def ask(self, milliseconds: int = JOB_MS, tenant: str = "") -> Exchange:
        """One request, answered or refused."""
        begin = time.monotonic()
        connection, number = self.send(milliseconds, tenant)
        with contextlib.closing(connection):
            try:
                answer = connection.getresponse()
                text = answer.read().decode(errors="replace")
            except (OSError, http.client.HTTPException) as error:
                return Exchange(time.monotonic() - begin, 0, repr(error))
        seconds = time.monotonic() - begin
        said = text if answer.status != OK else _value(text)
        status = answer.status
        if status == OK and said != number:
            status, said = -1, f"{said!r} instead of {number!r}"
        job = answer.headers.get("X-Job-Id", "")
        return Exchange(seconds, status, said, answer.headers.get("Retry-After", ""), job)

    def send(self, milliseconds: int, tenant: str = "") -> tuple[http.client.HTTPConnection, str]:
        """A request that is not waited for, and what it is to return."""
        number = str(next(self._numbers))
        source = _SOURCE.format(number=number, milliseconds=milliseconds)
        body = {"source": source, "tenant": tenant}
        connection = http.client.HTTPConnection(HOST, self._port, timeout=ANSWER_S)
        connection.request("POST", "/v1/run", json.dumps(body), {"Content-Type": "application/json"})
        return connection, number


def _value(text: str) -> str:
    runs = json.loads(text).get("runs") or [{}]
    return str(runs[0].get("value"))


class Pressing:
    """One measurement; `run` once."""

    def __init__(self, directory: Path, base_port: int, say: Callable[[str], None]) -> None:
        """Nothing happens before `run`; `directory` is where the cluster is made."""
        self._cluster = LocalCluster(directory)
        self._http_port = base_port + HTTP_ABOVE_BASE
        self._layout = Layout(PEERS, base_port, self._http_port, dict(SETTINGS))
        self._client = _Client(self._http_port)
        self._say = say

    def run(self, machine: str, factor: float, seconds: float) -> Pressure:
        """Ask the five questions; `factor` and `seconds` are the overload's.

        Raises:
            ClusterError: the cluster did not start, or a client's leaving had no effect.
        """
        try:
            self._cluster.make(self._layout)
            self._cluster.start()
            self._cluster.wait_until_serving(READY_S)
            return self._ask(machine, factor, seconds)
        finally:
            self._cluster.down()

    def _ask(self, machine: str, factor: float, seconds: float) -> Pressure:
        short = min(10.0, seconds)
        self._closed(SLOTS, short)  # until everything is warm
        self._say("one client alone")
        alone = self._closed(1, short)
        self._say(f"{SLOTS + QUEUE} clients: every slot and every place in the queue is taken")
        full = self._closed(SLOTS + QUEUE, 2 * short)
        rate = factor * full.accepted_per_s
        self._say(
            f"{factor:g} times what the cluster gets through, {rate:.0f} requests a second: {seconds:g} s"
        )
        overload = self._open(rate, seconds)
        self._say("a tenant who asks now and then, alone")
        calm = CALM_SHARE * full.accepted_per_s
        calm_alone = self._open(calm, 2 * short, "calm")
        self._say("the same while another floods")
        with ThreadPoolExecutor(1) as other:
            flooding = other.submit(self._open, rate, 3 * short, "flood")
            calm_in_flood = self._open(calm, 3 * short, "calm")
            flood = flooding.result()
        self._say(f"{LEAVINGS} clients leave while their programs run, {LEAVINGS} while they wait")
        slots, places = self._leave()
        return Pressure(
            machine,
            alone,
            full,
            overload,
            calm_alone,
            calm_in_flood,
            flood,
            Spread.of(slots),
            Spread.of(places),
        )

    # --- loads -------------------------------------------------------------------------------------

    def _closed(self, clients: int, seconds: float) -> Phase:
        """So many clients, each of whom asks again when he is answered; the refused take a rest."""
        over = Event()

        def one_client(_number: int) -> list[Exchange]:
            found = []
            while not over.is_set():
                found.append(self._client.ask())
                if found[-1].status != OK:
                    over.wait(1.0)
            return found

        with ThreadPoolExecutor(clients) as pool:
            begin = time.monotonic()
            asked = [pool.submit(one_client, number) for number in range(clients)]
            time.sleep(seconds)
            over.set()
            exchanges = [exchange for future in asked for exchange in future.result()]
        return phase_of(exchanges, time.monotonic() - begin)

    def _open(self, rate: float, seconds: float, tenant: str = "") -> Phase:
        """So many requests a second, whatever becomes of those before."""
        asked: list[Future[Exchange]] = []
        with ThreadPoolExecutor(max(4, int(ANSWER_S * rate))) as pool:
            begin = time.monotonic()
            for number in range(int(rate * seconds)):
                time.sleep(max(0.0, begin + number / rate - time.monotonic()))
                asked.append(pool.submit(self._client.ask, JOB_MS, tenant))
            elapsed = time.monotonic() - begin
            return phase_of([future.result() for future in asked], elapsed)

    # --- clients that leave ------------------------------------------------------------------------

    def _leave(self) -> tuple[list[float], list[float]]:
        """Seconds from a hanging up to the slot's next job, and to the place's being free."""
        left_running: dict[str, float] = {}
        left_waiting: list[float] = []
        with self._occupied() as occupants, ThreadPoolExecutor(1) as pool:
            for _ in range(LEAVINGS):
                next_one = pool.submit(self._client.ask, 0)
                self._wait_for_queue(1)
                gone = occupants.pop(0)
                left = time.time()
                gone.close()
                left_running[next_one.result().job[:8]] = left
                occupants.append(self._client.send(LONG_MS)[0])
                self._wait_for_busy()
                waiting, _ = self._client.send(LONG_MS)
                self._wait_for_queue(1)
                left_waiting.append(time.time())
                waiting.close()
                self._wait_for_queue(0)
        time.sleep(LOGGED_S)
        nodes = [self._cluster.node_directory(node) for node in self._layout.ids()]
        assigned = {start.job: start.at for start in history.read(nodes).assigned}
        cancelled = sorted(_cancellations(nodes))
        slots = [assigned[job] - left for job, left in left_running.items() if job in assigned]
        places = [
            next(at for at in cancelled if at >= left - LOGGED_S / 1000) - left for left in left_waiting
        ]
        if len(slots) < LEAVINGS:
            raise ClusterError(f"only {len(slots)} of {LEAVINGS} slots were given to another job")
        return slots, places

    @contextlib.contextmanager
    def _occupied(self) -> Iterator[list[http.client.HTTPConnection]]:
        """Every slot runs something long."""
        occupants = [self._client.send(LONG_MS)[0] for _ in range(SLOTS)]
        try:
            self._wait_for_busy()
            yield occupants
        finally:
            for occupant in occupants:
                occupant.close()

    def _wait_for_busy(self) -> None:
        self._wait(lambda: sum(self._gauge(node, "slots_busy") for node in range(1, PEERS + 1)) == SLOTS)

    def _wait_for_queue(self, length: int) -> None:
        leader = client.look(self._cluster.http_url(GATEWAY)).leader
        self._wait(lambda: leader is not None and self._gauge(leader, "queue") == length)

    def _wait(self, condition: Callable[[], bool]) -> None:
        if not wait_until(condition, READY_S):
            raise ClusterError("a job did not come where it should: is this machine much too busy?")

    def _gauge(self, node: int, name: str) -> float:
        url = f"{self._cluster.http_url(node)}/metrics"
        with urllib.request.urlopen(url, timeout=ANSWER_S) as answer:  # noqa: S310  (our own node's)
            lines = answer.read().decode().splitlines()
        found = (line.split()[-1] for line in lines if line.startswith(f"javacluster_{name} "))
        return float(next(found, "0"))


def _cancellations(nodes: list[Path]) -> Iterator[float]:
    """When a leader took a job out because its client had left: UTC seconds."""
    for node in nodes:
        for file in (node / "log").glob("summary.log*"):
            for found in _CANCELLED.finditer(file.read_text(encoding="utf-8", errors="replace")):
                yield dt.datetime.fromisoformat(found[1]).timestamp()
