"""What a program may use, and the bounds of everything that nodes exchange (architecture A1.5)."""

from __future__ import annotations

import math

import msgspec

MIB = 1024 * 1024

DATAGRAM_PAYLOAD_MAX = 1200
"""Bytes of a datagram's plain payload (G6): with header and tag it stays under every usual MTU."""

FRAME_MAX = 32 * MIB
"""Bytes of one channel frame: 8 MiB of input, or three streams of output, with room."""

FACTS_MAX = 700
"""Bytes of one node's encoded facts, so that one always fits a datagram (G5)."""

JOINED_MAX = 1000
"""Workers that are in nobody's member list and that one node listens to at most."""

SLOTS_MAX = 4096
"""Jobs that one node runs at once."""

WAIT_MAX_S = 3600.0
"""The longest that anybody waits for anything, in seconds."""

ATTEMPTS_MAX = 2**31
"""Sendings of one job."""

ATTEMPTS_BELIEVED = ATTEMPTS_MAX // 2
"""Of a higher number that a worker reports no more is believed: the next ones must still fit a message."""

RUNS_MAX = 100
"""Inputs that one job's program is run with."""

TENANT_MAX = 64
"""Characters of a tenant's name."""

SHARE_MAX = 1000
"""Jobs that one tenant may have in a turn of the leader's queue."""


class Limits(msgspec.Struct, frozen=True):
    """What one run may use. A caller may ask for less; the configuration caps what it may ask (java.md)."""

    wall_s: float = 10.0
    cpu_s: float = 5.0
    memory_bytes: int = 256 * MIB
    output_bytes: int = MIB
    """For each of standard output, standard error and the value of `run()`."""
    processes: int = 64
    """Threads and processes together."""
    tmp_bytes: int = 64 * MIB
    compile_s: float = 10.0


LIMIT_RANGES = (
    ("wall_s", 0.1, 3600.0),
    ("cpu_s", 0.1, 3600.0),
    ("memory_bytes", 32 * MIB, 2**40),
    ("output_bytes", 1, 8 * MIB),
    ("processes", 16, 100_000),
    ("tmp_bytes", 4096, 2**40),
    ("compile_s", 0.1, 3600.0),
)
"""What $.limits may say: a virtual machine needs some memory and threads, and three outputs fit a frame."""


def limit_problems(limits: Limits) -> list[str]:
    """Limits that no program could run under; on the wire they are plain numbers: this is their gate."""
    return [
        f"$.limits.{name}: must be at least {least:g} and at most {most:g}"
        for name, least, most in LIMIT_RANGES
        if not least <= getattr(limits, name) <= most  # also NaN
    ]


def bounded(limits: Limits, caps: Limits) -> Limits:
    """The limits asked for, none above its cap; what is no positive number becomes the cap."""
    chosen = {
        name: asked if math.isfinite(asked) and 0 < asked <= cap else cap
        for name in Limits.__struct_fields__
        for asked, cap in [(getattr(limits, name), getattr(caps, name))]
    }
    return Limits(**chosen)
