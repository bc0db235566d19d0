"""Trains one network by one method under one recipe, so that methods differ in nothing else."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras as keras

import tfmot_swd
from examples.datasets import ImageData, batches
from examples.references import GlobalMagnitude, Rates, gradual, once
from tfmot_swd.monitor import CutReport, PruningStatus

# The references begin their last third, of fine-tuning, where the default ramp of SelectiveDecay ends.
RAMP_END = 2 / 3
# TFMOT sorts every tensor at each refresh; its default of 100 updates is too coarse for short runs.
TFMOT_FREQUENCY = 10


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


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """What one training gave.

    Args:
      method, rate: as asked.
      model: the stripped model, of full size.
      validation_accuracy: of that model, at the end.
      cut: what the final cut of SWD changed; None for other methods.
      statuses: the states of SWD on the way; empty for other methods.
      history: Keras's epoch logs.
      seconds: of training, validation included.
    """

    method: str
    rate: float
    model: keras.Model
    validation_accuracy: float
    cut: CutReport | None
    statuses: tuple[PruningStatus, ...]
    history: dict[str, list[float]]
    seconds: float


@dataclasses.dataclass
class _Job:
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
    def validation(self) -> tuple[np.ndarray, np.ndarray]:
        return self.data.to_float(self.data.validation_x), self.data.validation_y


Fitted = tuple[keras.Model, dict[str, list[float]], "tfmot_swd.UpdatePruningStep | None"]


def _fit(
    job: _Job, model: keras.Model, callbacks: list[keras.callbacks.Callback], learning_rate: Any = None
) -> dict[str, list[float]]:
    recipe, data = job.recipe, job.data
    if learning_rate is None:
        learning_rate = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, job.steps)
    model.compile(
        keras.optimizers.SGD(learning_rate, momentum=recipe.momentum),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    stream = batches(
        data.train_x, data.train_y, recipe.batch_size, recipe.seed, augment=recipe.augment, pixels=data.pixels
    )
    fitted = model.fit(
        stream,
        epochs=recipe.epochs,
        validation_data=job.validation,
        validation_batch_size=500,
        validation_freq=recipe.validation_freq,
        callbacks=[*callbacks, *job.callbacks],
        verbose=0,
    )
    return fitted.history


def _dense(job: _Job) -> Fitted:
    return job.model, _fit(job, job.model, []), None


def _selective(job: _Job, schedule: tfmot_swd.SelectiveDecay, learning_rate: Any = None) -> Fitted:
    pruned = tfmot_swd.prune_selective_decay(job.model, schedule)
    every = max(job.steps // 200, 1)
    callback = tfmot_swd.UpdatePruningStep(validation_data=job.validation, update_freq=every)
    history = _fit(job, pruned, [callback], learning_rate)
    # Every method is counted at full size; what channel removal gains is told apart.
    return tfmot_swd.strip_pruning(pruned, remove_channels=False), history, callback


def _swd(job: _Job) -> Fitted:
    return _selective(job, tfmot_swd.SelectiveDecay(job.rate, end_step=job.steps))


def _swd_paper(job: _Job) -> Fitted:
    """The published method, with the published steps of the learning rate: ÷10 at 1/3 and 2/3."""
    schedule = tfmot_swd.SelectiveDecay.paper(job.rate, end_step=job.steps, mu=job.recipe.weight_decay)
    rates = [job.recipe.learning_rate / 10**power for power in range(3)]
    falls = [job.steps // 3, 2 * job.steps // 3]
    return _selective(job, schedule, keras.optimizers.schedules.PiecewiseConstantDecay(falls, rates))


def _tfmot_gradual(job: _Job) -> Fitted:
    """TFMOT as its guides have it: a rate per layer that climbs as a cubic, then fine-tuning."""
    end_step = int(job.steps * RAMP_END) // TFMOT_FREQUENCY * TFMOT_FREQUENCY
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, job.rate, 0, end_step, frequency=TFMOT_FREQUENCY)
    pruned = tfmot.sparsity.keras.prune_low_magnitude(job.model, schedule)
    history = _fit(job, pruned, [tfmot.sparsity.keras.UpdatePruningStep()])
    return tfmot.sparsity.keras.strip_pruning(pruned), history, None


def _magnitude(job: _Job, rates: Rates, learning_rate: Any = None) -> Fitted:
    return job.model, _fit(job, job.model, [GlobalMagnitude(rates)], learning_rate), None


def _global_gradual(job: _Job) -> Fitted:
    return _magnitude(job, gradual(job.rate, int(job.steps * RAMP_END)))


def _magnitude_once(job: _Job) -> Fitted:
    return _magnitude(job, once(job.rate, int(job.steps * RAMP_END)))


def _rewinding(job: _Job) -> Fitted:
    """Learning-rate rewinding (Renda et al. 2020): train, cut, and play the same schedule again; momentum goes on."""
    # Rounded up: a restart more in the very last update would undo what the schedule brought down.
    half = (job.steps + 1) // 2
    twice = keras.optimizers.schedules.CosineDecayRestarts(job.recipe.learning_rate, half, t_mul=1.0, m_mul=1.0)
    return _magnitude(job, once(job.rate, half), twice)


METHODS: dict[str, Callable[[_Job], Fitted]] = {
    "dense": _dense,
    "swd": _swd,
    "swd_paper": _swd_paper,
    "tfmot": _tfmot_gradual,
    "global_gradual": _global_gradual,
    "magnitude_once": _magnitude_once,
    "lr_rewinding": _rewinding,
}


def train(
    method: str,
    build: Callable[[], keras.Model],
    data: ImageData,
    recipe: Recipe,
    rate: float = 0.0,
    callbacks: tuple[keras.callbacks.Callback, ...] = (),
) -> TrainedRun:
    """Trains `build()` by `method` to `rate` and returns the stripped model with its numbers.

    Args:
      method: a key of METHODS.
      build: makes the network; called once, after seeding.
      data: its train split is trained on, its validation split watched; its test split is not touched.
      recipe: what all methods share.
      rate: share of the counted weights to remove; "dense" ignores it.
      callbacks: more Keras callbacks, for progress bars.

    Raises:
      ValueError: the method is unknown.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}. Received: {method!r}")
    return _train(METHODS[method], method, build, data, recipe, rate, callbacks)


def train_selective(
    schedule: Callable[[int], tfmot_swd.SelectiveDecay],
    build: Callable[[], keras.Model],
    data: ImageData,
    recipe: Recipe,
    rate: float,
) -> TrainedRun:
    """As `train`, with a Selective Weight Decay schedule of the caller's: number of updates → schedule."""

    def method(job: _Job) -> Fitted:
        return _selective(job, schedule(job.steps))

    return _train(method, "swd", build, data, recipe, rate, ())


def _train(
    fit: Callable[[_Job], Fitted],
    method: str,
    build: Callable[[], keras.Model],
    data: ImageData,
    recipe: Recipe,
    rate: float,
    callbacks: tuple[keras.callbacks.Callback, ...],
) -> TrainedRun:
    keras.utils.set_random_seed(recipe.seed)
    job = _Job(build(), data, recipe, rate, list(callbacks))
    start = time.perf_counter()
    model, history, callback = fit(job)
    seconds = time.perf_counter() - start
    return TrainedRun(
        method=method,
        rate=0.0 if method == "dense" else rate,
        model=model,
        validation_accuracy=accuracy(model, *job.validation),
        cut=callback.cut_report if callback else None,
        statuses=tuple(callback.history) if callback else (),
        history={name: [float(value) for value in values] for name, values in history.items()},
        seconds=seconds,
    )


def accuracy(model: keras.Model, x: np.ndarray, y: np.ndarray) -> float:
    """Returns the share of images that the model names right; nan where it gives no finite answer."""
    logits = model.predict(x, batch_size=500, verbose=0)
    return float((logits.argmax(axis=1) == y).mean()) if np.isfinite(logits).all() else math.nan
