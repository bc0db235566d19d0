"""The check of exactness must fail where it should."""

import numpy as np
import pytest
import tf_keras as keras

from research import exactness
from tfmot_swd.channels.groups import channel_groups
from tfmot_swd.channels.removal import plan_removal
from tfmot_swd.pruning.statistics import reestimate_batch_norm


@pytest.fixture
def model():
    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(6, 3, name="conv")(inputs))
    x = layers.Conv2D(4, 3, activation="relu", name="reader")(layers.ReLU()(x))
    made = keras.Model(inputs, layers.Dense(2, name="head")(layers.Flatten()(x)))
    exactness.randomize(made, np.random.default_rng(0))
    return made


@pytest.fixture
def x(model):
    images = exactness.random_images((8, 8, 3), np.random.default_rng(1))
    reestimate_batch_norm(model, [images])
    return images


def plan_of(model, conv):
    return plan_removal(model, {"conv": np.array(conv, bool)})


KEEP = [1, 0, 1, 1, 0, 0]


def test_half_of_each_group_leaves_and_the_rest_is_exact(model, x):
    plan = exactness.random_plan(model, np.random.default_rng(0), channel_groups(model))
    assert [(row.channels, row.remaining_channels) for row in plan.rows] == [(6, 3), (4, 2)]
    assert exactness.compare(model, plan, plan.apply(), x).exact


def test_other_channels_than_the_masked_ones_are_seen(model, x):
    found = exactness.compare(model, plan_of(model, KEEP), plan_of(model, KEEP[::-1]).apply(), x)
    assert found.difference > 0.01
    assert not found.exact


def test_one_wrong_weight_is_seen(model, x):
    plan = plan_of(model, KEEP)
    smaller = plan.apply()
    gamma = smaller.get_layer("norm").gamma
    gamma.assign(gamma * [1, 1, 1.001])
    assert not exactness.compare(model, plan, smaller, x).exact


def test_equality_proves_nothing_where_nothing_left(model, x):
    plan = plan_of(model, [1] * 6)
    found = exactness.compare(model, plan, plan.apply(), x)
    assert (found.difference, found.mask_effect, found.exact) == (0, 0, False)


def test_equality_proves_nothing_where_the_input_does_not_count(model, x):
    plan = plan_of(model, KEEP)
    found = exactness.compare(model, plan, plan.apply(), x[:1].repeat(2, axis=0))
    assert found.difference <= exactness.TOLERANCE
    assert not found.exact


def test_numbers_that_are_not_finite_are_not_exact(model, x):
    model.get_layer("head").bias.assign([np.inf, 0])
    plan = plan_of(model, KEEP)
    assert not exactness.compare(model, plan, plan.apply(), x).exact


def test_masks_zero_what_reads_a_channel_and_are_taken_off(model):
    before = [weight.copy() for weight in model.get_weights()]
    with exactness.masked(model, plan_of(model, KEEP)):
        kernel = model.get_layer("reader").kernel.numpy()
        np.testing.assert_array_equal(np.abs(kernel).sum((0, 1, 3)) > 0, KEEP)
        np.testing.assert_array_equal(model.get_layer("conv").kernel, before[0])
    for left, right in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(left, right)


def test_statistics_are_those_of_the_batch(model, x):
    conv, norm = model.get_layer("conv"), model.get_layer("norm")
    features = conv(x).numpy().reshape(-1, 6)
    np.testing.assert_allclose(norm.moving_mean, features.mean(axis=0), rtol=1e-3)
    assert norm.momentum == 0.99
