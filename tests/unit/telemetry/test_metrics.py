"""What `/metrics` shows: H10."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster.telemetry.metrics import Metrics, Reading
from cluster.wire.jobs import Compilation, Outcome, Reason, Refusal, Run, Verdict

OK = Outcome(
    Verdict.OK,
    compilation=Compilation(seconds=0.004),
    runs=(Run(Verdict.OK, wall_s=0.02), Run(Verdict.OK, wall_s=0.03)),
    queue_s=0.001,
)


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = metrics.exposition().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_snapshots_are_read_at_each_scrape() -> None:
    slots = [1.0]
    metrics = Metrics(
        lambda: (
            Reading("javacluster_slots", "Slots.", "gauge", {"state": "free"}, slots[0]),
            Reading("javacluster_drops", "Datagrams dropped.", "counter", {"reason": "replayed"}, 4),
            Reading("javacluster_slots", "Slots.", "gauge", {"state": "used"}, 2),
        )
    )
    assert samples(metrics)["javacluster_slots", (("state", "free"),)] == 1
    slots[0] = 5
    found = samples(metrics)
    assert found["javacluster_slots", (("state", "free"),)] == 5
    assert found["javacluster_slots", (("state", "used"),)] == 2
    assert found["javacluster_drops_total", (("reason", "replayed"),)] == 4


def test_answers_are_counted_by_verdict_and_phase() -> None:
    metrics = Metrics(tuple)
    metrics.answered(OK, cached=False, seconds=0.06)
    metrics.answered(OK, cached=True, seconds=0.001)
    metrics.answered(Refusal(Reason.OVERLOADED, "full"), cached=False, seconds=0.002)
    found = samples(metrics)
    assert found["javacluster_jobs_total", (("verdict", "ok"),)] == 2
    assert found["javacluster_jobs_total", (("verdict", "overloaded"),)] == 1
    assert found["javacluster_cached_answers_total", ()] == 1
    counts = {"queue": 1, "compile": 1, "run": 2, "total": 3}
    for phase, count in counts.items():
        assert found["javacluster_job_seconds_count", (("phase", phase),)] == count
    assert found["javacluster_job_seconds_sum", (("phase", "run"),)] == pytest.approx(0.05)


def test_responses_are_counted_by_endpoint_and_status() -> None:
    metrics = Metrics(tuple)
    for _ in range(2):
        metrics.responded("/livez", 200)
    assert (
        samples(metrics)["javacluster_http_responses_total", (("endpoint", "/livez"), ("status", "200"))] == 2
    )


def test_requests_under_way_are_told_by_endpoint_and_timed_when_they_end() -> None:
    """H10: long polls and streams too, while they last."""
    metrics = Metrics(tuple)
    events = (("endpoint", "/v1/jobs/<job>/events"),)
    for _ in range(3):
        metrics.opened("/v1/jobs/<job>/events")
    metrics.closed("/v1/jobs/<job>/events", 30.0)
    found = samples(metrics)
    assert found["javacluster_http_open", events] == 2
    assert found["javacluster_http_seconds_count", events] == 1
    assert found["javacluster_http_seconds_sum", events] == 30


def test_two_nodes_in_one_process_do_not_mix() -> None:
    one, other = Metrics(tuple), Metrics(tuple)
    one.responded("/", 200)
    assert not any(name.startswith("javacluster_http_responses") for name, _ in samples(other))
