"""MACs of operators, counted by hand on shapes; and together those that the profile of the model tells."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tfmot_swd.tflite.file_bytes import sha256
from tfmot_swd.tflite.file_macs import operator_macs
from tfmot_swd.tflite.file_rows import operator_rows, operator_totals, port_rows
from tfmot_swd.tflite.graph import FileGraph, FileOperator, FileTensor, read_graph


def macs(name, inputs, output, options=None, constants=(), open_axes=()):
    """Returns the MACs of one operator that reads tensors of these shapes, some of them stored constants."""
    tensors = [
        FileTensor(
            *(index, "", shape, np.dtype("float32"), None, 4 if index in constants else 0, 0, False, (), ()),
            open_axes if not index else (),
        )
        for index, shape in enumerate((*inputs, output))
    ]
    operator = FileOperator(0, name, tuple(range(len(inputs))), (len(inputs),), options)
    return operator_macs(FileGraph(tuple(tensors), (operator,), (0,), (len(inputs),)), operator)


@pytest.mark.parametrize(
    ("name", "inputs", "output", "expected"),
    [
        # 2 · 3 places of 5 channels, each of 3 · 3 · 4 products.
        ("CONV_2D", [(1, 4, 5, 4), (5, 3, 3, 4), (5,)], (1, 2, 3, 5), 2 * 3 * 5 * 36),
        # In two groups: the kernel has half of the channels.
        ("CONV_2D", [(1, 4, 5, 4), (6, 1, 1, 2)], (1, 4, 5, 6), 4 * 5 * 6 * 2),
        ("DEPTHWISE_CONV_2D", [(1, 4, 5, 4), (1, 3, 2, 8)], (1, 4, 5, 8), 4 * 5 * 8 * 6),
        ("FULLY_CONNECTED", [(1, 7), (3, 7), (3,)], (1, 3), 21),
        ("FULLY_CONNECTED", [(1, 2, 7), (3, 7)], (1, 2, 3), 42),
        # The kernel once for each of 2 · 2 places that go in.
        ("TRANSPOSE_CONV", [(4,), (5, 3, 3, 4), (1, 2, 2, 4)], (1, 4, 4, 5), 2 * 2 * 4 * 5 * 9),
        ("CONV_3D", [(1, 2, 2, 2, 3), (2, 2, 2, 3, 4)], (1, 1, 1, 1, 4), 4 * 24),
        ("ADD", [(1, 8), (1, 8)], (1, 8), 0),
        ("TFLM_DECODE", [(8,), (9,)], (2, 4), 0),
        ("WHILE", [(1,)], (1,), None),
        ("FlexEinsum", [(2, 3), (3, 2)], (2, 2), None),
        # What no converter writes, as in a damaged file.
        ("CONV_2D", [(1, 4, 5, 4)], (1, 2, 3, 5), None),
        ("FULLY_CONNECTED", [(1, 7), ()], (1, 3), None),
    ],
)
def test_macs_are_those_of_the_shapes(name, inputs, output, expected):
    assert macs(name, inputs, output) == expected


def test_matrices_are_multiplied_along_the_axis_that_goes():
    # (2, 3) times (3, 4), as it is and with the first one turned.
    options = [SimpleNamespace(adjX=turned) for turned in (False, True)]
    assert macs("BATCH_MATMUL", [(5, 2, 3), (5, 3, 4)], (5, 2, 4), options[0]) == 5 * 2 * 4 * 3
    assert macs("BATCH_MATMUL", [(5, 3, 2), (5, 3, 4)], (5, 2, 4), options[1]) == 5 * 2 * 4 * 3


def test_recurrent_weights_are_used_once_a_step():
    # 6 steps; of inputs (4, 3) and of states (4, 4), no bias and no state.
    inputs = [(1, 6, 3), (4, 3), (4, 4), (4,), (1, 4)]
    assert macs("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, (1, 6, 4), constants=(1, 2, 3)) == 6 * (12 + 16)


def test_of_an_open_size_no_macs_are_known():
    assert macs("FULLY_CONNECTED", [(1, 1, 7), (3, 7)], (1, 1, 3), open_axes=(1,)) is None


@pytest.fixture(scope="module")
def net():
    layers = keras.layers
    image = layers.Input((9, 8, 4), name="image")
    x = layers.Conv2D(6, 3, strides=2, groups=2, use_bias=False)(image)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    x = layers.Conv2DTranspose(5, 2, strides=2)(x)
    x = layers.Dense(3)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Softmax(name="scores")(x))


def test_a_file_has_the_macs_of_its_model(net):
    rows = operator_rows(read_graph(tf.lite.TFLiteConverter.from_keras_model(net).convert()))
    totals = operator_totals(rows)
    assert sum(row.macs for row in rows) == tfmot_swd.profile(net).macs == sum(total.macs for total in totals)
    assert totals[0].macs == max(total.macs for total in totals) > 0
    assert sum(total.count for total in totals) == len(rows)


def test_inputs_and_outputs_are_told_as_a_caller_needs_them(net):
    converter = tf.lite.TFLiteConverter.from_keras_model(net)
    plain = converter.convert()
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    samples = np.random.default_rng(0).uniform(0, 1, (8, 1, 9, 8, 4)).astype("float32")
    converter.representative_dataset = lambda: ([each] for each in samples)
    converter.inference_input_type = converter.inference_output_type = tf.int8
    (image,), (scores,) = port_rows(converter.convert())
    assert (image.name, image.shape, image.dtype) == ("image", (1, 9, 8, 4), "int8")
    assert (image.scale, image.zero_point) == (pytest.approx(1 / 255, rel=0.02), -128)
    # Of a softmax in int8 both are fixed.
    assert (scores.name, scores.dtype, scores.scale, scores.zero_point) == ("scores", "int8", 1 / 256, -128)
    ((image,), _) = port_rows(plain)
    assert (image.dtype, image.scale, image.zero_point) == ("float32", None, None)


def test_the_digest_is_that_of_sha256sum():
    assert sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
