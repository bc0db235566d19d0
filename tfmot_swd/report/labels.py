"""Label placement beside the points of a chart, without overlaps at any page width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from tfmot_swd.report.markup import escape

# Widths of a plot, in pixels, from a telephone to a page that holds nothing else. What keeps clear at these does in
# between: distances from point to point grow with the width, those from a point to its label do not.
WIDTHS = (260, 390, 620, 1000)
# The size of a character, in pixels.
_CHARACTER = 6.6
_LINE = 12


@dataclass(frozen=True)
class Box:
    """An occupied area: from `left` percent and `before` pixels to `right` percent and `after` pixels.

    `top` and `bottom` are pixels, as the height of a plot is the same on every page.
    """

    left: float
    right: float
    before: float
    after: float
    top: float
    bottom: float

    def ends(self, width: float) -> tuple[float, float]:
        """Returns where it begins and ends in a plot of so many pixels."""
        return self.left * width / 100 + self.before, self.right * width / 100 + self.after

    def overlaps(self, other: Box) -> bool:
        """Returns whether two boxes overlap at any width."""
        if self.bottom <= other.top or other.bottom <= self.top:
            return False
        sides = [(self.ends(width), other.ends(width)) for width in WIDTHS]
        return any(one[0] < two[1] and two[0] < one[1] for one, two in sides)


def dot_box(x: float, y: float, radius: float) -> Box:
    """Returns the box of a dot at x percent and y pixels."""
    return Box(x, x, -radius, radius, y - radius, y + radius)


def tie_box(start: float, end: float, y: float) -> Box:
    """Returns the box of a horizontal line between two percents at y pixels."""
    return Box(min(start, end), max(start, end), 0, 0, y - 1, y + 1)


def place_labels(
    places: Sequence[tuple[float, float, str]],
    taken: Sequence[Box],
    height: float,
    furthest: int,
    may_cross: bool = False,
) -> list[str] | None:
    """Returns labels as SVG, each within so many pixels above or below its point; None if there is no room for all.

    Args:
        places: x and y in percent, and the text.
        taken: what they must not cover: dots, and lines between them.
        height: of the plot, in pixels.
        furthest: above or below, in pixels.
        may_cross: whether the lines that lead to labels may cross other labels.
    """
    room = _Room(list(taken), height, furthest, may_cross)
    drawn = []
    for x, y, text in places:
        found = room.label(text, x, y * height / 100)
        if found is None:
            return None
        drawn.append(f'<svg x="{x:.2f}%" y="{y:.2f}%" overflow="visible">{found}</svg>')
    return drawn


@dataclass
class _Room:
    """A plot that labels are put into: `taken` is what they must not cover, `texts` are those that are there."""

    taken: list[Box]
    height: float
    furthest: int
    may_cross: bool
    texts: list[Box] = field(default_factory=list)

    def label(self, text: str, x: float, y: float) -> str | None:
        """Returns a text beside the point at x percent and y pixels, or led to it; None where there is no room."""
        width = _CHARACTER * len(text)
        for dy in sorted(range(-self.furthest, self.furthest + 1, 13), key=abs):
            for anchor, dx, before in (("start", 9, 9.0), ("end", -9, -9 - width), ("middle", 0, -width / 2)):
                box = Box(x, x, before, before + width, y + dy - _LINE / 2, y + dy + _LINE / 2)
                # Of what is far away, a line tells whose it is.
                end = dy - math.copysign(_LINE / 2, dy)
                lead = _lead(x, y, dx, end) if abs(dy) > 13 else []
                if not self._take(box, lead):
                    continue
                line = f'<line class="lead" x2="{dx}" y2="{end:g}"/>' if lead else ""
                return f'{line}<text class="name" x="{dx}" y="{dy + 4}" text-anchor="{anchor}">{escape(text)}</text>'
        return None

    def _take(self, box: Box, lead: list[Box]) -> bool:
        """Takes the place of a label and of the line that leads to it, if it is free."""
        if not _is_inside(box, self.height) or any(box.overlaps(other) for other in self.taken):
            return False
        if not self.may_cross:
            if any(part.overlaps(other) for part in lead for other in self.texts):
                return False
            self.taken += lead
        self.taken.append(box)
        self.texts.append(box)
        return True


def _lead(x: float, y: float, dx: float, dy: float, parts: int = 6) -> list[Box]:
    """Returns boxes along the line from a point to what is dx and dy pixels away."""
    found = []
    for part in range(parts):
        (left, right), (top, bottom) = (
            sorted((length * part / parts, length * (part + 1) / parts)) for length in (dx, dy)
        )
        found.append(Box(x, x, left - 0.5, right + 0.5, y + top, y + bottom))
    return found


def _is_inside(box: Box, height: float) -> bool:
    ends = [(box.ends(width), width) for width in WIDTHS]
    is_wide = all(left > -8 and right < width + 10 for (left, right), width in ends)
    return is_wide and box.top > -6 and box.bottom < height - 2
