"""What tests ask of a `JavaRunner` in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from cluster.bench.driver import ANSWER_S, RunnerProcess
from cluster.limits import Limits
from cluster.wire.jobs import Input, Program, Run, Source

__all__ = ["ANSWER_S", "JavaDriver", "main_class", "program"]

WALL_S, CPU_S = 30.0, 1.5
"""Limits of a test's programs, if it does not say others."""
CGROUPS = Path("/sys/fs/cgroup")


class JavaDriver(RunnerProcess):
    """A running process; `start` is its first line.

    Attributes:
        stretch: how many times slower than any real one this machine is: an emulated one.
    """

    stretch = 1.0

    def run(self, text: str, given: Input | None = None, **limits: Any) -> Run:
        """Run one bare source with one input; limits are those of a test that should be short."""
        for name, usual in (("wall_s", WALL_S), ("cpu_s", CPU_S)):
            limits[name] = limits.get(name, usual) * self.stretch
        outcome = self.outcome(program(text, given, **limits))
        assert outcome.runs, outcome
        return outcome.runs[0]

    def group(self) -> Path:
        """The process's own control group, of version 2."""
        for line in Path(f"/proc/{self.pid}/cgroup").read_text().splitlines():
            if line.startswith("0::/"):
                return CGROUPS / line.removeprefix("0::/")
        raise LookupError("no control groups of version 2")

    def cells(self) -> list[Path]:
        """The control groups of its virtual machines; none where it can't divide its own."""
        return [path for path in (self.group().parent / "machines").glob("*-*") if path.is_dir()]


def program(text: str, given: Input | None = None, **limits: Any) -> Program:
    """One bare source, one input, short limits."""
    bounds = msgspec.convert({"wall_s": WALL_S, "cpu_s": CPU_S, **limits}, Limits)
    return Program((Source("", text),), inputs=(given or Input(),), limits=bounds)


def main_class(body: str, members: str = "") -> str:
    """A source whose `main` has this body."""
    packages = ("java.io", "java.net", "java.nio", "java.nio.file", "java.util")
    imports = " ".join(f"import {name}.*;" for name in packages)
    return (
        f"{imports} public class M {{ {members} "
        f"public static void main(String[] args) throws Throwable {{ {body} }} }}"
    )
