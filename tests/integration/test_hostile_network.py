"""What strangers, insiders and the departed send to real nodes is refused and counted (X1-X4, issue 7).

After each attack: the refusals are in the metrics, nothing has grown, nobody else leads, and programs are
answered. Node 3 is dead, so that its name, port and files can be used against the others.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.identity import NodeId, Role, State, voters_hash
from cluster.net.tls import load_keyring
from cluster.tokens import Token, digest_of, new_token, render
from cluster.wire.codec import decode_frame
from cluster.wire.keyring import Keyring
from cluster.wire.messages import (
    Fenced,
    Gossip,
    GossipEntry,
    Heartbeat,
    Hello,
    Notification,
    Promise,
    Resign,
)
from cluster.wire.sealing import DATAGRAM_MAX
from tests.integration.hostile_clients import crowd, files_of, honest, memory_of, raise_files
from tests.integration.live import HELLO, Live, eventually, live_cluster
from tests.integration.outsider import HOST, Outsider, talk

pytestmark = pytest.mark.integration

DEAD, GATEWAY = 3, 0
LIVING = (1, 2)
GROWTH_MIB = 30.0
"""What 10,000 connections leave if 3 KiB of each are kept, or a few hundred datagrams with 64 KiB each.

The allocator may keep the height of an attack, but a node never holds more than `FILES_MAX` at once.
"""
FILES_MAX = 1300
MANY = 10_000
ENOUGH = 2000
"""Connections that are a crowd to a node of `FILES_MAX`."""


TOKEN = new_token()
CALLBACK_KEY = secrets.token_hex(32)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Two of three peers live, with few descriptors for many clients; some of these have a token."""
    base = tmp_path_factory.mktemp("network")
    tokens, key = base / "tokens.yml", base / "callback.key"
    tokens.write_text(render((Token(name="ann", sha256=digest_of(TOKEN)),)))
    key.write_text(CALLBACK_KEY)
    key.chmod(0o600)
    settings: dict[str, Any] = {
        "work__slots": 2,
        "gateway__tokens_file": str(tokens),
        "gateway__allow_anonymous": "true",
        "gateway__compat__interfaces": "[judge0]",
        "gateway__compat__callback_allow": "[127.0.0.1]",
        "gateway__compat__callback_key_file": str(key),
    }
    few = ("prlimit", f"--nofile={FILES_MAX}:{FILES_MAX}")
    with live_cluster(base / "c", peers=3, under=few, **settings) as live:
        assert live.command("kill", str(DEAD)).code == 0
        eventually(lambda: live.leader() in LIVING, "one of the living leads", 60.0)
        eventually(lambda: live.run(HELLO.format("first")).status == 200, "a program is answered", 60.0)
        yield live


@pytest.fixture(scope="module")
def confidential(cluster: Live) -> list[str]:
    """All that must never be shown, from the beginning on: who makes more adds it."""
    known = [TOKEN, CALLBACK_KEY]
    for node in (GATEWAY, *LIVING, DEAD):
        config = Outsider(cluster.directory, node).config
        known += [key.hex() for key in load_keyring(Path(config.key_file)).keys.values()]
        lines = Path(config.tls.key).read_text().splitlines()
        known += [line for line in lines if line and not line.startswith("-----")]
    return sorted(set(known))


@pytest.fixture
def unmoved(served: None, cluster: Live) -> Iterator[None]:
    """Whatever a test does, nobody was moved to elect: the same leader in the same epoch."""
    del served
    before = cluster.info()
    yield
    after = cluster.info()
    assert (after["leader"], after["epoch"]) == (before["leader"], before["epoch"]), "no election"


@pytest.fixture
def served(cluster: Live) -> Iterator[None]:
    """Whatever a test does: programs are answered, one leads, nothing has grown.

    Crowds take time from nodes that share one machine; that nobody ever votes meanwhile is not promised.
    """
    pids = living(cluster)
    files = {node: files_of(pid) for node, pid in pids.items()}
    memory = {node: memory_of(pid) for node, pid in pids.items()}
    yield
    name = secrets.token_hex(4)
    answer = cluster.run(HELLO.format(name))
    assert answer.status == 200, answer
    assert name in answer.text

    def one_leads() -> bool:
        views = [cluster.info(node) for node in (GATEWAY, *LIVING)]
        return len({(view["leader"], view["epoch"]) for view in views}) == 1 and views[0]["leader"] in LIVING

    eventually(one_leads, "all follow one leader")
    for node, pid in pids.items():
        eventually(lambda n=node, p=pid: files_of(p) <= files[n] + 12, f"files of node {node}")  # type: ignore[misc]
        assert memory_of(pid) < memory[node] + GROWTH_MIB, f"memory of node {node}"


def living(cluster: Live) -> dict[int, int]:
    """The numbers of the living nodes' processes."""
    return {node: row["pid"] for node, row in cluster.status().items() if node != DEAD}


def refused(cluster: Live, node: int, reason: str) -> float:
    return cluster.metric(node, "messages", what="dropped", kind=reason)


def faults(cluster: Live, node: int, reason: str) -> float:
    return cluster.metric(node, "messages", what="channel_faults", kind=reason)


def counted(live: Live, node: int, send: Callable[[], object], /, **reasons: int) -> None:
    """What is sent, again where the kernel dropped some of it: so many more are refused, for each reason."""
    before = {reason: refused(live, node, reason) for reason in reasons}

    def told() -> bool:
        return all(refused(live, node, reason) >= before[reason] + n for reason, n in reasons.items())

    def sent_and_told() -> bool:
        send()
        with contextlib.suppress(AssertionError):
            eventually(told, "this time", 3.0)
        return told()

    eventually(sent_and_told, f"so many more refused: {reasons}")


def rows(outsider: Outsider) -> Gossip:
    """A word that changes nothing: what the node says of itself."""
    return Gossip((GossipEntry(outsider.me, outsider.boot, 1, 1),))


@pytest.mark.usefixtures("unmoved")
def test_x1_replayed_cut_changed_and_oversized_datagrams_are_each_refused_by_name(cluster: Live) -> None:
    with Outsider(cluster.directory, DEAD) as dead:
        genuine = dead.sealer.seal(NodeId(1), rows(dead))

        def attack() -> None:
            dead.send(1, [genuine] * 31)
            dead.send(1, [genuine[: 20 + at] for at in range(30)])
            dead.send(
                1, [genuine[: -1 - at] for at in range(15)] + [genuine + bytes([at]) for at in range(15)]
            )
            fresh = [bytearray(dead.sealer.seal(NodeId(1), rows(dead))) for _ in range(30)]
            for at, one in enumerate(fresh):
                one[-1 - at] ^= 1
            dead.send(1, map(bytes, fresh))
            dead.send(1, [genuine + bytes(DATAGRAM_MAX)] * 30)

        counted(cluster, 1, attack, replayed=60, truncated=30, authenticity=30, too_long=30)


@pytest.mark.usefixtures("unmoved")
def test_x1_reordered_datagrams_are_taken_once_each(cluster: Live) -> None:
    with Outsider(cluster.directory, DEAD, life=2000) as dead:
        late = [dead.sealer.seal(NodeId(1), Resign(0)) for _ in range(40)]

        def taken() -> float:
            return cluster.metric(1, "messages", what="received", kind="Resign")

        before = taken()
        dead.send(1, reversed(late))
        counted(cluster, 1, lambda: dead.send(1, late), replayed=80)
        assert taken() == before + 40, "out of order is no repetition, and twice is none either"


@pytest.mark.usefixtures("unmoved")
def test_x1_what_was_sent_to_another_is_nobody_elses_business(cluster: Live) -> None:
    """Reflected to whom it came from, passed on to the other, and back from an earlier life."""
    with Outsider(cluster.directory, DEAD, life=3000) as dead:
        heard = dead.overheard(40)
        own = [data for data, sender in heard if sender == 1]
        counted(cluster, 1, lambda: dead.send(1, [data for data, _ in heard]), not_for_me=len(heard))
        assert own, "some of them are its own"
        old = dead.sealing(boot=dead.boot - 1)

        def come_back() -> None:
            dead.say(1, rows(dead))
            dead.send(1, [old.seal(NodeId(1), rows(dead)) for _ in range(20)])

        counted(cluster, 1, come_back, older_boot=20)


@pytest.mark.usefixtures("unmoved")
def test_x1_without_the_key_nothing_is_opened(cluster: Live) -> None:
    with Outsider(cluster.directory, DEAD, life=4000) as dead:
        another = Keyring({dead.keyring.newest: secrets.token_bytes(32)})
        unknown = Keyring({200: secrets.token_bytes(32)})

        def guess() -> None:
            for sealer in (
                dead.sealing(keyring=another),
                dead.sealing(keyring=unknown),
                dead.sealing(cluster="elsewhere"),
                dead.sealing(me=77),
                dead.sealing(boot=2**40),
            ):
                dead.send(1, [sealer.seal(NodeId(1), Resign(1)) for _ in range(20)])

        counted(cluster, 1, guess, authenticity=20, key_id=20, cluster=20, sender=20, boot=20)


@pytest.mark.usefixtures("unmoved")
def test_a_stale_leader_and_a_gateway_that_claims_to_vote_move_nobody(cluster: Live) -> None:
    """Heartbeats of an old epoch, and votes of a node that has none: nobody dials, nobody resigns."""
    epoch = cluster.info()["epoch"]
    with Outsider(cluster.directory, DEAD, life=5000) as dead, socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, dead.config.me.tcp))
        listening.listen()
        listening.settimeout(2.0)
        voters = voters_hash(dead.config.cluster, dead.config.voters)
        for number in range(1, 40):
            for node in LIVING:
                dead.say(node, Heartbeat(max(epoch - 1, 0), number, 0.4), Resign(max(epoch - 1, 0)))
        with pytest.raises(TimeoutError):
            listening.accept()
        gateway = dead.sealing(me=GATEWAY, boot=int(time.time()) + 10_000)
        for node in LIVING:
            word = Notification(9, 1, State.LOOKING, epoch + 5, 0, True, True, -1, 0, 0.1, voters)
            dead.send(
                node,
                [
                    gateway.seal(NodeId(node), said)
                    for said in (word, Promise(epoch + 1, 1, voters))
                    for _ in range(20)
                ],
            )


def test_x2_a_gateways_certificate_makes_no_voter_and_no_other_node(cluster: Live) -> None:
    leader, epoch = cluster.led()
    insider = Outsider(cluster.directory, GATEWAY)
    for hello in (
        insider.hello(epoch, role=Role.PEER),
        insider.hello(epoch, node=DEAD, role=Role.PEER),
        insider.hello(epoch, node=55, role=Role.WORKER),
    ):
        before = cluster.metric(leader, "hellos_refused")

        def said(word: Hello = hello, count: float = before) -> bool:
            """Again where the gateway's own channel came in between, which takes the place of this one."""
            with insider.channel(leader) as channel:
                assert talk(channel, word) == [], "no word but the end"
            return cluster.metric(leader, "hellos_refused") > count

        eventually(said, "the HELLO is refused")
    # Whoever has a node's key is that node: its channel took the place of the gateway's, which dials again.
    eventually(lambda: cluster.leader() == leader, "the gateway follows again")
    assert cluster.info()["epoch"] == epoch
    assert cluster.run(HELLO.format("after the insider")).status == 200


def test_w2_a_hello_of_an_old_epoch_is_told_the_new_one(cluster: Live) -> None:
    """A member that slept through elections learns at once that nobody follows where it thinks."""
    leader, epoch = cluster.led()
    insider = Outsider(cluster.directory, DEAD)
    with insider.channel(leader) as channel:
        (body,) = talk(channel, insider.hello(epoch - 1), most=1)
    assert decode_frame(body) == Fenced(epoch)


@pytest.mark.usefixtures("served")
def test_x2_peers_that_say_nothing_or_never_end_are_closed_in_time(cluster: Live) -> None:
    leader, _ = cluster.led()
    port = cluster.base_port + 10 * leader + 2
    before = {reason: faults(cluster, leader, reason) for reason in ("handshake_timeout", "hello_timeout")}
    insider = Outsider(cluster.directory, DEAD)
    with crowd(port, 20, b"") as _, crowd(port, 20, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"):
        with insider.channel(leader) as silent:
            assert silent.recv(1) == b"", "closed, as no HELLO came"
        eventually(
            lambda: faults(cluster, leader, "handshake_timeout") >= before["handshake_timeout"] + 40,
            "handshakes that never end are ended",
        )
    assert faults(cluster, leader, "hello_timeout") >= before["hello_timeout"] + 1


@pytest.mark.usefixtures("served")
def test_x2_half_open_connections_leave_nothing(cluster: Live) -> None:
    """Those whose other end said that it will send no more, at a peer and at the gateway."""
    leader, _ = cluster.led()
    for port in (cluster.base_port + 10 * leader + 2, cluster.http_port):
        with crowd(port, 50, b"") as (made, _):
            for one in made:
                one.shutdown(socket.SHUT_WR)
            for one in made:
                one.setblocking(True)
                one.settimeout(20)
                with contextlib.suppress(ConnectionResetError):
                    assert one.recv(1) == b""


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("where", "first"),
    [
        pytest.param("gateway", b"POST /compileandrun HTTP/1.1\r\nHost: g\r\nX: ", id="gateway"),
        pytest.param("peer", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="peer"),
    ],
)
def test_h8_ten_thousand_connections_keep_nobody_out(cluster: Live, where: str, first: bytes) -> None:
    """More than the node may have descriptors: it stays below its limit and serves on."""
    leader, _ = cluster.led()
    node, port = (
        (GATEWAY, cluster.http_port) if where == "gateway" else (leader, cluster.base_port + 10 * leader + 2)
    )
    pid = living(cluster)[node]
    if (count := raise_files(MANY)) < ENOUGH:
        pytest.skip(f"this process may have {count} sockets, and {ENOUGH} are needed")

    def turned_out() -> float:
        if where == "gateway":
            return cluster.metric(GATEWAY, "http_evictions")
        return faults(cluster, leader, "half_open")

    before = turned_out()
    with crowd(port, count, first) as (made, _):
        assert len(honest(cluster, f"{where} {secrets.token_hex(4)}")) > 0
        assert files_of(pid) < FILES_MAX - 50, "what the node needs itself is left"
        # At a gateway each one: what it does not close itself it had no descriptor for, and reset unheard.
        beyond = (len(made) - FILES_MAX) / (1 if where == "gateway" else 2)
        eventually(lambda: turned_out() > before + beyond, "they make room for others")


def test_x1_after_a_rotation_the_old_key_opens_nothing_and_no_answer_was_lost(
    cluster: Live, confidential: list[str]
) -> None:
    """The three steps on every node, under load; then a former member comes back with what it had."""
    former = Outsider(cluster.directory, DEAD, life=6000)
    key_file = Path(former.config.key_file)
    old = former.keyring
    new = {2: secrets.token_bytes(32)}
    confidential.append(new[2].hex())
    pids = living(cluster).values()
    for ring in (Keyring({**new, **old.keys}), Keyring({**old.keys, **new}), Keyring(new)):
        key_file.write_text(ring.to_text())
        for pid in pids:
            os.kill(pid, signal.SIGHUP)
            answer = cluster.run(HELLO.format(secrets.token_hex(4)))
            assert answer.status == 200, answer
    with former:
        counted(cluster, 1, lambda: former.say(1, *[rows(former)] * 20), key_id=20)
    with Outsider(cluster.directory, DEAD, life=7000) as member:
        heard = cluster.metric(1, "messages", what="received", kind="Resign")

        def opened() -> bool:
            member.say(1, Resign(0))
            return cluster.metric(1, "messages", what="received", kind="Resign") >= heard + 5

        eventually(opened, "the new key opens")
    assert cluster.run(HELLO.format("after the rotation")).status == 200


def with_secrets_used(cluster: Live) -> dict[str, bytes]:
    """The answers to clients who send a token, rightly and wrongly, and have a call-back signed."""
    program = json.dumps({"source": HELLO.format("with a token")}).encode()
    with socket.socket() as nobody:  # bound, and not listening
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/here"
        submission = {"source_code": HELLO.format("call back"), "language_id": 62, "callback_url": url}
        sent = [
            ("/v1/run", program, {"Authorization": f"Bearer {TOKEN}"}, 200),
            ("/v1/run", program, {"Authorization": f"Basic {TOKEN}"}, 401),
            ("/v1/run", program, {"Authorization": f"Bearer {TOKEN}x"}, 401),
            (f"/v1/{TOKEN}", program, {}, 404),
            ("/submissions", json.dumps(submission).encode(), {"X-Auth-Token": TOKEN}, 201),
        ]
        answers = {}
        for number, (path, body, headers, status) in enumerate(sent):
            answer = cluster.request("POST", path, body, headers | {"Content-Type": "application/json"})
            assert answer.status == status, answer
            answers[f"answer {number}"] = f"{answer.headers}{answer.text}".encode()
        eventually(
            lambda: cluster.metric(GATEWAY, "callbacks", result="failed") > 0,
            "the call-back is given up",
            60.0,
        )
    return answers


def test_no_secret_is_in_logs_metrics_answers_arguments_or_environment(
    cluster: Live, confidential: list[str]
) -> None:
    """X1, X2, H9: after all of the above, what a node shows is looked through for what it must not."""
    shown = with_secrets_used(cluster)
    assert len(confidential) > 2 + len(LIVING)
    shown |= {
        str(file): file.read_bytes()
        for pattern in ("node-*/log/*", "node-*/output.log", "node-*/state/*")
        for file in cluster.directory.glob(pattern)
        if file.is_file()
    }
    for node, pid in living(cluster).items():
        for name in ("cmdline", "environ"):
            shown[f"{name} of node {node}"] = Path(f"/proc/{pid}/{name}").read_bytes()
        for path in ("/metrics", "/cluster-info", "/logs/verbose"):
            shown[f"{path} of node {node}"] = cluster.request("GET", path, node=node).text.encode()
    assert len(shown) > 3 * len(LIVING)
    found = [
        (where, secret[:4])
        for where, text in shown.items()
        for secret in confidential
        if secret.encode() in text
    ]
    assert found == []
