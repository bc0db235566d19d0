"""Stripped metadata, positions of inputs and outputs, and where data begin; the file computes the same."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from ai_edge_litert.interpreter import Interpreter
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from tfmot_swd.tflite import RECIPES, ExportError, export_tflite
from tfmot_swd.tflite.flatbuffer import compact, in_place, pack, padded
from tfmot_swd.tflite.graph import read_graph
from tfmot_swd.tflite.interpreter import run_tflite
from tfmot_swd.tflite.layout import read_layout
from tfmot_swd.tflite.micro import write_c_source
from tfmot_swd.tflite.serving import serving_function
from tfmot_swd.tflite.silence import silenced_logs


def _converted(model, recipe):
    converter = tf.lite.TFLiteConverter.from_concrete_functions([serving_function(model, 1)], model)
    RECIPES[recipe].configure(converter)
    with silenced_logs():
        return converter.convert()


def _read(content):
    return flatbuffer_utils.convert_bytearray_to_object(bytearray(content))


@pytest.mark.parametrize("recipe", ["float32", "float16"])
def test_names_and_notes_go_and_the_signature_stays(two_by_two, pairs, recipe):
    content = _converted(two_by_two, recipe)
    small = compact(content)
    assert len(small) < 0.7 * len(content)
    model = _read(small)
    assert [tensor.name for tensor in model.subgraphs[0].tensors] == [None] * len(model.subgraphs[0].tensors)
    assert (model.description, model.subgraphs[0].name) == (None, None)
    # Delegates take this one as leave to compute in half precision.
    assert [note.name for note in model.metadata or ()] == (
        [b"reduced_precision_support"] if recipe == "float16" else []
    )
    inputs = dict(zip(two_by_two.input_names, pairs, strict=True))
    before, after = (run_tflite(each, inputs)[0] for each in (content, small))
    assert after.keys() == before.keys() == {"zebra", "ant"}
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)
    assert compact(small) == small


def test_data_are_aligned_and_no_buffer_is_empty_but_the_first(conv_net):
    content = _converted(conv_net, "float32")
    small = compact(content)
    first, *others = _read(small).buffers
    assert first.data is None
    kernel = conv_net.get_layer("scores").kernel.numpy().T.tobytes()
    assert small.index(kernel) % 16 == 0
    starts = [small.index(bytes(buffer.data)) for buffer in others if len(buffer.data) > 64]
    assert len(starts) == 2
    assert all(start % 16 == 0 for start in starts)
    assert len(others) < len(_read(content).buffers) - 1


def test_names_can_stay(dense_net):
    content = _converted(dense_net, "float32")
    kept = compact(content, keep_names=True)
    names = [[tensor.name for tensor in _read(each).subgraphs[0].tensors] for each in (content, kept)]
    assert names[0] == names[1]
    assert len(compact(content)) < len(kept) < len(content)


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


@pytest.mark.parametrize(("size", "wanted"), [(0, 0), (1, 16), (16, 16), (17, 32)])
def test_the_next_multiple_of_16(size, wanted):
    assert padded(size) == wanted


def test_data_of_any_length_are_aligned():
    data = [np.full(length, 100 + length, np.uint8) for length in (1, 7, 16, 33)]
    model = schema.ModelT()
    model.buffers = [schema.BufferT(), *(schema.BufferT(each) for each in data)]
    before = list(model.buffers)
    content = pack(model)
    assert model.buffers == before
    read = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    assert read.buffers[0].data is None
    for each, buffer in zip(data, read.buffers[1:], strict=True):
        np.testing.assert_array_equal(buffer.data, each)
        assert content.index(each.tobytes()) % 16 == 0
