"""Drives `java_jobs.py`, a process with a reactor, from tests that have none."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from cluster.limits import Limits
from cluster.wire.jobs import Input, Outcome, Program, Run, Source

ANSWER_S = 60.0
"""How long one answer may take before the test gives up."""

_ROOT = Path(__file__).resolve().parents[2]


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


class JavaDriver:
    """A running process; `start` is its first line."""

    def __init__(self, state: Path, **setup: Any) -> None:
        argument = msgspec.json.encode({"state": str(state), **setup}).decode()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.java_jobs", argument],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._selector = selectors.DefaultSelector()
        assert self._process.stdout is not None
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
        self._pending = b""
        self._jobs = 0
        self.start = self.read()

    @property
    def pid(self) -> int:
        """The process's own number."""
        return self._process.pid

    def read(self) -> Answer:
        """The next line, with a deadline."""
        assert self._process.stdout is not None
        while b"\n" not in self._pending:
            assert self._selector.select(ANSWER_S), "no answer from the process under test"
            data = os.read(self._process.stdout.fileno(), 1 << 16)
            assert data, "the process under test died"
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return msgspec.json.decode(line, type=Answer)

    def send(self, **request: Any) -> None:
        """One line to the process."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(request) + b"\n")
        self._process.stdin.flush()

    def submit(self, program: Program, remaining_s: float = 60.0) -> str:
        """Send a job without waiting; its id."""
        self._jobs += 1
        job = f"{self._jobs:032x}"
        self.send(op="run", id=job, program=program, remaining_s=remaining_s)
        return job

    def outcome(self, program: Program, remaining_s: float = 60.0) -> Outcome:
        """Run a job to its end."""
        job = self.submit(program, remaining_s)
        answer = self.read()
        assert answer.id == job
        assert answer.outcome is not None
        return answer.outcome

    def run(self, text: str, given: Input | None = None, **limits: Any) -> Run:
        """Run one bare source with one input; limits are those of a test that should be short."""
        outcome = self.outcome(program(text, given, **limits))
        assert outcome.runs, outcome
        return outcome.runs[0]

    def snapshot(self) -> Answer:
        """The runner's counters and the capacities it reported."""
        self.send(op="snapshot")
        return self.read()

    def machines(self) -> list[int]:
        """Every virtual machine below the process, by walking `/proc`."""
        children: dict[int, list[int]] = {}
        names: dict[int, str] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    head, _, tail = (entry / "stat").read_text().rpartition(")")
                except OSError:
                    continue
                children.setdefault(int(tail.split()[1]), []).append(int(entry.name))
                names[int(entry.name)] = head.partition("(")[2]
        found, todo = [], [self.pid]
        while todo:
            below = children.get(todo.pop(), [])
            todo += below
            found += [pid for pid in below if names[pid] == "java"]
        return found

    def stop(self) -> int:
        """End of input; waits for the end of the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = self._process.wait(ANSWER_S)
        self._selector.close()
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code


def program(text: str, given: Input | None = None, **limits: Any) -> Program:
    """One bare source, one input, short limits."""
    bounds = msgspec.convert({"wall_s": 10.0, "cpu_s": 1.5, **limits}, Limits)
    return Program((Source("", text),), inputs=(given or Input(),), limits=bounds)


def main_class(body: str, members: str = "") -> str:
    """A source whose `main` has this body."""
    packages = ("java.io", "java.net", "java.nio", "java.nio.file", "java.util")
    imports = " ".join(f"import {name}.*;" for name in packages)
    return (
        f"{imports} public class M {{ {members} "
        f"public static void main(String[] args) throws Throwable {{ {body} }} }}"
    )
