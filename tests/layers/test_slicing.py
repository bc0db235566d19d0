"""Slices of tensors: along the channels, contiguous parts only."""

import pytest
import tensorflow as tf
import tf_keras as keras

from tests.channels.exactness import assert_removal_is_exact, sizes
from tests.layers.test_operators import between

L = keras.layers


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[..., :4],
        lambda x: x[..., -4:],
        lambda x: x[..., 2:5],
        lambda x: x[:, 1:, :, 2:5],
        lambda x: x[:, 1:3, ..., 1:],
        lambda x: x[:, ::2, 1],
        lambda x: x[:, 0, 0],
        lambda x: x[:, 0, None, :, 1:4],
        lambda x: x[:, :, :, :, None],
        lambda x: x[:, :, tf.newaxis],
        lambda x: x[1:],
        lambda x: x[..., 1:5][..., 1:],
        lambda x: [x[..., :2], x[..., 2:]],
        lambda x: [x[..., :4], x[..., 2:]],
    ],
)
def test_slices(function):
    model = between(function, batch_size=2)

    assert sizes(model) == {"a": 6}
    for seed in range(2):
        assert_removal_is_exact(model, seed=seed)


def test_a_slice_that_nobody_else_reads():
    """Channels outside of it are read by nobody, and may leave or stay."""
    model = between(lambda x: x[..., 4:])

    for keep in ([True] * 2 + [False] * 2 + [True] * 2, [False] * 4 + [True, False]):
        assert_removal_is_exact(model, {"a": keep})


def test_slices_of_what_stays():
    image = L.Input((4, 4, 6))
    x = L.Conv2D(3, 1, name="a")(image[..., 1:4]) + image[:, :, :, ::2]
    model = keras.Model(image, L.Dense(2)(x[:, 0, ..., -1]))

    assert sizes(model) == {}
    assert_removal_is_exact(model)
