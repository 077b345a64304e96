"""The durable record of a node (N3), and the ledger that orders what is promised and what is on disk.

Decisions look at `Ledger.record`, the newest value asked for; everything *sent* looks at `Ledger.durable`,
because no message that depends on a record leaves before the record is durable (N4).
"""

from __future__ import annotations

import msgspec


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a node must never forget (N3). Written whole; nothing in it ever goes backwards.

    Attributes:
        cluster, node: whose record this is; a different configuration refuses to start.
        voters: hash of the voter list (N1).
        boot: count of this node's lives: max(stored + 1, UTC seconds).
        may_vote: false until N5 is satisfied.
        accepted: highest epoch promised or followed.
        promised_node, promised_boot: to whom `accepted` was promised; -1 and 0 for nobody.
        fence_epoch, fence_leader: the highest epoch followed, led or worked for, and its leader (L6).
    """

    cluster: str
    node: int
    voters: str
    boot: int
    may_vote: bool = False
    accepted: int = 0
    promised_node: int = -1
    promised_boot: int = 0
    fence_epoch: int = 0
    fence_leader: int = -1
