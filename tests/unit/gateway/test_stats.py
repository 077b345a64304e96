"""Throughput and latency of the last minutes (H7)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.gateway.stats import INTERVAL_S, INTERVALS, Recent


def test_answers_are_counted_by_interval_with_their_age() -> None:
    recent = Recent()
    recent.add(100.0, 0.010, ok=True, cached=False)
    recent.add(101.9, 0.020, ok=False, cached=True)
    recent.add(104.0, 0.030, ok=True, cached=False)
    first, second = recent.snapshot(105.0).intervals
    assert (first.at_s, first.answers, first.failures, first.cached) == (5.0, 2, 1, 1)
    assert (second.at_s, second.answers) == (1.0, 1)


def test_only_the_last_minutes_are_kept() -> None:
    recent = Recent()
    for number in range(INTERVALS + 10):
        recent.add(number * INTERVAL_S, 0.01, ok=True, cached=False)
    now = (INTERVALS + 9) * INTERVAL_S
    assert len(recent.snapshot(now).intervals) == INTERVALS
    assert recent.snapshot(now + 10 * INTERVALS * INTERVAL_S).intervals == ()


@given(st.lists(st.floats(min_value=0.0001, max_value=60), min_size=1, max_size=50))
def test_percentiles_are_right_within_a_tenth(seconds: list[float]) -> None:
    recent = Recent()
    for latency in seconds:
        recent.add(0.0, latency, ok=True, cached=False)
    (interval,) = recent.snapshot(0.0).intervals
    ordered = sorted(seconds)
    median = ordered[(len(ordered) + 1) // 2 - 1]
    assert interval.p50_s is not None
    assert interval.p99_s is not None
    assert median * 0.999 <= interval.p50_s <= median * 1.101
    assert interval.p50_s <= interval.p99_s


def test_any_latency_is_counted() -> None:
    recent = Recent()
    for latency in (0.0, -1.0, 1e9):
        recent.add(0.0, latency, ok=True, cached=False)
    assert recent.snapshot(0.0).intervals[0].answers == 3
