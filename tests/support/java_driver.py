"""What tests ask of a `JavaRunner` in a process of its own."""

from __future__ import annotations

from typing import Any

import msgspec

from cluster.bench.driver import ANSWER_S, RunnerProcess
from cluster.limits import Limits
from cluster.wire.jobs import Input, Program, Run, Source

__all__ = ["ANSWER_S", "JavaDriver", "main_class", "program"]


class JavaDriver(RunnerProcess):
    """A running process; `start` is its first line."""

    def run(self, text: str, given: Input | None = None, **limits: Any) -> Run:
        """Run one bare source with one input; limits are those of a test that should be short."""
        outcome = self.outcome(program(text, given, **limits))
        assert outcome.runs, outcome
        return outcome.runs[0]


def program(text: str, given: Input | None = None, **limits: Any) -> Program:
    """One bare source, one input, short limits."""
    bounds = msgspec.convert({"wall_s": 30.0, "cpu_s": 1.5, **limits}, Limits)
    return Program((Source("", text),), inputs=(given or Input(),), limits=bounds)


def main_class(body: str, members: str = "") -> str:
    """A source whose `main` has this body."""
    packages = ("java.io", "java.net", "java.nio", "java.nio.file", "java.util")
    imports = " ".join(f"import {name}.*;" for name in packages)
    return (
        f"{imports} public class M {{ {members} "
        f"public static void main(String[] args) throws Throwable {{ {body} }} }}"
    )
