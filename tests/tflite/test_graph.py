"""What `read_graph` finds in files that the converter wrote."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tensorflow.lite.tools import flatbuffer_utils

from tfmot_swd import export_tflite
from tfmot_swd.tflite.graph import FileGraph, FileOperator, place, read_graph
from tfmot_swd.tflite.interpreter import run_tflite
from tfmot_swd.tflite.layout import read_layout


@pytest.fixture(scope="module")
def small_net():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.layers.Conv2D(3, 2, strides=2, input_shape=(4, 4, 2)),
            keras.layers.Flatten(),
            keras.layers.Dense(5),
        ]
    )


def test_float_file_holds_the_keras_weights(small_net, tmp_path):
    path = tmp_path / "model.tflite"
    export_tflite(small_net, path)
    graph = read_graph(path.read_bytes())
    names = [operator.name for operator in graph.operators]
    assert names[0] == "CONV_2D"
    assert names[-1] == "FULLY_CONNECTED"
    assert graph.operators[0].options.strideH == 2
    conv, dense = graph.kernels()
    # (height, width, in, out) in Keras, (out, height, width, in) in the file; dense (in, out) and (out, in).
    kernel, _, matrix, _ = small_net.get_weights()
    np.testing.assert_array_equal(conv.values, kernel.transpose(3, 0, 1, 2))
    np.testing.assert_array_equal(dense.values, matrix.T)
    assert (conv.scales, conv.is_sparse, conv.stored_bytes) == ((), False, 4 * 24)
    assert graph.tensors[graph.inputs[0]].shape == (1, 4, 4, 2)
    assert graph.tensors[graph.outputs[0]].shape == (1, 5)


def with_constants_behind(content: bytes) -> bytes:
    """Returns a file whose constants follow the flatbuffer, as AI Edge Quantizer and files of 2 GB have them."""
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    data = [bytes(each.data) if each.data is not None else b"" for each in model.buffers]
    packed = bytearray()
    # Twice: where they begin is known once the flatbuffer, of the same length, is there.
    for _ in range(2):
        end = len(packed) or 2
        for buffer, each in zip(model.buffers, data, strict=True):
            buffer.data, buffer.offset, buffer.size = None, end if each else 0, len(each)
            end += len(each)
        packed = flatbuffer_utils.convert_object_to_bytearray(model)
    return bytes(packed) + b"".join(data)


def test_constants_behind_the_flatbuffer_are_read_and_not_given_to_tflite_micro(small_net, tmp_path):
    export_tflite(small_net, tmp_path / "model.tflite")
    content = (tmp_path / "model.tflite").read_bytes()
    moved = with_constants_behind(content)
    images = {small_net.input_names[0]: np.random.default_rng(0).normal(size=(3, 4, 4, 2)).astype(np.float32)}
    for name, values in run_tflite(moved, images)[0].items():
        np.testing.assert_array_equal(values, run_tflite(content, images)[0][name])
    for ours, wanted in zip(read_graph(moved).kernels(), read_graph(content).kernels(), strict=True):
        np.testing.assert_array_equal(ours.values, wanted.values)
        assert ours.stored_bytes == wanted.stored_bytes
    read_layout(content).require_micro()
    with pytest.raises(ValueError, match="answers wrongly without an error.*Received: .*behind the flatbuffer$"):
        read_layout(moved).require_micro()
    with pytest.raises(ValueError, match="damaged or incomplete"):
        read_graph(moved[:-8])
    # A place that is none.
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    model.buffers[0].offset = 1
    read_layout(bytes(flatbuffer_utils.convert_object_to_bytearray(model))).require_micro()


def test_int8_file_has_a_scale_for_each_channel(small_net, tmp_path):
    path = tmp_path / "model.tflite"
    data = np.random.default_rng(0).normal(size=(20, 4, 4, 2)).astype(np.float32)
    export_tflite(small_net, path, "int8", representative_data=data)
    conv, dense = read_graph(path.read_bytes()).kernels()
    assert conv.dtype == dense.dtype == np.int8
    assert len(conv.scales) == 3
    kernel = small_net.get_weights()[0].transpose(3, 0, 1, 2)
    back = conv.values * np.asarray(conv.scales).reshape(3, 1, 1, 1)
    np.testing.assert_allclose(back, kernel, atol=max(conv.scales) / 2 + 1e-6)


def test_other_bytes_are_refused():
    with pytest.raises(ValueError, match="not a TFLite file.*Received: 4 bytes"):
        read_graph(b"PK\x03\x04")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_file_that_breaks_off_is_refused(share, small_net, tmp_path):
    path = tmp_path / "model.tflite"
    export_tflite(small_net, path)
    content = path.read_bytes()
    with pytest.raises(ValueError, match="damaged or incomplete.*Received: "):
        read_graph(content[: int(share * len(content))])


def test_sparse_constants_tell_their_zeros_and_blocks():
    kernel = np.zeros((8, 4), np.float32)
    # One block of inputs with a zero in it, and one that is full.
    kernel[:4, 0], kernel[4:, 0] = [1, 2, 0, 3], 1
    layers = [keras.layers.Dense(4, use_bias=False, input_shape=(8,)) for _ in range(2)]
    models = [keras.Sequential([layer]) for layer in layers]
    layers[0].set_weights([kernel])
    # Nowhere four in a column side by side.
    layers[1].set_weights([np.where(np.arange(32).reshape(8, 4) % 5 == 1, 1.0, 0.0)])
    graphs = []
    for model in models:
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
        graphs.append(read_graph(converter.convert()))
    (blocks,), (single,) = (tuple(graph.kernels()) for graph in graphs)
    assert (blocks.is_sparse, blocks.block, blocks.nonzeros, blocks.values) == (True, (1, 4), 7, None)
    assert blocks.stored_bytes == 4 * 8
    # The numbers 1, 6, 11, 16, 21, 26 and 31 of 32.
    assert (single.is_sparse, single.block, single.nonzeros) == (True, (), 7)
    # The operator reads what DENSIFY makes of the constant.
    dense = graphs[1].operators[-1]
    assert graphs[1].tensors[dense.inputs[1]].stored_bytes == 0
    assert graphs[1].constant(dense.inputs[1]) is single
    assert graphs[1].constant(dense.inputs[0]) is None


def test_an_operator_without_outputs_has_a_place_too():
    operator = FileOperator(3, "ASSIGN_VARIABLE", (0, 1), (), None)
    assert place(FileGraph((), (operator,), (), ()), operator) == "operator 3 ASSIGN_VARIABLE"
