"""Approximate removal: channels that normalizations take their statistics over, with the error that it makes."""

import warnings

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests.channels.exactness import assert_removal_is_exact, reasons, sizes
from tfmot_swd.channels import channel_groups, plan_dead_removal, plan_removal, remove_channels
from tfmot_swd.keras2.validation import PruningWarning

L = keras.layers
KEEP = {"a": [True, False, True, True, False, True]}


def stream(normalize) -> keras.Model:
    """Features that a sum joins, a normalization of them, and a layer that reads these."""
    given = L.Input((5, 4))
    x = L.Dense(6, name="a")(given)
    x = x + L.Dense(6, name="b")(given)
    return keras.Model(given, L.Dense(3, name="out")(normalize(x)))


def by_hand(x):
    return (x - tf.reduce_mean(x, -1, keepdims=True)) * tf.math.rsqrt(
        tf.reduce_mean(tf.square(x), axis=-1, keepdims=True) + 1e-6
    )


NORMALIZATIONS = {
    "layer": lambda x: L.LayerNormalization(name="n")(x),
    "unit": lambda x: L.UnitNormalization(name="n")(x),
    "by hand": by_hand,
    "by hand in a function": lambda x: L.Lambda(by_hand, name="n")(x),
}


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_it_is_never_the_default(name):
    net = stream(NORMALIZATIONS[name])

    assert sizes(net) == {}
    assert "across channels" in reasons(net)["a"][0] or "a reduction over channels" in reasons(net)["a"][0]


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_the_stream_can_leave_and_the_error_is_said(name):
    net = stream(NORMALIZATIONS[name])
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")

    groups = channel_groups(net, approximate=True)
    assert {group.name: group.size for group in groups.values()} == {"a": 6}
    with pytest.warns(PruningWarning, match=r"approximate.*\b(n|tf\.math\.\w+)\b.*error of 0?\.?\d"):
        small = plan_removal(net, KEEP, groups=groups).apply()

    assert small.get_layer("a").units == small.get_layer("b").units == 4
    assert small(x).shape == net(x).shape


def test_statistics_are_those_of_what_is_left():
    net = stream(lambda x: L.LayerNormalization(epsilon=0.0, scale=False, center=False)(x))
    for name in "ab":
        net.get_layer(name).set_weights([np.zeros((4, 6)), np.float32([1, 9, 2, 3, 9, 4]) / 2])
    kernel = np.float32([[1, 0, 0]] * 6)
    net.get_layer("out").set_weights([kernel * np.arange(6)[:, None], np.zeros(3)])

    with pytest.warns(PruningWarning):
        small = remove_channels(net, KEEP, approximate=True)

    # 1, 2, 3, 4: mean 2.5, variance 1.25; read with the weights 0, 2, 3, 5.
    expected = (2 * -0.5 + 3 * 0.5 + 5 * 1.5) / np.sqrt(1.25)
    np.testing.assert_allclose(small(np.zeros((1, 5, 4)))[0, 0, 0], expected, rtol=1e-6)


def test_channels_near_zero_have_the_scale_follow():
    net = stream(lambda x: L.LayerNormalization(epsilon=1e-9, name="n")(x))
    mask = np.float32(KEEP["a"])
    # What is left has a mean of zero for each position, so that nothing but the scale changes.
    centered = mask * np.float32([1, 0, -1, 1, 0, -1])
    for name in "ab":
        kernel, _ = net.get_layer(name).get_weights()
        net.get_layer(name).set_weights([kernel[:, :1] * centered, np.zeros(6)])

    with warnings.catch_warnings():
        # The scale is √(6/4) times as large, and with it the removal is exact.
        warnings.simplefilter("error")
        small = remove_channels(net, KEEP, approximate=True)

    np.testing.assert_allclose(small.get_layer("n").gamma, np.full(4, np.sqrt(1.5)), rtol=1e-6)
    x = np.random.default_rng(1).normal(size=(2, 5, 4)).astype("float32")
    np.testing.assert_allclose(small(x), net(x), rtol=1e-4, atol=1e-5)


def test_a_model_without_normalizations_over_channels_stays_exact():
    given = L.Input((4,))
    net = keras.Model(given, L.Dense(2)(L.BatchNormalization()(L.Dense(6, name="a")(given))))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small = remove_channels(net, KEEP, approximate=True)

    assert small.get_layer("a").units == 4
    assert_removal_is_exact(net)


def test_dead_removal_takes_exact_groups_alone():
    net = stream(NORMALIZATIONS["layer"])

    with pytest.raises(ValueError, match=r"pass channel_groups\(model\). Received: approximate groups"):
        plan_dead_removal(net, groups=channel_groups(net, approximate=True))
