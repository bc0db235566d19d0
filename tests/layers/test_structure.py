"""Flatten, Reshape, Permute, RepeatVector: the same elements on other axes."""

import pytest
import tensorflow as tf
import tf_keras as keras

from tests.channels.exactness import assert_removal_is_exact, members, reasons, sizes

L = keras.layers


def between(*layers, shape=(2, 2, 3), filters=6, **options) -> keras.Model:
    image = L.Input(shape, **options)
    x = L.Conv2D(filters, 1, name="a")(image)
    for layer in layers:
        x = layer(x)
    return keras.Model(image, x)


def test_flatten_repeats_the_channels():
    model = between(L.Flatten(), L.Dense(2, name="d"), filters=3)

    assert members(model, "a", "consume") == {"d.kernel[0]": [0, 1, 2] * 4}
    assert_removal_is_exact(model, train=True, save=True)


def test_flatten_of_channels_first():
    model = between(L.Permute((3, 1, 2)), L.Flatten("channels_first"), L.Dense(2, name="d"), filters=3)

    assert members(model, "a", "consume") == {"d.kernel[0]": [0, 1, 2] * 4}
    assert_removal_is_exact(model)


def test_flatten_of_channels_on_an_inner_axis():
    model = between(L.Permute((3, 1, 2)), L.Flatten(), L.Dense(2, name="d"), filters=3)

    assert members(model, "a", "consume") == {"d.kernel[0]": [0] * 4 + [1] * 4 + [2] * 4}
    assert_removal_is_exact(model)


def test_flatten_of_a_vector():
    x = L.Input((4,))
    assert_removal_is_exact(keras.Model(x, L.Dense(2)(L.Flatten()(L.Dense(5)(x)))))


@pytest.mark.parametrize("batch", [None, 2])
def test_with_a_fixed_batch_too(batch):
    model = between(L.Flatten(), L.Dense(2, name="d"), filters=3, batch_size=batch)

    assert members(model, "a", "consume") == {"d.kernel[0]": [0, 1, 2] * 4}
    assert_removal_is_exact(model)


@pytest.mark.parametrize("shape", [(4, 6), (-1, 6), (24,), (-1,), (1, 2, 2, 6), (4, -1), (2, 12)], ids=str)
def test_reshape_that_keeps_channels_on_one_axis(shape):
    model = between(L.Reshape(shape, name="r"), L.Flatten(), L.Dense(2))

    assert sizes(model) == {"a": 6}
    assert_removal_is_exact(model, save=shape == (-1, 6))


def test_reshape_into_groups_ties_along_the_shorter_axis():
    """Six channels as 2 x 3: whole columns of two leave."""
    model = between(L.Reshape((2, 2, 2, 3), name="r"), L.Flatten(), L.Dense(2))

    assert members(model, "a", "produce")["a.kernel[3]"] == [0, 1, 2, 0, 1, 2]
    small = assert_removal_is_exact(model, {"a": [True, False, True]})
    assert small.get_layer("r").target_shape == (2, 2, 2, 2)


@pytest.mark.parametrize(("groups", "size"), [(2, 3), (3, 3), (6, 6), (1, 6)])
def test_channel_shuffle(groups, size):
    shuffle = L.Reshape((2, 2, groups, 6 // groups)), L.Permute((1, 2, 4, 3)), L.Reshape((2, 2, 6))
    model = between(*shuffle, L.Conv2D(3, 1), L.Flatten(), L.Dense(2))

    assert list(sizes(model).values()) == [size, 3]
    for seed in range(3):
        assert_removal_is_exact(model, seed=seed)


def test_channel_shuffle_between_grouped_convolutions():
    shuffle = L.Reshape((2, 2, 2, 4)), L.Permute((1, 2, 4, 3)), L.Reshape((2, 2, 8))
    layers = L.Conv2D(8, 1, groups=2, name="b"), *shuffle, L.Conv2D(8, 1, groups=2, name="c")
    model = between(*layers, L.Conv2D(3, 1, name="d"), L.Flatten(), L.Dense(2), filters=8)

    for seed in range(3):
        assert_removal_is_exact(model, seed=seed)


def test_reshape_with_unknown_sizes_of_places():
    image = L.Input((None, None, 3))
    x = L.Reshape((-1, 6))(L.Conv2D(6, 1, name="a")(image))
    model = keras.Model(image, L.Dense(2)(L.GlobalMaxPooling1D()(x)))

    assert sizes(model) == {"a": 6}
    assert_removal_is_exact(model)


def test_channel_shuffle_with_unknown_sizes_of_places():
    image = L.Input((None, 4, 3))
    x = L.Reshape((-1, 4, 2, 3))(L.Conv2D(6, 1, name="a")(image))
    x = L.Reshape((-1, 4, 6))(L.Permute((1, 2, 4, 3))(x))
    model = keras.Model(image, L.Dense(2)(L.GlobalMaxPooling2D()(L.Conv2D(3, 1, name="b")(x))))

    assert sizes(model) == {"a": 3, "b": 3}
    assert_removal_is_exact(model)


def test_reshape_that_mixes_channels_with_an_unknown_axis_is_a_barrier():
    image = L.Input((None, None, 3))
    x = L.Reshape((-1, 4), name="r")(L.Conv2D(6, 1, name="a")(image))
    model = keras.Model(image, L.Dense(2)(L.GlobalMaxPooling1D()(x)))

    assert reasons(model) == {"a": ("r: the reshape moves channels among axes of unknown size",)}


def test_reshape_that_cuts_across_channels_keeps_what_is_exact():
    """Rows of 4 from pixels of 6: places and channels share the new axis, and only wholes can leave."""
    model = between(L.Reshape((6, 4)), L.Conv1D(3, 1, name="b"), L.Flatten(), L.Dense(2))

    for seed in range(3):
        assert_removal_is_exact(model, seed=seed)


@pytest.mark.parametrize("dims", [(3, 1, 2), (2, 1, 3), (3, 2, 1)], ids=str)
def test_permute(dims):
    model = between(L.Permute(dims), L.ReLU(), L.Flatten(), L.Dense(2))

    assert sizes(model) == {"a": 6}
    assert_removal_is_exact(model)


def test_repeat_vector():
    x = L.Input((4,))
    repeated = L.RepeatVector(3)(L.Dense(6, name="a")(x))
    model = keras.Model(x, L.Dense(2)(L.SimpleRNN(3, name="b")(repeated)))

    assert sizes(model) == {"a": 6, "b": 3}
    assert_removal_is_exact(model)


def test_decoder_from_a_vector():
    x = L.Input((4,))
    hidden = L.Reshape((2, 2, 3))(L.Dense(12, name="a")(x))
    model = keras.Model(x, L.Conv2DTranspose(1, 2, name="out")(L.Conv2DTranspose(4, 2, name="b")(hidden)))

    assert sizes(model) == {"a": 3, "b": 4}
    assert members(model, "a", "produce")["a.kernel[1]"] == [0, 1, 2] * 4
    assert_removal_is_exact(model, train=True)


@pytest.mark.parametrize(("shape", "size"), [((4, 4, 2), 2), ((8, 4), 4), ((2, 16), 16)], ids=str)
def test_a_feature_map_from_a_vector_has_its_channels_on_the_last_axis(shape, size):
    x = L.Input((4,))
    model = keras.Model(x, L.Dense(2)(L.Reshape(shape)(L.Dense(32, name="a")(x))))

    assert sizes(model) == {"a": size}
    assert_removal_is_exact(model)


@pytest.mark.parametrize(
    "turned",
    [
        lambda x: L.Permute((2, 3, 1))(x),
        lambda x: L.Permute((2, 3, 1))(L.ReLU()(x)),
        lambda x: tf.transpose(x, [0, 2, 3, 1]),
        lambda x: tf.transpose(tf.nn.relu(x), (0, 2, 3, 1)),
    ],
)
def test_a_feature_map_from_a_vector_that_is_turned_has_its_channels_first(turned):
    x = L.Input((4,))
    hidden = turned(L.Reshape((5, 2, 2))(L.Dense(20, name="a")(x)))
    model = keras.Model(x, L.Dense(2)(L.Flatten()(L.Conv2DTranspose(4, 2, name="b")(hidden))))

    assert sizes(model) == {"a": 5, "b": 4}
    assert members(model, "a", "produce")["a.kernel[1]"] == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4
    assert_removal_is_exact(model, train=True)


def test_a_feature_map_with_channels_first():
    x = L.Input((4,))
    hidden = L.Reshape((5, 2, 2))(L.Dense(20, name="a")(x))
    model = keras.Model(x, L.Dense(2)(L.GlobalAveragePooling2D("channels_first")(hidden)))
    assert sizes(model) == {"a": 5}
    assert_removal_is_exact(model)


def test_efficient_channel_attention_reads_channels_as_places():
    """ECA: a convolution over the channels as a sequence, in which each reads its neighbours."""
    image = L.Input((4, 4, 3))
    x = L.Conv2D(6, 1, name="a")(image)
    gate = L.Conv1D(1, 3, padding="same", activation="sigmoid", name="c")(
        L.Reshape((6, 1))(L.GlobalAveragePooling2D()(x))
    )
    model = keras.Model(image, L.Dense(2)(L.GlobalAveragePooling2D()(x * L.Reshape((1, 1, 6))(gate))))

    assert sizes(model) == {}
    assert reasons(model)["a"] == ("c needs channels on axis 2 alone, and they lie on axis 1",)
    assert_removal_is_exact(model)


def test_one_channel_flattens_to_one():
    model = between(L.Flatten(), L.Dense(3, name="d"), L.Dense(2), filters=1)

    assert sizes(model) == {"a": 1, "d": 3}
    assert_removal_is_exact(model)


def test_reshape_after_a_slice():
    image = L.Input((2, 2, 3))
    x = L.Conv2D(6, 1, name="a")(image)[..., 1:5]
    model = keras.Model(image, L.Dense(2)(L.Flatten()(L.Reshape((2, 2, 2, 2))(x))))

    assert sizes(model) == {"a": 4}
    for seed in range(3):
        assert_removal_is_exact(model, seed=seed)


def test_places_that_were_joined_side_by_side():
    image = L.Input((2, 2, 3))
    x = L.Conv2D(3, 1, name="a")(image)
    x = L.Flatten()(tf.concat([x, x * 2.0], axis=1))
    model = keras.Model(image, L.Dense(2, name="d")(x))

    assert members(model, "a", "consume") == {"d.kernel[0]": [0, 1, 2] * 8}
    assert_removal_is_exact(model)
