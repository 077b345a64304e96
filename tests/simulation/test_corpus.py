"""The corpus says what it keeps; each defect has a test that no change of the simulator moves."""

from __future__ import annotations

import re
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
ROOT = CORPUS.parent.parent.parent
TEST = re.compile(r"(tests/[\w/]+\.py)::(test_\w+)")
NO_DEFECT = ("no defect: ", "nothing yet: ")


def rows() -> dict[str, tuple[str, str]]:
    """Of each schedule: what it is for, and the test that stays."""
    lines = (CORPUS / "README.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| `")]
    return {name.strip("`"): (purpose, test) for name, purpose, test in cells}


def is_there(test: str) -> bool:
    named = TEST.search(test)
    if named is None:
        return False
    path = ROOT / named[1]
    return path.is_file() and f"def {named[2]}(" in path.read_text(encoding="utf-8")


def test_each_schedule_of_the_corpus_says_what_it_is_for() -> None:
    said = rows()
    assert set(said) == {path.stem for path in CORPUS.glob("*.json")}
    for name, (purpose, test) in said.items():
        assert purpose, name
        assert is_there(test) or test.startswith(("none: ", "the schedule itself: ")), f"{name}: {test}"


def test_each_seed_of_a_defect_names_the_test_that_stays() -> None:
    lines = (CORPUS / "seeds.txt").read_text(encoding="utf-8").splitlines()
    named = 0
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if not line or line.startswith("#"):
            continue
        seed, what = line.split(maxsplit=1)
        if not what.startswith(NO_DEFECT):
            assert after.startswith("#") and is_there(after), f"{seed}: no such test: {after}"  # noqa: PT018
            named += 1
    assert named
