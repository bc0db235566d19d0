"""Files that the microcontroller tests share; each is converted once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tf_keras as keras

from tfmot_swd import export_tflite


def zero_smallest(layers: Any, share: float) -> None:
    """Zeroes the smallest weights of each kernel, as a trained and pruned model has them."""
    for layer in layers:
        weights = layer.get_weights()
        if weights and weights[0].ndim > 1:
            magnitudes = np.abs(weights[0])
            kept = magnitudes >= np.quantile(magnitudes, share)
            layer.set_weights([weights[0] * kept, *weights[1:]])


@pytest.fixture(scope="session")
def to_file(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Returns a function (model, samples, recipe) → the bytes of its file."""

    def convert(model: Any, samples: Any, recipe: str = "int8") -> bytes:
        path = tmp_path_factory.mktemp("file") / "model.tflite"
        export_tflite(model, path, recipe, representative_data=samples)
        return Path(path).read_bytes()

    return convert


@pytest.fixture(scope="session")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(40, 12, 12, 3)).astype("float32")


@pytest.fixture(scope="session")
def pruned_net() -> Any:
    """Convolution, depthwise, convolution and dense, 80 % zeros in the kernels of each."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    net = keras.Sequential(
        [
            layers.Input((12, 12, 3), name="image"),
            layers.Conv2D(64, 3, strides=2, activation="relu"),
            layers.DepthwiseConv2D(3, padding="same", activation="relu"),
            layers.Conv2D(16, 1, activation="relu"),
            layers.Flatten(),
            layers.Dense(10, name="scores"),
        ]
    )
    zero_smallest(net.layers, 0.8)
    return net


@pytest.fixture(scope="session")
def pruned_file(to_file: Any, pruned_net: Any, pictures: np.ndarray) -> bytes:
    return to_file(pruned_net, pictures)


@pytest.fixture(scope="session")
def float_file(to_file: Any, pruned_net: Any, pictures: np.ndarray) -> bytes:
    return to_file(pruned_net, pictures, "float32")


@pytest.fixture(scope="session")
def shared_file(to_file: Any) -> bytes:
    """A convolution called three times, and two outputs whose names sort against their order."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = layers.Input((8, 8, 16), name="image")
    convolution = layers.Conv2D(16, 3, padding="same", activation="relu")
    features = layers.GlobalAveragePooling2D()(convolution(convolution(convolution(image))))
    net = keras.Model(image, [layers.Dense(3, name="zebra")(features), layers.Dense(2, name="ant")(features)])
    zero_smallest(net.layers, 0.8)
    return to_file(net, np.random.default_rng(0).normal(size=(40, 8, 8, 16)).astype("float32"))


@pytest.fixture(scope="session")
def graded_file(to_file: Any) -> bytes:
    """Dense layers of 256 weights from 90 to 40 % zeros: some are worth an operator of their own and some are not."""
    keras.utils.set_random_seed(0)
    net = keras.Sequential([keras.layers.Input((16,)), *(keras.layers.Dense(16, activation="relu") for _ in range(7))])
    for layer, share in zip(net.layers, (0.9, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4), strict=True):
        zero_smallest([layer], share)
    return to_file(net, np.random.default_rng(0).normal(size=(40, 16)).astype("float32"))
