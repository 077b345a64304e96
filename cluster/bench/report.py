"""A benchmark's figures as a page with tables, and as a plot."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape

from cluster.bench.java import CLIENTS, PAUSE_S, Cell, JavaReport

_MADE = """Made by `make bench` (`javacluster bench --output docs/benchmarks`), everything in one run on one
machine; every program is distinct, so that no cache answers."""
_LOAD = (
    """What exceeds the benchmark's own is other work on the same processors, and makes every time longer."""
)

_BOUND = """Processor time. Each run uses up a virtual machine, whose replacement must start before the pool
is empty: under steady load, also of one client, no program is answered faster than all processors together
work off what it costs in the cluster's processes. The start of the next machine is the larger part of that
(docs/sandbox.md has the shares)."""

_STARTED = """One client's first programs after the start, one after another. A compiler is warmed before its
node takes work, and learns some more from its first hundred programs; the other tables were measured after
those."""

_LEFT, _WIDTH, _BAR, _GAP, _TOP = 190, 640, 15, 26, 64
_COLOURS = {
    "javac, java": "#9aa5b1",
    "java File.java": "#cbd2d9",
    "engine alone": "#2b6cb0",
    "cluster, HTTP": "#38a169",
}
_DECADES = (1, 10, 100, 1000, 10_000)


def as_page(report: JavaReport) -> str:
    """Markdown, complete with what it was measured on."""
    parts = [
        "# The Java engine, measured",
        _MADE,
        f"Machine: {report.machine}. Load {report.load[0]:.2f} before, {report.load[1]:.2f} after. {_LOAD}",
        "![Median times](java.svg)",
    ]
    steady = [cell for cell in report.cells if not cell.pause_s]
    for clients, title in ((1, "One after another"), (CLIENTS, f"{CLIENTS} clients")):
        parts.append(f"## {title}")
        parts.append("\n".join(_table([cell for cell in steady if cell.clients == clients])))
    parts.append("## Now and then")
    parts.append(
        f"One client that waits for {1000 * PAUSE_S:.0f} ms after each answer, as people and bots do."
    )
    parts.append("\n".join(_calm([cell for cell in report.cells if cell.pause_s])))
    parts.append("## Just started")
    parts.append(_STARTED)
    parts.append("\n".join(_calm(list(report.first))))
    parts.append("## What bounds the rest")
    parts.append(_BOUND)
    parts.append("\n".join(_bounds(report)))
    parts.append("## Memory")
    parts.append(
        "The largest process of a command; of the others what all of their processes hold while they wait "
        "(proportional set size), the cluster's of one node on average."
    )
    parts.append("\n".join(f"- {way}: {mib:g} MiB" for way, mib in report.memory_mib.items()))
    return "\n\n".join(parts) + "\n"


def _bounds(report: JavaReport) -> Iterator[str]:
    """How near a cluster's figures are to what its processor time allows."""
    steady = [cell for cell in report.cells if cell.way == "cluster, HTTP" and not cell.pause_s]
    ours = {(cell.workload, cell.clients): cell for cell in steady}
    for (workload, clients), alone in ours.items():
        if clients == 1:
            many = ours[workload, CLIENTS]
            floor = alone.cpu_ms / report.processors
            most = 1000 * report.processors / many.cpu_ms
            yield (
                f"- {workload}: {alone.cpu_ms:.0f} ms of processor time are {floor:.0f} ms on "
                f"{report.processors} processors, and the median is {alone.spread.p50_ms:.0f} ms; "
                f"with {CLIENTS} clients {many.per_s:.1f}/s of at most {most:.1f}/s."
            )


def _table(cells: list[Cell]) -> Iterator[str]:
    yield "| program | way | p50 ms | p90 ms | p99 ms | jobs/s | CPU ms a job | times faster | wrong |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    base = {cell.workload: cell.per_s for cell in cells if cell.way == "javac, java"}
    for cell in sorted(cells, key=lambda cell: list(base).index(cell.workload)):
        spread = cell.spread
        yield (
            f"| {cell.workload} | {cell.way} | {spread.p50_ms:.1f} | {spread.p90_ms:.1f} | "
            f"{spread.p99_ms:.1f} | {cell.per_s:.1f} | {cell.cpu_ms:.0f} | "
            f"{cell.per_s / base[cell.workload]:.1f} | {cell.wrong} |"
        )


def _calm(cells: list[Cell]) -> Iterator[str]:
    yield "| program | way | p50 ms | p90 ms | p99 ms | CPU ms a job | wrong |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    order = list(dict.fromkeys(cell.workload for cell in cells))
    for cell in sorted(cells, key=lambda cell: order.index(cell.workload)):
        spread = cell.spread
        yield (
            f"| {cell.workload} | {cell.way} | {spread.p50_ms:.1f} | {spread.p90_ms:.1f} | "
            f"{spread.p99_ms:.1f} | {cell.cpu_ms:.0f} | {cell.wrong} |"
        )


def as_plot(report: JavaReport) -> str:
    """Median times, one after another, as bars on a logarithmic scale: an SVG document."""
    cells = [cell for cell in report.cells if cell.clients == 1 and not cell.pause_s]
    workloads = list(dict.fromkeys(cell.workload for cell in cells))
    height = _TOP + len(workloads) * (len(_COLOURS) * _BAR + _GAP) + 30
    body = "\n".join(_bars(cells, workloads, height))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 90} {height}" '
        'font-family="sans-serif" font-size="12">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def _bars(cells: Iterable[Cell], workloads: list[str], height: int) -> Iterator[str]:
    yield _text(_LEFT, 20, "Median milliseconds from source to answer, one program after another", size=15)
    for number, (way, colour) in enumerate(_COLOURS.items()):
        x = _LEFT + number * 150
        yield f'<rect x="{x}" y="32" width="12" height="12" fill="{colour}"/>'
        yield _text(x + 18, 42, way)
    for decade in _DECADES:
        x = _LEFT + _scaled(decade)
        yield f'<line x1="{x}" y1="{_TOP - 8}" x2="{x}" y2="{height - 28}" stroke="#e4e7eb"/>'
        yield _text(x, height - 12, f"{decade:,}", anchor="middle")
    found = {(cell.workload, cell.way): cell.spread.p50_ms for cell in cells}
    y = _TOP
    for workload in workloads:
        yield _text(_LEFT - 10, y + 2 * _BAR + 4, workload, anchor="end")
        for way, colour in _COLOURS.items():
            value = found[workload, way]
            length = _scaled(value)
            yield f'<rect x="{_LEFT}" y="{y}" width="{length}" height="{_BAR - 2}" fill="{colour}"/>'
            yield _text(_LEFT + length + 6, y + 11, f"{value:.0f}" if value >= 10 else f"{value:.1f}")  # noqa: PLR2004
            y += _BAR
        y += _GAP


def _scaled(value: float) -> int:
    low, high = math.log10(_DECADES[0]), math.log10(_DECADES[-1])
    return max(1, round((math.log10(max(value, 1.0)) - low) / (high - low) * _WIDTH))


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
