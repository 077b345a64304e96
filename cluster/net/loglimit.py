"""Warnings that an attacker or a broken network must not turn into a flood."""

from __future__ import annotations

from typing import Any

import attrs

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

EVERY_S = 10.0
"""A warning of the same key is written at most this often; the next one says how many were left out."""

KEYS_MAX = 1000
"""Keys remembered; past it all are forgotten, which costs at most one line each."""


@attrs.define
class _Spell:
    until: float
    left_out: int = 0


class LimitedLog:
    """A logger that repeats itself slowly."""

    def __init__(self, reactor: IReactorTime, logger: Logger) -> None:
        """Write to `logger`, by the reactor's clock."""
        self._reactor = reactor
        self._logger = logger
        self._spells: dict[str, _Spell] = {}

    def warning(self, key: str, text: str, **fields: Any) -> None:  # noqa: ANN401  (what the logger takes)
        """Log a warning, unless one of this key was logged a moment ago."""
        now = self._reactor.seconds()
        spell = self._spells.get(key)
        if spell is not None and now < spell.until:
            spell.left_out += 1
            return
        if spell is None and len(self._spells) >= KEYS_MAX:
            self._spells.clear()
        if spell is not None and spell.left_out:
            text += " ({left_out} more since the last such line)"
            fields["left_out"] = spell.left_out
        self._spells[key] = _Spell(now + EVERY_S)
        self._logger.warn(text, **fields)  # noqa: G010  (Twisted's logger has no `warning`)
