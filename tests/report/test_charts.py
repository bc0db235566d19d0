"""Geometry of the pictures, by numbers that a reader can check."""

import re

import pytest

from tfmot_swd.report.charts import Point, Scale, accuracy_chart, bar, line_chart, scale_of
from tfmot_swd.report.data import Panel, Series


@pytest.mark.parametrize(
    ("scale", "ticks"),
    [
        (Scale(0, 10), [0, 2, 4, 6, 8, 10]),
        (Scale(-0.3, 0.3), [-0.2, 0.0, 0.2]),
        (Scale(0.871, 0.894), [0.875, 0.88, 0.885, 0.89]),
        (Scale(900, 22_000, True), [1000, 2000, 5000, 10_000, 20_000]),
        (Scale(1e-6, 100, True), [1e-6, 1e-4, 0.01, 1, 100]),
        (Scale(2.2, 4.8, True), [2.2, 4.8]),
    ],
)
def test_ticks_are_round_and_within(scale, ticks):
    assert scale.ticks() == pytest.approx(ticks)


def test_scales_map_their_ends_to_the_ends():
    assert [Scale(10, 20).percent(each) for each in (10, 15, 20)] == [0, 50, 100]
    assert [Scale(1, 100, True).percent(each) for each in (1, 10, 100)] == pytest.approx([0, 50, 100])
    for scale in (scale_of([3.0, 3.0]), scale_of([0.0]), scale_of([0.0], from_zero=True), scale_of([5.0], is_log=True)):
        assert scale.low < scale.high


def test_a_bar_has_the_lengths_of_its_shares():
    drawn = bar([(1.0, "before"), (0.375, "after"), (7.0, "zero")], 'a "label"', whisker=(0.25, 2.0))
    assert re.findall(r'class="(\w+)" width="([\d.]+)%"', drawn) == [
        ("before", "100.00"),
        ("after", "37.50"),
        ("zero", "100.00"),
    ]
    assert 'class="cut"' in drawn
    assert drawn.count('class="whisker beyond"') == 1
    assert "beyond" not in bar([(1.0, "before")], "", whisker=(0.25, 1.0))
    assert 'class="cut"' not in bar([(1.0, "before")], "")
    assert 'x1="25.00%" x2="100.00%"' in drawn
    assert 'aria-label="a &quot;label&quot;"' in drawn


def test_lines_break_where_a_value_is_missing():
    lines = (Series("a", (0.0, 5.0, 10.0), (0.0, None, 10.0)), Series("b", (0.0, 10.0), (10.0, 0.0), is_target=True))
    drawn = line_chart(Panel("t<i>tle", "updates", "count", False, lines), Scale(0, 10), "p")
    # From 0 to 10.5: the highest value ends 1/21 below the top.
    top = f"{1000 - 1000 / 1.05:.1f}"
    assert re.findall(r'class="line (c\d[ target]*)" points="([^"]*)"', drawn) == [
        ("c1 target", f"0.0,{top} 1000.0,1000.0"),
        ("c0", "0.0,1000.0 0.0,1000.0"),
        ("c0", f"1000.0,{top} 1000.0,{top}"),
    ]
    assert "t&lt;i&gt;tle" in drawn
    assert 'aria-labelledby="p-title p-desc"' in drawn


def test_long_lines_are_thinned_and_keep_their_ends():
    many = Series("a", tuple(map(float, range(2001))), tuple(map(float, range(2001))))
    drawn = line_chart(Panel("t", "updates", "number", False, (many,)), Scale(0, 2000), "p")
    (points,) = re.findall(r'points="([^"]*)"', drawn)
    assert len(points.split()) <= 402
    assert points.startswith("0.0,")
    assert " 1000.0," in points


def test_labels_of_files_that_lie_close_do_not_cover_each_other():
    points = [Point(f"file_{number}", 10_000 + number, 9_000, 0.9) for number in range(4)]
    drawn = accuracy_chart(points, "a")
    offsets = re.findall(r'class="name" x="(-?\d+)" y="(-?\d+)" text-anchor="(\w+)"', drawn)
    assert len(offsets) == len(set(offsets)) == 4
    assert drawn.count('class="dot"') == drawn.count('class="ring"') == 4
    assert "<span>" not in drawn


def test_files_that_lie_too_close_for_names_have_numbers():
    points = [Point(f"a_rather_long_name_<{number}>", 10_000 - number, 9_000, 0.9) for number in range(9)]
    drawn = accuracy_chart(points, "a")
    assert re.findall(r'class="name"[^>]*>(\d)<', drawn) == list("123456789")
    # From the smallest on.
    assert "<span>1 a_rather_long_name_&lt;8&gt;</span>" in drawn
