"""Which drop-in interfaces are served: those that the configuration names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from cluster.gateway.compat.jobe_routes import Jobe
from cluster.gateway.compat.judge0_routes import Judge0
from cluster.gateway.compat.parts import CompatParts
from cluster.gateway.compat.piston_routes import Piston
from cluster.gateway.door import Entrance
from cluster.gateway.endpoint import Endpoint


class Interface(Protocol):
    """One of them.

    Attributes:
        open_paths: those that tell of the service itself, and ask for no token.
    """

    open_paths: frozenset[str]

    def endpoints(self) -> Iterable[tuple[str, str, Endpoint]]:
        """Path, method, and what answers."""
        ...

    def entrances(self) -> Iterable[Entrance]:
        """Where it takes bodies."""
        ...


INTERFACES: Mapping[str, Callable[[CompatParts], Interface]] = {
    "jobe": Jobe,
    "piston": Piston,
    "judge0": Judge0,
}


def compat_interfaces(parts: CompatParts) -> Mapping[str, Interface]:
    """Those that are switched on, by their names."""
    return {name: INTERFACES[name](parts) for name in parts.settings.compat.interfaces}
