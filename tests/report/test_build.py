"""From models and results to the report."""

import dataclasses

import numpy as np
import pytest
import tf_keras as keras

import tfmot_swd
from tfmot_swd.report import DeviceReport, device_report
from tfmot_swd.tflite.latency import Latency
from tfmot_swd.tflite.measure import FileMeasure
from tfmot_swd.tflite.result import ExportResult


@pytest.fixture
def net():
    return keras.Sequential(
        [
            keras.layers.Conv2D(4, 3, input_shape=(6, 6, 1), use_bias=False, name="conv"),
            keras.layers.ReLU(name="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(2, name="out"),
        ],
        name="net",
    )


def export(path, recipe="int8"):
    fields = dict.fromkeys(ExportResult.__dataclass_fields__)
    fields |= {"recipe": recipe, "path": str(path), "bytes": 50, "gzip_bytes": 40, "accuracy": 0.9}
    return ExportResult(**fields)


def measure(name, path):
    return FileMeasure(
        name, str(path), 60, 45, 44, (Latency(name, 1, 1.0, 0.9, 1.1, 5, 1.0),), 10, "", (), 20, 5, None, None, "why"
    )


def test_layers_before_and_after(net):
    small = tfmot_swd.channels.remove_channels(net, {"conv": np.array([True, False, True, False])})
    kernel = small.get_layer("conv").kernel
    kernel.assign(np.where(np.arange(18).reshape(3, 3, 1, 2) < 5, 0.0, 1.0))
    report = device_report(net, small, command="made by hand", seed=3)
    conv, out = report.layers
    # 3 · 3 weights a filter at 4 · 4 places.
    assert (conv.layer, conv.kind, conv.channels_before, conv.channels_after) == ("conv", "Conv2D", 4, 2)
    assert (conv.weights_before, conv.weights_after, conv.nonzero_after) == (36, 18, 13)
    assert (conv.macs_before, conv.macs_after) == (576, 288)
    assert (out.parameters_before, out.parameters_after) == (64 * 2 + 2, 32 * 2 + 2)
    assert report.totals.parameters_after == 18 + 66
    assert report.totals.macs_before == 576 + 128
    assert [(row.layer, row.channels, row.of) for row in report.barriers] == [("out", 2, 2)]
    assert (report.title, report.command, report.seed) == ("net on its way to a device", "made by hand", 3)
    assert "tensorflow" in report.versions


def test_channels_that_come_first_are_counted_there():
    net = keras.Sequential(
        [keras.layers.Conv2D(5, 3, data_format="channels_first", input_shape=(2, 8, 7)), keras.layers.Flatten()]
    )
    assert device_report(net, net).layers[0].channels_before == 5


def test_exports_and_measures_of_one_file_join(net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exports = [export("small_int8.tflite"), export("other.tflite", "float32")]
    measures = [measure("small", tmp_path / "small_int8.tflite"), measure("dense", tmp_path / "dense.tflite")]
    dense, small, other = device_report(net, net, exports, measures).files
    assert (dense.name, dense.file, dense.recipe, dense.accuracy) == ("dense", "dense.tflite", "", None)
    # The sizes of the proof and those measured are of the same file; the proof's stand.
    assert (small.name, small.recipe, small.bytes, small.accuracy, small.zstd_bytes) == ("small", "int8", 50, 0.9, 44)
    assert (small.zeros, small.weights, small.latency[0].median_ms, small.reasons) == (5, 20, 1.0, ("why",))
    assert (other.name, other.file, other.latency) == ("other", "other.tflite", ())


def test_zeros_of_the_proof_where_none_were_measured_and_files_measured_twice(net, tmp_path):
    proven = dataclasses.replace(export(tmp_path / "small.tflite"), weights=8, zeros=6)
    twice = [measure("one", tmp_path / "a.tflite"), measure("two", tmp_path / "a.tflite")]
    one, two, small = device_report(net, net, [proven], twice).files
    assert (one.name, two.name) == ("one", "two")
    assert (small.weights, small.zeros) == (8, 6)
    kept = dataclasses.replace(measure("small", proven.path), weights=None, zeros=None)
    (small,) = device_report(net, net, [proven], [kept]).files
    assert (small.weights, small.zeros) == (8, 6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"exports": ["x"]}, "exports must be a list of what export_tflite returned. Received: str among it$"),
        ({"exports": "x"}, "exports must be a list .*Received: exports=str$"),
        ({"exports": export("a.tflite")}, "exports must be a list .*Received: exports=ExportResult$"),
        ({"measures": 5}, "measures must be a list of what measure_files returned. Received: measures=int$"),
        ({"measures": [export("a.tflite")]}, "measures must be .*Received: ExportResult among it$"),
        ({"removal": "conv"}, "removal must be the RemovalPlan or ChannelPlan .*Received: removal='conv'$"),
        ({"title": 5}, "title must be text, or None. Received: title=5$"),
        ({"command": ["a"]}, r"command must be text, or None. Received: command=\['a'\]$"),
        ({"seed": 1.5}, "seed must be a whole number, or None. Received: seed=1.5$"),
        ({"seed": True}, "seed must be a whole number, or None. Received: seed=True$"),
        ({"seed": "7"}, "seed must be a whole number, or None. Received: seed='7'$"),
    ],
)
def test_other_things_are_refused(net, given, message):
    with pytest.raises(TypeError, match=message):
        device_report(net, net, **given)


def test_a_seed_of_numpy_is_written(net, tmp_path):
    report = device_report(net, net, seed=np.int64(7))
    assert type(report.seed) is int
    assert DeviceReport.read_json(report.write_json(tmp_path / "report.json")) == report


def test_the_form_stands_for_a_recipe_that_is_not_known(net, tmp_path):
    found = dataclasses.replace(measure("small", tmp_path / "small.tflite"), form="int8")
    (measured,) = device_report(net, net, measures=[found]).files
    (exported,) = device_report(net, net, [export(tmp_path / "small.tflite", "int8_float_io")], [found]).files
    assert (measured.recipe, measured.form, measured.kind) == ("", "int8", "int8")
    assert (exported.form, exported.kind) == ("int8", "int8_float_io")


def test_a_plan_tells_its_reasons_and_advice_becomes_plain(net):
    plan = tfmot_swd.channels.plan_removal(net, {"conv": np.array([True, False, False, False])}, round_to=2)
    advice = {"file": "x", "share": np.float32(0.5), "bad": float("nan"), "rules": ("a", None)}
    report = device_report(net, plan.apply(), removal=plan, advice=[advice])
    assert report.barriers[-1].layer == "conv"
    assert (report.barriers[-1].channels, report.barriers[-1].of) == (2, 4)
    assert "rounded up" in report.barriers[-1].reasons[0]
    assert report.advice == ({"file": "x", "share": 0.5, "bad": None, "rules": ["a", None]},)
    with pytest.raises(TypeError, match="advice is made of dictionaries. Received: str"):
        device_report(net, net, advice=["use float16"])
