"""The page as text; what a browser makes of it is in test_browser.py."""

import dataclasses
import json
import re
from html.parser import HTMLParser

import pytest

from tfmot_swd.report.markup import embed, look_up, short
from tfmot_swd.report.page import page
from tfmot_swd.report.result import DeviceReport
from tfmot_swd.report.verdicts import verdicts

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
