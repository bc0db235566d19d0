"""Normalization: each channel by itself passes; statistics across channels are a barrier."""

import numpy as np
import pytest
import tf_keras as keras

from tests.channels.exactness import assert_removal_is_exact, members, reasons, sizes

L = keras.layers


def between(*layers, shape=(4, 4, 3), filters=6) -> keras.Model:
    image = x = L.Input(shape)
    for layer in (L.Conv2D(filters, 1, name="a"), *layers, L.Conv2D(3, 1, name="b")):
        x = layer(x)
    return keras.Model(image, L.Dense(2)(L.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize(
    "options", [{}, {"scale": False}, {"center": False}, {"scale": False, "center": False}], ids=str
)
def test_batch_normalization(options):
    model = between(L.BatchNormalization(name="n", **options))

    assert sizes(model) == {"a": 6, "b": 3}
    assert_removal_is_exact(model, train=True)


def test_batch_normalization_owns_nothing_but_follows():
    model = between(L.BatchNormalization(name="n"))

    follow = members(model, "a", "follow")
    assert list(follow) == ["n.gamma[0]", "n.beta[0]", "n.moving_mean[0]", "n.moving_variance[0]"]
    assert set(map(tuple, follow.values())) == {(0, 1, 2, 3, 4, 5)}


def test_frozen_batch_normalization_stays_frozen():
    model = between(L.BatchNormalization(name="n", trainable=False))

    small = assert_removal_is_exact(model, train=True)
    assert not small.get_layer("n").trainable


def test_synchronized_batch_normalization():
    assert sizes(between(L.experimental.SyncBatchNormalization())) == {"a": 6, "b": 3}
    assert_removal_is_exact(between(L.experimental.SyncBatchNormalization()))


def test_batch_normalization_on_the_axis_of_the_channels():
    model = between(L.Permute((3, 1, 2)), L.BatchNormalization(axis=1, name="n"), L.ReLU(), L.Permute((2, 3, 1)))

    assert sizes(model) == {"a": 6, "b": 3}
    assert members(model, "a", "follow")["n.gamma[0]"] == [0, 1, 2, 3, 4, 5]
    assert_removal_is_exact(model, train=True)


def test_batch_normalization_on_another_axis_is_a_barrier():
    model = between(L.BatchNormalization(axis=1, name="n"))

    assert reasons(model) == {"a": ("n needs channels on axis 1 alone, and they lie on axis 3",)}
    assert_removal_is_exact(model)


def test_batch_normalization_over_several_axes_is_a_barrier():
    model = between(L.BatchNormalization(axis=[1, 3], name="n"))

    assert reasons(model) == {"a": ("n: batch normalization over several axes has no rule",)}
    assert_removal_is_exact(model)


@pytest.mark.parametrize("axis", [-1, 3, (1, 2, 3)], ids=str)
def test_layer_normalization_across_channels_is_a_barrier(axis):
    model = between(L.LayerNormalization(axis=axis, name="n"))

    assert reasons(model) == {"a": ("n: its statistics are taken across channels",)}
    assert_removal_is_exact(model)


@pytest.mark.parametrize("axis", [1, (1, 2)], ids=str)
def test_layer_normalization_over_places_lets_channels_pass(axis):
    model = between(L.LayerNormalization(axis=axis, name="n"))

    assert sizes(model) == {"a": 6, "b": 3}
    assert_removal_is_exact(model, train=True)


def test_layer_normalization_of_the_last_axis_lets_channels_on_another_pass():
    model = between(L.Permute((3, 1, 2)), L.LayerNormalization(), L.Permute((2, 3, 1)))

    assert sizes(model) == {"a": 6, "b": 3}
    assert_removal_is_exact(model)


def test_unit_normalization():
    assert reasons(between(L.UnitNormalization(name="n"))) == {"a": ("n: its statistics are taken across channels",)}
    model = between(L.UnitNormalization(axis=(1, 2), name="n"))
    assert sizes(model) == {"a": 6, "b": 3}
    assert_removal_is_exact(model)


@pytest.mark.parametrize(
    ("groups", "channels"), [(1, [0] * 6), (2, [0, 0, 0, 1, 1, 1]), (3, [0, 0, 1, 1, 2, 2]), (6, [*range(6)])]
)
def test_group_normalization_takes_whole_groups(groups, channels):
    model = between(L.GroupNormalization(groups, name="n"))

    assert members(model, "a", "produce")["a.kernel[3]"] == channels
    small = assert_removal_is_exact(model, train=True)
    assert small.get_layer("n").groups == small.get_layer("a").filters * groups // 6


def test_group_normalization_with_a_group_for_each_channel():
    model = between(L.GroupNormalization(-1, name="n"))

    assert sizes(model) == {"a": 6, "b": 3}
    assert_removal_is_exact(model, save=True)


def test_group_normalization_on_another_axis():
    model = between(L.Permute((3, 1, 2)), L.GroupNormalization(3, axis=1, name="n"), L.Permute((2, 3, 1)))

    assert sizes(model) == {"a": 3, "b": 3}
    assert_removal_is_exact(model)


def test_statistics_of_the_data_set_are_kept():
    normalization = L.Normalization()
    normalization.adapt(np.random.default_rng(0).normal(5, 3, (20, 4)))
    x = L.Input((4,))
    model = keras.Model(x, L.Dense(2)(L.Dense(6)(normalization(x))))

    assert_removal_is_exact(model, save=True)


def test_statistics_of_the_data_set_behind_channels_are_a_barrier():
    assert list(reasons(between(L.Normalization(mean=[1.0] * 6, variance=[4.0] * 6)))) == ["a"]
    model = between(L.Normalization(axis=None, mean=1.0, variance=4.0))
    assert reasons(model) == {}
    assert_removal_is_exact(model)
