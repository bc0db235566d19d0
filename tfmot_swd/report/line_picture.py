"""Line chart as one SVG that stands by itself: in a file, a notebook or a page."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from tfmot_swd.report.charts import Scale, scale_of
from tfmot_swd.report.markup import escape, short

_COLOURS = ("#1d6fb8", "#c2570c", "#2f7d4f", "#7b4bb3")
_WIDTH, _HEIGHT = 720, 360
_LEFT, _TOP, _BOTTOM = 64, 40, 48
# A character of a label, and the least distance of two labels, in pixels.
_CHARACTER, _APART = 7, 15
_LONGEST = 28
# Light and dark pages show the same picture: on white, as a figure in print.
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#59626f}.title{font-size:14px;font-weight:600;fill:#1b2028}"
    ".grid{stroke:#e8ebf0}.other{stroke:#b4bac4;stroke-width:1.2}.named{stroke-width:2.2}"
    "polyline{fill:none;stroke-linejoin:round;stroke-linecap:round}"
)


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of a chart.

    Args:
      name: of what it shows.
      x, y: its points; y is nan where there is no value.
      is_named: whether it has a colour and its name beside it.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    is_named: bool = True


def line_picture(title: str, x_label: str, lines: Sequence[Line], unit: str = "number") -> str:
    """Returns a chart of lines that share their axes as one `<svg>` element, which needs no style sheet.

    Args:
      title: above the chart.
      x_label: what the x axis counts, as a share.
      lines: drawn in order; four of them at most are named.
      unit: "share" for values written in percent, else "number".
    """
    known = [value for line in lines for value in line.y if math.isfinite(value)]
    y_scale = scale_of(known or [0.0])
    x_scale = Scale(0.0, max(max(line.x) for line in lines))
    named = [line for line in lines if line.is_named]
    right = max((len(_shortened(line.name)) for line in named), default=0) * _CHARACTER + 24
    width, height = _WIDTH - _LEFT - right, _HEIGHT - _TOP - _BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        return _LEFT + width * x_scale.percent(x) / 100, _TOP + height * (1 - y_scale.percent(y) / 100)

    parts = [f'<text class="title" x="{_LEFT}" y="20">{escape(title)}</text>']
    for tick in y_scale.ticks():
        y = at(0, tick)[1]
        shown = f"{100 * tick:.4g} %" if unit == "share" else short(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_LEFT + width}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{shown}</text>')
    for tick in x_scale.ticks(10):
        x = at(tick, y_scale.low)[0]
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_TOP + height}"/>')
        parts.append(f'<text x="{x:.1f}" y="{_TOP + height + 18}" text-anchor="middle">{100 * tick:.4g} %</text>')
    parts.append(f'<text x="{_LEFT + width}" y="{_HEIGHT - 10}" text-anchor="end">{escape(x_label)}</text>')
    colours = {id(line): colour for line, colour in zip(named, _COLOURS, strict=False)}
    for line in lines:
        points = [at(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
        colour = colours.get(id(line))
        kind = f'class="named" stroke="{colour}"' if colour else 'class="other"'
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline {kind} points="{path}"><title>{escape(line.name)}</title></polyline>')
        if colour:
            parts += [f'<circle fill="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points]
    parts += _labels([(at(0, _last(line))[1], line) for line in named], colours, _LEFT + width + 10, height)
    description = "; ".join(f"{line.name}: {', '.join(f'{value:.4g}' for value in line.y)}" for line in lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" '
        f'style="max-width:100%;height:auto"><title>{escape(title)}</title><desc>{escape(description)}</desc>'
        f'<style>{_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _labels(ends: list[tuple[float, Line]], colours: dict[int, str], x: float, height: float) -> list[str]:
    """Returns the names beside the ends of their lines, moved apart where those are close."""
    ordered = sorted(ends, key=lambda end: end[0])
    # From the top down, then back up from where the last one would leave the chart.
    places: list[float] = []
    for y, _ in ordered:
        places.append(max(y, places[-1] + _APART) if places else y)
    lowest = float(_TOP + height)
    for number in reversed(range(len(places))):
        places[number] = min(places[number], lowest)
        lowest = places[number] - _APART
    return [
        f'<text x="{x:.1f}" y="{y + 4:.1f}" style="fill:{colours[id(line)]}">{escape(_shortened(line.name))}</text>'
        for y, (_, line) in zip(places, ordered, strict=True)
    ]


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}"


def _last(line: Line) -> float:
    return next((value for value in reversed(line.y) if math.isfinite(value)), 0.0)
