"""Zeros of Keras kernels found again in files, in whatever shape the converter has put them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tensorflow.lite.tools import flatbuffer_utils

from tfmot_swd.tflite.conversion import convert
from tfmot_swd.tflite.graph import read_graph
from tfmot_swd.tflite.recipes import RECIPES
from tfmot_swd.tflite.result import ExportError
from tfmot_swd.tflite.samples import Samples, random_samples
from tfmot_swd.tflite.zeros import check_zeros, count_zeros

L = keras.layers


def _prune(model, rate=0.6):
    generator = np.random.default_rng(0)
    for weight in model.trainable_weights:
        if len(weight.shape) > 1:
            weight.assign(np.where(generator.random(weight.shape) < rate, 0, weight.numpy()))
    return model


def _with_kernel(content, shape, change):
    """Returns the file with the float32 kernel of that shape changed."""
    (kernel,) = (each for each in read_graph(content).kernels() if each.shape == shape)
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    changed = change(kernel.values.copy()).astype("float32")
    model.buffers[model.subgraphs[0].tensors[kernel.index].buffer].data = np.frombuffer(changed.tobytes(), np.uint8)
    return flatbuffer_utils.convert_object_to_bytearray(model)


@pytest.mark.parametrize("recipe", ["float32", "int8", "sparse_float32", "sparse_float16"])
def test_every_kernel_is_found_and_no_zero_is_lost(recipe):
    x = L.Input((8, 8, 4), name="x")
    y = L.Conv2DTranspose(4, 3)(x)
    y = L.DepthwiseConv2D(3, depth_multiplier=2)(L.Conv2D(6, 3, groups=2)(y))
    # Two kernels of the same shape, which only their zeros tell apart.
    y = L.BatchNormalization()(L.Conv2D(12, 1)(L.Conv2D(12, 1)(y)))
    model = _prune(keras.Model(x, L.Dense(3)(L.GlobalAveragePooling2D()(y))))
    content = convert(model, RECIPES[recipe], random_samples(model, count=4))
    found = count_zeros(model, content)
    kernels = {weight.name: weight.numpy() for weight in model.trainable_weights if len(weight.shape) > 1}
    assert {each.name for each in found} == set(kernels)
    assert all(each.keras_zeros == np.count_nonzero(kernels[each.name] == 0) for each in found)
    assert all(each.keras_zeros <= each.zeros < each.size for each in found)
    assert sum(each.lost for each in found) == 0
    if recipe in ("float32", "sparse_float32"):
        assert all(each.keras_zeros == each.zeros for each in found)


def test_zero_is_the_zero_point_of_a_table():
    token = L.Input((7,), dtype="int32", name="token")
    table = L.Embedding(30, 8)
    model = keras.Model(token, L.Dense(2)(L.Flatten()(table(token))))
    values = np.random.default_rng(0).uniform(0.5, 1.0, (30, 8))
    table.embeddings.assign(np.where(np.arange(240).reshape(30, 8) % 3, 0, values))
    data = Samples((np.random.default_rng(0).integers(0, 30, (40, 7)).astype("int32"),))
    content = convert(model, RECIPES["int8"], data)
    (stored,) = (each for each in read_graph(content).kernels() if each.shape == (30, 8))
    assert np.count_nonzero(stored.values) == stored.size
    found = {each.name: each for each in count_zeros(model, content)}
    assert found[table.embeddings.name].zeros == 160


def test_a_kernel_that_tflite_stores_in_four_parts():
    model = _prune(keras.Sequential([L.Input((3, 5)), L.LSTM(4)]))
    found = count_zeros(model, convert(model, RECIPES["float32"], None))
    # Keras has (inputs, 4 x units) in one, and the file (units, inputs) for each gate.
    assert [each.size for each in found] == [5 * 16, 4 * 16]
    for each, weight in zip(found, model.trainable_weights, strict=False):
        zeros = np.count_nonzero(weight.numpy() == 0)
        assert (each.keras_zeros, each.zeros, each.lost) == (zeros, zeros, 0)


def test_zeros_that_are_lost_are_an_error(dense_net):
    kernel = dense_net.layers[0].kernel
    kernel.assign(np.where(np.arange(18).reshape(6, 3) % 2, 0, kernel.numpy()))
    content = convert(dense_net, RECIPES["float32"], None)
    (kept,) = check_zeros(dense_net, content, "float32")
    assert (kept.size, kept.keras_zeros, kept.zeros) == (18, 9, 9)
    # One zero became a value no output can tell from it.
    one = _with_kernel(
        content, (3, 6), lambda values: np.where(np.cumsum(values == 0).reshape(3, 6) == 1, 1e-20, values)
    )
    with pytest.raises(
        ExportError, match=rf"float32 file does not keep .*Received: 1 of the 9 zeros of '{kernel.name}'"
    ):
        check_zeros(dense_net, one, "float32")
    # As many zeros as before, elsewhere.
    moved = _with_kernel(content, (3, 6), lambda values: np.roll(values, 1, axis=1))
    (lost,) = count_zeros(dense_net, moved)
    assert (lost.keras_zeros, lost.zeros, lost.lost) == (9, 9, 9)


def test_a_layer_that_does_not_use_its_kernel_as_it_is_loses_nothing():
    class Centred(L.Dense):
        def call(self, inputs):
            return tf.matmul(inputs, self.kernel - tf.reduce_mean(self.kernel))

    model = _prune(keras.Sequential([L.Input((6,)), Centred(3, use_bias=False)]))
    assert check_zeros(model, convert(model, RECIPES["float32"], None), "float32") == ()
