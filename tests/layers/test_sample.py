"""Shapes of one sample on its way through a model."""

import pytest
import tensorflow as tf
import tf_keras as keras

from tfmot_swd.layers.macs import macs_of_model
from tfmot_swd.layers.sample import CallShapes, SampleWalk, positions

L = keras.layers


def test_nested_models_are_opened_and_a_layer_called_twice_has_two_calls():
    inner = keras.Sequential([L.Dense(3, input_shape=(3,), name="inside")], name="inner")
    x = inputs = keras.Input((4,), name="in")
    x = L.Dense(3, name="first")(x)
    walk = SampleWalk(keras.Model(inputs, inner(inner(x))))

    assert [each.path for each in walk.calls] == ["in", "first", "inner/inside", "inner/inside"]
    assert [each.call.outputs for each in walk.calls] == [((1, 4),), ((1, 3),), ((1, 3),), ((1, 3),)]
    assert walk.calls[2].writes == walk.calls[3].reads
    assert tuple(walk.outputs) == walk.calls[3].writes


def test_a_fixed_batch_counts_as_one_sample_and_merged_axes_as_a_longer_batch():
    inputs = keras.Input(batch_shape=(8, 5, 6))
    walk = SampleWalk(keras.Model(inputs, L.Dense(2)(tf.reshape(inputs, (-1, 6)))))

    assert walk.calls[-1].call == CallShapes(((5, 6),), ((5, 2),), walk.calls[-1].call.args, walk.calls[-1].call.kwargs)
    assert walk.outputs[0].batched


def test_what_is_not_batched_keeps_its_first_axis():
    inputs = keras.Input((5,))
    walk = SampleWalk(keras.Model(inputs, tf.shape(inputs)))

    assert (walk.outputs[0].shape, walk.outputs[0].batched, walk.outputs[0].itemsize) == ((2,), False, 4)


def test_a_size_that_is_not_fixed_is_an_error():
    with pytest.raises(ValueError, match="can be counted only where every size but the batch's is fixed"):
        SampleWalk(keras.Sequential([L.Dense(1, input_shape=(None, 3))]))


def test_positions_of_an_image_in_both_formats():
    last, first = L.Conv2D(1, 1), L.Conv2D(1, 1, data_format="channels_first")

    assert positions(last, (1, 5, 6, 3), 2) == positions(first, (1, 3, 5, 6), 2) == 30


def test_macs_of_a_model_are_unknown_where_those_of_a_layer_are():
    dense = [L.Dense(3, input_shape=(4,)), L.Dense(2)]

    assert macs_of_model(keras.Sequential(dense)) == 4 * 3 + 3 * 2
    assert macs_of_model(keras.Sequential([*dense, L.Lambda(tf.abs)])) == 18
    # It may hold a product of matrices.
    opaque = L.Lambda(lambda x: tf.ensure_shape(tf.numpy_function(abs, [x], x.dtype), x.shape))
    assert macs_of_model(keras.Sequential([*dense, opaque])) is None
