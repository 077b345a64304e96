"""What comes of one event, gathered in order."""

from __future__ import annotations

from cluster.core.effects import Effect, Effects, Level, Log, SendFrame
from cluster.core.events import ChannelId
from cluster.identity import NodeId
from cluster.wire.messages import Frame


class Outbox:
    """Gathers what comes of one event, in order."""

    def __init__(self, me: NodeId) -> None:
        self._me = me
        self._steps: list[Effect] = []

    def do(self, step: Effect) -> None:
        """Have it done."""
        self._steps.append(step)

    def send(self, channel: ChannelId, frame: Frame) -> None:
        """Send a frame."""
        self._steps.append(SendFrame(channel, frame))

    def log(self, text: str, level: Level = Level.SUMMARY) -> None:
        """Tell people, in a line that begins with this node's number."""
        self._steps.append(Log(level, f"{self._me}: {text}"))

    def take(self) -> Effects:
        """Everything gathered; nothing stays behind."""
        steps, self._steps = tuple(self._steps), []
        return steps
