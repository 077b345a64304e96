"""The leader's half behind its lease: what is answered, and held in which order (L3, L5, L6, N4, N6)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from cluster.config import WorkSettings
from cluster.core.effects import Close, HigherEpochProven, SendFrame
from cluster.core.events import ChannelClosed, ChannelOpened, FrameArrived
from cluster.core.hello import Terms
from cluster.core.ledger import Ledger
from cluster.core.links import Links
from cluster.core.office import Office
from cluster.core.quorum import Electorate
from cluster.core.record import Record
from cluster.identity import MAX_EPOCH_JUMP, Boot, Epoch, NodeId, Role
from cluster.wire.messages import Fenced, Hello, Ping, Pong, Welcome

ME, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)
VOTERS = Electorate.of("c", (ME, TWO, THREE))
EPOCH = Epoch(6)
CHANNEL = 7


def terms(node: NodeId) -> Terms:
    return Terms("c", node, Role.PEER, "same", VOTERS)


def hello(node: NodeId, epoch: int = EPOCH) -> Hello:
    said = terms(node).hello(boot=1, epoch=epoch, slots=2, java="", running=(), kept=(), draining=False)
    return replace(said, node=node)


def office(*, leads: bool = True) -> tuple[Office, Ledger]:
    """Node 1's, in epoch 6; voter 2 has dialled it on channel 7. Its own HELLO was counted."""
    ledger = Ledger(Record("c", ME, VOTERS.hash, boot=1, may_vote=True, accepted=6, fence_epoch=6))
    links = Links()
    links.opened(ChannelOpened(CHANNEL, TWO, Role.PEER, dialled=False))
    made = Office(terms(ME), ledger, WorkSettings(), links)
    if leads:
        made.enter(EPOCH, 0.0, frozenset(), hello(ME))
        made.release_one(0.0)
    return made, ledger


def frames(steps: object) -> list[object]:
    assert isinstance(steps, tuple)
    return [step.frame for step in steps if isinstance(step, SendFrame) and step.channel == CHANNEL]


def test_l6_a_hello_of_a_lower_epoch_is_fenced_and_of_this_one_welcomed() -> None:
    made, _ = office()
    assert frames(made.arrived(FrameArrived(CHANNEL, hello(TWO, 5)), 0.0, may_act=True)) == [Fenced(EPOCH)]
    answers = frames(made.arrived(FrameArrived(CHANNEL, hello(TWO)), 0.0, may_act=True))
    assert [type(answer) for answer in answers] == [Welcome]


@pytest.mark.parametrize(
    "said",
    [{"node": THREE}, {"role": Role.WORKER}, {"voters": "another"}, {"timing": "slower"}, {"cluster": "d"}],
    ids=str,
)
@pytest.mark.parametrize("epoch", [EPOCH - 1, EPOCH, EPOCH + 1])
def test_w2_g7_a_hello_that_its_certificate_or_the_configuration_belies_is_neither_welcomed_nor_believed(
    said: dict[str, object], epoch: int
) -> None:
    """Its channel is closed, whatever epoch it names; the next one on it may be a true one."""
    made, _ = office()
    steps = made.arrived(FrameArrived(CHANNEL, replace(hello(TWO, epoch), **said)), 0.0, may_act=True)
    assert frames(steps) == []
    assert not [step for step in steps if isinstance(step, HigherEpochProven)]
    assert [step.channel for step in steps if isinstance(step, Close)] == [CHANNEL]
    assert made.refused == 1
    assert made.dispatch is not None
    assert not {TWO, THREE} & {worker.node for worker in made.dispatch.snapshot().workers}


def test_w2_a_hello_on_a_channel_of_which_nothing_is_known_is_no_ones() -> None:
    """It was closed meanwhile: there is no certificate to hold it against."""
    made, _ = office()
    assert made.arrived(FrameArrived(CHANNEL + 1, hello(THREE)), 0.0, may_act=True) == ()
    assert made.dispatch is not None
    assert THREE not in {worker.node for worker in made.dispatch.snapshot().workers}


def test_n4_who_does_not_lead_fences_with_what_is_on_its_disk() -> None:
    made, ledger = office(leads=False)
    write = ledger.fence(Epoch(9), THREE, Boot(1))
    asked = FrameArrived(CHANNEL, hello(TWO))
    assert frames(made.arrived(asked, 0.0, may_act=False)) == [Fenced(EPOCH)]
    ledger.persisted(write.token)
    steps = made.arrived(asked, 0.0, may_act=False)
    assert frames(steps) == [Fenced(9)]
    assert [step.channel for step in steps if isinstance(step, Close)] == [CHANNEL]


@pytest.mark.parametrize("above", [1, MAX_EPOCH_JUMP, MAX_EPOCH_JUMP + 1, 2**60])
def test_n6_l5_an_epoch_far_above_that_is_claimed_on_a_channel_ends_no_office(above: int) -> None:
    for claim in (Fenced(EPOCH + above), hello(TWO, EPOCH + above)):
        made, _ = office()
        steps = made.arrived(FrameArrived(CHANNEL, claim), 0.0, may_act=True)
        believed = [step for step in steps if isinstance(step, HigherEpochProven)]
        assert bool(believed) == (above <= MAX_EPOCH_JUMP), claim


def test_l3_what_was_held_is_acted_on_in_order_and_overtaken_by_nothing() -> None:
    """Also not by what comes when the lease is back, before all of it was."""
    made, _ = office()
    assert made.arrived(FrameArrived(CHANNEL, hello(TWO)), 0.0, may_act=False) == ()
    assert made.arrived(FrameArrived(CHANNEL, Ping(4)), 0.1, may_act=True) == ()
    assert made.closed(ChannelClosed(CHANNEL, "test"), 0.2, may_act=True) == ()
    assert len(made) == 3
    answers = [type(answer) for answer in frames(made.release_one(0.3))]
    assert Welcome in answers
    assert made.dispatch is not None
    assert frames(made.release_one(0.3)) == [Pong(4)]
    assert [worker.node for worker in made.dispatch.snapshot().workers if worker.node == TWO] == [TWO]
    made.release_one(0.3)
    assert TWO not in [worker.node for worker in made.dispatch.snapshot().workers]


def test_l3_a_leader_that_resigns_forgets_what_it_holds() -> None:
    made, _ = office()
    made.arrived(FrameArrived(CHANNEL, hello(TWO)), 0.0, may_act=False)
    made.leave()
    assert len(made) == 0
    assert made.release_one(0.1) == ()
