"""What a schedule is made smaller to: the same way of failing, with as little as that takes."""

from __future__ import annotations

import pytest

from tests.simulation import shrink as shrinking
from tests.simulation.generate import generate
from tests.simulation.schedule import Ask, Crash, Cut, Freeze, Knobs, Reset, Schedule, Slow, dump, load
from tests.simulation.shrink import kind, shrink, without
from tests.simulation.simulation import Report

PLACE = 'File "/x/cluster/core/{}.py", line {}, in {}\n'


def said(violation: str, where: str = "") -> str:
    report = Report(1, violation, events=0, settled_ms=0, epochs=0, trace=0, probes={}, where=where)
    return kind(report)


def test_numbers_names_and_states_make_no_other_kind() -> None:
    late = "liveness: no settled leader 5 s after healing: "
    assert said(f"{late}1 down, 2 LOOKING") == said(f"{late}1 LEADING of 1@4 accepted 4")
    ended = "liveness: request {} of quiet times ended with Refusal(reason=<Reason.{}: 'x'>, message='{}')"
    assert said(ended.format(8, "NO_WORKER", "a")) == said(ended.format(31, "NO_WORKER", "b"))
    assert said("I2 node 1 proposes 3, on disk Record(a='x', b=(1,))") == said(
        "I2 node 2 proposes 9, on disk Record(a='y', b=())"
    )
    assert said("liveness: node 3 still runs (A(job='ab'),)") == said("liveness: node 51 still runs ()")
    assert said("I10 'sleep 5 1' is answered with b'x'") == said("I10 'sleep 50 17' is answered with b''")
    assert said("") == ""


def test_defects_of_one_invariant_are_kinds_of_their_own() -> None:
    ended = "liveness: request 8 of quiet times ended with Refusal(reason=<Reason.{}: 'x'>)"
    kinds = [
        said("liveness: no settled leader 5 s after healing: 1 down"),
        said("liveness: request 8 got no answer"),
        said(ended.format("NO_WORKER")),
        said(ended.format("OVERLOADED")),
        said("I2 node 1 proposes 3, on disk 2"),
        said("I2 node 1 tells 3"),
        said("raised: KeyError: 3", PLACE.format("board", 7, "take")),
        said("raised: ValueError: 3", PLACE.format("board", 7, "take")),
        said("raised: KeyError: 3", PLACE.format("board", 9, "take")),
        said("raised: KeyError: 3", PLACE.format("board", 7, "take") + PLACE.format("queue", 7, "take")),
        said("core: an assertion without words", PLACE.format("board", 7, "validate")),
        said("core: an assertion without words", PLACE.format("queue", 7, "validate")),
    ]
    assert len(set(kinds)) == len(kinds)
    again = said("raised: KeyError: 88", "Traceback\n" + PLACE.format("board", 7, "take"))
    assert again == said("raised: KeyError: 3", PLACE.format("board", 7, "take"))


def test_one_defect_is_not_made_smaller_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each schedule fails here: without its crash no leader is settled, with it a client gets no answer."""

    def fake(schedule: Schedule, *, validate_every: int) -> Report:
        del validate_every
        crash = any(isinstance(fault, Crash) for fault in schedule.faults)
        words = "liveness: request 3 got no answer" if crash else "liveness: no settled leader 5 s after"
        return Report(1, words, events=0, settled_ms=0, epochs=0, trace=0, probes={})

    monkeypatch.setattr(shrinking, "run", fake)
    crash = Crash(500, 1, 100)
    whole = Schedule(1, 3, faults=(Freeze(100, 2, 50), crash, Reset(700, (1, 2))))
    assert shrink(whole).faults == (crash,)


def test_nodes_knobs_and_time_that_it_fails_without_are_left_out() -> None:
    crash = Crash(600, 102, 100)
    whole = Schedule(
        5,
        5,
        workers=2,
        gateways=2,
        knobs=Knobs(
            loss=0.1,
            duplicate=0.1,
            delay_us=(1, 2),
            tail=0.1,
            tail_ms=3000,
            queue=20,
            buffer=10,
            disk_us=(5000, 6000),
            drift_ppm=tuple(range(9)),
            event_us=tuple(range(9)),
            stuck_s=3,
        ),
        faults=(crash,),
        asks=(Ask(100, 101, 5),),
        broken=(4, 5),
    )

    def fails(schedule: Schedule) -> bool:
        gateways = schedule.gateway_ids
        return any(isinstance(fault, Crash) and fault.node in gateways for fault in schedule.faults)

    small = shrink(whole, fails)
    assert small == Schedule(5, 3, faults=(Crash(600, 101, 100),), chaos_ms=601)

    def only_slow(schedule: Schedule) -> bool:
        return fails(schedule) and schedule.knobs.tail_ms == 3000 and schedule.chaos_ms >= 2000

    small = shrink(whole, only_slow)
    assert small.knobs == Knobs(tail_ms=3000)
    assert 2000 <= small.chaos_ms < whole.chaos_ms


def test_who_stays_broken_leaves_a_majority_of_the_voters_that_are_left() -> None:
    tried: list[Schedule] = []

    def fails(schedule: Schedule) -> bool:
        tried.append(schedule)
        return schedule.broken == (1, 2)

    small = shrink(Schedule(1, 5, broken=(1, 2)), fails)
    assert small.peers == 5
    assert all(len(schedule.broken) <= (schedule.peers - 1) // 2 for schedule in tried)


def test_without_a_node_the_others_keep_their_knobs_faults_and_clients() -> None:
    both = ((1, 101), (51, 102), (0, 2))
    whole = Schedule(
        1,
        3,
        workers=1,
        gateways=2,
        knobs=Knobs(drift_ppm=(1, 2, 3, 51, 101, 102)),
        faults=(Crash(1, 101, 5), Freeze(2, 102, 5), Cut(3, 5, both), Slow(4, 5, ((101, 1),), 9)),
        asks=(Ask(1, 101, 5), Ask(2, 102, 5)),
    )
    small = without(whole, 101)
    assert small.gateways == 1
    assert small.knobs.drift_ppm == (1, 2, 3, 51, 102)
    assert small.faults == (Freeze(2, 101, 5), Cut(3, 5, ((51, 101), (0, 2))))
    assert [ask.gateway for ask in small.asks] == [101, 101]


@pytest.mark.parametrize("seed", range(20))
def test_without_any_node_it_is_a_schedule(seed: int) -> None:
    whole = generate(seed)
    for node in whole.node_ids if whole.gateways > 1 else (*whole.peer_ids, *whole.worker_ids):
        small = without(whole, node)
        assert len(small.node_ids) == len(whole.node_ids) - 1
        assert len(small.knobs.drift_ppm) in {0, len(small.node_ids)}
        assert load(dump(small)) == small
