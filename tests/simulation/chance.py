"""Counter-based chance: a draw depends on the seed, its purpose and its number, and on nothing else.

So that taking one fault out of a schedule, or one datagram off a link, leaves every other draw as it was.
Without that a failing schedule could not be made smaller.
"""

from __future__ import annotations

import zlib

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15
_UNIT = 1.0 / (1 << 64)


def mix(value: int) -> int:
    """Scramble 64 bits (the finalizer of splitmix64)."""
    value &= _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


class Stream:
    """The draws for one purpose, numbered from one."""

    __slots__ = ("_key", "_number")

    def __init__(self, key: int) -> None:
        self._key = key
        self._number = 0

    def bits(self) -> int:
        """64 bits."""
        self._number += 1
        return mix(self._key + self._number * _STEP)

    def unit(self) -> float:
        """At least 0 and less than 1."""
        return self.bits() * _UNIT

    def between(self, low: int, high: int) -> int:
        """An integer, both ends included."""
        return low + self.bits() % (high - low + 1)

    def is_lucky(self, probability: float) -> bool:
        """True this often. Always takes one draw."""
        return self.unit() < probability

    def pick(self, choices: tuple[int, ...]) -> int:
        """One of them."""
        return choices[self.bits() % len(choices)]

    def some(self, choices: tuple[int, ...], count: int) -> tuple[int, ...]:
        """`count` different ones."""
        left = list(choices)
        return tuple(left.pop(self.bits() % len(left)) for _ in range(min(count, len(left))))


class Chance:
    """All streams of one seed."""

    def __init__(self, seed: int) -> None:
        self._key = mix(seed + _STEP)

    def stream(self, purpose: str, *names: int) -> Stream:
        """The stream for a purpose; `names` say for whom (a link's two ends, a node and its boot)."""
        key = mix(self._key ^ zlib.crc32(purpose.encode()))
        for name in names:
            key = mix(key + _STEP + name)
        return Stream(key)
