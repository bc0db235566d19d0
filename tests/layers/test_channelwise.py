"""What acts on each channel alone: activations, dropout, scaling, pooling, padding, cropping, resizing."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tf_keras.src.applications.convnext import LayerScale, StochasticDepth
from tf_keras.src.applications.inception_resnet_v2 import CustomScaleLayer

from tests.channels.exactness import assert_removal_is_exact, members, reasons, sizes

L = keras.layers
SHAPES = {1: (8, 3), 2: (8, 8, 3), 3: (4, 4, 4, 3)}
CONVOLUTIONS = {1: L.Conv1D, 2: L.Conv2D, 3: L.Conv3D}


def between(*layers) -> keras.Model:
    image = x = L.Input((4, 4, 3))
    for layer in (L.Conv2D(6, 1, name="a"), *layers, L.Conv2D(3, 1, name="b")):
        x = layer(x)
    return keras.Model(image, L.Dense(2)(L.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize(
    "layer",
    [
        L.ReLU(),
        L.ReLU(max_value=6.0, negative_slope=0.1, threshold=0.5),
        L.LeakyReLU(0.2),
        L.ELU(),
        L.ThresholdedReLU(0.3),
        L.Activation("swish"),
        L.Activation("gelu"),
        L.Activation("hard_sigmoid"),
        L.Activation("mish"),
        L.Activation(tf.nn.relu6),
        L.Dropout(0.5),
        L.SpatialDropout2D(0.5),
        L.AlphaDropout(0.5),
        L.GaussianDropout(0.5),
        L.GaussianNoise(0.5),
        L.ActivityRegularization(l2=0.1),
        L.Identity(),
        L.Rescaling(2.0, offset=1.0),
        StochasticDepth(0.5),
    ],
    ids=lambda layer: layer.name,
)
def test_channels_pass(layer):
    model = between(layer)

    assert sizes(model) == {"a": 6, "b": 3}
    assert_removal_is_exact(model)


@pytest.mark.parametrize("name", ["elu", "exponential", "linear", "relu", "selu", "sigmoid", "softplus", "softsign"])
def test_a_constant_behind_an_activation_is_not_read(name):
    """sigmoid(0) is 0.5, but the slices that would read it go with the channel."""
    assert_removal_is_exact(between(L.Activation(name)), seed=1)


@pytest.mark.parametrize("kind", [L.SpatialDropout1D, L.SpatialDropout3D])
def test_spatial_dropout_in_other_dimensions(kind):
    shape, convolution = ((4, 3), L.Conv1D) if kind is L.SpatialDropout1D else ((3, 3, 3, 2), L.Conv3D)
    image = L.Input(shape)
    model = keras.Model(image, L.Dense(2)(L.Flatten()(kind(0.5)(convolution(6, 1, name="a")(image)))))

    assert_removal_is_exact(model)


@pytest.mark.parametrize("kind", [L.Dropout, L.AlphaDropout])
def test_a_noise_shape_that_names_the_channels_shrinks(kind):
    image = L.Input((4, 4, 3), batch_size=2)
    x = kind(0.5, noise_shape=(2, 1, 1, 6), name="drop")(L.Conv2D(6, 1, name="a")(image))
    model = keras.Model(image, L.Dense(2)(L.Flatten()(x)))

    small = assert_removal_is_exact(model, {"a": [True, False, True, True, False, False]})
    assert tuple(small.get_layer("drop").noise_shape) == (2, 1, 1, 3)
    small(tf.ones((2, 4, 4, 3)), training=True)


def test_softmax_across_channels_is_a_barrier():
    expected = {"a": ("s: softmax looks across channels",)}
    assert reasons(between(L.Softmax(name="s"))) == expected
    assert reasons(between(L.Softmax(axis=[1, 3], name="s"))) == expected
    assert reasons(between(L.Activation("softmax", name="s"))) == {
        "a": ("s: activation softmax looks across channels",)
    }
    assert_removal_is_exact(between(L.Softmax(name="s")))


@pytest.mark.parametrize("axis", [1, [1, 2]], ids=str)
def test_softmax_over_places_lets_channels_pass(axis):
    model = between(L.Softmax(axis=axis))

    assert sizes(model) == {"a": 6, "b": 3}
    assert_removal_is_exact(model)


def test_softmax_of_the_last_axis_lets_channels_on_another_pass():
    model = between(L.Permute((3, 1, 2)), L.Activation("softmax"), L.Permute((2, 3, 1)))

    assert sizes(model) == {"a": 6, "b": 3}
    assert_removal_is_exact(model)


def test_a_softmax_with_a_mask_is_a_barrier():
    x, mask = L.Input((5, 4)), L.Input((5, 6), dtype="bool")
    hidden = L.Softmax(axis=1, name="s")(L.Dense(6, name="a")(x), mask=mask)
    model = keras.Model([x, mask], L.Dense(2)(hidden))

    assert list(reasons(model)) == ["a"]


def across(x):
    return x * tf.reduce_max(x, axis=-1, keepdims=True)


def test_a_function_across_channels_is_a_barrier():
    model = between(L.Activation(across, name="mine"), L.Conv2D(4, 1, activation=across, name="c"))

    assert reasons(model) == {
        "a": ("mine/across/tf.math.reduce_max: a reduction over channels",),
        "c": ("c/across/tf.math.reduce_max: a reduction over channels",),
    }
    assert_removal_is_exact(model)


def test_the_name_of_a_known_function_is_not_enough():
    def relu(x):
        return across(x)

    assert list(reasons(between(L.Activation(relu)))) == ["a"]


def test_a_layer_as_an_activation():
    assert reasons(between(L.Conv2D(5, 1, activation=L.LeakyReLU(0.3), name="c"))) == {}
    model = between(L.Conv2D(5, 1, activation=L.Softmax(), name="c"))
    assert reasons(model) == {"c": ("c: activation Softmax is not known to act on each channel alone",)}
    assert_removal_is_exact(model)


@pytest.mark.parametrize("shared", [None, [1, 2], [1, 2, 3]], ids=str)
def test_slopes_of_an_activation_leave_with_the_filters(shared):
    model = between(L.Conv2D(5, 1, activation=L.PReLU("uniform", shared_axes=shared), name="c"))

    follow = members(model, "c", "follow")
    assert follow == ({} if shared == [1, 2, 3] else {"c.activation.alpha[2]": [0, 1, 2, 3, 4]})
    assert_removal_is_exact(model, train=True, save=True)


def test_slopes_of_an_activation_at_each_step():
    x = L.Input((3, 5))
    hidden = L.TimeDistributed(L.Dense(4, activation=L.PReLU("uniform")), name="t")(x)
    model = keras.Model(x, L.Dense(2)(L.LSTM(3, activation=L.PReLU("uniform"), name="r")(hidden)))

    assert sorted(sizes(model).values()) == [3, 4]
    assert_removal_is_exact(model)
    other = keras.Model(x, L.Dense(2)(L.LSTM(3, recurrent_activation=L.PReLU("uniform"), name="r")(x)))
    assert reasons(other) == {"r": ("r: activation PReLU is not known to act on each channel alone",)}


@pytest.mark.parametrize("shared", [None, [1, 2], [1, 2, 3], [3]], ids=str)
def test_prelu(shared):
    model = between(L.PReLU(shared_axes=shared, name="p"))

    follow = members(model, "a", "follow")
    assert follow == ({} if shared and 3 in shared else {"p.alpha[2]": [0, 1, 2, 3, 4, 5]})
    assert_removal_is_exact(model, train=True)


def test_prelu_behind_flatten_has_a_slope_for_each_place():
    image = L.Input((2, 2, 3))
    x = L.PReLU(name="p")(L.Flatten()(L.Conv2D(3, 1, name="a")(image)))
    model = keras.Model(image, L.Dense(2)(x))

    assert members(model, "a", "follow") == {"p.alpha[0]": [0, 1, 2] * 4}
    assert_removal_is_exact(model)


@pytest.mark.parametrize("scale", [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], np.arange(96.0).reshape(4, 4, 6) / 50.0], ids=len)
def test_a_rescaling_for_each_channel(scale):
    model = between(L.Rescaling(scale, offset=(0.5, 0.25, -0.5, 0.0, 1.0, 2.0), name="r"))

    assert sizes(model) == {"a": 6, "b": 3}
    keep = {"a": [True, False] * 3, "b": [True] * 3}
    small = assert_removal_is_exact(model, keep, save=True, tflite=True)
    assert list(small.get_layer("r").offset) == [0.5, -0.5, 1.0]


def test_a_rescaling_called_twice_ties_the_channels():
    image, layer = L.Input((4, 4, 3)), L.Rescaling([1.0, 2.0, 3.0, 4.0], name="r")
    parts = [layer(L.Conv2D(4, 1, name=name)(image)) for name in "ab"]
    model = keras.Model(image, [L.Conv2D(2, 1)(part) for part in parts])

    assert sizes(model) == {"a": 4}
    assert_removal_is_exact(model)


def test_a_rescaling_of_more_axes_than_its_input_is_a_barrier():
    x = L.Input((6,), batch_size=2)
    hidden = L.Rescaling(np.ones((3, 1, 6)), name="r")(L.Dense(6, name="a")(x))
    model = keras.Model(x, L.Dense(2)(hidden))

    assert reasons(model) == {"a": ("r: scale has more axes than the tensor",)}


def test_layer_scale():
    model = between(LayerScale(0.1, 6, name="scale"))

    assert members(model, "a", "follow") == {"scale.gamma[0]": [0, 1, 2, 3, 4, 5]}
    small = assert_removal_is_exact(model, {"a": [True, False] * 3}, train=True)
    assert small.get_layer("scale").projection_dim == 3


def test_the_scaled_sum_of_inception_resnet():
    image = L.Input((4, 4, 3))
    parts = [L.Conv2D(6, 1, name=name)(image) for name in "ab"]
    model = keras.Model(image, L.Conv2D(2, 1)(CustomScaleLayer(0.3)(parts)))

    assert sizes(model) == {"a": 6}
    assert_removal_is_exact(model)


def test_masking_looks_across_channels():
    """A step is masked where all its channels are: without some of them, others are masked."""
    x = L.Input((5, 4))
    hidden = L.Masking(name="mask")(L.Dense(6, activation="relu", name="a")(x))
    model = keras.Model(x, L.Dense(2)(L.LSTM(3, name="b")(hidden)))

    assert reasons(model) == {"a": ("mask: its mask is taken across channels",)}
    assert_removal_is_exact(model)
    x = L.Input((5, 4))
    assert_removal_is_exact(keras.Model(x, L.Dense(2)(L.LSTM(3)(L.Masking()(x)))))


def behind_a_convolution(layer, dims: int) -> keras.Model:
    image = L.Input(SHAPES[dims])
    x = layer(CONVOLUTIONS[dims](6, 1, name="a")(image))
    return keras.Model(image, L.Dense(2)(L.Flatten()(x)))


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name", ["MaxPooling", "AveragePooling", "ZeroPadding", "Cropping", "UpSampling"])
def test_each_channel_by_itself(name, dims):
    model = behind_a_convolution(getattr(L, f"{name}{dims}D")(), dims)

    assert sizes(model) == {"a": 6}
    assert_removal_is_exact(model)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name", ["Max", "Average"])
@pytest.mark.parametrize("keepdims", [True, False])
def test_global_pooling(name, dims, keepdims):
    model = behind_a_convolution(getattr(L, f"Global{name}Pooling{dims}D")(keepdims=keepdims), dims)

    assert sizes(model) == {"a": 6}
    assert_removal_is_exact(model)


@pytest.mark.parametrize("keepdims", [True, False])
def test_global_pooling_of_channels_first(keepdims):
    """Reductions run channels first on a CPU too."""
    image = L.Input((8, 8, 3))
    x = L.Permute((3, 1, 2))(L.Conv2D(6, 1, name="a")(image))
    x = L.GlobalAveragePooling2D(data_format="channels_first", keepdims=keepdims)(x)
    model = keras.Model(image, L.Dense(2)(L.Flatten()(x)))

    assert sizes(model) == {"a": 6}
    assert_removal_is_exact(model)


@pytest.mark.parametrize("layer", [L.Resizing(5, 7), L.CenterCrop(3, 5), L.UpSampling2D(interpolation="bilinear")])
def test_images(layer):
    model = behind_a_convolution(layer, 2)

    assert sizes(model) == {"a": 6}
    assert_removal_is_exact(model)


def test_a_pool_along_the_channels_is_a_barrier():
    image = L.Input((8, 3))
    x = L.MaxPooling1D(name="pool")(L.Permute((2, 1))(L.Conv1D(6, 1, name="a")(image)))
    model = keras.Model(image, L.Dense(2)(L.Flatten()(x)))

    assert reasons(model) == {"a": ("pool needs channels on axis 2 alone, and they lie on axis 1",)}
    assert_removal_is_exact(model)


def test_unknown_sizes():
    image = L.Input((None, None, 3))
    x = L.MaxPooling2D()(L.Conv2D(6, 3, padding="same", name="a")(image))
    x = L.UpSampling2D()(L.ZeroPadding2D()(x))
    model = keras.Model(image, L.Dense(2)(L.GlobalMaxPooling2D()(x)))

    assert sizes(model) == {"a": 6}
    assert_removal_is_exact(model)


def test_pooling_with_a_mask_given_by_hand():
    x, mask = L.Input((5, 4)), L.Input((5,), dtype="bool")
    hidden = L.GlobalAveragePooling1D()(L.Dense(6, name="a")(x), mask=mask)
    model = keras.Model([x, mask], L.Dense(2)(hidden))

    assert sizes(model) == {"a": 6}
    assert_removal_is_exact(model)
