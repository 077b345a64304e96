"""A process with nothing but a `JavaRunner`: JSON lines in, JSON lines out. What the engine costs alone.

One object a line. `{"op": "run", "id": ..., "program": ...}` answers with the outcome; `cancel` with an id,
`snapshot`, and the end of the input (stop) do what they say. The first line out tells how the start went.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import attrs
import msgspec

from twisted.internet import stdio
from twisted.protocols.basic import LineOnlyReceiver

from cluster.config import JavaSettings, SandboxSettings
from cluster.java.runner import JavaRunner
from cluster.java.snapshot import JavaSnapshot
from cluster.limits import Limits
from cluster.net.reactor import BootTimeReactor, install
from cluster.wire.jobs import Job, Program


class Setup(msgspec.Struct, frozen=True):
    """The process's only argument, as JSON."""

    state: str
    slots: int = 1
    java: JavaSettings = JavaSettings()
    sandbox: SandboxSettings = SandboxSettings()
    caps: Limits = Limits()


class Request(msgspec.Struct, frozen=True):
    """One line in."""

    op: str
    id: str = ""
    program: Program | None = None
    remaining_s: float = 60.0


class Driver(LineOnlyReceiver):
    """Feeds requests to the runner."""

    delimiter = b"\n"
    MAX_LENGTH = 1 << 26

    def __init__(self, reactor: BootTimeReactor, setup: Setup) -> None:
        self._reactor = reactor
        self._capacities: list[int] = []
        self._runner = JavaRunner(
            reactor,
            setup.java,
            setup.sandbox,
            Path(setup.state),
            setup.slots,
            setup.caps,
            self._capacities.append,
        )

    def connectionMade(self) -> None:  # noqa: N802
        """Start the runner, and tell."""
        self._runner.start().addCallbacks(
            lambda report: self._say(
                started=True, level=report.level, text=report.text, version=self._runner.java_version
            ),
            lambda failure: self._say(
                started=False, error=type(failure.value).__name__, text=failure.getErrorMessage()
            ),
        )

    def _say(self, **fields: object) -> None:
        self.sendLine(  # type: ignore[no-untyped-call]
            msgspec.json.encode(fields)
        )

    def lineReceived(self, line: bytes) -> None:  # noqa: N802
        """Do one request."""
        request = msgspec.json.decode(line, type=Request)
        if request.op == "run" and request.program is not None:
            began = self._reactor.seconds()
            self._runner.run(Job(request.id, 0, request.program), request.remaining_s).addCallback(
                lambda outcome: self._say(id=request.id, outcome=outcome, took_s=self._took(began))
            )
        elif request.op == "cancel":
            self._runner.cancel(request.id)
        else:
            self._say(snapshot=vars_of(self._runner.snapshot()), capacities=self._capacities)

    def _took(self, began: float) -> float:
        return self._reactor.seconds() - began

    def connectionLost(self, reason: object = None) -> None:  # noqa: ARG002, N802
        """The end of the input stops everything."""
        self._runner.stop().addBoth(lambda _: self._reactor.stop())


def vars_of(snapshot: JavaSnapshot) -> dict[str, Any]:
    """A slotted object's fields."""
    return attrs.asdict(snapshot)


def main() -> None:
    """Serve until the end of the input, on the reactor that a node has."""
    reactor = install()
    stdio.StandardIO(Driver(reactor, msgspec.json.decode(sys.argv[1], type=Setup)), reactor=reactor)
    reactor.run()


if __name__ == "__main__":
    main()
