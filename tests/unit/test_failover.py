"""What `javacluster bench --part failover` makes of its measurements."""

from __future__ import annotations

from cluster.bench import Spread
from cluster.bench.failover import Kind, Line, Report, Result, _sending, as_page, joined


def result(kind: Kind, seconds: float) -> Result:
    return Result(kind, Spread.of([seconds]), None, 0)


def test_of_several_runs_the_newest_of_each_kind_counts() -> None:
    old = Report("m", 5, (result(Kind.KILL, 1.0), result(Kind.VANISH, 2.0)))
    new = Report("m", 5, (result(Kind.HAND_OVER, 3.0), result(Kind.KILL, 4.0)))
    both = joined(old, new)
    assert [r.kind for r in both.results] == [Kind.KILL, Kind.VANISH, Kind.HAND_OVER]
    assert both.results[0].assigned.p50_ms == 4000


def test_the_page_has_a_row_a_kind_and_says_what_was_left_out() -> None:
    page = as_page(Report("m", 5, (result(Kind.KILL, 0.4),), "worker's host vanishes: it needs root"))
    assert "| leader killed | 1 | 400 | 400 | 400 |" in page
    assert "Left out: worker's host vanishes: it needs root." in page


def test_an_assignment_is_read_from_the_log() -> None:
    text = "job 0123abcd assigned to server 4, attempt 2, epoch 17"
    assert _sending(Line(0.0, 1, text)) == (4, 2, 17)
    assert _sending(Line(0.0, 1, "job 0123abcd handed back by server 4")) is None
