"""Operators that move elements: gather, stack, tile, pixel shuffles, concatenation with constants."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests.channels.exactness import assert_removal_is_exact, members, reasons, sizes

L = keras.layers


def between(function, shape=(4, 4, 3), filters=8, **options) -> keras.Model:
    """A feature map of eight channels, what the function makes of it, and dense layers that read that."""
    image = L.Input(shape, **options)
    x = L.Conv2D(filters, 1, activation="relu", name="a")(image)
    found = function(x)
    found = found if isinstance(found, list | tuple) else [found]
    return keras.Model(image, [L.Dense(2, name=f"d{place}")(L.Flatten()(each)) for place, each in enumerate(found)])


def read(function, **options) -> list[int]:
    """Returns which channel of the feature map each row of a dense layer behind the function reads, at one place."""
    return members(between(function, shape=(1, 1, 3), **options), "a", "consume")["d0.kernel[0]"]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: tf.gather(x, [7, 0, 6, 1, 5, 2, 4, 3], axis=-1),
        lambda x: tf.gather(x, np.array([1, 1, 5]), axis=3),
        lambda x: tf.gather(x, tf.constant([3, 2, 2, 7], tf.int64), axis=-1),
        lambda x: tf.gather(x, [2, 0], axis=1),
        lambda x: tf.gather(x, [[2, 0], [1, 1]], axis=2),
        lambda x: tf.gather(x, 2, axis=1),
        lambda x: tf.gather(x, tf.argmax(tf.constant([0.0, 1.0])), axis=1),
        lambda x: tf.gather(x, tf.constant([1, 0])),
        lambda x: tf.stack([x, x * 2.0, x + 1.0], 1),
        lambda x: tf.stack([x, x * 2.0], -1),
        lambda x: tf.stack([x, x * 2.0], 4)[:, :, :, :, 1],
        lambda x: tf.unstack(x, axis=1),
        lambda x: tf.unstack(x, axis=-2)[:2],
        lambda x: tf.tile(x, [1, 2, 1, 1]),
        lambda x: tf.tile(x, tf.constant([1, 1, 3, 2])),
        lambda x: tf.tile(x, [tf.shape(x)[0], 1, 1, 2])[:2],
        lambda x: tf.repeat(x, 3, axis=-1),
        lambda x: tf.repeat(x, [1, 0, 2, 1], axis=1),
        lambda x: keras.backend.repeat_elements(x, 2, 3),
        lambda x: tf.broadcast_to(x[:, :1], [2, 4, 4, 8]),
        lambda x: tf.broadcast_to(x, (3, 2, 4, 4, 8))[1],
        lambda x: tf.ensure_shape(x, (None, 4, 4, 8)),
        lambda x: tf.reverse(x, [1]),
        lambda x: tf.reverse(x, [-1, 2]),
        lambda x: tf.roll(x, [1, 2], [1, 2]),
        lambda x: tf.roll(x, 1, 1),
        lambda x: tf.concat([x, np.ones((2, 4, 4, 3), "float32")], -1),
        lambda x: tf.concat([tf.ones((2, 4, 4, 1)), x, tf.fill((2, 4, 4, 2), 0.5), x], -1),
        lambda x: tf.cumsum(x, 1),
        lambda x: tf.math.cumprod(x, axis=2),
        lambda x: tf.nn.l2_normalize(x + 0.1, (1, 2)),
        lambda x: tf.image.flip_left_right(x),
        lambda x: tf.nn.space_to_depth(x, 2),
    ],
)
def test_every_channel_may_leave(function):
    model = between(function, batch_size=2)

    assert sizes(model) == {"a": 8}
    for seed in range(2):
        assert_removal_is_exact(model, seed=seed, save=seed == 0)


def test_rearranged_in_tflite():
    def rearranged(x):
        x = tf.repeat(tf.gather(tf.tile(x, [1, 1, 2, 1]), [7, 0, 0, 6, 1], axis=-1), 2, axis=-1)
        return tf.reverse(tf.nn.space_to_depth(tf.concat([x, tf.ones((2, 4, 8, 1))], -1), 2), [-1])

    assert_removal_is_exact(between(rearranged, batch_size=2), tflite=True, train=True)


def test_which_channels_are_read():
    assert read(lambda x: tf.gather(x, [7, 0, 0, 3], axis=-1)) == [7, 0, 0, 3]
    assert read(lambda x: tf.tile(x, [1, 1, 1, 2])) == [*range(8), *range(8)]
    assert read(lambda x: tf.repeat(x, 2, axis=-1)) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]
    assert read(lambda x: tf.reverse(x, [3])) == [7, 6, 5, 4, 3, 2, 1, 0]
    assert read(lambda x: tf.concat([x, tf.ones((2, 1, 1, 2))], -1), batch_size=2) == [*range(8), -1, -1]
    assert read(lambda x: tf.stack([x, -x], -1)) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]
    # Eight channels at two by two places: block after block.
    model = between(lambda x: tf.nn.space_to_depth(x, 2), shape=(2, 2, 3))
    assert members(model, "a", "consume")["d0.kernel[0]"] == [*range(8)] * 4


def test_indices_of_channels_are_renumbered():
    model = between(lambda x: tf.gather(x, [7, 0, 6, 1, 6], axis=-1))
    small = assert_removal_is_exact(model, {"a": [True, False, False, True, False, False, True, True]}, save=True)

    call = next(layer for layer in small.layers if "gather" in layer.name)
    assert call.inbound_nodes[0].call_args[1] == [3, 0, 2, 2]


def test_pixel_shuffle_ties_the_places_of_a_channel():
    model = between(lambda x: L.Conv2D(3, 1, name="b")(tf.nn.depth_to_space(x, 2)))

    assert sizes(model) == {"a": 2, "b": 3}
    assert members(model, "a", "produce")["a.kernel[3]"] == [0, 1] * 4
    assert_removal_is_exact(model, save=True, tflite=True, train=True)
    assert_removal_is_exact(model, {"a": [False, True]})


@pytest.mark.parametrize(
    "shuffled",
    [
        lambda x: L.Reshape((8, 8, 2))(L.Permute((1, 3, 2, 4, 5))(L.Reshape((4, 4, 2, 2, 2))(x))),
        lambda x: tf.reshape(tf.transpose(tf.reshape(x, (-1, 4, 4, 2, 2, 2)), (0, 1, 3, 2, 4, 5)), (-1, 8, 8, 2)),
    ],
)
def test_pixel_shuffle_by_reshape_and_permute_is_the_same(shuffled):
    model = between(lambda x: L.Conv2D(3, 1, name="b")(shuffled(x)))

    assert sizes(model) == {"a": 2, "b": 3}
    assert_removal_is_exact(model, save=True)


def test_shuffled_back_and_forth():
    model = between(lambda x: tf.nn.depth_to_space(tf.nn.space_to_depth(x, 2), 2) + x)

    assert sizes(model) == {"a": 8}
    assert_removal_is_exact(model)


def test_a_channel_taken_by_its_number_stays():
    model = between(lambda x: [tf.gather(x, 5, axis=-1), x])

    assert sizes(model) == {"a": 7}
    assert "takes this one channel" in reasons(model)["a"][0]
    assert_removal_is_exact(model, save=True)
    assert_removal_is_exact(model, {"a": [False] * 5 + [True] * 2})


def test_stacked_branches_leave_together():
    image = L.Input((4, 4, 3))
    pair = [L.Conv2D(8, 1, name=name)(image) for name in "ab"]
    x = tf.reduce_sum(tf.stack(pair, 1), 1)
    model = keras.Model(image, L.Dense(2)(L.GlobalAveragePooling2D()(L.Conv2D(4, 1, name="c")(x))))

    assert sizes(model) == {"a": 8, "c": 4}
    assert_removal_is_exact(model, save=True, tflite=True, train=True)


def test_selective_kernels():
    """SKNet: branches stacked, weighed by a softmax over the branches, summed."""
    image = L.Input((4, 4, 3))
    stacked = tf.stack([L.Conv2D(8, size, padding="same", name=name)(image) for size, name in ((1, "a"), (3, "b"))], 1)
    pooled = L.Dense(5, name="z", activation="relu")(tf.reduce_mean(stacked, (1, 2, 3)))
    weights = tf.nn.softmax(tf.stack([L.Dense(8, name=name)(pooled) for name in "uv"], 1), axis=1)
    x = tf.reduce_sum(stacked * weights[:, :, None, None], 1)
    model = keras.Model(image, L.Dense(2)(L.GlobalAveragePooling2D()(x)))

    assert sizes(model) == {"a": 8, "z": 5}
    assert_removal_is_exact(model, save=True)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: tf.gather(x, [[0, 1], [2, 3]], axis=-1), "indices of several axes have no rule along the channels"),
        (lambda x: tf.gather(x, tf.cast(x[0, 0, 0, :1] > 0, tf.int32), axis=-1), "channels at computed indices"),
        (lambda x: tf.gather(x, [[0], [1]], axis=1, batch_dims=1), "tf.gather with batch_dims has no rule"),
        (lambda x: tf.gather(tf.ones((5, 2)), tf.cast(x, tf.int32)), "values of a constant at computed indices"),
        (lambda x: tf.unstack(x, axis=-1)[0], "each channel becomes a tensor of its own"),
        (lambda x: tf.stack([x, np.ones((2, 4, 4, 8), "float32")]), "a constant where a tensor of the model"),
        (lambda x: tf.concat([x, tf.ones((2, 1, 4, 8))], 1), "a constant of fixed size"),
        (lambda x: tf.repeat(x, [1] * 7 + [2], axis=-1), "another number of repeats for each channel has no rule"),
        (lambda x: tf.repeat(x, 2), "repeats of a flattened tensor have no rule"),
        (lambda x: tf.tile(x, tf.ones_like(tf.shape(x))), "the sizes of a tensor are computed with"),
        (lambda x: tf.tile(x, [1, 1, 1, tf.shape(x)[1]]), "computed multiples have no rule"),
        (lambda x: tf.roll(x, 1, -1), "a roll along the channels has no rule"),
        (lambda x: tf.cumsum(x, -1), "a sum or product that runs along the channels"),
        (lambda x: tf.nn.l2_normalize(x, -1), "l2_normalize looks across channels"),
        (lambda x: tf.nn.l2_normalize(x), "l2_normalize looks across channels"),
    ],
)
def test_barriers(function, reason):
    model = between(function, batch_size=2)

    assert sizes(model) == {}
    assert reason in " ".join(reasons(model)["a"])
    assert_removal_is_exact(model)
