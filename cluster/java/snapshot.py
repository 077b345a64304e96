"""What may be seen of the Java side from outside."""

from __future__ import annotations

import attrs


@attrs.frozen
class JavaSnapshot:
    """What status and metrics show of the Java side; counters since the start."""

    compiler_ready: bool
    running: int
    compilations: int
    recycles: int
    crashes: int
    timeouts: int
    classes_hits: int
    classes_joined: int
    warm_starts: int
    cold_starts: int
    waiting: int
    rehearsed: int
    lost: int
    """Machines that died while they waited."""
    struck: int
    """Programs whose machine something outside killed; they ran once more."""
    compilers_lost: int
    archived: bool
    """Whether waiting machines map their classes from the archive."""
