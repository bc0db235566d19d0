import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from research.straight_through import ForwardPruning, StraightThrough

KERNEL = np.array([[4.0], [-3.0], [2.0], [-1.0]], np.float32)


def _model(setting, rate, steps=10, l2=0.0):
    inputs = keras.Input((4,))
    regularizer = keras.regularizers.L2(l2) if l2 else None
    outputs = keras.layers.Dense(1, use_bias=False, kernel_regularizer=regularizer, name="dense")(inputs)
    model = StraightThrough(inputs, outputs)
    model.configure(setting, rate, steps)
    model.get_layer("dense").kernel.assign(KERNEL)
    # The loss is the mean output: the gradient of each weight is its mean input, whatever the weight.
    model.compile(keras.optimizers.SGD(0.1), loss=lambda _, y: tf.reduce_mean(y))
    return model


def _step(model):
    model.train_on_batch(np.ones((1, 4), np.float32), np.zeros((1, 1), np.float32))
    return model.get_layer("dense").kernel.numpy().ravel()


@pytest.mark.parametrize(
    ("power", "used"),
    [(1.0, [2.0, -1.0, 0.0, 0.0]), (0.0, [4.0, -3.0, 2.0, 0.0]), (3.0, [56 ** (1 / 3), -(19 ** (1 / 3)), 0.0, 0.0])],
)
def test_finish_thresholds_softly_hard_or_between(power, used):
    # At rate 1/4 of 4 weights the threshold is the second smallest magnitude, 2.
    model = _model(ForwardPruning(power=power), rate=0.25)

    model.finish()

    np.testing.assert_allclose(model.get_layer("dense").kernel.numpy().ravel(), used, rtol=1e-5)


def test_the_gradient_reaches_dense_weights_that_the_forward_pass_prunes():
    model = _model(ForwardPruning(end=0.0), rate=0.75)

    np.testing.assert_allclose(_step(model), KERNEL.ravel() - 0.1, rtol=1e-6)


def test_the_gradient_of_pruned_weights_is_scaled():
    model = _model(ForwardPruning(power=0.0, end=0.0, gradient_scale=0.5), rate=0.5)

    np.testing.assert_allclose(_step(model), KERNEL.ravel() - [0.1, 0.1, 0.05, 0.05], rtol=1e-6)


def test_weight_decay_acts_on_dense_weights_or_on_those_that_are_used():
    # L2(0.5) adds 1 · w to the gradient.
    dense = _model(ForwardPruning(end=0.0), rate=0.25, l2=0.5)
    used = _model(ForwardPruning(end=0.0, decay_dense=False), rate=0.25, l2=0.5)

    np.testing.assert_allclose(_step(dense), KERNEL.ravel() - 0.1 * (1 + KERNEL.ravel()), rtol=1e-6)
    np.testing.assert_allclose(_step(used), KERNEL.ravel() - 0.1 * (1 + np.array([2.0, -1.0, 0.0, 0.0])), rtol=1e-6)


def test_selective_decay_divides_pruned_dense_weights_alone():
    setting = ForwardPruning(power=0.0, end=0.0, selective_min=1.0, selective_max=1.0)

    # X is 1 throughout, so weights below the threshold are halved after the update.
    np.testing.assert_allclose(_step(_model(setting, rate=0.5)), [3.9, -3.1, 0.95, -0.55], rtol=1e-6)


def test_the_rate_climbs_as_a_cubic_between_begin_and_end():
    setting = ForwardPruning(begin=0.2, end=0.6)
    shares = [0.0, 0.2, 0.4, 0.6, 1.0]

    rates = [float(setting.rate(tf.constant(share, tf.float64), 0.8)) for share in shares]

    np.testing.assert_allclose(rates, [0.0, 0.0, 0.7, 0.8, 0.8], atol=1e-12)


def test_a_mask_at_rest_keeps_what_has_become_smaller_than_others():
    model = _model(ForwardPruning(power=0.0, end=0.0, rest=0.05), rate=0.5)
    _step(model)
    model.get_layer("dense").kernel.assign([[0.5], [0.5], [4.0], [4.0]])

    model.finish()

    np.testing.assert_allclose(model.get_layer("dense").kernel.numpy().ravel(), [0.5, 0.5, 0.0, 0.0])


def test_magnitudes_relative_to_the_layer():
    inputs = keras.Input((2,))
    outputs = keras.layers.Dense(2, use_bias=False, name="large")(inputs)
    outputs = keras.layers.Dense(1, use_bias=False, name="small")(outputs)
    model = StraightThrough(inputs, outputs)
    model.configure(ForwardPruning(power=0.0, relative=1.0), 1 / 3, 10)
    model.get_layer("large").kernel.assign([[10.0, 10.0], [1.0, 2.0]])
    model.get_layer("small").kernel.assign([[0.1], [0.1]])

    model.finish()

    # By size both small weights would go; relative to its layer each of them is large.
    np.testing.assert_allclose(model.get_layer("large").kernel.numpy(), [[10.0, 10.0], [0.0, 0.0]])
    np.testing.assert_allclose(model.get_layer("small").kernel.numpy(), [[0.1], [0.1]])
