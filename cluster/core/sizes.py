"""How many bytes a value weighs in a bounded table: its text and byte fields, and a little for the rest."""

from __future__ import annotations

from cluster.wire.jobs import Outcome, Program

OVERHEAD = 512
"""Bytes charged for a value's numbers and object headers."""


def outcome_bytes(outcome: Outcome) -> int:
    """Approximate size of an outcome in memory and on the wire."""
    total = OVERHEAD + len(outcome.message)
    for run in outcome.runs:
        total += (
            len(run.stdout) + len(run.stderr) + len(run.value or b"") + _utf8(run.message) + len(run.detail)
        )
    if outcome.compilation is not None:
        total += _utf8(outcome.compilation.text)
        total += sum(_utf8(found.message) + _utf8(found.file) for found in outcome.compilation.diagnostics)
    return total


def program_bytes(program: Program) -> int:
    """Approximate size of a program in memory and on the wire."""
    total = OVERHEAD + sum(_utf8(source.name) + _utf8(source.text) for source in program.sources)
    total += sum(len(file.name) + len(file.data) for file in program.files)
    for given in program.inputs:
        total += len(given.stdin) + sum(_utf8(arg) for arg in given.args)
    return total


def _utf8(text: str) -> int:
    """Bytes of a text on the wire."""
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
