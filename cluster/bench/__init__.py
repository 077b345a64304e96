"""Measures the system from outside, as its users see it, in one run on one machine.

`survival` asks what a leader's death costs, `java` what the Java engine costs beside what people would type
without it, `soak` whether anything grows. Here is what they share.
"""

from __future__ import annotations

import math
import os
import platform
import subprocess

import msgspec

from cluster.errors import ClusterError

HTTP_ABOVE_BASE = 888
"""The gateway's HTTP port above the base port, as 8888 is above 8000."""

SETTLE_S = 20.0
"""What a started engine gets before it is measured: after ten seconds it warms its spare compiler."""


class Spread(msgspec.Struct, frozen=True):
    """Milliseconds: median, 90th and 99th percentile (nearest rank), the worst, and of how many."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    count: int

    @classmethod
    def of(cls, seconds: list[float]) -> Spread:
        """Of a list that is not empty."""
        ordered = sorted(seconds)

        def rank(share: float) -> float:
            return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)] * 1000, 2)

        return cls(rank(0.5), rank(0.9), rank(0.99), rank(1.0), len(ordered))


def machine() -> str:
    """Processors, Python and JDK."""
    try:
        said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    except OSError as error:
        raise ClusterError("no java on the PATH: install a JDK, 17 or newer") from error
    jdk = said.partition("\n")[0]
    return f"{os.cpu_count()} processors, Python {platform.python_version()}, {jdk}"
