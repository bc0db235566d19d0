"""Where labels are put, in pixels that a reader can check."""

import re

import pytest

from tfmot_swd.report.charts import Point, accuracy_chart
from tfmot_swd.report.labels import WIDTHS, Box, dot_box, place_labels, tie_box


def ends(label, text, width):
    """Returns left, right and middle of a label's text in a plot of so many pixels and 260 in height."""
    x, y = (float(each) for each in re.search(r'<svg x="([\d.]+)%" y="([\d.]+)%"', label).groups())
    dx, dy, anchor = re.search(r'class="name" x="(-?\d+)" y="(-?\d+)" text-anchor="(\w+)"', label).groups()
    length = 6.6 * len(text)
    left = x * width / 100 + int(dx) - {"start": 0, "middle": length / 2, "end": length}[anchor]
    return left, left + length, y * 2.6 + int(dy) - 4


def test_boxes_overlap_if_they_do_at_any_width():
    left = Box(10, 10, 0, 20, 0, 10)
    # In 260 pixels it ends at 46, and 30 % are at 78.
    assert not left.overlaps(Box(30, 30, 0, 5, 0, 10))
    assert not left.overlaps(Box(10, 10, 0, 20, 10, 20))
    # A dot at 22 to 30 is behind a label at 8.6 to 19.6 in 260 pixels; at 96 to 104 it is below one at 90 to 101.
    assert dot_box(10, 5, 4).overlaps(Box(11, 11, -20, -9, 0, 10))
    assert tie_box(12, 10, 5) == Box(10, 12, 0, 0, 4, 6)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.98])
def test_no_label_is_struck_by_the_line_to_its_gzip(share):
    # The ring is left of the dot, where the right edge leaves no room for the label of the larger file.
    for packed in (share, share * 0.9):
        point, other = Point("largest_file", 100_000, int(packed * 100_000), 0.9), Point("b", 60_000, 59_000, 0.8)
        drawn = accuracy_chart([point, other], "a")
        (label,) = re.findall(r'<svg x="[^>]*>(?:(?!</svg>).)*largest_file</text></svg>', drawn)
        ties = re.findall(r'class="tie" x1="([\d.]+)%" x2="([\d.]+)%" y1="([\d.]+)%"', drawn)
        for start, end, y in (map(float, tie) for tie in ties):
            for width in range(WIDTHS[0], WIDTHS[-1] + 1, 20):
                left, right, middle = ends(label, "largest_file", width)
                is_beside = right <= start * width / 100 or end * width / 100 <= left
                assert is_beside or abs(middle - y * 2.6) >= 6


def test_lines_to_labels_cross_no_label():
    labels = place_labels([(50, 50, "aaaa")] * 8, [dot_box(50, 130, 5)], 260, 104)
    assert labels is not None
    texts = [ends(label, "aaaa", 260) for label in labels]
    for label in labels:
        lead = re.search(r'class="lead" x2="(-?\d+)" y2="(-?\d+)"', label)
        if lead is None:
            continue
        x, y = map(int, lead.groups())
        for part in range(11):
            for left, right, middle in texts:
                is_in = left < 130 + x * part / 10 < right and abs(130 + y * part / 10 - middle) < 6
                assert not is_in
    assert any("lead" in label for label in labels)


def test_no_room_is_none():
    wall = Box(0, 100, 0, 0, -100, 300)
    assert place_labels([(50, 50, "a")], [wall], 260, 26) is None
