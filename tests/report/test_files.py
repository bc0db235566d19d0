"""Rows of files: what an export, a measure and the file itself tell."""

import dataclasses

import pytest
import tf_keras as keras

from tests.report.test_build import export, measure
from tfmot_swd.report.files import file_rows
from tfmot_swd.tflite import export_tflite


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    net = keras.Sequential([keras.layers.Input((4,), name="x"), keras.layers.Dense(2, name="y")])
    return export_tflite(net, tmp_path_factory.mktemp("files") / "net.tflite")


def test_a_file_that_was_not_measured_tells_what_it_holds(result):
    (row,) = file_rows([result], [])
    assert (row.sha256, row.form, row.macs) == (result.sha256, "float32", 8)
    assert [(each.name, each.count, each.macs) for each in row.operator_totals] == [("FULLY_CONNECTED", 1, 8)]
    assert [(each.name, each.shape) for each in (*row.inputs, *row.outputs)] == [("x", (1, 4)), ("y", (1, 2))]
    # Gone, or of a version that told no digest: nothing is read, and nothing said.
    gone = dataclasses.replace(result, path="gone.tflite")
    assert [(each.sha256, each.operators) for each in file_rows([gone], [])] == [(result.sha256, ())]
    old = dataclasses.replace(result, sha256="")
    assert [(each.sha256, each.operators) for each in file_rows([old], [])] == [("", ())]


def test_figures_of_two_files_under_one_name_are_not_mixed(result):
    changed = dataclasses.replace(result, sha256="0" * 64)
    told = "is not the one any more that was proven.*export it again. Received: .*net.tflite' of sha256"
    with pytest.raises(ValueError, match=told):
        file_rows([changed], [])
    measured = dataclasses.replace(measure("net", "a.tflite"), sha256="1" * 64)
    with pytest.raises(ValueError, match="of sha256 111111111111, proven as 000000000000$"):
        file_rows([dataclasses.replace(export("a.tflite"), sha256="0" * 64)], [measured])
