"""What a leader counts of its work."""

from __future__ import annotations

import attrs


@attrs.define
class Counters:
    """What happened under this leadership."""

    assigned: int = 0
    attached: int = 0
    finished: int = 0
    duplicates: int = 0
    refused: int = 0
    expired: int = 0
    cancelled: int = 0
    returned: int = 0
    losses: int = 0
    worker_lost: int = 0
    orphans: int = 0
    strays: int = 0
    progress_dropped: int = 0
