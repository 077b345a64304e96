"""What a simulated client asked for, and what came of it."""

from __future__ import annotations

import attrs

from cluster.core.transcript import Transcript
from cluster.identity import Boot

STREAM_MAX = 1000
"""Bytes that a simulated program writes at most."""


@attrs.define
class Request:
    """A client's request, and what became of it; `asked_at` in true time."""

    node: int
    boot: Boot
    text: str
    job: str
    asked_at: int
    abandoned: bool = False
    lost: bool = False
    result: object | None = None
    story: Transcript = attrs.Factory(lambda: Transcript(1, STREAM_MAX))
    attempt: tuple[int, int] = (0, 0)
