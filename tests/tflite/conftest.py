"""Tiny models and data that the export tests share; conversions cost a second each."""

from typing import Any

import numpy as np
import pytest
import tf_keras as keras


def _settle(model: Any) -> Any:
    """Gives batch normalization something to fold: fresh statistics fold to nothing."""
    generator = np.random.default_rng(1)
    for weight in model.weights:
        if any(part in weight.name for part in ("gamma", "variance", "mean", "beta")):
            weight.assign(generator.uniform(0.5, 1.5, weight.shape))
    return model


@pytest.fixture
def conv_net() -> Any:
    """Conv, batch normalization, a reshape that fixes the batch, and 4 classes."""
    image = keras.layers.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv")(image)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Flatten()(keras.layers.Reshape((64, -1))(x))
    return _settle(keras.Model(image, keras.layers.Dense(4, activation="softmax", name="scores")(x)))


@pytest.fixture(scope="module")
def three_layers() -> Any:
    """Eight inputs to three outputs; a module may change its weights."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((8,), name="x"),
            layers.Dense(16, "relu", name="calm"),
            layers.Dense(8, name="wide"),
            layers.Dense(3, name="head"),
        ]
    )


@pytest.fixture
def dense_net() -> Any:
    return keras.Sequential([keras.layers.Input((6,), name="x"), keras.layers.Dense(3)])


@pytest.fixture
def two_by_two() -> Any:
    """Two inputs and two outputs, all of other sizes, with names that sort against their order."""
    right = keras.layers.Input((5,), name="right")
    left = keras.layers.Input((2,), name="left-hand")
    joined = keras.layers.Concatenate()([right, left])
    return keras.Model(
        [right, left],
        [keras.layers.Dense(4, name="zebra")(joined), keras.layers.Dense(3, name="ant")(left)],
    )


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(120, 8, 8, 3)).astype("float32")


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(50, 6)).astype("float32")


@pytest.fixture
def pairs() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.normal(size=(40, width)).astype("float32") for width in (5, 2)]
