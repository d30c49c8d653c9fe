"""Charts as SVG, drawn by hand: bars beside their targets, and lines. Readable on light and on dark paper."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

WIDTH: Final = 760
_LEFT, _RIGHT, _TOP = 230, 40, 56
_BAR, _GAP, _FOOT = 20, 12, 50
_PLOT_LEFT, _PLOT_RIGHT, _PLOT_HEIGHT = 80, 210, 260
_COLOURS: Final = ("#2f6fb3", "#c4622d", "#3c8d5a", "#8a5fb0", "#a08a1f", "#b0476b", "#4f9aa8", "#777777")
_STYLE: Final = """<style>
    text { font: 12px Helvetica, Arial, "DejaVu Sans", sans-serif; fill: #44546a }
    .title { font-size: 15px; font-weight: bold; fill: #1f2a37 }
    .end { text-anchor: end } .middle { text-anchor: middle }
    .paper { fill: #ffffff } .bar { fill: #2f6fb3 } .missed { fill: #c4622d }
    .axis { stroke: #44546a } .grid { stroke: #d5dbe3 } .target { stroke: #1f2a37; stroke-width: 2.5 }
    .line { fill: none; stroke-width: 2 }
    @media (prefers-color-scheme: dark) {
      text { fill: #b8c4d2 } .title { fill: #eef2f6 } .paper { fill: #12181f }
      .axis { stroke: #8896a6 } .grid { stroke: #2b3642 } .target { stroke: #f5f7fa }
    }
  </style>"""


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure beside its target, if it has one: reached from it upwards, or, ``at_most``, up to it."""

    label: str
    value: float
    target: float | None = None
    at_most: bool = False

    @property
    def missed(self) -> bool:
        """Whether it has a target and does not reach it."""
        if self.target is None:
            return False
        return self.value > self.target if self.at_most else self.value < self.target


def bars(title: str, unit: str, shown: Sequence[Bar]) -> str:
    """Return a chart of horizontal bars, a stroke at each one's target."""
    most = max([1e-9, *(one.value for one in shown), *(one.target or 0 for one in shown)])
    ticks = _from_zero([most])
    height = _TOP + len(shown) * (_BAR + _GAP) + _FOOT
    bottom = height - _FOOT

    def x(value: float) -> float:
        return _LEFT + value / ticks[-1] * (WIDTH - _LEFT - _RIGHT)

    def drawn() -> Iterator[str]:
        for tick in ticks:
            yield _line("grid", x(tick), _TOP - 8, x(tick), bottom)
            yield _text(x(tick), bottom + 16, _figure(tick), "middle")
        for number, one in enumerate(shown):
            y = _TOP + number * (_BAR + _GAP)
            kind = "missed" if one.missed else "bar"
            yield _text(_LEFT - 10, y + 14, one.label, "end")
            width = f"{x(one.value) - _LEFT:.1f}"
            yield f'<rect class="{kind}" x="{_LEFT}" y="{y}" width="{width}" height="{_BAR}"/>'
            if one.target is not None:
                yield _line("target", x(one.target), y - 4, x(one.target), y + _BAR + 4)
            if (end := x(max(one.value, one.target or 0))) < WIDTH - _RIGHT - 20:
                yield _text(end + 6, y + 14, _figure(one.value))
            else:
                yield _text(x(one.value) - 6, y + 14, _figure(one.value), "end", 'style="fill: #ffffff"')
        yield _line("axis", _LEFT, _TOP - 8, _LEFT, bottom)
        yield _text((_LEFT + WIDTH - _RIGHT) / 2, bottom + 36, unit, "middle")

    return _whole(title, height, drawn())


def lines(title: str, across: str, up: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Return a chart of lines, one a name; ``across`` and ``up`` name the axes with their units."""
    height = _TOP + _PLOT_HEIGHT + _FOOT
    bottom, right = _TOP + _PLOT_HEIGHT, WIDTH - _PLOT_RIGHT
    points = [point for found in series.values() for point in found]
    x_ticks, y_ticks = _from_zero([x for x, _ in points]), _from_zero([y for _, y in points])

    def x(value: float) -> float:
        return _PLOT_LEFT + value / x_ticks[-1] * (right - _PLOT_LEFT)

    def y(value: float) -> float:
        return bottom - value / y_ticks[-1] * _PLOT_HEIGHT

    def drawn() -> Iterator[str]:
        for tick in y_ticks:
            yield _line("grid", _PLOT_LEFT, y(tick), right, y(tick))
            yield _text(_PLOT_LEFT - 8, y(tick) + 4, _figure(tick), "end")
        for tick in x_ticks:
            yield _text(x(tick), bottom + 16, _figure(tick), "middle")
        yield _line("axis", _PLOT_LEFT, bottom, right, bottom)
        yield _line("axis", _PLOT_LEFT, _TOP, _PLOT_LEFT, bottom)
        yield _text((_PLOT_LEFT + right) / 2, bottom + 36, across, "middle")
        yield _text(_PLOT_LEFT, _TOP - 12, up, "middle")
        for number, (name, found) in enumerate(series.items()):
            colour = _COLOURS[number % len(_COLOURS)]
            path = " ".join(f"{x(one):.1f},{y(other):.1f}" for one, other in found)
            yield f'<polyline class="line" stroke="{colour}" points="{path}"/>'
            for one, other in found:
                yield f'<circle cx="{x(one):.1f}" cy="{y(other):.1f}" r="3" fill="{colour}"/>'
            legend = _TOP + number * 20
            yield f'<rect x="{right + 16}" y="{legend}" width="12" height="12" fill="{colour}"/>'
            yield _text(right + 34, legend + 10, name)

    return _whole(title, height, drawn())


def _whole(title: str, height: float, drawn: Iterator[str]) -> str:
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return (
        "\n  ".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title">',
                f'<title id="title">{escape(title)}</title>',
                _STYLE,
                f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
                _text(20, 26, title, "title"),
                *drawn,
            ]
        )
        + "\n</svg>\n"
    )


def _text(x: float, y: float, text: str, kind: str = "", style: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path class="{kind}" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>'


def _from_zero(values: Sequence[float]) -> list[float]:
    """Return round numbers from 0 to above the greatest value, four to eight of them."""
    most = max([*values, 1e-9])
    power = 10 ** math.floor(math.log10(most))
    step = next(step for step in (0.2 * power, 0.5 * power, power, 2 * power) if most / step <= 6)
    return [number * step for number in range(math.ceil(most / step - 1e-9) + 1)]


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
