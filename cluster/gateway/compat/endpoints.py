"""Which drop-in interfaces are served: those that the configuration names."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cluster.gateway.compat.jobe_routes import Jobe
from cluster.gateway.compat.judge0_routes import Judge0
from cluster.gateway.compat.parts import CompatParts
from cluster.gateway.compat.piston_routes import Piston
from cluster.gateway.endpoint import Endpoint

INTERFACES: Mapping[str, Callable[[CompatParts], Jobe | Piston | Judge0]] = {
    "jobe": Jobe,
    "piston": Piston,
    "judge0": Judge0,
}


def compat_endpoints(parts: CompatParts) -> tuple[tuple[str, str, Endpoint], ...]:
    """Path, method, and what answers, for every interface that is switched on."""
    chosen = dict.fromkeys(parts.settings.compat.interfaces)
    return tuple(endpoint for name in chosen for endpoint in INTERFACES[name](parts).endpoints())
