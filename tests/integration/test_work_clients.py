"""Clients that leave, gateways that die, queues that are full, nodes that are asked to go (W4, W9, W10)."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import yaml

from tests.integration.live import HELLO, Answer, Live, eventually, javacluster, live_cluster

pytestmark = pytest.mark.integration

SLEEPER = """public class Sleeper {{
  public String run() throws Exception {{ Thread.sleep({milliseconds}); return "{label}"; }}
}}"""

PEERS = 3
SLOTS = 2
"""One slot each at the two followers."""

SECOND_GATEWAY = PEERS + 1
QUEUE = 2


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Two gateways, two slots, a short queue."""
    with live_cluster(
        tmp_path_factory.mktemp("clients") / "c",
        peers=PEERS,
        gateways=2,
        work__slots=1,
        work__queue_max=QUEUE,
        work__absence_s=2,
        work__queue_timeout_s=30,
    ) as live:
        eventually(lambda: live.info(SECOND_GATEWAY)["ready"], "the second gateway is ready")
        yield live


class Client:
    """A client that has sent a program and can leave at any moment."""

    def __init__(self, cluster: Live, label: str, seconds: float, gateway: int = 0) -> None:
        port = cluster.base_port + 10 * gateway + 3 if gateway else cluster.http_port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
        source = SLEEPER.format(milliseconds=int(seconds * 1000), label=label)
        self._connection.request("POST", "/compileandrun", source, {"Content-Type": "text/x-java-source"})

    def done_sending(self) -> None:
        """Close the sending side only, as `nc -N` does, and go on listening."""
        assert self._connection.sock is not None
        self._connection.sock.shutdown(socket.SHUT_WR)

    def leave(self) -> None:
        self._connection.close()

    def answer(self) -> Answer:
        with contextlib.closing(self._connection):
            response = self._connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, response.read().decode(), headers)


def gauge(cluster: Live, name: str, node: int) -> float:
    """A number of a node's metrics; 0 when it does not have it."""
    for line in cluster.request("GET", "/metrics", node=node).text.splitlines():
        if line.startswith(f"javacluster_{name} "):
            return float(line.split()[1])
    return 0.0


def running(cluster: Live) -> int:
    return int(sum(gauge(cluster, "slots_busy", node) for node in range(1, PEERS + 1)))


def queued(cluster: Live) -> int:
    leader = cluster.leader()
    return 0 if leader is None else int(gauge(cluster, "queue", leader))


def test_clients_that_leave_free_their_slots_and_their_places(cluster: Live) -> None:
    occupants = [Client(cluster, f"occupant {n}", 30) for n in range(SLOTS)]
    eventually(lambda: running(cluster) == SLOTS, "both slots are busy")
    waiting = [Client(cluster, f"waiting {n}", 30, SECOND_GATEWAY) for n in range(QUEUE)]
    eventually(lambda: queued(cluster) == QUEUE, "the queue is full")

    refused = cluster.run(HELLO.format("one too many"))
    assert refused.status == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert "wait already" in refused.text

    waiting[0].leave()
    eventually(lambda: queued(cluster) == QUEUE - 1, "its place in the queue is free (W9)")
    waiting[1].leave()
    eventually(lambda: queued(cluster) == 0, "the queue is empty")
    assert running(cluster) == SLOTS
    for occupant in occupants:
        occupant.leave()
    eventually(lambda: running(cluster) == 0, "the slots are free (W9)")
    assert cluster.run(HELLO.format("after all left")).text == "Hello world! after all left"


def asked(cluster: Live, label: str, seconds: float, tenant: str) -> Answer:
    """A tenant's program, as JSON."""
    body = {"source": SLEEPER.format(milliseconds=int(seconds * 1000), label=label), "tenant": tenant}
    headers = {"Content-Type": "application/json"}
    return cluster.request("POST", "/v1/run", json.dumps(body).encode(), headers)


def is_honest(answer: Answer) -> bool:
    """Refused, with a reason and a time to come back."""
    return answer.status == 503 and int(answer.headers["retry-after"]) >= 1 and bool(answer.text.strip())


def test_ten_times_too_much_is_refused_honestly_or_answered_rightly(cluster: Live) -> None:
    """Two slots and jobs of two seconds: one a second gets through, ten a second ask for ten seconds."""
    with ThreadPoolExecutor(100) as pool:
        answers = []
        for number in range(100):
            time.sleep(0.1)
            label = f"too much {number}"
            source = SLEEPER.format(milliseconds=2000, label=label)
            answers.append((label, pool.submit(cluster.run, source)))
        got = [(label, answer.result()) for label, answer in answers]
    accepted = [(label, answer) for label, answer in got if answer.status == 200]
    assert [answer.text for _, answer in accepted] == [label for label, _ in accepted]
    assert len(accepted) >= SLOTS + QUEUE, "those for whom there was a slot or a place"
    refused = [answer for _, answer in got if answer.status != 200]
    assert len(refused) >= 50
    assert all(is_honest(answer) for answer in refused)
    eventually(lambda: (running(cluster), queued(cluster)) == (0, 0), "nothing is left of it")


def test_one_tenants_flood_refuses_nobody_else(cluster: Live) -> None:
    over = threading.Event()

    def flood(_number: int) -> list[int]:
        statuses = []
        while not over.wait(0.1):
            statuses.append(asked(cluster, f"flood {time.monotonic()}", 0.5, "flood").status)
        return statuses

    with ThreadPoolExecutor(12) as pool:
        flooding = [pool.submit(flood, number) for number in range(12)]
        try:
            eventually(lambda: queued(cluster) >= QUEUE, "the queue is full of one tenant's jobs")
            calm = [asked(cluster, f"calm {number}", 0, "calm") for number in range(8)]
        finally:
            over.set()
        statuses = [status for future in flooding for status in future.result()]
    assert [answer.status for answer in calm] == [200] * 8
    assert {200, 503} == set(statuses), "the flood is served and refused"


def test_a_client_that_is_only_done_sending_gets_its_answer(cluster: Live) -> None:
    listens, leaves = Client(cluster, "still listens", 3), Client(cluster, "leaves", 30)
    eventually(lambda: running(cluster) == SLOTS, "both run")
    listens.done_sending()
    leaves.done_sending()
    leaves.leave()
    eventually(lambda: running(cluster) == 1, "the slot of the one that left is free (W9)", 2.5)
    assert listens.answer().text == "still listens"


def test_a_gateways_death_cancels_its_jobs_and_nobody_elses(cluster: Live) -> None:
    doomed = Client(cluster, "doomed", 40, SECOND_GATEWAY)
    other = Client(cluster, "other", 6)
    eventually(lambda: running(cluster) == SLOTS, "both run")
    assert cluster.command("kill", str(SECOND_GATEWAY)).code == 0
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        doomed.answer()
    eventually(lambda: running(cluster) < SLOTS, "the job without a gateway is cancelled (W9)")
    assert other.answer().text == "other"
    eventually(lambda: running(cluster) == 0, "nothing runs any longer")
    assert cluster.command("start", str(SECOND_GATEWAY)).code == 0

    def answers_again() -> bool:
        with contextlib.suppress(OSError):
            return Client(cluster, "restarted", 0, SECOND_GATEWAY).answer().text == "restarted"
        return False

    eventually(answers_again, "the gateway that was started again answers")


@contextlib.contextmanager
def joined_worker(cluster: Live, node: int) -> Iterator[None]:
    """A worker that the others' configuration does not name, as an operator adds one."""
    home = cluster.directory / f"node-{node}"
    home.mkdir()
    config = yaml.safe_load((cluster.directory / "node-1" / "node.yml").read_text())
    udp = cluster.base_port + 10 * node
    config["node"] = node
    config["members"].append({"id": node, "role": "worker", "host": "127.0.0.1", "udp": udp, "http": udp + 3})
    (home / "node.yml").write_text(yaml.safe_dump(config))
    authority = str(cluster.directory / "authority")
    made = javacluster("init", "--config", str(home / "node.yml"), "--authority", authority)
    assert made.code == 0, made.err
    command = [sys.executable, "-m", "cluster.cli", "node", "--config", str(home / "node.yml")]
    with (home / "output.log").open("wb") as output:
        process = subprocess.Popen(command, cwd=home, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(60) == 0


def test_a_worker_joins_a_running_cluster_and_adds_to_its_slots(cluster: Live) -> None:
    newcomer = 6
    with joined_worker(cluster, newcomer):
        eventually(
            lambda: cluster.rows().get(newcomer, {}).get("slots") == 1, "the gateway sees its slot", 60
        )
        clients = [Client(cluster, f"three at once {n}", 2) for n in range(SLOTS + 1)]
        eventually(lambda: gauge(cluster, "slots_busy", newcomer) == 1, "it is given a job")
        assert [client.answer().text for client in clients] == [
            f"three at once {n}" for n in range(SLOTS + 1)
        ]
        assert cluster.rows()[newcomer]["role"] == "worker"
    assert cluster.run(HELLO.format("after it left")).text == "Hello world! after it left"


class Steady:
    """Clients that do as they are told: they come back after `Retry-After`, or go to the other gateway."""

    def __init__(self, cluster: Live) -> None:
        self.failures: list[str] = []
        self.answered = 0
        self._cluster = cluster
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(2)
        self._done = [self._pool.submit(self._client, number) for number in range(2)]

    def stop(self) -> None:
        self._stopping.set()
        for done in self._done:
            done.result()
        self._pool.shutdown()

    def _client(self, number: int) -> None:
        count = 0
        while not self._stopping.wait(0.3):
            count += 1
            self._request(f"steady {number} {count}", count % 2)

    def _request(self, label: str, first: int) -> None:
        begin = time.monotonic()
        at = first
        said = ""
        while time.monotonic() - begin < 60:
            try:
                answer = Client(self._cluster, label, 0.2, SECOND_GATEWAY if at % 2 else 0).answer()
            except (OSError, http.client.HTTPException) as error:
                at += 1
                said = repr(error)
                time.sleep(0.05)
                continue
            if answer.status != 503:
                self.answered += 1
                if (answer.status, answer.text) != (200, label):
                    self.failures.append(f"{label}: {answer}")
                return
            at += 1
            said = answer.text
            time.sleep(min(2, int(answer.headers["retry-after"])))
        self.failures.append(f"{label}: gave up, {said}")


def test_a_rolling_restart_of_all_nodes_fails_no_request(cluster: Live) -> None:
    load = Steady(cluster)
    try:
        leader = cluster.leader()
        peers = sorted(range(1, PEERS + 1), key=lambda node: node == leader)
        for node in (*peers, 0, SECOND_GATEWAY):
            assert cluster.command("kill", str(node), "--signal", "TERM").code == 0
            eventually(partial(ended, cluster, node), f"node {node} has drained and ended")
            assert cluster.command("start", str(node)).code == 0
            eventually(partial(serves, cluster, node), f"node {node} serves again", 60)
    finally:
        load.stop()
    assert load.failures == []
    assert load.answered > 10


def ended(cluster: Live, node: int) -> bool:
    """Whether nothing of it runs any longer."""
    return not any(f"/node-{node}/" in line for line in cluster.leftovers())


def serves(cluster: Live, node: int) -> bool:
    """Whether it is ready, and knows a leader."""
    with contextlib.suppress(OSError):
        own = cluster.info(node)
        return bool(own["ready"]) and own["leader"] is not None
    return False
