"""Slices of tensors, along the channels contiguous, backwards, of every other channel, or of one."""

import pytest
import tensorflow as tf
import tf_keras as keras

from tests.channels.exactness import assert_removal_is_exact, members, reasons, sizes
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
        lambda x: x[..., ::-1],
        lambda x: x[:, ::-1, :, ::-1],
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


@pytest.mark.parametrize("number", [0, 2, 5, -1, -6])
def test_a_channel_taken_by_its_number_stays(number):
    model = between(lambda x: [x[:, :, :, number], x * x[:, :, 0:1, number, None], x])

    assert sizes(model) == {"a": 5}
    assert "takes this one channel" in reasons(model)["a"][0]
    assert_removal_is_exact(model, {"a": [False] * 4 + [True]}, save=True)
    assert_removal_is_exact(model, {"a": [True] + [False] * 4})


def test_halves_of_every_other_channel():
    """Rotary position embeddings: pairs of neighbours leave together."""
    model = between(lambda x: tf.reshape(tf.stack([-x[:, :, :, 1::2], x[:, :, :, ::2]], -1), (-1, 4, 4, 6)) + x)

    assert members(model, "a", "produce")["a.kernel[3]"] == [0, 0, 1, 1, 2, 2]
    assert_removal_is_exact(model, save=True, tflite=True)
    assert_removal_is_exact(model, {"a": [False, True, False]})


def test_a_last_block_that_is_shorter():
    model = between(lambda x: [x[..., ::4], x[..., 1:6:4], x[..., 3::4], x])

    assert members(model, "a", "produce")["a.kernel[3]"] == [0, 0, 0, 0, 1, 1]
    with pytest.raises(ValueError, match="Nothing would be left"):
        assert_removal_is_exact(model, {"a": [False, True]})
    assert_removal_is_exact(model, {"a": [True, False]})
    assert_removal_is_exact(between(lambda x: [x[..., 1::4], x]), {"a": [False, True]})


@pytest.mark.parametrize("function", [lambda x: x[..., 2::2], lambda x: x[..., :4:2], lambda x: x[..., 4:1:-1]])
def test_a_strided_slice_of_a_part_is_a_barrier(function):
    model = between(function)

    assert sizes(model) == {}
    assert "a strided slice that skips whole blocks" in reasons(model)["a"][0]
    assert_removal_is_exact(model)
