"""One training as every method of a comparison does it: the recipe, the model and its data, the fit."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from examples.datasets import ImageData, batches
from tfmot_swd import UpdatePruningStep


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How every method of a comparison trains.

    Args:
      epochs: of training in all, whatever the method does with them.
      batch_size: images an update.
      learning_rate: at the beginning; falls to 0 along a cosine.
      momentum: of SGD.
      weight_decay: L2 decay of the kernels as PyTorch counts it (the network is built with it).
      augment: random crops and mirrors.
      validation_freq: epochs between two looks at the validation split.
      seed: of the initial weights, the order of images and the augmentation.
    """

    epochs: int
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augment: bool = False
    validation_freq: int = 1
    seed: int = 0


@dataclasses.dataclass
class Job:
    """One training about to start: the model, its data and what the methods need to know of the run."""

    model: keras.Model
    data: ImageData
    recipe: Recipe
    rate: float
    callbacks: list[keras.callbacks.Callback]

    @property
    def steps(self) -> int:
        return self.recipe.epochs * (len(self.data.train_x) // self.recipe.batch_size)

    @property
    def falling_learning_rate(self) -> keras.optimizers.schedules.LearningRateSchedule:
        """The published steps of Selective Weight Decay: ÷10 at 1/3 and 2/3."""
        rates = [self.recipe.learning_rate / 10**power for power in range(3)]
        return keras.optimizers.schedules.PiecewiseConstantDecay([self.steps // 3, 2 * self.steps // 3], rates)

    @property
    def stream(self) -> tf.data.Dataset:
        """The training data, an epoch of whole batches; the same sequence of epochs from each."""
        recipe, data = self.recipe, self.data
        return batches(
            data.train_x, data.train_y, recipe.batch_size, recipe.seed, augment=recipe.augment, pixels=data.pixels
        )

    @property
    def validation(self) -> tuple[np.ndarray, np.ndarray]:
        return self.data.to_float(self.data.validation_x), self.data.validation_y


# The stripped model, the history of Keras, the callback of a method of this package.
Fitted = tuple[keras.Model, dict[str, list[float]], UpdatePruningStep | None]


def fit(
    job: Job,
    model: keras.Model,
    callbacks: list[keras.callbacks.Callback],
    learning_rate: Any = None,
    clipnorm: float | None = None,
) -> dict[str, list[float]]:
    """Trains a model as the recipe says and returns Keras's history; `clipnorm` bounds each weight's gradient."""
    recipe = job.recipe
    if learning_rate is None:
        learning_rate = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, job.steps)
    model.compile(
        keras.optimizers.SGD(learning_rate, momentum=recipe.momentum, clipnorm=clipnorm),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    fitted = model.fit(
        job.stream,
        epochs=recipe.epochs,
        validation_data=job.validation,
        validation_batch_size=500,
        validation_freq=recipe.validation_freq,
        callbacks=[*callbacks, *job.callbacks],
        verbose=0,
    )
    return fitted.history
