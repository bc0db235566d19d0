"""Trains the detector by one method under one recipe: dense, with filters that leave, or within a budget."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from examples.detection_data import DetectionData, Scenes
from examples.detection_decoding import Detections, Precision, decode, precision
from examples.detection_targets import losses, targets_of
from examples.filter_methods import FILTER_TABLE, FilterMethod, schedule_of
from examples.job import Recipe
from tfmot_swd.monitor import CutReport
from tfmot_swd.progressive.status import ProgressiveStatus
from tfmot_swd.structured.monitor import StructuredStatus

# Each removal has Keras trace the training step anew, some seconds of a detector's ten heads and stages.
REMOVAL_FREQUENCY = 3


def _ending_at_rate(name: str) -> FilterMethod:
    """Returns one of the methods that remove filters all along, which as published remove some more than asked."""
    return dataclasses.replace(FILTER_TABLE[name], curve="geometric", removal_frequency=REMOVAL_FREQUENCY)


# Of all filter methods those that a comparison of detectors needs.
FILTER_METHODS = {
    **{name: _ending_at_rate(name) for name in ("rpgp", "pgp", "weight_taylor")},
    **{name: FILTER_TABLE[name] for name in ("psfp", "psfp_clipped", "l1_once")},
}


@dataclasses.dataclass
class DetectionJob:
    """One training about to start: the model, its data and what the methods need to know of the run."""

    model: keras.Model
    data: DetectionData
    recipe: Recipe
    rate: float
    round_to: int
    callbacks: list[keras.callbacks.Callback]

    @property
    def steps(self) -> int:
        return self.recipe.epochs * (len(self.data.train) // self.recipe.batch_size)

    @functools.cached_property
    def stream(self) -> tf.data.Dataset:
        """The training scenes, an epoch of whole batches; the same sequence of epochs from each job."""
        return self._pairs(self.data.train, shuffle=True)

    @functools.cached_property
    def validation(self) -> tf.data.Dataset:
        return self._pairs(self.data.validation, shuffle=False)

    def _pairs(self, scenes: Scenes, *, shuffle: bool) -> tf.data.Dataset:
        pairs = tf.data.Dataset.from_tensor_slices((scenes.images, targets_of(scenes)))
        if shuffle:
            pairs = pairs.shuffle(len(scenes), seed=self.recipe.seed)
        mean, std = self.data.pixels
        batches = pairs.batch(self.recipe.batch_size, drop_remainder=shuffle)
        return batches.map(lambda x, y: ((tf.cast(x, tf.float32) / 255 - mean) / std, y)).prefetch(2)


# The stripped model, the history of Keras, the callback of a method of this package.
Fitted = tuple[keras.Model, dict[str, list[float]], tfmot_swd.UpdatePruningStep | None]


@dataclasses.dataclass(frozen=True)
class TrainedDetector:
    """What one training gave.

    Args:
      method, rate: as asked.
      model: the stripped model, as small as it has become.
      validation: its precision on the validation scenes.
      cut: what the final cut of SWD changed; None for other methods.
      filters: the states of a progressive removal, one an epoch; empty for other methods.
      channels: the states of structured SWD on the way; empty for other methods.
      history: Keras's epoch logs.
      seconds, processor_seconds: of training, validation included.
    """

    method: str
    rate: float
    model: keras.Model
    validation: Precision
    cut: CutReport | None
    filters: tuple[ProgressiveStatus, ...]
    channels: tuple[StructuredStatus, ...]
    history: dict[str, list[float]]
    seconds: float
    processor_seconds: float


def fit(
    job: DetectionJob, model: keras.Model, callbacks: list[keras.callbacks.Callback], clipnorm: float | None = None
) -> dict[str, list[float]]:
    """Trains a model by Adam and returns Keras's history; `clipnorm` bounds each weight's gradient."""
    recipe = job.recipe
    learning_rate = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, job.steps)
    optimizer = keras.optimizers.Adam(learning_rate, beta_1=recipe.momentum, clipnorm=clipnorm)
    model.compile(optimizer, losses())
    fitted = model.fit(
        job.stream,
        epochs=recipe.epochs,
        validation_data=job.validation,
        validation_freq=recipe.validation_freq,
        callbacks=[*callbacks, *job.callbacks],
        verbose=0,
    )
    return fitted.history


def _dense(job: DetectionJob) -> Fitted:
    return job.model, fit(job, job.model, []), None


def _progressive(method: FilterMethod, job: DetectionJob) -> Fitted:
    pruned = tfmot_swd.prune_progressive_gradient(
        job.model,
        schedule_of(method, job.rate, job.recipe.epochs),
        method.criterion,
        hard_share=method.hard_share,
        soft_reset=method.soft_reset,
        reset_slots=method.reset_slots,
        reduction=method.reduction,
        round_to=job.round_to,
        seed=job.recipe.seed,
    )
    callback = tfmot_swd.UpdatePruningStep(training_data=job.stream)
    history = fit(job, pruned, [callback], method.clipnorm)
    return tfmot_swd.strip_pruning(pruned), history, callback


def _structured(job: DetectionJob) -> Fitted:
    """Structured SWD within the parameters and the MACs of the net that has lost the same share of every layer."""
    left = tfmot_swd.profile(narrow(job.model, job.rate, job.round_to))
    budget = tfmot_swd.Budget(parameters=left.parameters, macs=left.macs)
    schedule = tfmot_swd.StructuredDecay(budget, job.steps, round_to=job.round_to)
    pruned = tfmot_swd.prune_selective_decay(job.model, schedule)
    callback = tfmot_swd.UpdatePruningStep(validation_data=job.validation)
    history = fit(job, pruned, [callback])
    return tfmot_swd.strip_pruning(pruned), history, callback


def _small_dense(job: DetectionJob) -> Fitted:
    """A dense net of those widths, trained from a random start of its own."""
    small = keras.models.clone_model(narrow(job.model, job.rate, job.round_to))
    return small, fit(job, small, []), None


def narrow(model: keras.Model, rate: float, round_to: int = 1) -> keras.Model:
    """Returns the model without the last filters of each convolution that can lose some, as many as leave by rate."""
    keep = {}
    for row in tfmot_swd.plan_channels(model).ranked:
        left = int(np.ceil(row.channels * (1 - rate) / round_to - 1e-9)) * round_to
        keep[row.group] = np.arange(row.channels) < max(left, 1)
    return tfmot_swd.remove_channels(model, keep)


METHODS: dict[str, Callable[[DetectionJob], Fitted]] = {
    "dense": _dense,
    **{name: functools.partial(_progressive, method) for name, method in FILTER_METHODS.items()},
    "structured": _structured,
    "small_dense": _small_dense,
}


def train(
    method: str,
    build: Callable[[], keras.Model],
    data: DetectionData,
    recipe: Recipe,
    rate: float = 0.0,
    *,
    round_to: int = 1,
    callbacks: tuple[keras.callbacks.Callback, ...] = (),
) -> TrainedDetector:
    """Trains `build()` by `method` and returns the stripped model with its numbers.

    Args:
      method: a key of METHODS.
      build: makes the detector; called once, after seeding.
      data: its train split is trained on, its validation split watched; its test split is not touched.
      recipe: what all methods share.
      rate: share of the filters to remove; "dense" ignores it.
      round_to: the number of filters that each layer keeps is a multiple of this.
      callbacks: more Keras callbacks, for progress bars.

    Raises:
      ValueError: the method is unknown.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}. Received: {method!r}")
    keras.utils.set_random_seed(recipe.seed)
    job = DetectionJob(build(), data, recipe, rate, round_to, list(callbacks))
    start, processor = time.perf_counter(), time.process_time()
    model, history, callback = METHODS[method](job)
    seconds, processor_seconds = time.perf_counter() - start, time.process_time() - processor
    states = callback.history if callback else []
    return TrainedDetector(
        method=method,
        rate=0.0 if method == "dense" else rate,
        model=model,
        validation=precision(detect(model, data, data.validation), data.validation),
        cut=callback.cut_report if callback else None,
        filters=tuple(each for each in states if isinstance(each, ProgressiveStatus)),
        channels=tuple(each for each in states if isinstance(each, StructuredStatus)),
        history={name: [float(value) for value in values] for name, values in history.items()},
        seconds=seconds,
        processor_seconds=processor_seconds,
    )


def detect(model: Any, data: DetectionData, scenes: Scenes) -> Detections:
    """Returns what a detector finds on scenes of a split."""
    outputs = model.predict(data.to_float(scenes), batch_size=250, verbose=0)
    return decode(outputs, data.input_shape[:2])
