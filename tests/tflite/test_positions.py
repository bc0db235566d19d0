"""Inputs and outputs of a file stand where they stand in Keras, for whoever calls it by position."""

import re

import numpy as np
import pytest
import tf_keras as keras
from ai_edge_litert.interpreter import Interpreter

from tfmot_swd.tflite import RECIPES, ExportError, export_tflite
from tfmot_swd.tflite.graph import read_graph
from tfmot_swd.tflite.layout import read_layout
from tfmot_swd.tflite.metadata import compact
from tfmot_swd.tflite.micro import write_c_source
from tfmot_swd.tflite.positions import in_place

L = keras.layers
# Neither the order of the alphabet nor its reverse, nor that of the sizes.
NAMES = ("image", "audio", "meta", "zoom", "body")


def _net(count):
    inputs = [keras.Input((width + 2,), name=name) for width, name in enumerate(NAMES[:count])]
    joined = L.Concatenate()(inputs)
    outputs = [L.Dense(width + 1, name=f"{name}_out")(joined) for width, name in enumerate(NAMES[:count])]
    generator = np.random.default_rng(0)
    return keras.Model(inputs, outputs), [generator.normal(size=(40, width + 2)).astype("f") for width in range(count)]


def _by_position(content, arrays):
    """Runs float32 data through a file by position alone, as firmware does."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    for detail, array in zip(interpreter.get_input_details(), arrays, strict=True):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


@pytest.mark.parametrize(("count", "recipe"), [(2, "float32"), (4, "dynamic"), (5, "int8_float_io")])
def test_a_file_is_called_by_position(count, recipe, tmp_path):
    model, data = _net(count)
    export_tflite(model, tmp_path / "net.tflite", recipe, data)
    first = [array[:1] for array in data]
    found = _by_position((tmp_path / "net.tflite").read_bytes(), first)
    for wanted, got in zip(model(first), found, strict=True):
        np.testing.assert_allclose(got, wanted.numpy(), atol=1e-5 if recipe == "float32" else 0.1)


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_every_recipe_keeps_the_positions(recipe, tmp_path):
    model, data = _net(3)
    path = tmp_path / "net.tflite"
    export_tflite(model, path, recipe, data)
    layout = read_layout(path.read_bytes())
    for ports, names in ((layout.inputs, model.input_names), (layout.outputs, model.output_names)):
        assert [port.name for port in ports] == list(names)
        assert [port.position for port in ports] == [0, 1, 2]
    assert [port.shape for port in layout.inputs] == [(1, 2), (1, 3), (1, 4)]
    assert [port.shape for port in layout.outputs] == [(1, 1), (1, 2), (1, 3)]
    if recipe == "int8":
        header = write_c_source(path, tmp_path / "net").header.read_text()
        for position, name in enumerate(NAMES[:3]):
            assert f"interpreter.input({position}): {name}, int8" in header
            assert f"interpreter.output({position}): {name}_out, int8" in header


def test_one_tensor_twice_and_an_input_that_is_an_output(tmp_path):
    second, first = keras.Input((2,), name="second"), keras.Input((3,), name="first")
    twice = L.Dense(2, name="twice")(second)
    model = keras.Model([second, first], [twice, first, twice, L.Dense(4, name="last")(first)])
    path = tmp_path / "net.tflite"
    data = [np.ones((9, 2), "float32"), np.ones((9, 3), "float32")]
    export_tflite(model, path, check_data=data)
    layout = read_layout(path.read_bytes())
    assert [port.name for port in layout.inputs] == ["second", "first"]
    assert [port.name for port in layout.outputs] == model.output_names == ["twice", "first", "twice_1", "last"]


def test_other_names_are_refused(tmp_path):
    model, _ = _net(2)
    export_tflite(model, tmp_path / "net.tflite")
    content = (tmp_path / "net.tflite").read_bytes()
    message = "has other inputs than the model, which has ['image', 'sound']"
    with pytest.raises(ExportError, match=re.escape(message) + r".*Received: \['audio', 'image'\]"):
        compact(content, inputs=("image", "sound"))


def test_in_place_moves_nothing_but_the_positions(tmp_path):
    from tensorflow.lite.tools import flatbuffer_utils

    model, _ = _net(3)
    export_tflite(model, tmp_path / "net.tflite")
    content = (tmp_path / "net.tflite").read_bytes()
    other = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    other.subgraphs[0].inputs = other.subgraphs[0].inputs[[2, 0, 1]]
    changed = in_place(content, other)
    before, after = read_graph(content), read_graph(changed)
    assert after.inputs == tuple(before.inputs[place] for place in (2, 0, 1))
    assert after.outputs == before.outputs
    assert sum(one != another for one, another in zip(content, changed, strict=True)) <= 12
