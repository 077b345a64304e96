"""Our own figures in the comparison, taken from where they were measured: nothing is copied by hand.

`python -m tests.documentation` writes them between two marks; a test compares them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

BEGIN = "<!-- figures: written by `python -m tests.documentation` -->"
END = "<!-- end of figures -->"

COMPARISON = "explanation/comparison.md"
WAYS = ("javac, java", "cluster, HTTP")
"""Of the engine's page: what others do for each submission, and what this does."""


def with_figures(docs: Path) -> str:
    """The comparison with the figures of the other pages."""
    text = (docs / COMPARISON).read_text(encoding="utf-8")
    before, mark, rest = text.partition(BEGIN)
    _old, end, after = rest.partition(END)
    assert (mark, end) == (BEGIN, END), f"{COMPARISON} has lost the marks of its figures"
    rows = "\n".join(f"| {' | '.join(cells)} |" for cells in figures(docs))
    head = "| what | figure | source |\n| --- | --- | --- |"
    return f"{before}{BEGIN}\n\n{head}\n{rows}\n\n{END}{after}"


def figures(docs: Path) -> Iterator[tuple[str, str, str]]:
    """What, how much, and where it was measured."""
    engine = docs / "benchmarks" / "java.md"
    if engine.exists():
        yield from _engine(engine.read_text(encoding="utf-8"))
    yield from _failover(json.loads((docs / "benchmarks" / "failover.json").read_text(encoding="utf-8")))
    found = re.search(
        r"\| \*\*sum\*\* \|.*\| \*\*(\d+)\*\* \|", (docs / "sandbox.md").read_text(encoding="utf-8")
    )
    assert found, "docs/sandbox.md: the sum of a hello's processor time"
    yield (
        "processor time of one hello, its own waiting virtual machine included",
        f"{found[1]} ms",
        "[the sandbox](../sandbox.md#what-bounds-the-speed)",
    )
    for row in _rows((docs / "work.md").read_text(encoding="utf-8"), "workers"):
        number = row["workers"]
        yield (
            f"no-op jobs through one leader to {number} stand-in worker{'' if number == '1' else 's'}",
            f"{row['jobs a second']} a second; {row['leader, a job']} of the leader's processor each",
            "[work](../work.md#what-it-costs)",
        )


def _engine(page: str) -> Iterator[tuple[str, str, str]]:
    """Of the first program, which is the hello."""
    for title, rest in re.findall(
        r"^## (One after another|\d+ clients)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL
    ):
        rows = list(_rows(rest, "program"))
        hello = [row for row in rows if row["program"] == rows[0]["program"]]
        told = {row["way"]: f"{row['p50 ms']} ms at p50, {row['jobs/s']} a second" for row in hello}
        yield (
            f"{hello[0]['program']}, {title.lower()}",
            f"{told[WAYS[1]]}; plain `javac`, then `java`: {told[WAYS[0]]}",
            "[the engine](../benchmarks/java.md)",
        )


def _failover(report: Mapping[str, object]) -> Iterator[tuple[str, str, str]]:
    results = report["results"]
    assert isinstance(results, list)
    for result in results:
        spread = result["assigned"]
        bad = f"{result['wrong']} answers wrong or lost"
        yield (
            f"{result['kind']}: until work goes on, {spread['count']} times",
            f"p50 {spread['p50_ms']:.0f} ms, p99 {spread['p99_ms']:.0f} ms; {bad}",
            "[failover](../benchmarks/failover.md)",
        )


def _rows(text: str, first: str) -> Iterator[dict[str, str]]:
    """The rows of the table whose first column has that head."""
    head: list[str] | None = None
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if head is None:
            head = cells if cells and cells[0] == first else None
        elif not cells:
            head = None
        elif not set(cells[0]) <= {"-", ":"}:
            yield dict(zip(head, cells, strict=True))
