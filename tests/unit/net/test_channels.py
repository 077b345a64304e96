"""Work channels: mutual TLS, identity before frames, bounds, reconnection (W2, X2, X3)."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from twisted.internet.ssl import CertificateOptions, TLSVersion

from cluster.core.events import ChannelClosed, ChannelMoved, ChannelOpened, DialFailed, FrameArrived
from cluster.errors import LocalProtocolError
from cluster.identity import NodeId, Role
from cluster.limits import FRAME_MAX, MIB
from cluster.net import channel as one
from cluster.net import channels as many
from cluster.wire.codec import encode_frame
from cluster.wire.framing import prefix
from cluster.wire.jobs import Input, Job, Piece, Program, Source, Stream
from cluster.wire.messages import (
    AttemptKey,
    FactsReply,
    Fenced,
    NodeFacts,
    Ping,
    Pong,
    Progress,
    ResultAck,
    Submit,
)
from tests.support.channels import Certificates, Net, Node, Raw


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    directory: Path = tmp_path_factory.mktemp("tls")
    return Certificates(directory)


@pytest.fixture
def net(certificates: Certificates) -> Net:
    return Net(certificates)


def test_x2_both_ends_learn_who_is_there_and_in_which_role(net: Net) -> None:
    leader, gateway = net.node(1), net.node(100, Role.GATEWAY)
    gateway.channels.dial(NodeId(1))
    net.settle()
    assert gateway.events == [ChannelOpened(1, NodeId(1), Role.PEER, dialled=True)]
    assert leader.events == [ChannelOpened(1, NodeId(100), Role.GATEWAY, dialled=False)]


def test_frames_travel_both_ways_in_order(net: Net) -> None:
    leader, worker = net.node(1), net.node(2)
    worker.channels.dial(NodeId(1))
    net.settle()
    for nonce in range(5):
        worker.channels.send(1, Ping(nonce))
        leader.channels.send(1, Pong(nonce))
    net.settle()
    assert leader.of(FrameArrived) == [FrameArrived(1, Ping(nonce)) for nonce in range(5)]
    assert worker.of(FrameArrived) == [FrameArrived(1, Pong(nonce)) for nonce in range(5)]
    assert leader.channels.frames["Ping"] == 5


def test_a_large_frame_arrives_whole_and_in_its_place(net: Net) -> None:
    leader, worker = net.node(1), net.node(2)
    worker.channels.dial(NodeId(1))
    net.settle()
    large = ResultAck(tuple(f"{i:032x}" for i in range(60_000)))
    for frame in (Ping(1), large, Ping(2)):
        worker.channels.send(1, frame)
    net.settle()
    assert [event.frame for event in leader.of(FrameArrived)] == [Ping(1), large, Ping(2)]


def test_x2_a_node_of_another_cluster_reaches_nobody(net: Net) -> None:
    leader, stranger = net.node(1), net.node(2, cluster="d")
    stranger.channels.dial(NodeId(1))
    net.settle()
    assert leader.events == []
    assert leader.channels.faults["handshake"] == 1
    assert [type(event) for event in stranger.events] == [DialFailed]
    stranger.channels.hang_up("enough")


@pytest.mark.parametrize("shows", ["nothing", "a certificate of another cluster"])
def test_x2_a_client_that_does_not_care_who_we_are_must_still_show_our_certificate(
    net: Net, certificates: Certificates, shows: str
) -> None:
    leader = net.node(1)
    theirs = certificates.of(2, cluster="d")
    careless = CertificateOptions(
        privateKey=theirs.privateKey if shows != "nothing" else None,
        certificate=theirs.certificate if shows != "nothing" else None,
        raiseMinimumTo=TLSVersion.TLSv1_3,
    )
    raw, _ = net.raw_tls(leader, careless)
    net.settle()
    assert raw.lost
    assert leader.events == []
    assert leader.channels.faults["handshake"] == 1


def test_x2_tls_1_2_is_refused(net: Net, certificates: Certificates) -> None:
    leader, theirs = net.node(1), certificates.of(2)
    old = CertificateOptions(
        privateKey=theirs.privateKey,
        certificate=theirs.certificate,
        lowerMaximumSecurityTo=TLSVersion.TLSv1_2,
        insecurelyLowerMinimumTo=TLSVersion.TLSv1_2,
    )
    raw, _ = net.raw_tls(leader, old)
    net.settle()
    assert raw.lost
    assert leader.events == []


def test_x2_whoever_answers_must_be_the_node_that_was_dialled(net: Net) -> None:
    impostor, worker = net.node(1, certificate_of=3), net.node(2)
    worker.channels.dial(NodeId(1))
    net.settle()
    (failed,) = worker.events
    assert isinstance(failed, DialFailed)
    assert "names node 3, not node 1" in failed.reason
    worker.channels.hang_up("enough")
    assert impostor.of(FrameArrived) == []


@pytest.mark.parametrize("node", [1, 55])
def test_x2_a_certificate_of_ourselves_or_of_no_member_is_refused(net: Net, node: int) -> None:
    leader = net.node(1)
    raw, _ = net.raw_tls(leader, net.certificates.of(node))
    net.settle()
    assert raw.lost
    assert leader.events == []
    assert leader.channels.faults["identity"] == 1


def test_x2_a_workers_certificate_lets_it_in_though_it_is_no_member(net: Net) -> None:
    leader = net.node(1)
    net.raw_tls(leader, net.certificates.of(55, Role.WORKER))
    net.settle()
    assert leader.events == [ChannelOpened(1, NodeId(55), Role.WORKER, dialled=False)]


@pytest.mark.parametrize(("node", "role", "cluster"), [(55, Role.GATEWAY, "c"), (55, Role.WORKER, "d")])
def test_x2_no_other_stranger_is_let_in(net: Net, node: int, role: Role, cluster: str) -> None:
    leader = net.node(1)
    net.raw_tls(leader, net.certificates.of(node, role, cluster))
    net.settle()
    assert leader.events == []


def open_raw(net: Net) -> Raw:
    raw, _ = net.raw_tls(net.nodes[1], net.certificates.of(2))
    net.settle()
    return raw


@pytest.mark.parametrize(
    ("garbage", "reason"),
    [
        (b"\xff" * 100, "frame_too_long"),
        (struct.pack(">I", 2 * 1024 * 1024), "frame_too_long"),
        (prefix(b"\xc1\xc1") + b"\xc1\xc1", "undecodable"),
        (prefix(b""), "undecodable"),
    ],
)
def test_x3_garbage_ends_the_channel_and_nothing_else(net: Net, garbage: bytes, reason: str) -> None:
    leader = net.node(1)
    raw = open_raw(net)
    assert raw.transport is not None
    raw.transport.write(garbage)
    net.settle()
    assert raw.lost
    assert [type(event) for event in leader.events] == [ChannelOpened, ChannelClosed]
    assert leader.channels.faults[reason] == 1
    worker = net.node(3)
    worker.channels.dial(NodeId(1))
    net.settle()
    assert len(worker.of(ChannelOpened)) == 1


def test_x3_bytes_that_are_not_even_tls_are_counted(net: Net) -> None:
    leader = net.node(1)
    raw = net.join(Raw(), leader)
    raw.transport.write(b"GET / HTTP/1.1\r\n\r\n")
    net.settle()
    assert raw.lost
    assert leader.events == []
    assert leader.channels.faults["handshake"] == 1


def test_a_handshake_that_does_not_come_is_given_up(net: Net) -> None:
    leader = net.node(1)
    raw = net.join(Raw(), leader)
    net.advance(one.HANDSHAKE_S)
    assert raw.lost
    assert leader.channels.faults["handshake_timeout"] == 1
    assert net.reactor.getDelayedCalls() == []


def test_w2_a_peer_that_says_nothing_after_the_handshake_is_closed(net: Net) -> None:
    leader = net.node(1)
    silent, talking = open_raw(net), open_raw(net)
    assert talking.transport is not None
    body = encode_frame(Ping(1))
    talking.transport.write(prefix(body) + body)
    net.settle()
    net.advance(one.FIRST_FRAME_S)
    assert (silent.lost, talking.lost) == (True, False)
    assert leader.channels.faults["hello_timeout"] == 1


def test_half_open_connections_are_bounded_and_the_oldest_goes(net: Net) -> None:
    leader = net.node(1)
    raws = [net.join(Raw(), leader) for _ in range(many.HALF_OPEN_MAX + 1)]
    net.settle()
    assert [raw.lost for raw in raws] == [True] + [False] * many.HALF_OPEN_MAX
    worker = net.node(2)
    worker.channels.dial(NodeId(1))
    net.settle()
    assert len(leader.of(ChannelOpened)) == 1


def test_x2_a_flood_from_one_address_makes_room_for_others(net: Net) -> None:
    leader = net.node(1)
    other = net.join(Raw(), leader, address="10.0.0.2")
    flood = [net.join(Raw(), leader, address="10.0.0.3") for _ in range(3 * many.HALF_OPEN_MAX)]
    net.settle()
    assert not other.lost
    assert sum(not raw.lost for raw in flood) == many.HALF_OPEN_MAX - 1
    assert leader.channels.faults["half_open"] == 2 * many.HALF_OPEN_MAX + 1


def test_channels_of_one_peer_are_bounded_and_the_oldest_goes(net: Net) -> None:
    leader = net.node(1)
    raws = [open_raw(net) for _ in range(many.CHANNELS_PER_PEER + 1)]
    net.settle()
    assert [raw.lost for raw in raws] == [True] + [False] * many.CHANNELS_PER_PEER
    assert leader.channels.open_channels == many.CHANNELS_PER_PEER


def test_where_we_dialled_all_that_is_half_open_a_connection_is_taken(net: Net) -> None:
    leader = net.node(1)
    for _ in range(many.HALF_OPEN_MAX):
        leader.channels._new_channel(NodeId(2))
    came = net.join(Raw(), leader)
    assert not came.lost


def test_x2_workers_that_join_have_a_bound_of_channels(net: Net) -> None:
    """Old channels of one that has several make room; when each has one, a new worker is refused."""
    leader = net.node(1, joined_max=2)

    def joins(worker: int) -> Raw:
        raw, _ = net.raw_tls(leader, net.certificates.of(worker, Role.WORKER))
        net.settle()
        return raw

    old, new, other = joins(55), joins(55), joins(56)
    assert (old.lost, new.lost, other.lost) == (True, False, False)
    assert joins(57).lost
    assert leader.channels.faults["joined"] == 1
    assert not open_raw(net).lost, "a member is none of them"
    assert leader.channels.open_channels == 3


def test_close_still_sends_what_is_queued_and_reports_once(net: Net) -> None:
    leader, worker = net.node(1), net.node(2)
    worker.channels.dial(NodeId(1))
    net.settle()
    leader.channels.send(1, Fenced(9))
    leader.channels.close(1, "fenced")
    leader.channels.send(1, Fenced(10))
    net.settle()
    assert leader.events[1:] == [ChannelClosed(1, "fenced")]
    assert worker.of(FrameArrived) == [FrameArrived(1, Fenced(9))]
    assert len(worker.of(ChannelClosed)) == 1
    worker.channels.hang_up("enough")


def test_a_closed_channel_that_the_peer_does_not_drain_is_cut_off(net: Net) -> None:
    leader, worker = net.node(1), net.node(2)
    worker.channels.dial(NodeId(1))
    net.settle()
    stuck = leader.channels._open[1]
    stuck.pauseProducing()
    leader.channels.send(1, Fenced(9))
    leader.channels.close(1, "fenced")
    net.advance(one.CLOSE_S)
    assert len(worker.of(ChannelClosed)) == 1
    worker.channels.hang_up("enough")


def speaking(net: Net) -> tuple[Node, Node]:
    """A leader, and a worker that has said its first frame."""
    leader, worker = net.node(1), net.node(2)
    worker.channels.dial(NodeId(1))
    net.settle()
    worker.channels.send(1, Pong(0))
    net.settle()
    return leader, worker


def five_large_jobs() -> list[Submit]:
    """70 MiB: what a gateway has pending after a few large requests."""
    inputs = (Input(stdin=bytes(7 * MIB)), Input(stdin=bytes(7 * MIB)))
    program = Program((Source("", "class A {}"),), inputs=inputs)
    return [Submit(Job(f"{n:032x}", 100, program), True, 0, 10.0, 60.0) for n in range(5)]


def test_a_peer_that_reads_is_kept_however_much_is_sent_to_it(net: Net) -> None:
    leader, gateway = net.node(1), net.node(100, Role.GATEWAY)
    gateway.channels.dial(NodeId(1))
    net.settle()
    gateway.channels._open[1].pauseProducing()
    jobs = five_large_jobs()
    gateway.channels.send(1, Ping(1))
    for job in jobs:
        gateway.channels.send(1, job)
    gateway.channels._open[1].resumeProducing()
    net.settle()
    assert [event.frame for event in leader.of(FrameArrived)] == [Ping(1), *jobs]
    assert gateway.of(ChannelClosed) == []


@pytest.mark.parametrize("frames", [1, 200])
def test_a_peer_that_does_not_read_is_closed_in_time(net: Net, frames: int) -> None:
    leader, worker = speaking(net)
    leader.channels._open[1].pauseProducing()
    for nonce in range(frames):
        leader.channels.send(1, Ping(nonce))
    net.reactor.advance(one.STALL_S - 0.1)
    assert leader.of(ChannelClosed) == []
    net.reactor.advance(0.1)
    (closed,) = leader.of(ChannelClosed)
    assert "has read nothing" in closed.reason
    assert leader.channels.faults["unread"] == 1
    worker.channels.hang_up("enough")


def test_a_peer_that_reads_slowly_is_kept(net: Net) -> None:
    leader, worker = speaking(net)
    channel = leader.channels._open[1]
    for nonce in range(5):
        channel.pauseProducing()
        leader.channels.send(1, Ping(nonce))
        net.reactor.advance(one.STALL_S - 0.1)
        channel.resumeProducing()
    net.settle()
    assert len(worker.of(FrameArrived)) == 5
    assert leader.of(ChannelClosed) == []
    leader.channels.stop()
    worker.channels.stop()
    net.settle()
    net.advance(one.CLOSE_S)
    assert net.reactor.getDelayedCalls() == [], "no timer is left"


def test_a_peer_that_reads_far_less_than_comes_for_it_is_closed_at_a_bound(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one, "WAITING_MAX", 1000)
    leader, worker = net.node(1), net.node(2)
    worker.channels.dial(NodeId(1))
    net.settle()
    leader.channels._open[1].pauseProducing()
    for nonce in range(200):
        leader.channels.send(1, Ping(nonce))
    assert [type(event) for event in leader.events] == [ChannelOpened, ChannelClosed]
    assert leader.channels.faults["unread"] == 1
    worker.channels.hang_up("enough")


def test_w6_the_core_is_told_now_and_then_that_a_long_frame_moves(net: Net) -> None:
    leader = net.node(1)
    raw = open_raw(net)
    assert raw.transport is not None
    hello, body = encode_frame(Ping(1)), encode_frame(ResultAck(tuple(f"{n:032x}" for n in range(1000))))
    raw.transport.write(prefix(hello) + hello + prefix(body))
    for at in range(0, len(body), 1000):
        raw.transport.write(body[at : at + 1000])
        net.advance(0.1)
    assert [type(event) for event in leader.of(FrameArrived)] == [FrameArrived] * 2
    seconds = len(body) / 1000 * 0.1
    assert seconds - 1 <= len(leader.of(ChannelMoved)) * one.MOVED_S <= seconds + 1
    leader.events.clear()
    leader.channels._open[1].pauseProducing()
    leader.channels.send(1, Ping(1))
    net.advance(1)
    leader.channels._open[1].resumeProducing()
    assert leader.events == [ChannelMoved(1)], "so does one that is sent"


def test_what_waits_while_the_network_is_full_follows_later(net: Net) -> None:
    leader, worker = net.node(1), net.node(2)
    worker.channels.dial(NodeId(1))
    net.settle()
    channel = leader.channels._open[1]
    channel.pauseProducing()
    leader.channels.send(1, Ping(1))
    net.settle()
    assert worker.of(FrameArrived) == []
    assert channel.queued > 0
    channel.resumeProducing()
    net.settle()
    assert worker.of(FrameArrived) == [FrameArrived(1, Ping(1))]
    assert channel.queued == 0


def test_w13_a_crowded_channel_drops_progress_and_nothing_else(net: Net) -> None:
    leader, worker = net.node(1), net.node(2)
    worker.channels.dial(NodeId(1))
    net.settle()
    channel = worker.channels._open[1]
    channel.pauseProducing()
    progress = Progress(AttemptKey("a", 1, 1), pieces=(Piece(0, Stream.STDOUT, 0, bytes(65536)),))
    for _ in range(40):
        worker.channels.send(1, progress)
    worker.channels.send(1, Ping(1))
    assert channel.queued < 2 * one.DROPPED_PAST
    channel.resumeProducing()
    net.settle()
    assert leader.channels.frames["Progress"] + worker.channels.dropped["Progress"] == 40
    assert worker.channels.dropped["Progress"] > 0
    assert leader.events[-1] == FrameArrived(1, Ping(1))


def test_a_frame_that_is_too_large_is_our_own_fault(net: Net) -> None:
    leader, worker = net.node(1), net.node(2)
    worker.channels.dial(NodeId(1))
    net.settle()
    fact = NodeFacts(1, 1, 1, Role.PEER, java="x" * (FRAME_MAX // 2))
    with pytest.raises(LocalProtocolError):
        leader.channels.send(1, FactsReply((fact, fact, fact)))
    leader.channels.send(1, Ping(1))
    net.settle()
    assert worker.of(FrameArrived) == [FrameArrived(1, Ping(1))]


def test_w2_a_broken_channel_is_dialled_again_until_hang_up(net: Net) -> None:
    leader, worker = net.node(1), net.node(2)
    worker.channels.dial(NodeId(1))
    net.settle()
    leader.channels.close(1, "restart")
    net.settle()
    net.advance(many.REDIAL_MAX_S)
    assert [type(event) for event in worker.events] == [ChannelOpened, ChannelClosed, ChannelOpened]
    assert worker.of(ChannelOpened)[1].channel == 2
    worker.channels.hang_up("new leader")
    net.settle()
    net.advance(10)
    assert worker.events[-1] == ChannelClosed(2, "new leader")
    assert len(worker.events) == 4


def test_w2_failing_dials_back_off_up_to_a_second_and_each_is_told(net: Net) -> None:
    worker = net.node(2)
    net.refusing = True
    worker.channels.dial(NodeId(1))
    waits = []
    for _ in range(12):
        (call,) = net.reactor.getDelayedCalls()
        waits.append(call.getTime() - net.reactor.seconds())
        net.reactor.advance(waits[-1])
    assert waits[0] == pytest.approx(0.02, rel=0.31)
    assert all(wait <= many.REDIAL_MAX_S * (1 + many.JITTER) for wait in waits)
    assert waits[-1] >= many.REDIAL_MAX_S * (1 - many.JITTER)
    assert len(worker.of(DialFailed)) == net.attempts == 13
    worker.channels.hang_up("enough")
    assert net.reactor.getDelayedCalls() == []


def test_w2_there_is_one_dialled_channel_at_most(net: Net) -> None:
    one_leader, other, worker = net.node(1), net.node(3), net.node(2)
    for to in (1, 1, 3, 3):
        worker.channels.dial(NodeId(to))
        net.settle()
    assert [type(event) for event in worker.events] == [ChannelOpened, ChannelClosed, ChannelOpened]
    assert len(one_leader.of(ChannelClosed)) == 1
    assert other.channels.open_channels == worker.channels.open_channels == 1


def test_stopping_closes_everything_and_leaves_no_timer(net: Net) -> None:
    leader, worker = net.node(1), net.node(2)
    worker.channels.dial(NodeId(1))
    net.settle()
    worker.channels.stop()
    leader.channels.stop()
    net.settle()
    net.advance(one.CLOSE_S)
    assert net.reactor.getDelayedCalls() == []
