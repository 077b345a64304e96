"""The cluster keys that datagrams are sealed with, and how they rotate without downtime (X1).

A key file has one key a line, `ID HEX64`, and `#` starts a comment. Every key in it is accepted; the last
line is the one to send with. So a key is rotated in three steps, each on every node before the next: put
the new line *above* the old one (accepted), move it to the end (sent), remove the old line.
"""

from __future__ import annotations

import re
from typing import Self

import attrs

from cluster.errors import ConfigError

KEY_BYTES = 32
KEY_ID_MAX = 255
KEYS_MAX = 16
"""Keys in one file: more than any rotation needs."""

_LINE = re.compile(r"(?P<id>[0-9]{1,3})\s+(?P<key>[0-9A-Fa-f]{64})")


@attrs.frozen
class Keyring:
    """Cluster keys by id, the newest last; their bytes never appear in a repr."""

    keys: dict[int, bytes] = attrs.field(repr=False)

    @property
    def newest(self) -> int:
        """The id of the key to send with."""
        return next(reversed(self.keys))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read a key file.

        Raises:
            ConfigError: with one line a problem; none of them quotes a key.
        """
        keys: dict[int, bytes] = {}
        problems: list[str] = []
        for number, line in enumerate(text.splitlines(), start=1):
            content = line.partition("#")[0].strip()
            if not content:
                continue
            match = _LINE.fullmatch(content)
            if match is None:
                problems.append(f"line {number}: expected `ID HEX64`, a number and 64 hexadecimal digits")
            elif not 1 <= (key_id := int(match["id"])) <= KEY_ID_MAX:
                problems.append(f"line {number}: key id {key_id} is not between 1 and {KEY_ID_MAX}")
            elif key_id in keys:
                problems.append(f"line {number}: key id {key_id} appears twice")
            else:
                keys[key_id] = bytes.fromhex(match["key"])
        if len(keys) > KEYS_MAX:
            problems.append(f"{len(keys)} keys; at most {KEYS_MAX}: remove those that are no longer sent")
        if not keys and not problems:
            problems.append("no key in it: make one with `javacluster init`")
        if problems:
            raise ConfigError(*problems)
        return cls(keys)

    @classmethod
    def generate(cls, secret: bytes, key_id: int = 1) -> Self:
        """A ring of one new key, from 32 bytes of the system's randomness."""
        if len(secret) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(secret)}")
        return cls({key_id: secret})

    def to_text(self) -> str:
        """The key file's content."""
        lines = [
            "# javacluster datagram keys: `ID HEX64` a line; all are accepted, the last line is sent with.",
            *(f"{key_id} {key.hex()}" for key_id, key in self.keys.items()),
        ]
        return "\n".join(lines) + "\n"
