"""Drives `alone.py`, a process with a reactor, from programs that have none."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import msgspec

from cluster.bench.usage import tree
from cluster.errors import RemoteProtocolError, Unavailable
from cluster.wire.jobs import Outcome, Program

ANSWER_S = 60.0
"""How long one answer may take."""
START_S = 240.0
"""How long a start may take: a first one compiles the harness and makes the archive of classes."""


class Answer(msgspec.Struct, frozen=True):
    """One line from the process."""

    id: str = ""
    outcome: Outcome | None = None
    started: bool | None = None
    text: str = ""
    level: str = ""
    error: str = ""
    version: str = ""
    snapshot: dict[str, Any] | None = None
    capacities: tuple[int, ...] = ()
    took_s: float = 0.0


class RunnerProcess:
    """A running process; `start` is its first line.

    Attributes:
        prefix: a command that becomes the process, such as one that gives it a control group of its own.
        patience: how many times longer than usual its answers may take.
    """

    prefix: tuple[str, ...] = ()
    patience = 1.0

    def __init__(self, state: Path, **setup: object) -> None:
        argument = msgspec.json.encode({"state": str(state), **setup}).decode()
        self._process = subprocess.Popen(
            [*self.prefix, sys.executable, "-m", "cluster.bench.alone", argument],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._selector = selectors.DefaultSelector()
        self._selector.register(_there(self._process.stdout), selectors.EVENT_READ)
        self._pending = b""
        self._jobs = 0
        self.start = self.read(START_S * self.patience)

    @property
    def pid(self) -> int:
        """The process's own number."""
        return self._process.pid

    def read(self, patience_s: float | None = ANSWER_S) -> Answer:
        """The next line; without a deadline if that is None.

        Raises:
            Unavailable: none came, or the process died.
        """
        while b"\n" not in self._pending:
            if not self._selector.select(patience_s):
                raise Unavailable(f"no answer from the runner's process for {patience_s} s")
            data = os.read(_there(self._process.stdout).fileno(), 1 << 16)
            if not data:
                raise Unavailable("the runner's process died")
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return msgspec.json.decode(line, type=Answer)

    def send(self, **request: object) -> None:
        """One line to the process."""
        pipe = _there(self._process.stdin)
        pipe.write(msgspec.json.encode(request) + b"\n")
        pipe.flush()

    def submit(self, program: Program, remaining_s: float = 60.0) -> str:
        """Send a job without waiting; its id."""
        self._jobs += 1
        job = f"{self._jobs:032x}"
        self.send(op="run", id=job, program=program, remaining_s=remaining_s)
        return job

    def outcome(self, program: Program, remaining_s: float = 60.0) -> Outcome:
        """Run a job to its end."""
        job = self.submit(program, remaining_s)
        answer = self.read(ANSWER_S * self.patience)
        if answer.id != job or answer.outcome is None:
            raise RemoteProtocolError("another_answer")
        return answer.outcome

    def snapshot(self) -> Answer:
        """The runner's counters and the capacities it reported."""
        self.send(op="snapshot")
        return self.read()

    def machines(self) -> list[int]:
        """Every virtual machine below the process, by walking `/proc`."""
        return [process.pid for process in tree([self.pid]) if process.name == "java"]

    def stop(self) -> int:
        """End of input; waits for the end of the process."""
        _there(self._process.stdin).close()
        code = self._process.wait(ANSWER_S)
        self._selector.close()
        _there(self._process.stdout).close()
        return code


def _there(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("the process has no such pipe")
    return pipe
