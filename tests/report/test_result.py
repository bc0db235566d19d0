"""The report as data: round trips, and refusals of what is no report."""

import dataclasses
import json

import pytest

from tests.killed import killed_at_each
from tfmot_swd.report import DeviceReport


def test_json_gives_the_same_report_back(report, tmp_path):
    path = report.write_json(tmp_path / "new" / "report.json")
    assert DeviceReport.read_json(path) == report
    assert json.loads(path.read_text())["files"][1]["latency"][0]["ratio"] == 0.25
    assert [each.name for each in path.parent.iterdir()] == ["report.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "format None"),
        ('{"format": 99}', "format 99"),
        ('{"format": 1, "title": "x"}', "lacks a part"),
        ('{"format": 1, "surprise": 0}', "lacks a part"),
    ],
)
def test_what_is_no_report_is_refused(text, message, tmp_path):
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        DeviceReport.read_json(path)


def test_a_page_that_is_killed_is_the_old_one_or_the_new_one(report, tmp_path):
    path = tmp_path / "report.html"
    whole = report.write_html(path).read_bytes()
    found = set()
    for operation in killed_at_each(lambda: report.write_html(path), lambda: path.write_bytes(b"old")):
        found.add(path.read_bytes())
        assert found <= {b"old", whole}, operation
        report.write_html(path)
        assert path.read_bytes() == whole
        assert list(tmp_path.iterdir()) == [path]
    assert found == {b"old", whole}


def test_nothing_replaces_a_file_if_the_report_cannot_be_written(report, tmp_path):
    path = tmp_path / "report.json"
    path.write_text("old")
    with pytest.raises(ValueError, match="Out of range float"):
        dataclasses.replace(report, advice=({"x": float("nan")},)).write_json(path)
    assert path.read_text() == "old"
    with pytest.raises(IsADirectoryError, match="path is a directory"):
        report.write_html(tmp_path)


def test_a_terminal_shows_layers_files_and_barriers(report):
    text = str(report)
    for shown in (
        "32 → 8",
        "320 → 80 (25%)",
        "288 → 36 (12%)",
        "686 → 170",
        "1,234",
        "87.65 %",
        "0.5 0.25x",
        "10 of 10",
        "[b]fails",
    ):
        assert shown in text
    assert "micro: It does not run here: <why>." in text
    assert "Received" not in text


def test_the_old_names_of_reading_and_writing_work_and_name_the_new_ones(report, tmp_path):
    with pytest.warns(DeprecationWarning, match=r"DeviceReport.to_json.* is deprecated .* write_json"):
        path = report.to_json(tmp_path / "report.json")
    with pytest.warns(DeprecationWarning, match=r"DeviceReport.from_json.* is deprecated .* read_json"):
        assert DeviceReport.from_json(path) == report
    with pytest.warns(DeprecationWarning, match=r"DeviceReport.to_html.* is deprecated .* write_html"):
        assert report.to_html(tmp_path / "a.html").read_bytes() == report.write_html(tmp_path / "b.html").read_bytes()
