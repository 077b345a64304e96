"""Alarms: many deadlines behind one timer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.core.alarms import COMPACT_ABOVE, Alarms

ACTIONS = st.lists(
    st.tuples(st.sampled_from(["set", "clear"]), st.integers(0, 4), st.floats(0, 10)), max_size=200
)


@given(ACTIONS)
def test_what_was_set_last_rings_once_in_order_of_time(actions: list[tuple[str, int, float]]) -> None:
    alarms: Alarms[int] = Alarms()
    model: dict[int, float] = {}
    for action, key, when in actions:
        if action == "set":
            alarms.set(key, when)
            model[key] = when
        else:
            alarms.clear(key)
            model.pop(key, None)
        assert alarms.next() == min(model.values(), default=None)
        assert (key in alarms) == (key in model)
    rung = []
    while (key_due := alarms.pop_due(5.0)) is not None:
        rung.append(key_due)
    assert sorted(rung) == sorted(key for key, when in model.items() if when <= 5.0)
    assert [model[key] for key in rung] == sorted(model[key] for key in rung)
    assert alarms.pop_due(5.0) is None


def test_moving_one_deadline_for_ever_takes_no_more_room() -> None:
    alarms: Alarms[str] = Alarms()
    for number in range(10_000):
        alarms.set("same", float(number))
    assert len(alarms._heap) <= COMPACT_ABOVE + 3
    assert alarms.next() == 9999.0
