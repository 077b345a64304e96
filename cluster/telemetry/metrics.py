"""Numbers for Prometheus (H10): snapshots read at scrape time, and what is counted as answers go out.

The registry is this object's own, so that several nodes can live in one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Literal

import attrs
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from cluster.wire.jobs import Outcome, Refusal

PHASE_BUCKETS_S = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1.0, 2.0, 5.0, 10.0, 20.0, 60.0),
)
"""Upper bounds: a cached answer takes a millisecond, a deadline a minute."""
ENDPOINT_BUCKETS_S = (0.001, 0.01, 0.1, 1.0, 10.0, 60.0)
"""Coarse, as there are many endpoints; the phases of jobs tell more."""


@attrs.frozen
class Reading:
    """One sample of a snapshot.

    Attributes:
        name: with the unit, without `_total`; readings of one name share kind, help and label names.
        labels: a few fixed values each; never a job's id or a path.
    """

    name: str
    help: str
    kind: Literal["gauge", "counter"]
    labels: Mapping[str, str]
    value: float


class _Snapshots(Collector):
    """Asks for the readings at each scrape, and groups them."""

    def __init__(self, readings: Callable[[], Iterable[Reading]]) -> None:
        self._readings = readings

    def describe(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        """Nothing before the first scrape: the snapshots may not exist yet."""
        return ()

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        """One family a name, in the order of first appearance."""
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for reading in self._readings():
            family = families.get(reading.name)
            if family is None:
                kind = GaugeMetricFamily if reading.kind == "gauge" else CounterMetricFamily
                family = families[reading.name] = kind(
                    reading.name, reading.help, labels=tuple(reading.labels)
                )
            family.add_metric(tuple(reading.labels.values()), reading.value)
        return families.values()


class Metrics:
    """Everything that `/metrics` shows of one node."""

    def __init__(self, readings: Callable[[], Iterable[Reading]]) -> None:
        """Read `readings` at each scrape."""
        self._registry = CollectorRegistry()
        self._registry.register(_Snapshots(readings))
        phases = Histogram(
            "javacluster_job_seconds",
            "Time of jobs by phase; cached answers count in total only.",
            ("phase",),
            buckets=PHASE_BUCKETS_S,
            registry=self._registry,
        )
        jobs = Counter(
            "javacluster_jobs",
            "Answers to clients by verdict or refusal.",
            ("verdict",),
            registry=self._registry,
        )
        self._cached = Counter(
            "javacluster_cached_answers", "Answers taken from the cache.", registry=self._registry
        )
        responses = Counter(
            "javacluster_http_responses",
            "HTTP answers by endpoint and status; a stream counts when it begins.",
            ("endpoint", "status"),
            registry=self._registry,
        )
        opened = Gauge(
            "javacluster_http_open",
            "HTTP requests that wait for their answers or are being answered: programs, long polls, streams.",
            ("endpoint",),
            registry=self._registry,
        )
        durations = Histogram(
            "javacluster_http_seconds",
            "Time from an HTTP request to the end of its answer, or until its client left.",
            ("endpoint",),
            buckets=ENDPOINT_BUCKETS_S,
            registry=self._registry,
        )
        # Looked up once, as this is on every request's way; the families keep them all anyway.
        self._phase = cache(phases.labels)
        self._job = cache(jobs.labels)
        self._response = cache(responses.labels)
        self._opened = cache(opened.labels)
        self._duration = cache(durations.labels)

    def answered(self, result: Outcome | Refusal, cached: bool, seconds: float) -> None:
        """Count a job's answer; `seconds` from its request's arrival."""
        self._phase("total").observe(seconds)
        if isinstance(result, Refusal):
            self._job(result.reason.value).inc()
            return
        self._job(result.verdict.value).inc()
        if cached:
            self._cached.inc()
            return
        self._phase("queue").observe(result.queue_s)
        if result.compilation is not None:
            self._phase("compile").observe(result.compilation.seconds)
        for run in result.runs:
            self._phase("run").observe(run.wall_s)

    def responded(self, endpoint: str, status: int) -> None:
        """Count an HTTP answer; `endpoint` is a route, never what a client typed."""
        self._response(endpoint, int(status)).inc()

    def opened(self, endpoint: str) -> None:
        """A request has come whose answer may take its time."""
        self._opened(endpoint).inc()

    def closed(self, endpoint: str, seconds: float) -> None:
        """It has been answered to the end, or its client has left."""
        self._opened(endpoint).dec()
        self._duration(endpoint).observe(seconds)

    def exposition(self) -> bytes:
        """Prometheus's text format, version 0.0.4."""
        return generate_latest(self._registry)
