"""Machines fail: the original's acceptance scenario, with systemd and the network of real hosts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.hosts.fleet import HELLO, SLOW, Answer, Fleet, eventually

SLOW_MS = 6000

CUT = """nft -f - <<'END'
table inet cut {
  chain input { type filter hook input priority -10; tcp dport 22 accept; iifname != lo drop; }
  chain output { type filter hook output priority -10; tcp sport 22 accept; oifname != lo drop; }
}
END"""
HEAL = "nft delete table inet cut"


def answers(fleet: Fleet, texts: list[str]) -> list[Answer]:
    """Distinct programs at once."""
    with ThreadPoolExecutor(len(texts)) as pool:
        return list(pool.map(lambda text: fleet.submit(HELLO.format(text)), texts))


def test_a_program_through_the_gateway_by_its_address(fleet: Fleet) -> None:
    fleet.healthy()
    first = fleet.submit(HELLO.format("by address"))
    again = fleet.submit(HELLO.format("by address"))
    assert (first.status, first.text) == (200, "Hello world! by address")
    assert first.headers["cached-response"] == "false"
    assert (again.text, again.headers["cached-response"]) == (first.text, "true")


def test_nine_programs_a_dead_follower_a_dead_leader_nine_more(fleet: Fleet) -> None:
    """Course demo, steps 4 to 8: kill -9 on a follower, then on the leader; no answer is lost."""
    nine = [f"Request {number}" for number in range(9)]
    assert [answer.text for answer in answers(fleet, nine)] == [f"Hello world! {text}" for text in nine]

    follower, leader = fleet.followers()[0], fleet.leader()
    epoch = fleet.info()["epoch"]
    fleet.run(follower, "systemctl kill --kill-whom=main -s KILL javacluster && systemctl stop javacluster")
    eventually(lambda: fleet.status(follower) in {"FAILED", "GONE"}, f"{follower} missed")
    fleet.run(follower, "systemctl start javacluster")
    fleet.healthy()

    more = [f"Request {number} after the death of the leader" for number in range(9)]
    flying = [f"in flight {number}" for number in range(3)]
    with ThreadPoolExecutor(4) as pool:
        slow = [pool.submit(fleet.submit, SLOW.format(SLOW_MS, text)) for text in flying]
        eventually(lambda: any(row["running"] for row in fleet.info()["nodes"]), "a program runs", 30)
        fleet.run(leader, "systemctl kill --kill-whom=main -s KILL javacluster && systemctl stop javacluster")
        late = pool.submit(answers, fleet, more)
        assert fleet.leader(leader) != leader
        got = late.result()
        assert [answer.result().text for answer in slow] == [f"slept {text}" for text in flying]
    assert [answer.text for answer in got] == [f"Hello world! {text}" for text in more]
    assert fleet.info()["epoch"] > epoch
    fleet.run(leader, "systemctl start javacluster")
    fleet.healthy()


def test_a_slow_program_survives_its_leader(fleet: Fleet) -> None:
    """In flight while the leader is stopped: answered once, by whoever leads then."""
    fleet.healthy()
    leader = fleet.leader()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(fleet.submit, SLOW.format(SLOW_MS, "through it"))
        eventually(lambda: any(row["running"] for row in fleet.info()["nodes"]), "the program runs", 30)
        fleet.run(leader, "systemctl stop javacluster")
        assert (slow.result().status, slow.result().text) == (200, "slept through it")
    fleet.run(leader, "systemctl start javacluster")
    fleet.healthy()


def test_systemd_starts_what_was_killed(fleet: Fleet) -> None:
    """Restart=on-failure: nobody has to."""
    follower = fleet.followers()[-1]
    fleet.run(follower, "systemctl kill --kill-whom=main -s KILL javacluster")
    eventually(lambda: fleet.on(follower).service("javacluster").is_running, "it runs again")
    fleet.healthy()


def test_a_host_without_network_is_missed_and_comes_back(fleet: Fleet) -> None:
    """The leader loses all but ssh: another leads; the old one steps down, and follows once healed."""
    leader = fleet.leader()
    fleet.run(leader, CUT)
    try:
        assert fleet.leader(leader) != leader
        answer = fleet.submit(HELLO.format("without the old leader"))
        assert (answer.status, answer.text) == (200, "Hello world! without the old leader")
        eventually(lambda: fleet.status(leader) in {"FAILED", "GONE"}, f"{leader} missed")
    finally:
        fleet.run(leader, HEAL)
    fleet.healthy()
