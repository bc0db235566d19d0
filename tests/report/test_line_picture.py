"""A chart of lines that stands by itself."""

import itertools
import math
import re
import xml.etree.ElementTree as xml

from tfmot_swd.report.line_picture import Line, line_picture


def test_lines_are_drawn_where_their_values_are():
    lines = [
        Line("other & more", [0.0, 0.5], [1.0, 1.0], is_named=False),
        Line("conv", [0.0, 0.25, 0.5], [1.0, math.nan, 0.0]),
    ]
    picture = line_picture("accuracy <b>", "share removed", lines, "share")
    root = xml.fromstring(picture)
    space = "{http://www.w3.org/2000/svg}"
    other, named = (
        [tuple(map(float, point.split(","))) for point in each.get("points").split()]
        for each in root.iter(f"{space}polyline")
    )
    # A value that is not there is left out; the highest one is at the top.
    assert len(other) == len(named) == 2
    assert other[0] == named[0]
    assert other[1][1] == other[0][1] < named[1][1]
    assert other[1][0] == named[1][0] > named[0][0]
    assert [each.get("class") for each in root.iter(f"{space}polyline")] == ["other", "named"]
    texts = [each.text for each in root.iter(f"{space}text")]
    assert texts[0] == "accuracy <b>"
    assert texts[-1] == "conv"
    assert {"0 %", "100 %", "50 %", "share removed"} <= set(texts)
    assert len(list(root.iter(f"{space}circle"))) == 2


def test_names_beside_lines_that_end_together_are_apart_and_inside():
    lines = [Line(f"layer {number}", [0.0, 1.0], [1.0, 0.0]) for number in range(4)]
    picture = line_picture("accuracy", "share removed", lines)
    places = [float(y) for y in re.findall(r'y="([\d.]+)" style="fill', picture)]
    assert len(places) == 4
    assert all(second - first >= 15 for first, second in itertools.pairwise(places))
    assert max(places) <= 360 - 48 + 4


def test_a_long_name_keeps_its_end():
    picture = line_picture("accuracy", "share removed", [Line("a" * 40 + "/conv", [0.0, 1.0], [0.5, 0.5])])
    assert re.search(">…a+/conv</text>", picture)
