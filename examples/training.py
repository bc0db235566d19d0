"""Trains one image classifier by one method under one recipe, so that methods differ in nothing else."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras

import tfmot_swd
from examples.channel_methods import CHANNEL_METHODS
from examples.datasets import ImageData, batches
from examples.filter_methods import FILTER_METHODS
from examples.job import Fitted, Job, Methods, Recipe, TrainedRun, dense, run_job
from examples.references import GlobalMagnitude, Rates, gradual, once

# The references begin their last third, of fine-tuning, where the default ramp of SelectiveDecay ends.
RAMP_END = 2 / 3
# TFMOT sorts every tensor at each refresh; its default of 100 updates is too coarse for short runs.
TFMOT_FREQUENCY = 10


@dataclasses.dataclass
class ImageJob(Job):
    """The training of a classifier, by SGD."""

    data: ImageData

    @property
    def steps(self) -> int:
        return self.recipe.epochs * (len(self.data.train_x) // self.recipe.batch_size)

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

    @property
    def watched(self) -> dict[str, Any]:
        return {**super().watched, "validation_batch_size": 500}

    def compile(self, model: keras.Model, learning_rate: Any, clipnorm: float | None) -> None:
        model.compile(
            keras.optimizers.SGD(learning_rate, momentum=self.recipe.momentum, clipnorm=clipnorm),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )


@dataclasses.dataclass(frozen=True)
class TrainedClassifier(TrainedRun):
    """A `TrainedRun`, and the accuracy of its model on the validation split."""

    validation_accuracy: float


def _selective(job: Job, schedule: tfmot_swd.SelectiveDecay, learning_rate: Any = None) -> Fitted:
    pruned = tfmot_swd.prune_selective_decay(job.model, schedule)
    every = max(job.steps // 200, 1)
    callback = tfmot_swd.UpdatePruningStep(validation_data=job.validation, update_freq=every)
    history = job.fit(pruned, [callback], learning_rate)
    # Every method is counted at full size; what channel removal gains is told apart.
    return tfmot_swd.strip_pruning(pruned, remove_channels=False), history, callback


def _swd(job: Job) -> Fitted:
    return _selective(job, tfmot_swd.SelectiveDecay(job.rate, end_step=job.steps))


def _swd_paper(job: Job) -> Fitted:
    """The published method, with the published steps of the learning rate."""
    schedule = tfmot_swd.SelectiveDecay.paper(job.rate, end_step=job.steps, mu=job.recipe.weight_decay)
    return _selective(job, schedule, job.stepped)


def _tfmot_gradual(job: Job) -> Fitted:
    """TFMOT as its guides have it: a rate per layer that climbs as a cubic, then fine-tuning."""
    end_step = int(job.steps * RAMP_END) // TFMOT_FREQUENCY * TFMOT_FREQUENCY
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, job.rate, 0, end_step, frequency=TFMOT_FREQUENCY)
    pruned = tfmot.sparsity.keras.prune_low_magnitude(job.model, schedule)
    history = job.fit(pruned, [tfmot.sparsity.keras.UpdatePruningStep()])
    return tfmot.sparsity.keras.strip_pruning(pruned), history, None


def _magnitude(job: Job, rates: Rates, learning_rate: Any = None) -> Fitted:
    return job.model, job.fit(job.model, [GlobalMagnitude(rates)], learning_rate), None


def _global_gradual(job: Job) -> Fitted:
    return _magnitude(job, gradual(job.rate, int(job.steps * RAMP_END)))


def _magnitude_once(job: Job) -> Fitted:
    return _magnitude(job, once(job.rate, int(job.steps * RAMP_END)))


def _rewinding(job: Job) -> Fitted:
    """Learning-rate rewinding (Renda et al. 2020): train, cut, and play the same schedule again; momentum goes on."""
    # Rounded up: a restart more in the very last update would undo what the schedule brought down.
    half = (job.steps + 1) // 2
    twice = keras.optimizers.schedules.CosineDecayRestarts(job.recipe.learning_rate, half, t_mul=1.0, m_mul=1.0)
    return _magnitude(job, once(job.rate, half), twice)


METHODS: Methods = {
    "dense": dense,
    "swd": _swd,
    "swd_paper": _swd_paper,
    "tfmot": _tfmot_gradual,
    "global_gradual": _global_gradual,
    "magnitude_once": _magnitude_once,
    "lr_rewinding": _rewinding,
    **FILTER_METHODS,
    **CHANNEL_METHODS,
}


def train(
    method: str,
    build: Callable[[], keras.Model],
    data: ImageData,
    recipe: Recipe,
    rate: float = 0.0,
    callbacks: tuple[keras.callbacks.Callback, ...] = (),
) -> TrainedClassifier:
    """Trains `build()` by `method` to `rate` and returns the stripped model with its numbers.

    Args:
      method: a key of METHODS.
      build: makes the network; called once, after seeding.
      data: its train split is trained on, its validation split watched; its test split is not touched.
      recipe: what all methods share.
      rate: share of the counted weights to remove, of the filters for methods that remove those, or of all
        parameters for those that meet a budget; "dense" ignores it.
      callbacks: more Keras callbacks, for progress bars.

    Raises:
      ValueError: the method is unknown.
    """
    return _train(method, METHODS, build, data, recipe, rate, callbacks)


def train_selective(
    schedule: Callable[[int], tfmot_swd.SelectiveDecay],
    build: Callable[[], keras.Model],
    data: ImageData,
    recipe: Recipe,
    rate: float,
) -> TrainedClassifier:
    """As `train`, with a Selective Weight Decay schedule of the caller's: number of updates → schedule."""

    def method(job: Job) -> Fitted:
        return _selective(job, schedule(job.steps))

    return _train("swd", {"swd": method}, build, data, recipe, rate, ())


def _train(
    method: str,
    methods: Methods,
    build: Callable[[], keras.Model],
    data: ImageData,
    recipe: Recipe,
    rate: float,
    callbacks: tuple[keras.callbacks.Callback, ...],
) -> TrainedClassifier:
    def job() -> ImageJob:
        return ImageJob(build(), recipe, rate, list(callbacks), 1, data)

    run = run_job(method, methods, recipe.seed, job)
    x, y = data.to_float(data.validation_x), data.validation_y
    return TrainedClassifier(**vars(run), validation_accuracy=accuracy(run.model, x, y))


def accuracy(model: keras.Model, x: np.ndarray, y: np.ndarray) -> float:
    """Returns the share of images that the model names right; nan where it gives no finite answer."""
    logits = model.predict(x, batch_size=500, verbose=0)
    return float((logits.argmax(axis=1) == y).mean()) if np.isfinite(logits).all() else math.nan
