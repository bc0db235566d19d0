"""Convolutions: which slices a channel owns, and that nothing else changes when it goes."""

import pytest
import tf_keras as keras

from tests.channels.exactness import assert_removal_is_exact, members, reasons, sizes
from tfmot_swd.channels.groups import channel_groups
from tfmot_swd.channels.removal import remove_channels

L = keras.layers
POOL = {1: L.GlobalAveragePooling1D, 2: L.GlobalAveragePooling2D, 3: L.GlobalAveragePooling3D}
SIDE = {1: 9, 2: 7, 3: 5}


def net(*layers, dims=2, channels=3) -> keras.Model:
    """A chain behind a feature map, with batch norm and another layer that reads it."""
    image = x = L.Input((SIDE[dims],) * dims + (channels,))
    for layer in layers:
        x = L.ReLU()(L.BatchNormalization()(layer(x)))
    return keras.Model(image, L.Dense(2, name="head")(POOL[dims]()(x)))


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(
    "options", [{}, {"use_bias": False, "padding": "same"}, {"strides": 2, "activation": "tanh"}, {"dilation_rate": 2}]
)
def test_plain(dims, options):
    kind = {1: L.Conv1D, 2: L.Conv2D, 3: L.Conv3D}[dims]
    model = net(kind(6, 3, name="a", **options), kind(5, 2, padding="same", name="b"), dims=dims)

    assert sizes(model) == {"a": 6, "b": 5}
    assert_removal_is_exact(model)


def test_a_channel_owns_its_slices():
    model = net(L.Conv2D(3, 3, name="a"), L.Conv2D(2, 1, name="b"))

    assert members(model, "a", "produce") == {"a.kernel[3]": [0, 1, 2], "a.bias[0]": [0, 1, 2]}
    assert members(model, "a", "consume") == {"b.kernel[2]": [0, 1, 2]}
    assert list(members(model, "a", "follow").values()) == [[0, 1, 2]] * 4


def test_plain_survives_files_and_training():
    model = net(L.Conv2D(6, 3, name="a"), L.Conv2D(5, 3, name="b"))

    assert_removal_is_exact(model, save=True, tflite=True, train=True)


@pytest.mark.parametrize(
    ("groups", "inside", "out", "expected"),
    [
        (6, 6, 6, {"a": 6}),
        (6, 6, 12, {"a": 6}),
        (4, 8, 8, {"a": 4}),
        (4, 12, 8, {"a": 4}),
        (3, 6, 12, {"a": 3}),
        (2, 8, 6, {"a": 4, "g": 3}),
        (2, 12, 8, {"a": 6, "g": 4}),
    ],
    ids=str,
)
def test_grouped(groups, inside, out, expected):
    model = net(L.Conv2D(inside, 1, name="a"), L.Conv2D(out, 3, groups=groups, name="g"), L.Conv2D(4, 1, name="b"))

    assert sizes(model) == {**expected, "b": 4}
    for seed in range(3):
        assert_removal_is_exact(model, seed=seed)


def test_many_narrow_groups_leave_as_wholes():
    model = net(L.Conv2D(6, 1, name="a"), L.Conv2D(9, 3, groups=3, name="g"))

    assert members(model, "a", "produce") == {
        "a.kernel[3]": [0, 0, 1, 1, 2, 2],
        "a.bias[0]": [0, 0, 1, 1, 2, 2],
        "g.kernel[3]": [0, 0, 0, 1, 1, 1, 2, 2, 2],
        "g.bias[0]": [0, 0, 0, 1, 1, 1, 2, 2, 2],
    }
    small = assert_removal_is_exact(model, {"a": [True, False, True]})
    assert (small.get_layer("a").filters, small.get_layer("g").filters, small.get_layer("g").groups) == (4, 6, 2)


def test_of_few_wide_groups_channels_leave_from_each():
    model = net(L.Conv2D(6, 1, name="a"), L.Conv2D(8, 3, groups=2, name="g"))

    assert members(model, "a", "produce")["a.kernel[3]"] == [0, 1, 2, 0, 1, 2]
    assert members(model, "a", "consume") == {"g.kernel[2]": [0, 1, 2]}
    assert members(model, "g", "produce")["g.kernel[3]"] == [0, 1, 2, 3, 0, 1, 2, 3]
    small = assert_removal_is_exact(model, {"a": [True, False, True], "g": [False, False, True, False]})
    assert (small.get_layer("a").filters, small.get_layer("g").filters, small.get_layer("g").groups) == (4, 2, 2)


def test_grouped_convolution_of_the_input_stays_as_the_input_does():
    model = net(L.Conv2D(8, 3, groups=4, name="g"), L.Conv2D(3, 1, name="b"), channels=4)

    assert reasons(model) == {"g": ("model input",)}
    assert sizes(model) == {"b": 3}


@pytest.mark.parametrize("dims", [1, 3])
def test_grouped_in_other_dimensions(dims):
    kind = {1: L.Conv1D, 3: L.Conv3D}[dims]
    model = net(kind(8, 1, name="a"), kind(8, 3, groups=4, name="g"), dims=dims)

    assert_removal_is_exact(model)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_transposed(dims):
    kind = {1: L.Conv1DTranspose, 2: L.Conv2DTranspose, 3: L.Conv3DTranspose}[dims]
    model = net(kind(6, 3, strides=2, name="a"), kind(4, 2, use_bias=False, activation="relu", name="b"), dims=dims)

    assert members(model, "a", "produce")[f"a.kernel[{dims}]"] == [0, 1, 2, 3, 4, 5]
    assert members(model, "a", "consume") == {f"b.kernel[{dims + 1}]": [0, 1, 2, 3, 4, 5]}
    assert_removal_is_exact(model, train=dims == 2)


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_depthwise(dims, multiplier, bias):
    plain, kind = {1: (L.Conv1D, L.DepthwiseConv1D), 2: (L.Conv2D, L.DepthwiseConv2D)}[dims]
    depthwise = kind(3, depth_multiplier=multiplier, use_bias=bias, activation="relu", padding="same")
    model = net(plain(5, 1, name="a"), depthwise, plain(4, 1, name="b"), dims=dims)

    assert sizes(model) == {"a": 5, "b": 4}
    assert_removal_is_exact(model)


def test_the_outputs_of_a_depthwise_channel_lie_side_by_side():
    model = net(L.Conv2D(3, 1, name="a"), L.DepthwiseConv2D(3, depth_multiplier=2, name="d"), L.Conv2D(4, 1, name="b"))

    follow = members(model, "a", "follow")
    assert follow["d.depthwise_kernel[2]"] == [0, 1, 2]
    assert follow["d.bias[0]"] == [0, 0, 1, 1, 2, 2]
    assert members(model, "a", "consume") == {"b.kernel[2]": [0, 0, 1, 1, 2, 2]}


def test_depthwise_twice_with_multipliers():
    layers = [L.DepthwiseConv2D(2, depth_multiplier=2, name=name) for name in ("c", "d")]
    model = net(L.Conv2D(3, 1, name="a"), *layers, L.Conv2D(4, 1, name="b"))

    assert members(model, "a", "consume") == {"b.kernel[2]": [0] * 4 + [1] * 4 + [2] * 4}
    assert_removal_is_exact(model, train=True)


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("multiplier", [1, 2])
def test_separable(dims, multiplier):
    kind = {1: L.SeparableConv1D, 2: L.SeparableConv2D}[dims]
    layers = [kind(6, 3, depth_multiplier=multiplier, name="a"), kind(5, 2, depth_multiplier=multiplier, name="b")]
    model = net(*layers, dims=dims)

    assert sizes(model) == {"a": 6, "b": 5}
    assert members(model, "a", "consume") == {
        f"b.pointwise_kernel[{dims}]": [channel for channel in range(6) for _ in range(multiplier)]
    }
    assert_removal_is_exact(model, train=dims == 2)


def test_two_batch_axes():
    video = L.Input((2, 6, 6, 3))
    x = L.Conv2D(4, 3, name="b")(L.Conv2D(5, 3, activation="relu", name="a")(video))
    model = keras.Model(video, L.Dense(2)(L.Flatten()(x)))

    assert sizes(model) == {"a": 5, "b": 4}
    assert_removal_is_exact(model)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: L.Conv2D(8, 3, groups=2, data_format="channels_first", name="b"),
        lambda: L.Conv2DTranspose(8, 3, data_format="channels_first", name="b"),
        lambda: L.SeparableConv2D(8, 3, data_format="channels_first", name="b"),
        lambda: L.DepthwiseConv2D(3, depth_multiplier=2, data_format="channels_first", name="b"),
    ],
    ids=["grouped", "transposed", "separable", "depthwise"],
)
def test_channels_first(layer):
    """Without running them: TensorFlow has no such kernels for a CPU."""
    image = L.Input((3, 8, 8))
    x = L.Conv2D(4, 3, data_format="channels_first", name="a")(image)
    x = L.BatchNormalization(axis=1)(layer()(L.ZeroPadding2D(data_format="channels_first")(x)))
    x = L.GlobalAveragePooling2D(data_format="channels_first")(L.MaxPooling2D(data_format="channels_first")(x))
    model = keras.Model(image, L.Dense(2, name="head")(x))

    keep = {group.name: [True] + [False] * (group.size - 1) for group in channel_groups(model).values()}
    small = remove_channels(model, keep)
    assert small.get_layer("a").output_shape[1] in (1, 2)
    assert small.get_layer("head").kernel.shape[0] == small.get_layer("b").output_shape[1] < 8


def test_channels_first_behind_two_batch_axes():
    video = L.Input((2, 3, 8, 8))
    x = L.Conv2D(5, 3, data_format="channels_first", name="a")(video)
    x = L.Conv2D(4, 3, data_format="channels_first", name="b")(x)
    model = keras.Model(video, x)

    small = remove_channels(model, {"a": [True, False, True, False, False]})
    assert small.get_layer("a").output_shape == (None, 2, 2, 6, 6)


def test_softmax_of_a_convolution_keeps_its_channels():
    model = net(L.Conv2D(6, 3, activation="softmax", name="a"), L.Conv2D(5, 3, name="b"))

    assert reasons(model) == {"a": ("a: activation softmax looks across channels",)}
    assert_removal_is_exact(model)


def test_a_class_without_a_rule_is_a_barrier():
    model = net(L.Conv2D(4, 1, name="a"), L.LocallyConnected2D(4, 3, name="local"), L.Conv2D(3, 1, name="b"))

    assert sizes(model) == {"b": 3}
    assert reasons(model) == {"a": ("local: no channel rule for LocallyConnected2D",)}
    assert_removal_is_exact(model)
