"""The command line against real processes: harmless twice, honest about what is wrong, clean afterwards."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.integration.live import HELLO, Live, Ran, eventually, javacluster, live_cluster

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live_cluster(tmp_path_factory.mktemp("commands") / "c") as live:
        yield live


def _is_one_line(ran: Ran, *words: str) -> bool:
    """An error as users should see it."""
    lines = ran.err.strip().splitlines()
    return len(lines) == 1 and all(word in lines[0] for word in words) and "Traceback" not in ran.out


def test_up_twice_leaves_everything_as_it_is(cluster: Live) -> None:
    before = {node: row["pid"] for node, row in cluster.status().items()}
    again = cluster.command("up")
    assert again.code == 0
    assert "runs already" in again.out
    assert {node: row["pid"] for node, row in cluster.status().items()} == before


def test_up_with_other_options_while_it_runs_says_what_to_do(cluster: Live) -> None:
    ran = cluster.command("up", "--peers", "5")
    assert ran.code == 78
    assert _is_one_line(ran, "javacluster down")


def test_a_killed_node_shows_and_up_starts_it_again(cluster: Live) -> None:
    leader, _ = cluster.led()
    follower = next(node for node in (1, 2, 3) if node != leader)
    assert cluster.command("kill", str(follower)).code == 0
    row = cluster.status()[follower]
    assert (row["state"], row["pid"]) == ("DOWN (killed by SIGKILL)", "-")
    eventually(lambda: cluster.rows()[follower]["status"] != "ALIVE", "it is missed")
    assert cluster.command("logs", str(follower)).out

    assert cluster.command("up").code == 0
    assert cluster.status()[follower]["state"] in {"FOLLOWING", "LEADING"}


def test_run_prints_the_answer_and_tells_failure_by_its_status(cluster: Live, tmp_path: Path) -> None:
    good, bad = tmp_path / "Good.java", tmp_path / "Bad.java"
    good.write_text(HELLO.format("from a file"))
    bad.write_text("public class Bad { int x = nothing; }")
    ran = cluster.command("run", str(good))
    assert (ran.code, ran.out) == (0, "Hello world! from a file\n")
    ran = cluster.command("run", str(bad))
    assert ran.code == 1
    assert "nothing" in ran.err
    ran = cluster.command("run", "--limit", "wall_s=1000", str(good))
    assert ran.code == 65
    assert _is_one_line(ran, "$.limits.wall_s")


def test_run_is_like_java_with_files_arguments_input_and_exit_code(cluster: Live, tmp_path: Path) -> None:
    """H4, P3."""
    main, other = tmp_path / "Main.java", tmp_path / "Other.java"
    main.write_text(
        "public class Main { public static void main(String[] args) throws Exception {"
        " System.out.write(System.in.readAllBytes()); System.out.print(Other.join(args)); System.exit(7); } }"
    )
    other.write_text('class Other { static String join(String[] args) { return String.join("+", args); } }')
    given = tmp_path / "given"
    given.write_text("in:")
    ran = cluster.command("run", "--stdin", str(given), str(main), str(other), "--", "-a", "b c")
    assert (ran.code, ran.out, ran.err) == (7, "in:-a+b c", "")


def test_status_is_plain_in_a_pipe(cluster: Live) -> None:
    lines = cluster.command("status").out.splitlines()
    assert lines[0].split() == ["id", "role", "state", "status", "epoch", "pid", "slots"]
    assert [line.split()[0] for line in lines[1:]] == ["0", "1", "2", "3"]
    assert sum("LEADING" in line for line in lines) == 1


def test_a_node_of_no_cluster_is_named_as_such(cluster: Live) -> None:
    assert _is_one_line(cluster.command("kill", "9"), "no node 9")
    assert _is_one_line(cluster.command("kill", "nobody"), "leader")
    assert _is_one_line(cluster.command("kill", "1", "--signal", "NONSENSE"), "NONSENSE")
    assert _is_one_line(cluster.command("logs", "9"), "no node 9")


def test_a_taken_port_is_named_with_its_owner_and_nothing_is_left(tmp_path: Path) -> None:
    cluster = Live(tmp_path / "c", 3, {})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", cluster.base_port + 22))
        taken.listen()
        ran = cluster.command(
            "up", "--base-port", str(cluster.base_port), "--http-port", str(cluster.http_port)
        )
    assert ran.code == 69
    assert _is_one_line(ran, f"tcp port {cluster.base_port + 22}", f"pid {os.getpid()}", "--base-port")
    cluster.down()


def test_without_a_jdk_up_says_what_to_install(tmp_path: Path) -> None:
    cluster = Live(tmp_path / "c", 3, {})
    ran = _up_without(cluster, "java.home", str(tmp_path))
    assert _is_one_line(ran, "JDK"), ran
    cluster.down()


def test_without_bubblewrap_up_says_what_to_install(tmp_path: Path) -> None:
    cluster = Live(tmp_path / "c", 3, {})
    ran = _up_without(cluster, "sandbox.bwrap", "no-such-bwrap")
    assert _is_one_line(ran, "bubblewrap"), ran
    cluster.down()


def _up_without(cluster: Live, key: str, value: str) -> Ran:
    ran = cluster.command(
        "up",
        *("--peers", "3", "--set", f"{key}={value}"),
        *("--base-port", str(cluster.base_port), "--http-port", str(cluster.http_port)),
    )
    assert ran.code == 69, ran
    return ran


def test_an_unknown_key_is_refused_by_its_path(tmp_path: Path) -> None:
    ran = javacluster("up", "--directory", str(tmp_path / "c"), "--set", "gossip.intervall=1")
    assert ran.code == 78
    assert _is_one_line(ran, "$.gossip", "intervall")
    assert not (tmp_path / "c").exists()


def test_check_config_prints_a_line_for_each_problem(cluster: Live, tmp_path: Path) -> None:
    good = cluster.directory / "node-1" / "node.yml"
    assert javacluster("check-config", str(good)).code == 0
    document = yaml.safe_load(good.read_text())
    document["timing"] = {"guard_s": 0.1, "lease_s": 0.15}
    bad = tmp_path / "node.yml"
    bad.write_text(yaml.safe_dump(document))
    ran = javacluster("check-config", str(bad))
    assert ran.code == 78
    assert [line.split(": ")[1] for line in ran.err.splitlines()] == ["$.timing.guard_s", "$.timing.lease_s"]


def test_a_node_without_a_record_says_what_to_run(cluster: Live, tmp_path: Path) -> None:
    document = yaml.safe_load((cluster.directory / "node-1" / "node.yml").read_text())
    config = tmp_path / "node.yml"
    config.write_text(yaml.safe_dump(document))
    ran = javacluster("node", "--config", str(config))
    assert ran.code in {69, 78}
    assert _is_one_line(ran, "javacluster init"), ran


def test_commands_without_a_cluster_say_how_to_get_one(tmp_path: Path) -> None:
    for command in (["status"], ["kill", "leader"], ["logs"], ["start"]):
        ran = javacluster(*command, "--directory", str(tmp_path / "none"))
        assert ran.code == 69
        assert _is_one_line(ran, "javacluster up")
    down = javacluster("down", "--directory", str(tmp_path / "none"))
    assert (down.code, down.out.split(":")[0]) == (0, "nothing to stop")
