"""The timeline of a drill as SVG: who led and who was away, answers a second, latency, faults (pure)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

import msgspec

from cluster.drill.account import Strike
from cluster.drill.history import Reign
from cluster.drill.load import Request

WIDTH = 1200
LEFT = 90
RIGHT = 20
ROW = 18
BARS = 110
DOTS = 170
GAP = 34
LATENCY_S = (0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 50.0)
"""Lines of the logarithmic latency scale; the first and the last are its ends."""

ALIVE, LEADING, AWAY, STOPPED, CUT = "#d9e2ec", "#2f855a", "#c53030", "#dd6b20", "#6b46c1"
REFUSED, INK = "#dd6b20", "#243b53"


class Mark(msgspec.Struct, frozen=True):
    """A fault of the schedule; seconds from the drill's begin."""

    number: int
    label: str
    begin: float
    end: float


class Timeline(msgspec.Struct, frozen=True):
    """Everything that is drawn; all times are seconds from the drill's begin."""

    title: str
    seconds: float
    nodes: dict[int, str]
    reigns: Sequence[Reign]
    strikes: Sequence[Strike]
    marks: Sequence[Mark]
    requests: Sequence[Request]


def draw(line: Timeline) -> str:
    """The whole picture."""
    canvas = _Canvas(line.seconds)
    canvas.text(LEFT, 22, line.title, size=15)
    top = 44.0
    bottom = top + ROW * len(line.nodes) + GAP + BARS + GAP + DOTS
    for mark in line.marks:
        x = canvas.x(mark.begin)
        canvas.line(x, top - 6, x, bottom, "#9b2c2c", 0.6, tip=f"{mark.number}: {mark.label}")
        canvas.text(x, top - 8, str(mark.number), size=8, anchor="middle", colour="#9b2c2c")
    top = _nodes(canvas, line, top) + GAP
    top = _rates(canvas, line, top) + GAP
    top = _latencies(canvas, line, top) + 16
    for second in range(0, int(line.seconds) + 1, _step(line.seconds)):
        canvas.text(canvas.x(second), top, f"{second} s", size=10, anchor="middle")
    top += 22
    for at, mark in enumerate(line.marks):
        column, row = at % 3, at // 3
        text = f"{mark.number}: {mark.label}, {mark.begin:.0f} to {mark.end:.0f} s"
        canvas.text(LEFT + column * 370, top + 14 * row, text, size=10)
    height = top + 14 * math.ceil(len(line.marks) / 3) + 10
    return canvas.whole(height)


def _nodes(canvas: _Canvas, line: Timeline, top: float) -> float:
    """A row a node: there, leading, stopped, away."""
    rows = {node: top + ROW * at for at, node in enumerate(line.nodes)}
    for node, name in line.nodes.items():
        canvas.text(LEFT - 6, rows[node] + 11, name, anchor="end")
        canvas.bar(0, line.seconds, rows[node], ROW - 5, ALIVE)
    reigns = sorted(line.reigns, key=lambda reign: reign.begin)
    for at, reign in enumerate(reigns):
        following = reigns[at + 1].begin if at + 1 < len(reigns) else line.seconds
        struck = [
            strike.begin
            for strike in line.strikes
            if strike.node == reign.node and strike.begin > reign.begin and strike.signal.startswith("SIG")
        ]
        end = min([following, line.seconds if reign.end is None else reign.end, *struck])
        tip = f"node {reign.node} leads epoch {reign.epoch}"
        canvas.bar(reign.begin, max(end, reign.begin), rows[reign.node], ROW - 5, LEADING, tip)
    legend = "green leads, red away, orange stopped, violet cut off"
    canvas.text(WIDTH - RIGHT, 22, legend, size=10, anchor="end")
    for strike in line.strikes:
        colour = STOPPED if strike.signal == "SIGSTOP" else AWAY if strike.signal.startswith("SIG") else CUT
        tip = f"{strike.signal}, node {strike.node}"
        canvas.bar(strike.begin, strike.end, rows[strike.node] + 3, ROW - 11, colour, tip)
    return top + ROW * len(line.nodes)


def _rates(canvas: _Canvas, line: Timeline, top: float) -> float:
    """Right answers and refusals in each second."""
    right = Counter(int(request.end) for request in line.requests if request.answered_rightly)
    refused = Counter(int(t.end) for r in line.requests for t in r.tries if t.status in {429, 503})
    most = max([1, *(right[second] + refused[second] for second in {*right, *refused})])
    canvas.text(LEFT - 6, top + 10, f"{most}/s", anchor="end")
    canvas.text(LEFT - 6, top + BARS, "0", anchor="end")
    canvas.text(LEFT, top - 5, "answers a second (green right, orange refused)", size=10)
    for second in sorted({*right, *refused}):
        height = BARS * right[second] / most
        canvas.bar(second, second + 0.9, top + BARS - height, height, LEADING)
        above = BARS * refused[second] / most
        canvas.bar(second, second + 0.9, top + BARS - height - above, above, REFUSED)
    canvas.line(LEFT, top + BARS, WIDTH - RIGHT, top + BARS, INK, 0.5)
    return top + BARS


def _latencies(canvas: _Canvas, line: Timeline, top: float) -> float:
    """A dot an answer, where it ended; the scale is logarithmic."""
    low, high = math.log(LATENCY_S[0]), math.log(LATENCY_S[-1])

    def y(seconds: float) -> float:
        share = (math.log(min(max(seconds, LATENCY_S[0]), LATENCY_S[-1])) - low) / (high - low)
        return top + DOTS * (1 - share)

    canvas.text(LEFT, top - 5, "latency of each request, from its first try", size=10)
    for seconds in LATENCY_S:
        canvas.line(LEFT, y(seconds), WIDTH - RIGHT, y(seconds), "#bcccdc", 0.5)
        canvas.text(LEFT - 6, y(seconds) + 4, f"{seconds:g} s", anchor="end")
    for right, colour in ((True, LEADING), (False, AWAY)):
        shown = (request for request in line.requests if request.answered_rightly is right)
        canvas.dots(((request.end, y(request.end - request.begin)) for request in shown), colour)
    return top + DOTS


def _step(seconds: float) -> int:
    """A round number that divides the axis into at most a dozen parts."""
    return next(step for step in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 10**6) if seconds / step <= 12)  # noqa: PLR2004


class _Canvas:
    """Gathers SVG elements; a time becomes an x."""

    def __init__(self, seconds: float) -> None:
        self._scale = (WIDTH - LEFT - RIGHT) / max(seconds, 1.0)
        self._parts: list[str] = []

    def x(self, seconds: float) -> float:
        return LEFT + seconds * self._scale

    def bar(self, begin: float, end: float, y: float, height: float, colour: str, tip: str = "") -> None:
        width = max(0.5, (end - begin) * self._scale)
        shape = f'x="{self.x(begin):.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
        self._parts.append(f'<rect {shape} fill="{colour}">{_tip(tip)}</rect>')

    def dots(self, places: Iterable[tuple[float, float]], colour: str) -> None:
        """All dots of a colour are one path: a drill has thousands."""
        path = "".join(f"M{self.x(seconds):.1f} {y:.1f}h0" for seconds, y in places)
        if path:
            look = f'stroke="{colour}" stroke-opacity="0.6" stroke-width="3" stroke-linecap="round"'
            self._parts.append(f'<path d="{path}" {look} fill="none"/>')

    def line(
        self, x1: float, y1: float, x2: float, y2: float, colour: str, width: float, tip: str = ""
    ) -> None:
        ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        self._parts.append(f'<line {ends} stroke="{colour}" stroke-width="{width}">{_tip(tip)}</line>')

    def text(
        self, x: float, y: float, text: str, *, size: int = 11, anchor: str = "start", colour: str = INK
    ) -> None:
        place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}"'
        self._parts.append(f"<text {place}>{escape(text)}</text>")

    def whole(self, height: float) -> str:
        size = f'width="{WIDTH}" height="{height:.0f}" viewBox="0 0 {WIDTH} {height:.0f}"'
        body = "\n".join(self._parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">\n'
            f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
        )


def _tip(text: str) -> str:
    return f"<title>{escape(text)}</title>" if text else ""
