"""The catalogue of hostile programs, row by row; and that it is whole."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from cluster.wire.jobs import Verdict
from tests.hostile.catalogue import ELSEWHERE, NOT_HERE, ROWS, ROWS_OF, Row, holds
from tests.support.java_driver import JavaDriver, main_class, program

_MARKED = [pytest.param(row, id=row.id, marks=[pytest.mark.exhaustive] if row.slow else []) for row in ROWS]


@pytest.mark.parametrize("row", _MARKED)
def test_a_hostile_program_gets_its_verdict_and_leaves_nothing(java: JavaDriver, row: Row) -> None:
    run = java.run(row.text, row.given, **row.limits)
    assert holds(row, run), run


def _is_a_test(place: str) -> bool:
    """Whether such a file has a test of that name."""
    file, _, name = place.partition("::")
    tree = ast.parse((Path(__file__).resolve().parents[1] / file).read_text(encoding="utf-8"))
    defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return name.startswith("test_") and name in defined


def test_every_row_is_shown_or_says_why_not() -> None:
    wanted = [f"{part}{number}" for part, count in ROWS_OF.items() for number in range(1, count + 1)]
    shown = {re.sub(r"[a-z]$", "", row.id) for row in ROWS}
    assert sorted(shown | set(ELSEWHERE) | set(NOT_HERE)) == sorted(wanted)
    assert not set(NOT_HERE) & (shown | set(ELSEWHERE))
    assert [place for place in ELSEWHERE.values() if not _is_a_test(place)] == []


def test_one_program_out_of_memory_disturbs_no_other(java: JavaDriver) -> None:
    """M16."""
    hungry = program(
        main_class("var l = new ArrayList<byte[]>(); while (true) l.add(new byte[1 << 20]);"), cpu_s=4.0
    )
    steady = program(main_class('Thread.sleep(500); System.out.print("fine");'))
    jobs = {java.submit(hungry): Verdict.MEMORY_LIMIT, java.submit(steady): Verdict.OK}
    answers = [java.read(), java.read()]
    assert {answer.id: answer.outcome.verdict for answer in answers if answer.outcome} == jobs
