"""The trainings whose files lie here: by each method, half way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tf_keras as keras

import tfmot_swd

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 8, 8, 1)).astype(np.float32)
Y = RNG.integers(0, 3, 24)
# Three updates an epoch, two epochs; the files are of the end of the first.
FIT = {"batch_size": 8, "shuffle": False, "verbose": 0}
END_STEP, EPOCHS = 6, 2

METHODS: dict[str, Callable[[Any], Any]] = {
    "weights": lambda net: tfmot_swd.prune_selective_decay(net, tfmot_swd.SelectiveDecay(0.6, END_STEP)),
    "forward": lambda net: tfmot_swd.prune_selective_decay(
        net, tfmot_swd.SelectiveDecay(0.6, END_STEP, penalty="forward", threshold_power=3.0)
    ),
    "channels": lambda net: tfmot_swd.prune_selective_decay(net, tfmot_swd.StructuredDecay(0.4, END_STEP)),
    "filters": lambda net: tfmot_swd.prune_progressive_gradient(
        net, tfmot_swd.ProgressiveRate(0.5, EPOCHS), hard_share=0.5, layers="all"
    ),
}


def compiled(method: str) -> keras.Model:
    """Returns a wrapped net as its training starts."""
    keras.utils.set_random_seed(0)
    net = keras.Sequential(
        [
            keras.layers.Conv2D(4, 3, use_bias=False, input_shape=(8, 8, 1), name="first"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.ReLU(name="relu"),
            keras.layers.Conv2D(6, 3, activation="relu", name="second"),
            keras.layers.GlobalAveragePooling2D(name="pool"),
            keras.layers.Dense(3, name="head"),
        ],
        name="saved",
    )
    model = METHODS[method](net)
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    return model


def end_of(model: keras.Model) -> list[np.ndarray]:
    """Returns the weights of a trained model without wrappers, all channels kept."""
    return tfmot_swd.strip_pruning(model, remove_channels=False).get_weights()
