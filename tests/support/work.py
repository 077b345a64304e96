"""Builders for jobs, frames and nodes of the work protocol, shared by its tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from cluster.core.dispatch import Dispatch
from cluster.core.effects import Answer, Decision, Effect, Log, SendFrame
from cluster.core.events import ChannelId, RequestArrived
from cluster.core.ledger import Ledger
from cluster.core.record import Record
from cluster.identity import Boot, Epoch, NodeId, Role
from cluster.wire.jobs import Input, Job, Outcome, Program, Run, Source, Verdict
from cluster.wire.messages import Assign, AttemptKey, Frame, Hello, Submit

GATEWAY = NodeId(9)
LEADER = NodeId(5)
GATEWAY_CHANNEL: ChannelId = 90

F = TypeVar("F")


def program(text: str = "class A {}", stdin: bytes = b"") -> Program:
    return Program((Source("A.java", text),), inputs=(Input(stdin=stdin),))


def job(name: str, gateway: NodeId = GATEWAY) -> Job:
    return Job(name, gateway, program(name))


def outcome(verdict: Verdict = Verdict.OK, stdout: bytes = b"out") -> Outcome:
    return Outcome(verdict, runs=(Run(verdict, stdout=stdout),))


def ledger(fence: int = 0, leader: int = -1, node: int = 1) -> Ledger:
    record = Record("test", node, "hash", 1, accepted=fence, fence_epoch=fence, fence_leader=leader)
    return Ledger(record)


def request(number: int, name: str, text: str = "", **flags: Any) -> RequestArrived:
    return RequestArrived(number, name, program(text or name), **flags)


def hello(
    node: int,
    role: Role = Role.WORKER,
    *,
    slots: int = 1,
    boot: int = 1,
    epoch: int = 1,
    running: Iterable[AttemptKey] = (),
    kept: Iterable[AttemptKey] = (),
    draining: bool = False,
) -> Hello:
    return Hello(
        1,
        "test",
        node,
        boot,
        role,
        epoch,
        "hash",
        "timing",
        slots,
        "17",
        tuple(running),
        tuple(kept),
        draining,
    )


def submit(
    name: str, *, again: bool = False, losses: int = 0, queue_s: float = 10.0, left: float = 60.0
) -> Submit:
    return Submit(job(name), again, losses, queue_s, left)


def frames(steps: Iterable[Effect | Decision], kind: type[F], channel: ChannelId | None = None) -> list[F]:
    """The frames of one kind that are sent, on one channel or on any."""
    return [
        step.frame
        for step in steps
        if isinstance(step, SendFrame)
        and isinstance(step.frame, kind)
        and (channel is None or step.channel == channel)
    ]


def sent(steps: Iterable[Effect | Decision]) -> list[tuple[ChannelId, Frame]]:
    """Every frame with its channel."""
    return [(step.channel, step.frame) for step in steps if isinstance(step, SendFrame)]


def assigned(steps: Iterable[Effect | Decision]) -> list[tuple[ChannelId, str]]:
    """Channel and job of each assignment."""
    return [(channel, frame.job.id) for channel, frame in sent(steps) if isinstance(frame, Assign)]


def answers(steps: Iterable[Effect | Decision]) -> list[Answer]:
    return [step for step in steps if isinstance(step, Answer)]


def quiet(steps: Iterable[Effect | Decision]) -> list[Effect | Decision]:
    """Everything but the log lines."""
    return [step for step in steps if not isinstance(step, Log)]


def welcome_worker(dispatch: Dispatch, node: int, now: float = 0.0, **fields: object) -> tuple[Effect, ...]:
    """A worker says HELLO on channel 10 x its id."""
    return dispatch.hello(10 * node, NodeId(node), Role.WORKER, hello(node, **fields), now)  # type: ignore[arg-type]


def welcome_gateway(dispatch: Dispatch, now: float = 0.0, boot: int = 1) -> tuple[Effect, ...]:
    """The gateway says HELLO on its channel."""
    return dispatch.hello(
        GATEWAY_CHANNEL, GATEWAY, Role.GATEWAY, hello(GATEWAY, Role.GATEWAY, boot=boot), now
    )


BOOT = Boot(1)
EPOCH = Epoch(1)
