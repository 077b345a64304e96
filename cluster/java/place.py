"""Where one process runs: what bounds it before it may start, and what is cleaned when it is dead."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress

import attrs

from cluster.java.cells import Cell


@attrs.define
class Place:
    """Where one process runs.

    Attributes:
        clean: called once it is dead.
        limits: what it must be bounded by before its gate is opened (`bounds.bound`); None: it bounds itself.
        cell: its control group, into which it must be admitted before that; None where there are none.
        gate: a pipe's end; bubblewrap, with everything in place, waits for a byte at the other. -1: no gate.
            It opens without limits when the node dies; nothing of a program is sent before it is ready.
    """

    clean: Callable[[], None] = lambda: None
    limits: Mapping[str, int] | None = None
    cell: Cell | None = None
    gate: int = -1

    def open_gate(self) -> None:
        """Now the virtual machine may start."""
        if self.gate >= 0:
            with suppress(BrokenPipeError):
                os.write(self.gate, b".")
        self.leave_gate()

    def leave_gate(self) -> None:
        """It is open, or nobody waits there any more."""
        if self.gate >= 0:
            os.close(self.gate)
            self.gate = -1
