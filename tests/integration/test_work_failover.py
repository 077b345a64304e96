"""Jobs survive the nodes that hold them: leaders, workers, both at once (W5-W8)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec
import pytest

from cluster.limits import MIB
from cluster.telemetry.logs import FLUSH_S
from tests.integration.live import Answer, Live, eventually, live_cluster

pytestmark = pytest.mark.integration

SLEEPER = """public class Sleeper {{
  public String run() throws Exception {{ Thread.sleep({milliseconds}); return "{label}"; }}
}}"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Five peers: two may be down at once."""
    directory = tmp_path_factory.mktemp("failover") / "c"
    with live_cluster(directory, peers=5, work__slots=2, limits__wall_s=30) as live:
        yield live


@pytest.fixture
def clients() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(12) as pool:
        yield pool


def sent(cluster: Live, clients: ThreadPoolExecutor, label: str, seconds: float) -> Future[Answer]:
    """A client asks for a program that takes this long."""
    return clients.submit(cluster.run, SLEEPER.format(milliseconds=int(seconds * 1000), label=label))


def busy(cluster: Live) -> list[int]:
    """Peers that run something, in their own words."""
    return [node for node in sorted(cluster.alive()) if cluster.rows()[node]["running"]]


ANSWERED: list[str] = []
"""The job of every answer that a client of this module got."""


def right(answers: list[tuple[str, Future[Answer]]]) -> list[Answer]:
    """All answers, once they are there and right."""
    got = [(label, answer.result()) for label, answer in answers]
    assert [(answer.status, answer.text) for _, answer in got] == [(200, label) for label, _ in got]
    ANSWERED.extend(answer.headers["x-job-id"] for _, answer in got)
    return [answer for _, answer in got]


def runs(cluster: Live, answer: Answer) -> int:
    """How often the job of this answer was started, by the logs of all peers."""
    words = f"running job {answer.headers['x-job-id'][:8]},"
    return sum(
        file.read_text(errors="replace").count(words)
        for file in cluster.directory.glob("node-*/log/verbose.log*")
    )


def whole(cluster: Live) -> None:
    """Everybody is back and follows the one leader."""
    assert cluster.command("start").code == 0

    def one_leader() -> bool:
        views = [cluster.info(node) for node in range(cluster.peers + 1)]
        return views[0]["leader"] is not None and all(
            view["ready"] and view["leader"] == views[0]["leader"] for view in views
        )

    def tried() -> bool:
        try:
            return one_leader()
        except OSError:
            return False

    eventually(tried, "every node is ready and follows one leader", 60)


def test_leader_and_worker_killed_with_jobs_in_flight(cluster: Live, clients: ThreadPoolExecutor) -> None:
    first, _ = cluster.led()
    long = sent(cluster, clients, "ten seconds", 10)
    (keeper,) = eventually(lambda: busy(cluster), "the long job runs")

    assert cluster.command("kill", str(first)).code == 0
    during = [(f"during {n}", sent(cluster, clients, f"during {n}", 0)) for n in range(4)]
    right(during)
    second = eventually(lambda: (now := cluster.leader()) != first and now, "another leader")

    orphans = [(f"orphan {n}", sent(cluster, clients, f"orphan {n}", 2)) for n in range(3)]
    victim = eventually(
        lambda: next((node for node in busy(cluster) if node not in {keeper, second}), None),
        "a worker other than the long job's runs something",
    )
    assert cluster.command("kill", str(victim)).code == 0
    right(orphans)

    answers = right([("ten seconds", long)])
    assert runs(cluster, answers[0]) == 1, "it survived two changes of the cluster without a second run (W7)"


def test_leader_and_worker_killed_together(cluster: Live, clients: ThreadPoolExecutor) -> None:
    whole(cluster)
    leader, _ = cluster.led()
    jobs = [(f"both {n}", sent(cluster, clients, f"both {n}", 3)) for n in range(6)]
    worker = eventually(lambda: next(iter(busy(cluster)), None), "the jobs run")
    for node in (leader, worker):
        assert cluster.command("kill", str(node)).code == 0
    right(jobs)


def test_two_leaders_in_a_row(cluster: Live, clients: ThreadPoolExecutor) -> None:
    whole(cluster)
    first, _ = cluster.led()
    jobs = [(f"row {n}", sent(cluster, clients, f"row {n}", 3)) for n in range(6)]
    eventually(lambda: busy(cluster), "the jobs run")
    assert cluster.command("kill", "leader").code == 0
    second = eventually(lambda: (now := cluster.leader()) != first and now, "a second leader")
    assert cluster.command("kill", str(second)).code == 0
    answers = right(jobs)
    assert len({answer.headers["x-job-id"] for answer in answers}) == len(jobs)
    assert cluster.leader() not in {first, second}


READER = """public class Reader {{
  public static void main(String[] arguments) throws Exception {{
    int length = System.in.readAllBytes().length;
    Thread.sleep(1000);
    System.out.print("{label} " + length);
  }}
}}"""


def test_leader_killed_with_many_large_jobs_pending(cluster: Live, clients: ThreadPoolExecutor) -> None:
    """126 MiB, all of them due to the next leader at once (W7, W14)."""
    whole(cluster)
    stdin = "x" * (7 * MIB)
    bodies = [
        {"source": READER.format(label=f"large {n}"), "tests": [{"stdin": stdin}, {"stdin": stdin}]}
        for n in range(9)
    ]
    json = {"Content-Type": "application/json"}
    pending = [
        clients.submit(cluster.request, "POST", "/v1/run", msgspec.json.encode(body), json) for body in bodies
    ]
    eventually(lambda: cluster.metric(0, "requests_waiting") == len(bodies), "all have come", 60)
    assert cluster.command("kill", "leader").code == 0
    for n, given in enumerate(pending):
        answer = given.result()
        assert answer.status == 200, answer.text
        runs = msgspec.json.decode(answer.text)["runs"]
        assert [run["stdout"] for run in runs] == [f"large {n} {len(stdin)}"] * 2
        ANSWERED.append(answer.headers["x-job-id"])
    assert cluster.metric(0, "messages", kind="unread") == 0


def test_every_job_was_answered_once_and_none_waits(cluster: Live) -> None:
    """By the gateway's own log, whoever led and whoever ran it (W8)."""
    time.sleep(2 * FLUSH_S)  # what it has said is in the file by then
    assert len(set(ANSWERED)) == len(ANSWERED) > 15
    log = "".join(file.read_text() for file in (cluster.directory / "node-0" / "log").glob("summary.log*"))
    assert {job: log.count(f"job {job[:8]} answered: ok") for job in ANSWERED} == dict.fromkeys(ANSWERED, 1)
    assert "javacluster_requests_waiting 0.0" in cluster.request("GET", "/metrics").text.splitlines()
