"""A tiny net in a file, data that it can learn, and the command line called in process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tf_keras as keras

from tfmot_swd.cli.main import main


def make_net() -> Any:
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.layers.Input((6,), name="x"),
            keras.layers.Dense(16, activation="relu", name="hidden"),
            keras.layers.Dense(3, name="head"),
        ],
        name="net",
    )


@pytest.fixture(scope="session")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a saved net: 6 inputs, 16 units, 3 logits; 163 parameters, 144 MACs."""
    path = tmp_path_factory.mktemp("models") / "net.keras"
    make_net().save(path)
    return path


@pytest.fixture(scope="session")
def frozen_net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a saved net of 6·16 + 16 = 112 parameters that are frozen, and 16·4 + 4 + 4·3 + 3 = 83 that are not."""
    layers = keras.layers
    base = layers.Dense(16, "relu", name="base", trainable=False)
    path = tmp_path_factory.mktemp("models") / "frozen.keras"
    keras.Sequential([layers.Input((6,)), base, layers.Dense(4, name="hidden"), layers.Dense(3, name="head")]).save(
        path
    )
    return path


@pytest.fixture(scope="session")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns 320 samples of 3 classes that a line tells apart."""
    generator = np.random.default_rng(0)
    y = generator.integers(0, 3, 320)
    x = generator.normal(size=(320, 6)).astype("float32") * 0.3 + np.eye(3, 6, dtype="float32")[y] * 2
    path = tmp_path_factory.mktemp("data") / "train.npz"
    np.savez(path, x=x, y=y)
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Returns a function that takes the arguments and returns exit code, output and errors."""

    def call(*arguments: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(each) for each in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call
