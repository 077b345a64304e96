"""The page of `make bench`: figures side by side, and how near they are to what the processors allow."""

from __future__ import annotations

from cluster.bench import Spread
from cluster.bench.java import CLIENTS, Cell, JavaReport
from cluster.bench.report import as_page, as_plot

WAYS = {"javac, java": 500.0, "java File.java": 400.0, "engine alone": 20.0, "cluster, HTTP": 25.0}


def report() -> JavaReport:
    cells = [
        Cell(way, "hello", clients, Spread(ms, ms, ms, ms, 10), 1000 / ms * clients, ms * 2, 0)
        for way, ms in WAYS.items()
        for clients in (1, CLIENTS)
    ]
    cells.append(Cell("cluster, HTTP", "hello", 1, Spread(16, 17, 18, 19, 10), 9.0, 60.0, 0, 0.1))
    first = Cell("cluster, HTTP", "hello", 1, Spread(29, 30, 31, 32, 10), 33.0, 61.0, 0)
    return JavaReport("a machine", 2, (0.1, 1.5), tuple(cells), {"engine alone": 300.0}, (first,))


def test_every_way_is_compared_with_what_people_would_type() -> None:
    page = as_page(report())
    assert "| hello | cluster, HTTP | 25.0 | 25.0 | 25.0 | 40.0 | 50 | 20.0 | 0 |" in page
    assert "- engine alone: 300 MiB" in page
    assert "Load 0.10 before, 1.50 after" in page


def test_a_program_now_and_then_has_a_table_of_its_own() -> None:
    page = as_page(report())
    before, _title, after = page.partition("## Now and then")
    assert "100 ms after each answer" in after
    assert "| hello | cluster, HTTP | 16.0 | 17.0 | 18.0 | 60 | 0 |" in after
    assert "| hello | cluster, HTTP | 16.0" not in before


def test_the_first_programs_after_the_start_have_a_table_of_their_own() -> None:
    page = as_page(report())
    before, _title, after = page.partition("## Just started")
    assert "| hello | cluster, HTTP | 29.0 | 30.0 | 31.0 | 61 | 0 |" in after
    assert "were measured after" in after
    assert "29.0" not in before


def test_the_page_says_what_the_processors_allow() -> None:
    """50 ms of processor time on two processors are 25 ms, and 40 a second."""
    page = as_page(report())
    assert "50 ms of processor time are 25 ms on 2 processors, and the median is 25 ms" in page
    assert "320.0/s of at most 40.0/s" in page


def test_the_plot_has_a_bar_for_every_way() -> None:
    assert as_plot(report()).count("<rect") == 1 + len(WAYS) * 2
