"""The page as text; what a browser makes of it is in test_browser.py."""

import dataclasses
import json
import re
from html.parser import HTMLParser

import pytest

from tfmot_swd.report.advice_section import verdicts
from tfmot_swd.report.data import FileRow, LayerRow
from tfmot_swd.report.markup import embed, look_up, short
from tfmot_swd.report.page import page
from tfmot_swd.report.result import DeviceReport
from tfmot_swd.tflite.advice_case import GIVE_DENSE
from tfmot_swd.tflite.latency import Latency

VOID = {"meta", "br", "rect", "line", "circle", "polyline"}


class Tree(HTMLParser):
    """Checks that elements are closed in order, and keeps what has ids and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_well_formed_and_names_are_text(report):
    text = page(report)
    tree = Tree()
    tree.feed(text)
    tree.close()
    assert not tree.open
    assert len(tree.ids) == len(set(tree.ids))
    assert report.layers[0].layer in "".join(tree.text)
    assert text.count("<script") == 1
    assert "<b>" not in text


def test_verdicts_are_by_topic_and_file():
    first = {"advice": [{"topic": "size", "verdict": "helps"}, {"topic": "size", "verdict": "helps"}]}
    second = {"advice": [{"topic": "speed", "verdict": "fails"}, {"no": "verdict"}]}
    assert verdicts([first, {}, second]) == [["size", "helps", "", ""], ["speed", "", "", "fails"]]


def test_an_unknown_verdict_says_what_would_tell():
    rows = [
        {"topic": "memory", "verdict": "unknown", "remedy": GIVE_DENSE},
        {"topic": "size", "verdict": "unknown", "remedy": "fix the size of the input"},
        {"topic": "speed", "verdict": "unknown", "remedy": GIVE_DENSE},
        {"topic": "speed", "verdict": "helps", "remedy": "nothing"},
    ]
    told = [["memory", "unknown: give --dense_file"], ["size", "unknown"], ["speed", "helps"]]
    assert verdicts([{"advice": rows}]) == told


def test_the_embedded_data_is_the_report(report):
    (data,) = re.findall(r'<script type="application/json" id="report-data">(.*?)</script>', page(report), re.DOTALL)
    assert DeviceReport.from_dict(json.loads(data)) == report


def test_nothing_is_loaded_from_anywhere(report):
    text = page(report)
    assert not re.search(r"https?:|//\w|url\(|@import|\b(src|href|srcset)\s*=", text)
    assert "default-src 'none'" in text


def test_a_report_of_layers_alone_has_no_empty_sections(report):
    text = page(dataclasses.replace(report, files=(), panels=(), barriers=(), advice=(), seed=None))
    assert re.findall(r"<h2>(.*?)</h2>", text) == ["Layer by layer", "Where this comes from"]
    assert "None" not in text


def test_kernels_that_pruning_does_not_count_are_not_shown_as_gone(report):
    # 9 weights of a depthwise convolution for each of 8 channels, 4 of which stay.
    row = LayerRow("depthwise", "DepthwiseConv2D", 8, 4, 80, 40, 0, 0, 0, 0, 800, 400, 72, 36, 72, 27)
    text = page(dataclasses.replace(report, layers=(row,)))
    (counted, left) = re.findall(r'<rect class="(?:zero|after)" width="([\d.]+)%"', text.partition("All numbers")[0])[
        -2:
    ]
    assert (counted, left) == ("50.00", "37.50")
    assert "27 of 72 weights are left and not zero" in text
    assert 'data-key="layers/0/nonzero_kernels_after:layers/0/kernels_before" data-style="round">38 %' in text


def test_bands_are_spoken_of_where_there_are_some(report):
    told = "the pale bands are what the schedule wants"
    assert told in page(report)
    without = page(dataclasses.replace(report, panels=report.panels[:2]))
    assert told not in without
    assert "The numbers are those at the end." in without


def made(kind, form, ratio, name=None, threads=1):
    """Returns a file that takes so much of the time of the file `dense`."""
    name = name or f"small {kind}"
    return FileRow(name, "a", kind, 9, 9, latency=(Latency(name, threads, 1, 1, 1, 5, ratio, "dense"),), form=form)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        # An int8 file is faster whatever was pruned: beside a float32 one it counts only if there is nothing else.
        ([("float32", "float32", 0.9), ("int8", "int8", 0.3)], ("0.90x", "small float32, both float32, 1 thread")),
        ([("sparse_float32", "float32", 0.8), ("int8", "int8", 0.3)], ("0.80x", "sparse_float32 against float32")),
        ([("int8", "int8", 0.3), ("dynamic", "dynamic", 0.5)], ("0.30x", "small int8, int8 against float32, 1 thread")),
        ([("float32", "float32", 1.25)], ("1.25x", "both float32")),
        ([("", "float32", 0.9), ("float32", "float32", 0.95)], ("0.90x", "both float32")),
    ],
)
def test_latency_is_told_of_files_made_alike(report, files, told):
    dense = made("float32", "float32", 1.0, "dense", threads=2)
    text = page(dataclasses.replace(report, files=(dense, *(made(*each) for each in files))))
    (big, what) = re.search(
        r'"big"><data[^>]*>([^<]*)</data></div><div class="what">of the dense [^<]*<br>([^<]*)', text
    ).groups()
    assert big == told[0]
    assert told[1] in what


def test_a_dense_file_alone_has_no_latency_tile(report):
    assert "of the dense file's latency" in page(report)
    assert "of the dense file's latency" not in page(dataclasses.replace(report, files=report.files[:1]))


def test_the_legend_of_latency_says_what_its_ratios_are(report):
    told = "as the median of these ratios; the ratio of the two medians can be another"
    # Of the dense file alone there are times of two threads, and its ratio to itself.
    assert page(report).count(told) == 2
    without = [dataclasses.replace(each, ratio=None, reference=None) for each in report.files[0].latency]
    assert told not in page(
        dataclasses.replace(report, files=(dataclasses.replace(report.files[0], latency=tuple(without)),))
    )


def test_what_is_cut_at_the_edge_is_marked_and_explained(report):
    def with_times(*times):
        rows = [
            FileRow(str(index), "a", "", 9, 9, latency=(Latency(str(index), 1, *each, 5),), form="int8")
            for index, each in enumerate(times)
        ]
        return page(dataclasses.replace(report, files=tuple(rows)))

    plain = with_times((1.0, 0.9, 1.4))
    assert ("An arrow" in plain, "A bar with a gap" in plain, "whisker beyond" in plain) == (False, False, False)
    # Whiskers may take half as much again as the longest bar.
    cut = with_times((1.0, 0.9, 1.6))
    assert ("An arrow" in cut, "A bar with a gap" in cut, cut.count("whisker beyond")) == (True, False, 1)
    assert "10th to 90th percentile 0.9 to 1.6" in cut
    broken = with_times((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (9.0, 9.0, 9.0))
    assert ("A bar with a gap" in broken, broken.count('class="cut"')) == (True, 1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.5, "0.5"),
        (999, "999"),
        (1234, "1.23k"),
        (999_999, "1M"),
        (41_400_000, "41.4M"),
        (1.2e-5, "1.2e-05"),
    ],
)
def test_short_numbers_have_three_digits(value, text):
    assert short(value) == text


def test_entries_are_found_by_path_and_divided():
    data = {"a": [{"b": 3}, {"b": None}], "zero": 0}
    assert look_up(data, "a/0/b") == 3
    assert look_up(data, "a/0/b:a/0/b") == 1
    assert look_up(data, "a/1/b:a/0/b") is None
    assert look_up(data, "a/0/b:zero") is None


def test_embedded_data_cannot_end_its_element():
    data = {"x": "</script><!-- & \u2028"}
    assert not set(embed(data)) & set("<>&\u2028")
    assert json.loads(embed(data)) == data
