"""Layers of an int8 file with activations in int16, by AI Edge Quantizer."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras as keras

from tfmot_swd import export_tflite
from tfmot_swd.tflite import ExportError, layer_types, quantization_error
from tfmot_swd.tflite.graph import read_graph
from tfmot_swd.tflite.layout import read_layout

needs_quantizer = pytest.mark.skipif(
    not layer_types.has_quantizer(), reason="no package ai-edge-quantizer: pip install 'tfmot_swd[quantizer]'"
)
_LAX = {"tolerance": 10.0, "min_agreement": 0.0, "max_accuracy_loss": 1.0}


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(120, 8)).astype("float32")


@pytest.fixture(scope="module")
def wide(three_layers) -> keras.Model:
    """One unit of the second layer is a hundred times the others, and nothing comes of it."""
    net = three_layers
    kernel, bias = net.get_layer("wide").get_weights()
    net.get_layer("wide").set_weights([kernel * ([100] + 7 * [1]), bias])
    kernel, bias = net.get_layer("head").get_weights()
    # Weights stay in 8 bits: small ones beside large ones would be lost in 16-bit activations too.
    net.get_layer("head").set_weights([kernel * np.array([[0]] + 7 * [[1]]), bias])
    return net


def types_of(path) -> list[tuple[str, str]]:
    graph = read_graph(path.read_bytes())
    return [(each.name, graph.tensors[each.outputs[0]].dtype.name) for each in graph.operators]


@needs_quantizer
def test_16_bits_for_two_layers_bring_the_accuracy_back(wide, rows, tmp_path):
    path = tmp_path / "wide.tflite"
    whole = export_tflite(wide, path, "int8", representative_data=rows, **_LAX)
    # What reads the large channel has to be in 16 bits too.
    result = export_tflite(wide, path, "int8", representative_data=rows, int16_layers=["wide", "head"])
    assert result.mean_difference < whole.mean_difference / 10
    assert types_of(path) == [
        ("FULLY_CONNECTED", "int8"),
        ("QUANTIZE", "int16"),
        ("FULLY_CONNECTED", "int16"),
        ("FULLY_CONNECTED", "int16"),
        ("QUANTIZE", "int8"),
    ]
    found = quantization_error(wide, path, rows)
    assert [each.name for each in found.layers] == ["calm", "wide", "head"]
    assert found.first is None
    # Inputs and outputs are those of the recipe.
    layout = read_layout(path.read_bytes())
    assert {port.dtype.name for port in (*layout.inputs, *layout.outputs)} == {"int8"}
    assert [port.name for port in (*layout.inputs, *layout.outputs)] == ["x", "head"]


@needs_quantizer
def test_float_and_int16_in_one_file_with_float_inputs(wide, rows, tmp_path):
    path = tmp_path / "wide.tflite"
    export_tflite(wide, path, "int8_float_io", representative_data=rows, int16_layers=["wide"], float_layers=["head"])
    assert types_of(path) == [
        ("QUANTIZE", "int8"),
        ("FULLY_CONNECTED", "int8"),
        ("QUANTIZE", "int16"),
        ("FULLY_CONNECTED", "int16"),
        ("DEQUANTIZE", "float32"),
        ("FULLY_CONNECTED", "float32"),
    ]


@needs_quantizer
def test_the_other_layers_are_as_tensorflow_quantizes_them(wide, rows, tmp_path):
    files = [tmp_path / "plain.tflite", tmp_path / "mixed.tflite"]
    export_tflite(wide, files[0], "int8", representative_data=rows, **_LAX)
    export_tflite(wide, files[1], "int8", representative_data=rows, int16_layers=["head"], **_LAX)
    graphs = [read_graph(each.read_bytes()) for each in files]
    first = [next(each for each in graph.operators if each.name == "FULLY_CONNECTED") for graph in graphs]
    # Ranges of input and output, and the weights: the least and the largest value of all samples, in any order.
    for position in range(2):
        ours, theirs = (graph.tensors[each.inputs[position]] for graph, each in zip(graphs, first, strict=True))
        np.testing.assert_allclose(ours.scales, theirs.scales, rtol=1e-5)
        assert ours.zero_points == theirs.zero_points
    ours, theirs = (graph.tensors[each.inputs[1]].values for graph, each in zip(graphs, first, strict=True))
    np.testing.assert_array_equal(ours, theirs)


@needs_quantizer
def test_outputs_are_told_apart_by_their_place(rows, tmp_path):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    x = layers.Input((8,), name="x")
    body = layers.Dense(6, "relu", name="body")(x)
    model = keras.Model(x, [layers.Dense(3, name="z")(body), layers.Dense(5, name="a")(body)])
    path = tmp_path / "net.tflite"
    export_tflite(model, path, "int8", representative_data=rows, int16_layers=["z"])
    graph = read_graph(path.read_bytes())
    made = {graph.tensors[each.outputs[0]] for each in graph.operators if each.name == "FULLY_CONNECTED"}
    assert {each.shape[-1]: each.dtype.name for each in made} == {6: "int8", 3: "int16", 5: "int8"}


@needs_quantizer
def test_a_residual_convolution_net(tmp_path):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    x = layers.Input((8, 8, 3), name="x")
    y = layers.BatchNormalization(name="norm")(layers.Conv2D(8, 3, padding="same", name="conv")(x))
    y = layers.ReLU(name="act")(y)
    y = layers.Add(name="add")([y, layers.DepthwiseConv2D(3, padding="same", name="deep")(y)])
    y = layers.Dense(4, name="head")(layers.GlobalAveragePooling2D(name="mean")(layers.MaxPooling2D(name="pool")(y)))
    model = keras.Model(x, layers.Softmax(name="softmax")(y))
    images = np.random.default_rng(0).normal(size=(60, 8, 8, 3)).astype("float32")
    path = tmp_path / "net.tflite"
    # What the converter fuses with a layer goes with it; pooling reads int8 again.
    result = export_tflite(model, path, "int8", representative_data=images, int16_layers=["deep", "add"])
    assert result.interpreter == "ai_edge_litert"
    types = [each for each in types_of(path) if each[0] != "QUANTIZE"]
    assert [kind for _, kind in types] == ["int8", "int16", "int16", "int8", "int8", "int8", "int8"]
    assert types[1][0] == "DEPTHWISE_CONV_2D"


@needs_quantizer
def test_an_operator_without_a_kernel_in_16_bits_is_named(rows, tmp_path):
    layers = keras.layers
    model = keras.Sequential(
        [layers.Input((8,)), layers.Dense(8, name="dense"), layers.LeakyReLU(name="leaky"), layers.Dense(2, name="b")]
    )
    path = tmp_path / "net.tflite"
    with pytest.raises(ExportError, match="LEAKY_RELU, which is not in int8"):
        export_tflite(model, path, "int8", representative_data=rows, int16_layers=["b"])
    with pytest.raises(ExportError, match="LEAKY_RELU, which is not in int16"):
        export_tflite(model, path, "int8", representative_data=rows, int16_layers=["leaky"])
    # In float it is what was asked for.
    export_tflite(model, path, "int8", representative_data=rows, int16_layers=["b"], float_layers=["leaky"])


@needs_quantizer
@pytest.mark.parametrize(
    ("names", "recipe", "error", "message"),
    [
        (["wide", "absent"], "int8", ValueError, "names of the model's layers: .*Received: 'absent'$"),
        (["wide"], "int16x8", ValueError, "for recipes in int8.*with recipe='int16x8'$"),
        ("wide", "int8", TypeError, "list of names.*Received: int16_layers='wide'$"),
        (["x"], "int8", ExportError, "int16_layers must name layers that the file computes.*Received: x$"),
        (["calm"], "int8", ValueError, "Received: 'calm' in both$"),
    ],
)
def test_int16_layers_that_cannot_be(names, recipe, error, message, wide, rows, tmp_path):
    path = tmp_path / "wide.tflite"
    kept = ["calm"] if recipe == "int8" else []
    with pytest.raises(error, match=message):
        export_tflite(wide, path, recipe, representative_data=rows, int16_layers=names, float_layers=kept, **_LAX)
    assert not path.exists()


def test_without_the_quantizer_the_extra_is_named(wide, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(layer_types, "has_quantizer", lambda: False)
    with pytest.raises(ImportError, match=r"pip install 'tfmot_swd\[quantizer\]'. Received: no package"):
        export_tflite(wide, tmp_path / "a", "int8", representative_data=rows, int16_layers=["head"])
