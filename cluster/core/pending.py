"""What a gateway knows of each job that it owes an answer for, and what it tells of all of them (W1)."""

from __future__ import annotations

import attrs
import msgspec

from cluster.core.cache import CacheKey, CacheSnapshot
from cluster.wire.jobs import Job, Outcome
from cluster.wire.messages import Place, Submit


@attrs.define
class Pending:
    """One job that this gateway owes an answer for.

    Attributes:
        key: what it is shared and kept by; None when its first client forbade that.
        keep: for each waiting request, whether its answer may be kept; the oldest first.
        deadline: when its first client stops waiting; the cluster stops working for it then.
        wait_until: when it has waited long enough for a leader and a worker (W11).
        sent: some leader was given it, so that it is sent *again* from now on (W7).
        tenant, share: of its first client, for its turn in the leader's queue.
        losses: workers that it has lost so far (W6).
        placed: the worker that had it last, unless that is among the losses.
        watchers: the requests that want to see its progress (W13).
        shown: epoch and attempt of the run that they saw last.
    """

    job: Job
    key: CacheKey | None
    keep: dict[int, bool]
    deadline: float
    wait_until: float
    size: int
    tenant: str
    share: int
    sent: bool = False
    losses: int = 0
    placed: Place | None = None
    watchers: dict[int, None] = attrs.Factory(dict)
    shown: tuple[int, int] = (0, 0)

    def may_be_joined(self, until: float, progress: bool) -> bool:
        """Whether another client may share it (C4): it lasts until then, and shows all it does (W13)."""
        return self.deadline >= until and (not progress or (self.job.progress and self.shown == (0, 0)))


@attrs.frozen
class SubmissionSnapshot:
    """What status and metrics read.

    Attributes:
        requests, jobs, bytes: waiting now.
        stale: frames of leaders older than the one followed (W8).
        late: outcomes of jobs that nobody waits for any longer (W8).
    """

    requests: int
    jobs: int
    bytes: int
    connected: bool
    draining: bool
    answered: int
    refused: int
    expired: int
    shared: int
    stale: int
    late: int
    cache: CacheSnapshot


def submission_of(pending: Pending, now: float, collect_s: float) -> Submit:
    """The frame that hands a job to the leader; its times count from now."""
    remaining = max(0.0, pending.deadline - now)
    # A new leader may hold a repeated job back for `collect_s` (W7): that much it always has.
    queue_s = min(max(pending.wait_until - now, collect_s), remaining)
    return Submit(
        pending.job,
        pending.sent,
        pending.losses,
        queue_s,
        remaining,
        pending.tenant,
        pending.share,
        pending.placed,
    )


def with_queue_time(outcome: Outcome, seconds: float) -> Outcome:
    """Say how much of its `seconds` a job neither compiled nor ran: it waited, or was on its way (R1)."""
    busy = sum(run.wall_s for run in outcome.runs)
    busy += outcome.compilation.seconds if outcome.compilation is not None else 0.0
    return msgspec.structs.replace(outcome, queue_s=max(0.0, seconds - busy))
