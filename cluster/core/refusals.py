"""What a gateway answers by itself when the cluster gives no outcome, and when to try again (W10, W11)."""

from __future__ import annotations

from cluster.wire.jobs import Reason, Refusal

RETRY_LEADER_S = 1.0
"""`Retry-After` without a leader: an election takes less."""

RETRY_STOPPING_S = 5.0
RETRY_OVERLOADED_S = 2.0


def stopping() -> Refusal:
    """This gateway drains."""
    return Refusal(Reason.STOPPING, "this gateway is stopping: use another one", RETRY_STOPPING_S)


def crowded(requests: int) -> Refusal:
    """So many requests wait here that there is no room for another, or none for another of this tenant."""
    text = f"{requests} requests wait here already, or all that may be this tenant's: try later"
    return Refusal(Reason.OVERLOADED, text, RETRY_OVERLOADED_S)


def without_leader(why: tuple[Reason, str], waited_s: float) -> Refusal:
    """Nobody could be given the job; `why` says what is missing."""
    reason, text = why
    return Refusal(reason, f"waited {waited_s:g} s for a leader: {text}", RETRY_LEADER_S)


def unread() -> Refusal:
    """There is a leader, and all the while it had not read what it was sent before (W14)."""
    text = "the leader was slow to read what this gateway had for it: try again later"
    return Refusal(Reason.OVERLOADED, text, RETRY_OVERLOADED_S)
