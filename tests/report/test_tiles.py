"""The tiles: accuracies, and a latency only where one can be told."""

import dataclasses
import re

import pytest

from tfmot_swd.report.data import FileRow
from tfmot_swd.report.markup import Numbers
from tfmot_swd.report.page import page
from tfmot_swd.report.tiles import tiles
from tfmot_swd.tflite.latency import Latency


def told(report):
    """Returns the text of the tiles, without elements."""
    return re.sub(r"<[^>]+>", "|", tiles(report, Numbers(report.to_dict())))


def scores(report):
    """Returns the first tile as pairs of a name and what is said of it."""
    first = tiles(report, Numbers(report.to_dict())).partition("</dl>")[0]
    return re.findall(r"<dt>(.*?)</dt><dd>(?:<data[^>]*>)?(.*?)(?:</data>)?(?: on .*?)?</dd>", first)


def test_the_first_tile_is_the_accuracy_of_models_and_files(report):
    assert [value for _, value in scores(report)] == ["91.00 %", "88.00 %", "90.50 %", "87.65 %", "unknown"]
    assert "|accuracy on 200 samples|" in told(report)
    other = dataclasses.replace(report, metric="rank_1", samples=None)
    assert [value for _, value in scores(other)][:2] == ["0.91", "0.88"]
    assert "|rank_1|" in told(other)


def test_without_data_it_says_whose_numbers_they_are_and_what_is_not_known(report):
    files = tuple(dataclasses.replace(each, score=None) for each in report.files)
    files = (files[0], dataclasses.replace(files[1], samples=20), files[2])
    alone = dataclasses.replace(report, files=files, dense_score=None, samples=100)
    assert [value for _, value in scores(alone)] == [
        *("unknown: give --data, data= in Python", "88.00 %", "91.00 %", "87.65 %", "unknown")
    ]
    assert "|accuracy on 100 samples, of the proofs|" in told(alone)
    assert "87.65 %| on 20" in told(alone)
    assert "unknown: give --data, data= in Python" in str(alone)
    assert "of the proofs" not in told(dataclasses.replace(alone, files=(), dense_score=0.9))


def timed(name, low, high, ratio=None, kind="int8"):
    latency = Latency(name, 1, low, low, high, 50, ratio, "dense")
    return FileRow(name, f"{name}.tflite", kind, 9, 9, latency=(latency,), form=kind)


@pytest.mark.parametrize(
    ("dense_high", "small_high", "ran"),
    [(1.9, 1.1, "small ran between 0.5 and 1.1"), (2.2, 0.9, "dense ran between 1 and 2.2")],
)
def test_no_ratio_is_said_where_times_vary_too_much(report, dense_high, small_high, ran):
    calm = dataclasses.replace(report, files=(timed("dense", 1.0, 1.9, 1.0), timed("small", 0.5, 0.9, 0.5)))
    assert "0.50x|" in told(calm)
    # However such a report was made: measured, by hand, or by a version that did not mind.
    files = (timed("dense", 1.0, dense_high, 1.0), timed("small", 0.5, small_high, 0.5))
    noisy = dataclasses.replace(report, files=files)
    said = f"too noisy to compare: {ran} ms"
    latency = noisy.to_dict()["files"][1]["latency"][0]
    assert (latency["ratio"], latency["noise"]) == (None, said)
    assert f"|?||of the dense file's latency|small, both int8, 1 thread: {said}|" in told(noisy)
    for text in (page(noisy), " ".join(str(noisy).split())):
        assert f"1 thread: {said}" in text
        assert "0.50x" not in text


def test_a_file_of_another_form_does_not_stand_in_for_a_noisy_one(report):
    files = (timed("dense", 1.0, 1.9, 1.0), timed("small", 0.5, 1.1, 0.5), timed("half", 0.4, 0.5, 0.4, "float16"))
    assert "0.40x" not in told(dataclasses.replace(report, files=files))
