"""The clock, learning rate, momentum and decay read off every kind of Keras 2 optimizer."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfmot_swd.keras2 import optimizers

LEGACY = keras.optimizers.legacy
scaled = keras.mixed_precision.LossScaleOptimizer
HALVES = keras.optimizers.schedules.ExponentialDecay(0.8, decay_steps=1, decay_rate=0.5)


def step(optimizer, times=1) -> None:
    weight = tf.Variable([1.0])
    for _ in range(times):
        optimizer.apply_gradients([(tf.constant([1.0]), weight)])


@pytest.mark.parametrize("make", [keras.optimizers.SGD, LEGACY.SGD, keras.optimizers.Adam, LEGACY.Adam])
@pytest.mark.parametrize("wrap", [lambda optimizer: optimizer, scaled], ids=["plain", "loss_scale"])
def test_the_clock_and_the_learning_rate_of_the_next_update(make, wrap):
    optimizer = wrap(make(HALVES))
    assert float(optimizers.learning_rate(optimizer)) == pytest.approx(0.8)

    step(optimizer, 3)

    assert int(optimizers.iterations(optimizer)) == 3
    assert optimizers.learning_rate(optimizer).dtype == tf.float32
    assert float(optimizers.learning_rate(optimizer)) == pytest.approx(0.1)


@pytest.mark.parametrize("make", [keras.optimizers.SGD, LEGACY.SGD])
def test_the_learning_rate_in_a_graph_follows_its_variable(make):
    optimizer = make(0.1)
    read = tf.function(lambda: optimizers.learning_rate(optimizer))
    assert float(read()) == pytest.approx(0.1)

    optimizer.learning_rate = 0.25

    assert float(read()) == 0.25


@pytest.mark.parametrize("make", [keras.optimizers.SGD, LEGACY.SGD])
def test_the_learning_rates_of_steps_to_come(make):
    steps = np.arange(1, 5)

    assert optimizers.learning_rates(make(HALVES), steps).tolist() == pytest.approx([0.4, 0.2, 0.1, 0.05])
    assert optimizers.learning_rates(make(0.3), steps).tolist() == pytest.approx([0.3] * 4)


def test_only_sgd_keeps_a_penalty_at_its_strength():
    linear = [keras.optimizers.SGD(), LEGACY.SGD(), scaled(keras.optimizers.SGD())]
    others = [keras.optimizers.Adam(), keras.optimizers.RMSprop(), LEGACY.Adagrad(), scaled(LEGACY.Adam())]

    assert all(map(optimizers.is_sgd, linear))
    assert not any(map(optimizers.is_sgd, others))


@pytest.mark.parametrize(
    ("optimizer", "momentum"),
    [
        (keras.optimizers.SGD(momentum=0.9), 0.9),
        (LEGACY.SGD(momentum=0.8), 0.8),
        (scaled(keras.optimizers.SGD(momentum=0.9)), 0.9),
        (keras.optimizers.SGD(), 0.0),
        (keras.optimizers.RMSprop(momentum=0.9), 0.0),
    ],
)
def test_momentum_is_that_of_sgd(optimizer, momentum):
    assert optimizers.momentum(optimizer) == pytest.approx(momentum)


def test_decoupled_weight_decay():
    assert optimizers.decoupled_weight_decay(keras.optimizers.AdamW(weight_decay=0.01)) == 0.01
    assert optimizers.decoupled_weight_decay(scaled(keras.optimizers.SGD(weight_decay=0.02))) == 0.02
    assert optimizers.decoupled_weight_decay(keras.optimizers.SGD()) == 0.0
    assert optimizers.decoupled_weight_decay(LEGACY.SGD()) == 0.0


def test_unwrap_goes_inside_a_loss_scale():
    inner = keras.optimizers.SGD()

    assert optimizers.unwrap(scaled(inner)) is inner
    assert optimizers.unwrap(inner) is inner


@pytest.mark.parametrize("make", [keras.optimizers.Adagrad, LEGACY.Adagrad, keras.optimizers.Ftrl, LEGACY.Ftrl])
def test_accumulators_begin_at_what_the_optimizer_says(make):
    optimizer, weight = make(0.1, initial_accumulator_value=0.25), tf.Variable([1.0], name="kernel")
    optimizer.apply_gradients([(tf.constant([1.0]), weight)])
    variables = optimizer.variables() if callable(optimizer.variables) else optimizer.variables
    slots = [each for each in variables if each.shape == (1,)]
    starts = {optimizers.slot_start(optimizer, each) for each in slots if "accumulator" in each.name}
    others = {optimizers.slot_start(optimizer, each) for each in slots if "accumulator" not in each.name}
    assert (starts, others) == ({0.25}, {0.0} if make in (keras.optimizers.Ftrl, LEGACY.Ftrl) else set())
