"""Batch-norm statistics measured anew equal those of the batches."""

import keras as keras3
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tfmot_swd.pruning import reestimate_batch_norm

L = keras.layers


def net() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    x = L.BatchNormalization(name="first")(L.Dense(3, name="dense")(inputs))
    block = keras.Sequential([L.Dense(2, input_shape=(3,)), L.BatchNormalization(name="inner")])
    return keras.Model(inputs, block(x))


def test_they_are_averages_over_the_batches():
    model = net()
    model.get_layer("first").moving_mean.assign([100.0, 100, 100])
    weights = [each.numpy() for each in model.trainable_weights]
    x = np.random.default_rng(0).normal(size=(3, 8, 4)).astype(np.float32)
    assert reestimate_batch_norm(model, tf.data.Dataset.from_tensor_slices(x)) == 3
    hidden = np.stack([model.get_layer("dense")(each).numpy() for each in x])
    norm = model.get_layer("first")
    np.testing.assert_allclose(norm.moving_mean, hidden.mean(axis=(0, 1)), rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, hidden.var(axis=1).mean(axis=0), rtol=1e-4)
    assert norm.momentum == 0.99
    for before, after in zip(weights, model.trainable_weights, strict=True):
        np.testing.assert_array_equal(before, after.numpy())


def test_labels_and_what_is_over_are_left_aside():
    model = net()
    seen = iter([(np.ones((2, 4), np.float32) * each, np.zeros(2)) for each in range(5)])
    assert reestimate_batch_norm(model, seen, batches=2) == 2
    assert len(list(seen)) == 2
    expected = np.mean([model.get_layer("dense")(np.full((1, 4), each, np.float32)) for each in (0, 1)], axis=(0, 1))
    np.testing.assert_allclose(model.get_layer("first").moving_mean, expected, rtol=1e-5)


def test_what_cannot_be_measured_is_refused():
    model = net()
    with pytest.raises(ValueError, match="at least one batch.*Received: no data"):
        reestimate_batch_norm(model, [])
    with pytest.raises(TypeError, match="data must be batches.*Received: ndarray"):
        reestimate_batch_norm(model, np.ones((8, 4), np.float32))
    with pytest.raises(ValueError, match="Received: 0"):
        reestimate_batch_norm(model, [np.ones((8, 4), np.float32)], batches=0)
    wrapped = tfmot_swd.prune_selective_decay(model, tfmot_swd.SelectiveDecay(0.5, end_step=2))
    with pytest.raises(ValueError, match="strip the model first"):
        reestimate_batch_norm(wrapped, [np.ones((8, 4), np.float32)])


def test_a_keras_3_model_gets_its_own_statistics():
    @keras3.saving.register_keras_serializable("test_statistics")
    class Block(keras3.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.norm = keras3.layers.BatchNormalization()

        def call(self, inputs, training=None):
            return self.norm(inputs, training=training)

    layers = [keras3.layers.BatchNormalization(name="first"), Block(name="block")]
    model = keras3.Sequential([keras3.Input((4,)), *layers])
    first, inner = model.get_layer("first"), model.get_layer("block").norm
    x = np.random.default_rng(0).normal(3.0, 2.0, size=(3, 8, 4)).astype(np.float32)

    assert reestimate_batch_norm(model, [(batch, np.zeros(8)) for batch in x]) == 3

    np.testing.assert_allclose(first.moving_mean, x.mean(axis=(0, 1)), rtol=1e-5)
    np.testing.assert_allclose(first.moving_variance, x.var(axis=1).mean(axis=0), rtol=1e-4)
    # Behind the first, batches are normalized.
    np.testing.assert_allclose(inner.moving_variance, np.ones(4), atol=1e-2)
    assert first.momentum == inner.momentum == 0.99
    with pytest.raises(ValueError, match="not built.*Received: 'late', not built"):
        reestimate_batch_norm(keras3.Sequential([keras3.layers.Dense(2)], name="late"), [x[0]])
