"""Quantization error by layer: by hand on arrays, and on files whose first bad layer is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tf_keras as keras

from tfmot_swd import export_tflite
from tfmot_swd.tflite import ExportError, quantization_error
from tfmot_swd.tflite.graph import FileTensor, read_graph
from tfmot_swd.tflite.layer_tensors import TensorPair, _layers
from tfmot_swd.tflite.layout import read_layout
from tfmot_swd.tflite.quantization_error import Measure, QuantizationByLayer, QuantizedLayer

_LAX = {"tolerance": 10.0, "min_agreement": 0.0, "max_accuracy_loss": 1.0}


def tensor(dtype: str, scale: float, zero_point: int) -> FileTensor:
    return FileTensor(0, "", (1, 2), np.dtype(dtype), None, 0, 0, False, (), (scale,), (), (zero_point,))


def test_a_tensor_by_hand():
    measure = Measure(TensorPair(("a",), "ADD", 0, 0), tensor("int8", 0.5, -128))
    # Three channels, of which the last is zero: root mean squares 5 and 10 over two samples, differences 1 and 5.
    measure.add(np.array([[5.0, 10.0, 0.0]]), np.array([[6.0, 15.0, 0.0]]))
    measure.add(np.array([[-5.0, 10.0, 0.0]]), np.array([[-4.0, 5.0, 0.0]]))
    row = measure.result()
    assert row.limits == (0.0, 127.5)
    assert (row.least, row.most, row.step) == (-5.0, 10.0, 0.5)
    # -5 alone is not in the range, one of six values.
    assert row.clipped == pytest.approx(1 / 6)
    assert row.error == pytest.approx((1 / 5 + 5 / 10) / 2)
    assert row.rounding == pytest.approx(0.5 / 12**0.5 * (1 / 5 + 1 / 10) / 2)


def test_a_value_within_half_a_step_is_not_clipped_and_floats_have_no_range():
    measure = Measure(TensorPair((), "ADD", 0, 0), tensor("int8", 1.0, 0))
    measure.add(np.array([[127.4, 127.6, -128.4, -128.6]]), np.zeros((1, 4)))
    assert measure.result().clipped == 0.5
    measure = Measure(TensorPair((), "ADD", 0, 0), tensor("float32", 1.0, 0))
    measure.add(np.array([[1.0]]), np.array([[1.5]]))
    assert (measure.result().limits, measure.result().error, measure.result().name) == (None, 0.5, "ADD")


def test_where_all_is_zero_in_the_model_any_value_strays():
    for found, error in ((0.0, 0.0), (0.1, np.inf)):
        measure = Measure(TensorPair((), "RELU", 0, 0), tensor("int8", 1.0, 0))
        measure.add(np.zeros((1, 2)), np.full((1, 2), found))
        assert measure.result().error == error


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("net/act/Relu;net/norm/add;net/conv/Conv2D", ("act", "norm", "conv")),
        ("net/inner/conv/BiasAdd;net/inner/conv/Conv2D", ("conv",)),
        ("StatefulPartitionedCall:0", ()),
        # An operation of one layer, as another layer is called.
        ("net/act/add;net/add/add", ("act", "add")),
    ],
)
def test_layers_in_the_name_of_a_tensor(name, layers):
    assert _layers(name, {"act", "norm", "conv", "inner", "add"}) == layers


def row(name: str, error: float, rounding: float = 0.0, clipped: float = 0.0, limits: object = (-1.0, 1.0)):
    return QuantizedLayer((name,), "ADD", -3.0, 2.0, 0.01, limits, clipped, error, rounding)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (row("b", 0.5, rounding=0.3), "too coarse for most channels"),
        (row("b", 0.5, clipped=0.02), "2.0% of them are cut off. Pass representative_data"),
        (row("b", 0.5), "from -3 to 2, the quantization from -1 to 1 in steps of 0.01, which is fine"),
        (row("b", 0.5, limits=None), "computed in float"),
    ],
)
def test_the_first_layer_that_strays_and_why(bad, said, tmp_path):
    result = QuantizationByLayer(None, 5, 0.1, (row("a", 0.1), bad, row("c", 0.9)))
    assert result.first is bad
    assert said in result.reason
    assert "b is the first layer off by more than 10%: by 50%." in result.reason
    written = json.loads(result.write_json(tmp_path / "found.json").read_text())
    assert (written["first"], written["reason"]) == ("b", result.reason)
    assert [each["error"] for each in written["layers"]] == [0.1, 0.5, 0.9]
    text = str(result)
    assert "b *" in text
    assert "a *" not in text
    fine = QuantizationByLayer(None, 5, 0.1, (row("a", 0.1),))
    assert (fine.first, fine.reason) == (None, "")


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(120, 8)).astype("float32")


@pytest.fixture(scope="module")
def wide(three_layers) -> keras.Model:
    """One unit of the second layer is a thousand times the others, and counts no more than they do."""
    net = three_layers
    for layer, factor in ((net.get_layer("wide"), 1000), (net.get_layer("head"), 1 / 1000)):
        kernel, bias = layer.get_weights()
        kernel[(slice(None), 0) if factor > 1 else 0] *= factor
        layer.set_weights([kernel, bias])
    return net


def test_the_layer_with_one_large_channel_is_named(wide, rows, tmp_path):
    path = tmp_path / "wide.tflite"
    export_tflite(wide, path, "int8", representative_data=rows, **_LAX)
    found = quantization_error(wide, path, rows)
    assert [each.name for each in found.layers] == ["calm", "wide", "head"]
    assert found.layers[0].error < 0.05
    assert found.first is found.layers[1]
    assert "too coarse" in found.reason
    assert found.samples == 100
    # The step is larger than what most channels hold.
    assert found.layers[1].rounding > 1


def test_values_beyond_the_calibration_are_told(rows, tmp_path):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    net = keras.Sequential(
        [layers.Input((8,)), layers.Dense(16, name="first"), layers.ReLU(name="act"), layers.Dense(3, name="head")]
    )
    path = tmp_path / "net.tflite"
    export_tflite(net, path, "int8", representative_data=rows / 10, **_LAX)
    found = quantization_error(net, path.read_bytes(), rows)
    assert found.path is None
    assert set(found.first.layers) == {"first", "act"}
    assert found.first.clipped > 0.1
    assert "are cut off" in found.reason
    close = quantization_error(net, path.read_bytes(), rows / 10)
    assert close.first is None


def test_what_cannot_be_compared(wide, rows, tmp_path):
    other = keras.Sequential([keras.layers.Input((8,)), keras.layers.Reshape((4, 2)), keras.layers.Conv1D(2, 2)])
    path = tmp_path / "other.tflite"
    export_tflite(other, path, "float32")
    with pytest.raises(ValueError, match="may be of another model. Received: .* of '.*other.tflite', with "):
        quantization_error(wide, path, rows)
    with pytest.raises(ValueError, match="threshold"):
        quantization_error(wide, path, rows, threshold=2)
    with pytest.raises(FileNotFoundError):
        quantization_error(wide, tmp_path / "absent.tflite", rows)


def test_a_layer_that_stays_in_float_brings_the_accuracy_back(wide, rows, tmp_path):
    path = tmp_path / "wide.tflite"
    whole = export_tflite(wide, path, "int8", representative_data=rows, **_LAX)
    # What reads the large channel has to be in float too.
    result = export_tflite(wide, path, "int8", representative_data=rows, float_layers=["wide", "head"])
    assert result.mean_difference < whole.mean_difference / 20
    found = quantization_error(wide, path, rows)
    assert [each.limits is None for each in found.layers] == [False, True, True]
    assert found.first is None
    # Inputs and outputs are those of the recipe.
    layout = read_layout(path.read_bytes())
    assert {port.dtype.name for port in (*layout.inputs, *layout.outputs)} == {"int8"}
    export_tflite(wide, path, "int8_float_io", representative_data=rows, float_layers=["wide", "head"])
    layout = read_layout(path.read_bytes())
    assert {port.dtype.name for port in (*layout.inputs, *layout.outputs)} == {"float32"}


@pytest.mark.parametrize(
    ("names", "recipe", "error", "message"),
    [
        (["wide", "absent"], "int8", ValueError, "names of the model's layers: .*Received: 'absent'$"),
        (["wide"], "int16x8", ValueError, "for recipes in int8.*with recipe='int16x8'$"),
        ("wide", "int8", TypeError, "list of names.*Received: float_layers='wide'$"),
        (["x"], "int8", ExportError, "layers that the file computes.*Received: x$"),
    ],
)
def test_float_layers_that_cannot_be(names, recipe, error, message, wide, rows, tmp_path):
    path = tmp_path / "wide.tflite"
    with pytest.raises(error, match=message):
        export_tflite(wide, path, recipe, representative_data=rows, float_layers=names, **_LAX)
    assert not path.exists()


def test_a_layer_that_is_folded_is_told_with_the_layers_to_name_instead(rows, tmp_path):
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((8,)),
            layers.Reshape((8, 1, 1), name="parts"),
            layers.Conv2D(4, (3, 1), use_bias=False, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(name="relu"),
            layers.Dropout(0.5, name="drop"),
            layers.Flatten(name="flat"),
            layers.Dense(2, name="head"),
        ]
    )
    with pytest.raises(
        ExportError, match=r"drop is folded into .* of 'relu' before it, into .* of 'flat' behind it, or"
    ):
        export_tflite(model, tmp_path / "a.tflite", "int8", representative_data=rows, float_layers=["drop"], **_LAX)
    with pytest.raises(
        ExportError, match=r"norm is folded into CONV_2D of '.*Name the layers of those.*Received: norm$"
    ):
        export_tflite(model, tmp_path / "a.tflite", "int8", representative_data=rows, float_layers=["norm"], **_LAX)
    assert not list(tmp_path.iterdir())


def test_a_layer_that_is_called_as_an_operation_of_others_stays_in_float_alone(tmp_path):
    layers = keras.layers
    x = layers.Input((4, 8), name="x")
    # Its bias is added by an operation "add".
    options = {"bias_axes": "d", "bias_initializer": "ones", "name": "proj"}
    y = layers.EinsumDense("abc,cd->abd", (None, 8), **options)(x)
    y = layers.Dense(3, name="head")(layers.Flatten(name="flat")(layers.Add(name="add")([x, y])))
    data = np.random.default_rng(0).normal(size=(60, 4, 8)).astype("float32")
    path = tmp_path / "a.tflite"
    export_tflite(keras.Model(x, y), path, "int8", representative_data=data, float_layers=["add"])
    graph = read_graph(path.read_bytes())
    types = [(each.name, graph.tensors[each.outputs[0]].dtype.name) for each in graph.operators]
    assert [name for name, dtype in types if dtype == "float32" and name != "DEQUANTIZE"] == ["ADD"]


_SIZES = {"body": 8, "z": 3, "c": 3, "a": 5, "y": 6, "b": 7}


@pytest.fixture(scope="module")
def headed() -> dict[str, keras.Model]:
    """Models whose outputs are in no alphabetical order: the converter sorts them its own way."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    k = layers.Input((8,))
    inner = keras.Model(k, [layers.Dense(_SIZES[name], name=name)(k) for name in "yb"], name="inner")
    x = layers.Input((8,), name="x")
    body = layers.Dense(_SIZES["body"], "relu", name="body")(x)
    z, c, a = (layers.Dense(_SIZES[name], name=name)(body) for name in "zca")
    y, b = inner(body)
    return {
        "two": keras.Model(x, [z, a]),
        "three": keras.Model(x, [c, z, a]),
        "dictionary": keras.Model(x, {"second": a, "first": z}),
        "one twice": keras.Model(x, [z, z, a]),
        "nested": keras.Model(x, [z, b, y]),
    }


@pytest.mark.parametrize(
    ("kind", "kept", "names"),
    [
        ("two", ["z"], {"z"}),
        ("three", ["z", "a"], {"z", "a"}),
        ("dictionary", ["z"], {"z"}),
        ("one twice", ["z"], {"z"}),
        ("nested", ["b"], {"b"}),
        ("nested", ["inner"], {"y", "b"}),
    ],
)
def test_the_outputs_that_are_named_stay_in_float_and_no_others(kind, kept, names, headed, rows, tmp_path):
    model = headed[kind]
    path = tmp_path / "net.tflite"
    export_tflite(model, path, "int8", representative_data=rows, float_layers=kept)
    found = quantization_error(model, path, rows)
    assert {each.name for each in found.layers if each.limits is None} == names
    # Pairs of unlike tensors would be far apart, also where they have the same shape.
    assert all(each.error < 0.1 for each in found.layers)
    # The tensors themselves, in case the names were wrong in the same way.
    graph = read_graph(path.read_bytes())
    outputs = [graph.tensors[each.outputs[0]] for each in graph.operators if each.name == "FULLY_CONNECTED"]
    assert sorted(each.shape[-1] for each in outputs if each.dtype == np.float32) == sorted(map(_SIZES.get, names))


def test_what_fills_up_the_last_batch_of_a_file_does_not_count(rows, tmp_path):
    layers = keras.layers
    found = []
    for batch in (1, 4):
        keras.utils.set_random_seed(0)
        x = layers.Input((8,), batch_size=batch, name="x")
        inner = layers.Dense(3, name="inner")(layers.Reshape((4, 2), name="parts")(x))
        model = keras.Model(x, layers.Dense(2, name="head")(layers.Flatten()(inner)))
        path = tmp_path / f"{batch}.tflite"
        export_tflite(model, path, "int8", representative_data=rows / 4, **_LAX)
        # One sample beyond a batch of four, and that one alone is beyond the calibration.
        found.append(quantization_error(model, path, np.concatenate([rows[:4] / 8, rows[4:5] * 4])).layers)
    alone, filled = ({each.name: each for each in group} for group in found)
    assert alone["head"].clipped > 0
    for name in ("head", "inner"):
        assert filled[name].clipped == pytest.approx(alone[name].clipped)
        assert filled[name].error == pytest.approx(alone[name].error, rel=1e-3)
