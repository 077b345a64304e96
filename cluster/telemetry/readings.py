"""One node's core, seen as numbers (H10): a reading for each thing worth watching, made at scrape time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cluster.core.views import NodeSnapshot
from cluster.identity import State, Status
from cluster.telemetry.metrics import Reading

_NOTHING: Mapping[str, str] = {}


def _gauge(name: str, text: str, value: float, labels: Mapping[str, str] = _NOTHING) -> Reading:
    return Reading(f"javacluster_{name}", text, "gauge", labels, value)


def _counter(name: str, text: str, value: float, labels: Mapping[str, str] = _NOTHING) -> Reading:
    return Reading(f"javacluster_{name}", text, "counter", labels, value)


def readings_of(snapshot: NodeSnapshot) -> Iterator[Reading]:
    """Everything that a core's snapshot tells."""
    yield from _authority(snapshot)
    yield from _membership(snapshot)
    yield from _work(snapshot)


def loop_readings(lag_s: float, worst_s: float, events: Mapping[str, int]) -> Iterator[Reading]:
    """How the event loop keeps up, and what it went through."""
    yield _gauge("loop_lag_seconds", "How late the last timer was.", lag_s)
    yield _gauge("loop_lag_worst_seconds", "How late the latest timer of this life was.", worst_s)
    for name, value in sorted(events.items()):
        yield _counter("driver_events", "The driver's counters.", value, {"event": name})


def traffic_readings(counts: Mapping[str, Mapping[str, int]]) -> Iterator[Reading]:
    """Datagrams and frames: in, out, and dropped by reason."""
    for what, kinds in counts.items():
        for kind, value in sorted(kinds.items()):
            yield _counter("messages", "Datagrams and frames.", value, {"what": what, "kind": kind})


def http_readings(connections: int, evicted: int, body_bytes: int) -> Iterator[Reading]:
    """What the HTTP port holds now (H8)."""
    yield _gauge("http_connections", "Connections that are open.", connections)
    yield _counter("http_evictions", "Idle connections that were closed to make room.", evicted)
    yield _gauge("http_body_bytes", "Bytes of request bodies that arrive or wait for answers.", body_bytes)


_JAVA_COUNTERS = {
    "cold_starts": "Programs that found no virtual machine waiting (J2).",
    "warm_starts": "Programs that found one waiting.",
    "compilations": "Compilations by the warm compiler (J1).",
    "classes_hits": "Programs whose classes were known (J4).",
    "classes_joined": "Programs that shared a compilation under way.",
}
_COMPILER_RESTARTS = {
    "recycles": "age",
    "crashes": "crash",
    "timeouts": "timeout",
    "abandoned": "abandoned",
}


def java_readings(snapshot: Mapping[str, float]) -> Iterator[Reading]:
    """The Java side: its pool, its compiler and why that was restarted; all other numbers under one name."""
    for name, value in snapshot.items():
        if name in _JAVA_COUNTERS:
            yield _counter(name, _JAVA_COUNTERS[name], float(value))
        elif name in _COMPILER_RESTARTS:
            text = "Compilers replaced by fresh ones, by reason (J1)."
            yield _counter("compiler_restarts", text, float(value), {"reason": _COMPILER_RESTARTS[name]})
        elif name == "waiting":
            yield _gauge("pool_waiting", "Virtual machines that wait for a program (J2).", float(value))
        else:
            yield _gauge("java", "The Java side.", float(value), {"what": name})


def access_readings(tokens: int, counters: Mapping[tuple[str, str], int]) -> Iterator[Reading]:
    """Who sends programs to a gateway (H9); tenants are those of its file, so that they are few."""
    yield _gauge("tokens", "Bearer tokens that are good here.", tokens)
    for (tenant, result), value in sorted(counters.items()):
        text = "Programs by tenant: taken, or over its rate; refused: requests without a good token."
        yield _counter("tenant_requests", text, value, {"tenant": tenant, "result": result})


def callback_readings(results: Mapping[str, int]) -> Iterator[Reading]:
    """What became of the call-backs that a gateway owed to clients of Judge0's interface."""
    for result, value in results.items():
        text = "Call-backs: delivered, given up after the last try, or never tried as too many waited."
        yield _counter("callbacks", text, value, {"result": result})


def machine_readings(certificate_ends: float, weak_sandbox: bool | None) -> Iterator[Reading]:
    """What no core knows: when the certificate ends (Unix time), and whether the sandbox is weak."""
    text = "When this node's certificate ends."
    yield _gauge("certificate_ends_timestamp_seconds", text, certificate_ends)
    if weak_sandbox is not None:
        text = "1 when programs run without namespaces or without a filter of system calls."
        yield _gauge("sandbox_degraded", text, weak_sandbox)


def _authority(snapshot: NodeSnapshot) -> Iterator[Reading]:
    for state in State:
        text = "1 for what this node does now."
        yield _gauge("state", text, snapshot.state is state, {"state": state.value})
    yield _gauge("epoch", "Epoch that this node follows or leads; 0 without a leader.", snapshot.epoch)
    yield _gauge("accepted_epoch", "Highest epoch promised or followed, durable.", snapshot.record.accepted)
    yield _gauge("may_vote", "1 when this node's record lets it vote (N5).", snapshot.record.may_vote)
    yield _gauge(
        "lease_seconds", "What is left of the leader's lease; negative without.", snapshot.leadership.lease_s
    )
    text = "Number of this node's life: it rises with every start (N3)."
    yield _gauge("boot", text, snapshot.record.boot)
    yield _gauge("storage_ok", "0 while the durable record can't be written.", snapshot.storage_ok)
    yield _counter("ballots", "Elections decided as seen here (E5).", snapshot.election.ballots)
    text = "Election datagrams dropped: their sender has another list of voters (N1)."
    yield _counter("other_voter_lists", text, snapshot.other_lists)
    yield _counter("handshakes", "Handshakes opened by this node (L1).", snapshot.leadership.handshakes)
    yield _counter("leaderships", "Epochs that this node has led.", snapshot.leadership.established)
    yield _counter("resignations", "Epochs that it gave up (L5).", snapshot.leadership.resigned)
    yield _counter("promises", "Proposals granted (L1).", snapshot.allegiance.promises)
    yield _counter("refusals", "Proposals refused (L1).", snapshot.allegiance.refusals)


def _membership(snapshot: NodeSnapshot) -> Iterator[Reading]:
    statuses = [view.status for view in snapshot.membership.members if view.node != snapshot.me]
    for status in Status:
        text = "Other nodes by this node's verdict (G3)."
        yield _gauge("members", text, statuses.count(status), {"status": status.value})
    yield _gauge(
        "gossip_stretch",
        "Factor on this node's timeouts; above 1 it doubts itself (G4).",
        snapshot.membership.stretch,
    )
    for name, value in sorted(snapshot.membership.counters.items()):
        yield _counter("gossip_events", "What gossip did and dropped.", value, {"event": name})


def _work(snapshot: NodeSnapshot) -> Iterator[Reading]:
    work = snapshot.work
    yield _gauge("channels", "Open work channels.", work.channels)
    text = "HELLOs refused: another role, cluster, voter list or timing than it may say (X2)."
    yield _counter("hellos_refused", text, work.refused)
    yield _gauge("held_frames", "Frames that a leader without its lease holds back (L3).", work.held)
    if work.execution is not None:
        execution = work.execution
        yield _gauge("slots", "Jobs that this node can run at once.", execution.slots)
        yield _gauge("slots_busy", "Jobs that it runs now.", len(execution.running))
        yield _gauge("kept_results", "Results that wait for their release (W5).", execution.kept)
        yield _counter("runs_finished", "Jobs finished here.", execution.finished)
        yield _counter("orders_fenced", "Orders of an older epoch refused (L6).", execution.fenced)
    if work.dispatch is not None:
        yield _gauge("queue", "Jobs that wait at this leader.", work.dispatch.queued)
        for name, value in work.dispatch.counters:
            yield _counter("dispatch_events", "What the leader's half did.", value, {"event": name})
    if work.submission is not None:
        submission = work.submission
        yield _gauge("requests_waiting", "Clients that wait for an answer.", submission.requests)
        yield _gauge("cache_bytes", "Bytes of kept answers.", submission.cache.bytes)
        yield _gauge("cache_entries", "Kept answers.", submission.cache.entries)
        for name in ("hits", "misses", "evictions"):
            value = getattr(submission.cache, name)
            yield _counter(
                "cache_events", "Look-ups of the cache, and what fell out.", value, {"event": name}
            )
        yield _counter("requests_shared", "Requests that shared another's run (C4).", submission.shared)
        yield _counter("outcomes_late", "Outcomes that nobody waited for any longer (W8).", submission.late)
