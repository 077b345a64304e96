"""Numbers for Prometheus (H10): snapshots read at scrape time, and what is counted as answers go out.

The registry is this object's own, so that several nodes can live in one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
        self._phases = Histogram(
            "javacluster_job_seconds",
            "Time of jobs by phase; cached answers count in total only.",
            ("phase",),
            buckets=PHASE_BUCKETS_S,
            registry=self._registry,
        )
        self._jobs = Counter(
            "javacluster_jobs",
            "Answers to clients by verdict or refusal.",
            ("verdict",),
            registry=self._registry,
        )
        self._cached = Counter(
            "javacluster_cached_answers", "Answers taken from the cache.", registry=self._registry
        )
        self._responses = Counter(
            "javacluster_http_responses",
            "HTTP answers by endpoint and status; a stream counts when it begins.",
            ("endpoint", "status"),
            registry=self._registry,
        )
        self._open = Gauge(
            "javacluster_http_open",
            "HTTP requests that wait for their answers or are being answered: programs, long polls, streams.",
            ("endpoint",),
            registry=self._registry,
        )
        self._durations = Histogram(
            "javacluster_http_seconds",
            "Time from an HTTP request to the end of its answer, or until its client left.",
            ("endpoint",),
            buckets=ENDPOINT_BUCKETS_S,
            registry=self._registry,
        )

        self._endpoints: dict[str, tuple[Gauge, Histogram]] = {}

    def answered(self, result: Outcome | Refusal, cached: bool, seconds: float) -> None:
        """Count a job's answer; `seconds` from its request's arrival."""
        self._phases.labels("total").observe(seconds)
        if isinstance(result, Refusal):
            self._jobs.labels(result.reason.value).inc()
            return
        self._jobs.labels(result.verdict.value).inc()
        if cached:
            self._cached.inc()
            return
        self._phases.labels("queue").observe(result.queue_s)
        if result.compilation is not None:
            self._phases.labels("compile").observe(result.compilation.seconds)
        for run in result.runs:
            self._phases.labels("run").observe(run.wall_s)

    def responded(self, endpoint: str, status: int) -> None:
        """Count an HTTP answer; `endpoint` is a route, never what a client typed."""
        self._responses.labels(endpoint, str(int(status))).inc()

    def opened(self, endpoint: str) -> None:
        """A request has come whose answer may take its time."""
        self._endpoint(endpoint)[0].inc()

    def closed(self, endpoint: str, seconds: float) -> None:
        """It has been answered to the end, or its client has left."""
        count, durations = self._endpoint(endpoint)
        count.dec()
        durations.observe(seconds)

    def _endpoint(self, endpoint: str) -> tuple[Gauge, Histogram]:
        """Looked up once, as this is on every request's way; endpoints are few."""
        found = self._endpoints.get(endpoint)
        if found is None:
            found = self._open.labels(endpoint), self._durations.labels(endpoint)
            self._endpoints[endpoint] = found
        return found

    def exposition(self) -> bytes:
        """Prometheus's text format, version 0.0.4."""
        return generate_latest(self._registry)
