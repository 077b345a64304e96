"""How much goes out on a channel before its other end has read what went before (W14).

Jobs and outcomes are large, and several hundred MiB of them may be due at once: to a new leader, to a worker
that came back, to a gateway that did. Handed to the network in one go they would keep everything else on the
channel waiting, fill memory, and be out of date when they arrive. What waits here instead can still be
withdrawn, go elsewhere, or let another tenant have its turn.
"""

from __future__ import annotations

from cluster.wire.messages import Ping

ASK_PART = 4
"""The other end is asked whether it has read after each such part of a window."""


class Window:
    """The bytes on one channel that its other end has not read, as far as is known here.

    A ping follows each part of a window; its number is how many bytes went before it, and the pong, which
    comes when all of them have been read, repeats it. Whoever answers too early only fills his own channel.

    Attributes:
        open: one more may go; it may be larger than what is left, so that any size gets through.
    """

    def __init__(self, size: float) -> None:
        """`size` in bytes; infinite where nothing travels."""
        self._size = size
        self._sent = self._asked = self._read = 0
        self.open = True

    def sent(self, size: int) -> Ping | None:
        """So many bytes go out; returns what must follow them, if anything."""
        self._sent += size
        self.open = self._sent - self._read < self._size
        if self._sent - self._asked < self._size / ASK_PART:
            return None
        self._asked = self._sent
        return Ping(self._asked)

    def read(self, nonce: int) -> None:
        """The other end has answered a ping; pings that ask for signs of life have lower numbers."""
        if self._read < nonce <= self._asked:
            self._read = nonce
            self.open = self._sent - self._read < self._size
