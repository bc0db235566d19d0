"""Charts as SVG that fits any width: lengths in percent of the place, text and strokes in pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tfmot_swd.report.data import Panel
from tfmot_swd.report.labels import Box, dot_box, place_labels, tie_box
from tfmot_swd.report.markup import STYLES, escape, short

# More points than a picture has pixels only make the page heavy.
_MOST_POINTS = 400
# Pixels.
_HEIGHT = 190
_TALL = 260


@dataclass(frozen=True)
class Scale:
    """From values to percent of a length; logarithmic ones take values above 0."""

    low: float
    high: float
    is_log: bool = False

    def percent(self, value: float) -> float:
        """Returns where a value is, 0 at `low` and 100 at `high`."""
        low, high, value = (math.log(each) if self.is_log else each for each in (self.low, self.high, value))
        return 100 * (value - low) / (high - low)

    def ticks(self, most: int = 5) -> list[float]:
        """Returns at most so many round values within."""
        if not self.is_log:
            return _round_values(self.low, self.high, most)
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for steps in ((1, 2, 5), (1, 3), (1,)):
            found = [step * 10.0**power for power in decades for step in steps]
            found = [tick for tick in found if self.low * 0.999 <= tick <= self.high * 1.001]
            if len(found) <= most:
                return found if len(found) > 1 else [self.low, self.high]
        return found[:: math.ceil(len(found) / most)]


def scale_of(values: Iterable[float], is_log: bool = False, from_zero: bool = False) -> Scale:
    """Returns a scale with room for all values."""
    known = list(values)
    low, high = min(known), max(known)
    if is_log:
        return Scale(low / 1.3, high * 1.3, True)
    if from_zero and low >= 0:
        return Scale(0, high * 1.05 or 1)
    room = 0.08 * (high - low) or abs(high) * 0.1 or 1
    return Scale(low - room, high + room)


def bar(parts: Sequence[tuple[float, str]], label: str, whisker: tuple[float, float] | None = None) -> str:
    """Returns a horizontal bar.

    Args:
        parts: lengths as shares of the place, and CSS classes; each is drawn over those before it. What is longer
            than the place is drawn with a gap.
        label: text alternative for screen readers.
        whisker: shares between which a thin line is drawn. A longer one ends in an arrow.
    """
    drawn = "".join(
        f'<rect class="{kind}" width="{100 * min(max(share, 0), 1):.2f}%" height="100%"/>' for share, kind in parts
    )
    if any(is_beyond(share) for share, _ in parts):
        drawn += '<line class="cut" x1="93%" x2="95%" y1="120%" y2="-20%"/>'
    if whisker is not None:
        low, high = (100 * min(max(share, 0), 1) for share in whisker)
        drawn += f'<line class="whisker" x1="{low:.2f}%" x2="{high:.2f}%" y1="50%" y2="50%"/>'
        if is_beyond(whisker[1]):
            drawn += '<svg x="100%" overflow="visible"><path class="whisker beyond" d="M-7 1.5L-1 5.5L-7 9.5"/></svg>'
    return f'<svg class="bar" role="img" aria-label="{escape(label)}">{drawn}</svg>'


def is_beyond(share: float) -> bool:
    """Returns whether a length is longer than the place of a bar."""
    return share > 1.001


def line_chart(panel: Panel, x_scale: Scale, ident: str) -> str:
    """Returns a panel's lines over a common axis; their names and colours are in the text around it."""
    known = [value for line in panel.series for value in line.y if value is not None]
    y_scale = scale_of(known, panel.is_log, from_zero=panel.unit == "count")
    lines = []
    # What is wanted lies below what is.
    for number, line in sorted(enumerate(panel.series), key=lambda pair: not pair[1].is_target):
        kind = f"line c{number % 4}" + (" target" if line.is_target else "")
        points = [
            None if y is None else (x_scale.percent(x), 100 - y_scale.percent(y))
            for x, y in _thinned(list(zip(line.x, line.y, strict=True)))
        ]
        for run in _runs(points):
            if len(run) == 1:
                # A line of one point has no length: its round ends are what is seen.
                run = [run[0], run[0]]
            text = " ".join(f"{10 * x:.1f},{10 * y:.1f}" for x, y in run)
            lines.append(f'<polyline class="{kind}" points="{text}"/>')
    inner = f'<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" width="100%" height="100%">{"".join(lines)}</svg>'
    said = ", ".join(line.name for line in panel.series)
    description = f"{said} over {panel.x_label}"
    return _plot(panel.title, description, x_scale, y_scale, panel.unit, panel.x_label, inner, ident)


@dataclass(frozen=True)
class Point:
    """A file in the picture of accuracy against bytes."""

    name: str
    bytes: int
    gzip_bytes: int
    accuracy: float


def accuracy_chart(points: Sequence[Point], ident: str, title: str = "Accuracy", unit: str = "share") -> str:
    """Returns accuracy, or what else `title` says, against bytes: a dot for each file, and a ring where its gzip is."""
    sizes = [size for point in points for size in (point.bytes, point.gzip_bytes)]
    x_scale = scale_of(sizes, is_log=max(sizes) > 3 * min(sizes))
    y_scale = scale_of(point.accuracy for point in points)
    drawn, taken = [], list[Box]()
    ordered = sorted(points, key=lambda each: each.bytes)
    for point in ordered:
        x, packed = x_scale.percent(point.bytes), x_scale.percent(point.gzip_bytes)
        y = 100 - y_scale.percent(point.accuracy)
        told = f"{point.name}: {point.bytes:,} bytes, {point.gzip_bytes:,} as gzip, {STYLES[unit](point.accuracy)}"
        drawn.append(
            f'<g><title>{escape(told)}</title><line class="tie" x1="{packed:.2f}%" x2="{x:.2f}%" y1="{y:.2f}%" '
            f'y2="{y:.2f}%"/><circle class="ring" cx="{packed:.2f}%" cy="{y:.2f}%" r="4"/>'
            f'<circle class="dot" cx="{x:.2f}%" cy="{y:.2f}%" r="5"/></g>'
        )
        pixels = y * _TALL / 100
        taken += [dot_box(x, pixels, 5), dot_box(packed, pixels, 4), tie_box(packed, x, pixels)]
    places = [
        (x_scale.percent(point.bytes), 100 - y_scale.percent(point.accuracy), point.name, str(number))
        for number, point in enumerate(ordered, 1)
    ]
    labels = place_labels([(x, y, name) for x, y, name, _ in places], taken, _TALL, furthest=26)
    legend = ""
    if labels is None:
        # Too close for names: numbers, and what they mean below.
        numbered = [(x, y, number) for x, y, _, number in places]
        found = (place_labels(numbered, taken, _TALL, 104, may_cross=each) for each in (False, True))
        labels = next((each for each in found if each is not None), [])
        legend = "".join(f"<span>{number} {escape(name)}</span>" for _, _, name, number in places)
        legend = f'<div class="key">{legend}</div>'
    drawn += labels
    description = "; ".join(f"{point.name} {point.bytes:,} bytes {point.accuracy:.4f}" for point in points)
    inner = "".join(drawn)
    return legend + _plot(f"{title} against bytes", description, x_scale, y_scale, unit, "bytes", inner, ident, _TALL)


def _plot(
    title: str,
    description: str,
    x_scale: Scale,
    y_scale: Scale,
    unit: str,
    x_label: str,
    inner: str,
    ident: str,
    height: int = _HEIGHT,
) -> str:
    grid = []
    for tick in y_scale.ticks():
        y = 100 - y_scale.percent(tick)
        shown = f"{100 * tick:.4g} %" if unit == "share" else short(tick)
        grid.append(
            f'<line class="grid" x1="0" x2="100%" y1="{y:.2f}%" y2="{y:.2f}%"/>'
            f'<text class="tick" x="-8" y="{y:.2f}%" dy="4" text-anchor="end">{shown}</text>'
        )
    for tick in x_scale.ticks():
        x = x_scale.percent(tick)
        grid.append(
            f'<line class="grid" x1="{x:.2f}%" x2="{x:.2f}%" y1="0" y2="100%"/>'
            f'<text class="tick" x="{x:.2f}%" y="100%" dy="18" text-anchor="middle">{short(tick)}</text>'
        )
    return (
        f'<div class="plot"><svg role="img" aria-labelledby="{ident}-title {ident}-desc" width="100%" '
        f'height="{height}"><title id="{ident}-title">{escape(title)}</title>'
        f'<desc id="{ident}-desc">{escape(description)}</desc>{"".join(grid)}{inner}'
        f'<text class="tick" x="100%" y="100%" dy="34" text-anchor="end">{escape(x_label)}</text></svg></div>'
    )


def _round_values(low: float, high: float, most: int) -> list[float]:
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _thinned(points: list[tuple[float, float | None]]) -> list[tuple[float, float | None]]:
    every = math.ceil(len(points) / _MOST_POINTS)
    return points if every < 2 else [*points[:-1:every], points[-1]]


def _runs(points: Iterable[tuple[float, float] | None]) -> Iterable[list[tuple[float, float]]]:
    """Yields stretches without a gap."""
    run: list[tuple[float, float]] = []
    for point in [*points, None]:
        if point is not None:
            run.append(point)
        elif run:
            yield run
            run = []
