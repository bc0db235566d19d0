"""Pooling, padding, cropping, resizing."""

import pytest
import tf_keras as keras

from tests.channels.exactness import assert_removal_is_exact, reasons, sizes

L = keras.layers
SHAPES = {1: (8, 3), 2: (8, 8, 3), 3: (4, 4, 4, 3)}
CONVOLUTIONS = {1: L.Conv1D, 2: L.Conv2D, 3: L.Conv3D}


def between(layer, dims: int) -> keras.Model:
    image = L.Input(SHAPES[dims])
    x = layer(CONVOLUTIONS[dims](6, 1, name="a")(image))
    return keras.Model(image, L.Dense(2)(L.Flatten()(x)))


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name", ["MaxPooling", "AveragePooling", "ZeroPadding", "Cropping", "UpSampling"])
def test_each_channel_by_itself(name, dims):
    model = between(getattr(L, f"{name}{dims}D")(), dims)

    assert sizes(model) == {"a": 6}
    assert_removal_is_exact(model)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name", ["Max", "Average"])
@pytest.mark.parametrize("keepdims", [True, False])
def test_global_pooling(name, dims, keepdims):
    model = between(getattr(L, f"Global{name}Pooling{dims}D")(keepdims=keepdims), dims)

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
    model = between(layer, 2)

    assert sizes(model) == {"a": 6}
    assert_removal_is_exact(model)


def test_a_pool_along_the_channels_is_a_barrier():
    image = L.Input((8, 3))
    x = L.MaxPooling1D(name="pool")(L.Permute((2, 1))(L.Conv1D(6, 1, name="a")(image)))
    model = keras.Model(image, L.Dense(2)(L.Flatten()(x)))

    assert reasons(model) == {"a": ("pool needs channels on axis 2 alone",)}
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
