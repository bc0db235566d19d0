"""What channels are compared by, from arrays of a few elements."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests.pgp.nets import layer_of, network, residual
from tfmot_swd.channels import channel_scores
from tfmot_swd.channels.scores import shares_within

L = keras.layers


def test_behind_batch_norm_a_channel_is_its_scale_and_elsewhere_the_norm_of_its_filter():
    net = network()
    layer_of(net, "norm").gamma.assign([-0.5, 2, 0, 1, 1, 1, 1, 1])
    found = channel_scores(net, "scale")
    assert found["a"].tolist() == [0.5, 2, 0, 1, 1, 1, 1, 1]
    kernel = layer_of(net, "b").kernel.numpy()
    norms = np.sqrt((kernel**2).sum(axis=(0, 1, 2)))
    np.testing.assert_allclose(found["b"], norms, rtol=1e-6)
    relative = channel_scores(net)
    np.testing.assert_allclose(relative["a"], found["a"] / np.mean(found["a"]), rtol=1e-6)
    np.testing.assert_allclose(relative["b"], norms / norms.mean(), rtol=1e-6)


def test_channels_that_an_addition_joins_have_the_mean_of_their_scales():
    net = residual()
    norms = [each for each in net.layers if isinstance(each, L.BatchNormalization)]
    for number, norm in enumerate(norms):
        norm.gamma.assign(np.full(norm.gamma.shape, float(number + 1)))
    joined = [norm for norm in norms if norm.gamma.shape[0] == 4]
    found = channel_scores(net, "scale")
    # The stem and a2 make one group of 4; a1 is one of its own.
    assert found["stem"].tolist() == [np.mean([norms.index(joined[0]) + 1, norms.index(joined[2]) + 1])] * 4
    assert found["a1"].tolist() == [norms.index(joined[1]) + 1.0] * 4


def test_magnitude_is_the_norm_of_all_that_a_channel_owns_over_the_mean():
    net = keras.Sequential([L.Dense(2, input_shape=(2,), name="hidden"), L.Dense(1, name="out")])
    net.set_weights([np.array([[3.0, 0], [0, 1]]), np.array([0.0, 2]), np.array([[4.0], [2]]), np.zeros(1)])
    # sqrt(9 + 16) = 5 and sqrt(1 + 4 + 4) = 3.
    assert channel_scores(net, "magnitude")["hidden"] == pytest.approx([5 / 4, 3 / 4])


def test_filters_of_one_group_of_a_grouped_convolution_are_one_channel():
    inputs = keras.Input((2, 2, 3))
    x = L.Conv2D(8, 1, use_bias=False, name="first")(inputs)
    x = L.Conv2D(8, 1, groups=4, use_bias=False, name="grouped")(x)
    net = keras.Model(inputs, L.Dense(1)(L.Flatten()(x)))
    first, grouped = np.arange(8.0), np.arange(8.0, 16.0)
    layer_of(net, "first").kernel.assign(np.tile(first, (1, 1, 3, 1)))
    layer_of(net, "grouped").kernel.assign(np.tile(grouped, (1, 1, 2, 1)))
    (found,) = channel_scores(net, "scale").values()
    squares = np.stack([3 * first**2, 2 * grouped**2]).reshape(2, 4, 2)
    np.testing.assert_allclose(found, np.sqrt(squares.mean(axis=(0, 2))), rtol=1e-6)


def test_shares_within_a_group_keep_ties_together():
    found = shares_within(tf.constant([3.0, 1, 1, 2, 5, 5]), np.array([0, 0, 0, 0, 1, 1]))
    assert found.numpy().tolist() == [1.0, 0.5, 0.5, 0.75, 1.0, 1.0]


def test_an_unknown_criterion_is_refused():
    with pytest.raises(ValueError, match="criterion must be one of auto, scale, magnitude, .*l1, l2.*Received: 'l3'"):
        channel_scores(network(), "l3")


def test_scales_that_are_not_trained_rank_nothing():
    net = network()
    layer_of(net, "norm").trainable = False
    kernel = layer_of(net, "a").kernel.numpy()
    np.testing.assert_allclose(channel_scores(net, "scale")["a"], np.sqrt((kernel**2).sum(axis=(0, 1, 2))), rtol=1e-6)


def test_a_group_of_which_a_part_is_normalized_is_ranked_by_its_filters():
    inputs = keras.Input((4, 4, 2))
    a, b = L.Conv2D(3, 1, name="a")(inputs), L.Conv2D(2, 1, name="b")(inputs)
    both = L.Add()([L.Concatenate()([L.BatchNormalization()(a), b]), L.Conv2D(5, 1, name="c")(inputs)])
    net = keras.Model(inputs, L.Dense(1)(L.Flatten()(both)))
    norms = [np.square(layer_of(net, name).kernel.numpy()).sum(axis=(0, 1, 2)) for name in "abc"]
    (found,) = channel_scores(net, "scale").values()
    np.testing.assert_allclose(found, np.sqrt((np.concatenate(norms[:2]) + norms[2]) / 2), rtol=1e-6)
