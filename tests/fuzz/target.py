"""A parser, what it promises whatever bytes it is given, and real bytes to begin with (X3, issue 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import attrs

CORPUS = Path(__file__).parent / "corpus"
"""Inputs found worth keeping, a directory a target: what reached new code, and what once broke a promise."""


class Broken(AssertionError):
    """A promise was not kept."""


def require(kept: object, what: str) -> None:
    """Raise `Broken` unless a promise is kept; no `assert`, which an optimised run would leave out."""
    if not kept:
        raise Broken(what)


@attrs.frozen
class Target:
    """One parser.

    Attributes:
        name: also of its corpus.
        promise: what holds for any input, in one sentence.
        check: given any bytes, returns, or raises whatever shows that the promise is broken.
        seeds: real inputs.
        bytes_max: inputs longer than this show nothing new.
    """

    name: str
    promise: str
    check: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    bytes_max: int = 4096

    def corpus(self) -> list[bytes]:
        """The inputs kept for it, in the order of their names."""
        return [path.read_bytes() for path in sorted((CORPUS / self.name).glob("*"))]
