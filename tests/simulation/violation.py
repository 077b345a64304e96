"""What a check raises, and how it asks."""

from __future__ import annotations


class Violation(AssertionError):
    """An invariant, or liveness, did not hold; the first word names it."""


def demand(holds: object, what: str) -> None:
    """Raise `Violation` unless it holds."""
    if not holds:
        raise Violation(what)
