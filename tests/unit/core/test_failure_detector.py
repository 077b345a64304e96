"""Silence judged by numbers for time (G3, G4)."""

from __future__ import annotations

import pytest

from cluster.config import GossipSettings
from cluster.core.failure_detector import FailureDetector
from cluster.identity import Status

SETTINGS = GossipSettings(interval_s=1.0)


def detector(now: float = 0.0) -> FailureDetector:
    return FailureDetector(SETTINGS, now)


@pytest.mark.parametrize(
    ("status", "silent", "expected"),
    [
        (Status.ALIVE, 5.9, Status.ALIVE),
        (Status.ALIVE, 6.0, Status.SUSPECT),
        (Status.SUSPECT, 9.9, Status.SUSPECT),
        (Status.ALIVE, 10.0, Status.FAILED),
        (Status.UNKNOWN, 9.9, Status.UNKNOWN),
        (Status.UNKNOWN, 10.0, Status.FAILED),
        (Status.FAILED, 0.0, Status.FAILED),
    ],
)
def test_silence_turns_into_suspicion_and_then_failure_g3(
    status: Status, silent: float, expected: Status
) -> None:
    assert detector().judge(status, 0.0, silent) is expected


@pytest.mark.parametrize("since", [0.1, 22.424508864209844, 1e6 / 3, 123456.789])
@pytest.mark.parametrize("status", [Status.ALIVE, Status.SUSPECT, Status.UNKNOWN])
def test_a_verdict_falls_exactly_at_its_announced_time(status: Status, since: float) -> None:
    """A rounding error here makes a timer that fires and finds nothing to do, again and again."""
    mine = detector()
    assert mine.judge(status, since, mine.next_change(status, since)) is not status


def test_only_a_failed_row_is_removed_g3() -> None:
    mine = detector()
    assert not mine.to_be_removed(19.9)
    assert mine.to_be_removed(20.0)
    assert not mine.to_be_asked(Status.FAILED, 30.0)


def test_a_lagging_loop_doubts_itself_and_accuses_nobody_g4() -> None:
    mine = detector()
    mine.lagged(0.6, 5.0)
    assert mine.stretch == 2.0
    assert not mine.may_accuse()


def test_a_loop_late_by_half_a_round_is_on_time_g4() -> None:
    mine = detector()
    assert mine.lagged(0.5, 5.0) == 5.0
    assert mine.stretch == 1.0
    assert mine.may_accuse()


def test_doubt_is_bounded_and_fades_with_good_rounds_g4() -> None:
    mine = detector()
    for now in range(1, 20):
        mine.lagged(1.0, float(now))
        mine.heard(float(now))
        mine.end_round(float(now))
    assert mine.stretch == 8.0
    for now in range(20, 23):
        mine.heard(float(now))
        mine.end_round(float(now))
    assert mine.stretch == 1.0


def test_the_same_pause_is_excused_once_g4() -> None:
    mine = detector()
    assert mine.lagged(30.0, 40.0) == 10.0
    assert mine.lagged(30.0, 41.0) == 40.0


def test_time_in_which_nobody_was_heard_is_excused_when_somebody_speaks_g4() -> None:
    mine = detector()
    mine.heard(10.0)
    assert mine.heard(12.9) == 12.9
    assert mine.heard(20.0) == 12.9


def test_a_deaf_node_accuses_nobody_until_its_doubt_is_largest_g4() -> None:
    mine = detector()
    verdicts = []
    for now in range(1, 9):
        mine.end_round(float(now))
        verdicts.append(mine.may_accuse())
    assert verdicts == [True, True, True, False, False, True, True, True]
    assert mine.stretch == 8.0
    assert mine.judge(Status.ALIVE, 0.0, 79.0) is Status.SUSPECT
    assert mine.judge(Status.ALIVE, 0.0, 80.0) is Status.FAILED


def test_who_doubts_itself_buries_nobody_sooner_g3_g4() -> None:
    mine = detector()
    assert mine.to_be_removed(20.0)
    mine.stretch = 2.0
    assert not mine.to_be_removed(39.9)
    assert mine.to_be_removed(40.0)


def test_two_signs_of_life_support_each_other_within_ten_rounds_g2() -> None:
    assert detector().believes_in_a_return(9.9)
    assert not detector().believes_in_a_return(10.0)
