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
from examples.channel_methods import CHANNEL_METHODS
from examples.datasets import ImageData
from examples.filter_methods import FILTER_METHODS
from examples.job import Fitted, Job, Recipe, fit
from examples.references import GlobalMagnitude, Rates, gradual, once
from tfmot_swd.monitor import CutReport, PruningStatus
from tfmot_swd.progressive.status import ProgressiveStatus
from tfmot_swd.structured.monitor import StructuredStatus

# The references begin their last third, of fine-tuning, where the default ramp of SelectiveDecay ends.
RAMP_END = 2 / 3
# TFMOT sorts every tensor at each refresh; its default of 100 updates is too coarse for short runs.
TFMOT_FREQUENCY = 10


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """What one training gave.

    Args:
      method, rate: as asked.
      model: the stripped model, of full size.
      validation_accuracy: of that model, at the end.
      cut: what the final cut of SWD changed; None for other methods.
      statuses: the states of SWD on the way; empty for other methods.
      channels: the states of structured SWD on the way; empty for other methods.
      filters: the states of a progressive removal of filters, one an epoch; empty for other methods.
      history: Keras's epoch logs.
      seconds: of training, validation included.
    """

    method: str
    rate: float
    model: keras.Model
    validation_accuracy: float
    cut: CutReport | None
    statuses: tuple[PruningStatus, ...]
    channels: tuple[StructuredStatus, ...]
    filters: tuple[ProgressiveStatus, ...]
    history: dict[str, list[float]]
    seconds: float


def _dense(job: Job) -> Fitted:
    return job.model, fit(job, job.model, []), None


def _selective(job: Job, schedule: tfmot_swd.SelectiveDecay, learning_rate: Any = None) -> Fitted:
    pruned = tfmot_swd.prune_selective_decay(job.model, schedule)
    every = max(job.steps // 200, 1)
    callback = tfmot_swd.UpdatePruningStep(validation_data=job.validation, update_freq=every)
    history = fit(job, pruned, [callback], learning_rate)
    # Every method is counted at full size; what channel removal gains is told apart.
    return tfmot_swd.strip_pruning(pruned, remove_channels=False), history, callback


def _swd(job: Job) -> Fitted:
    return _selective(job, tfmot_swd.SelectiveDecay(job.rate, end_step=job.steps))


def _swd_paper(job: Job) -> Fitted:
    """The published method, with the published steps of the learning rate."""
    schedule = tfmot_swd.SelectiveDecay.paper(job.rate, end_step=job.steps, mu=job.recipe.weight_decay)
    return _selective(job, schedule, job.falling_learning_rate)


def _tfmot_gradual(job: Job) -> Fitted:
    """TFMOT as its guides have it: a rate per layer that climbs as a cubic, then fine-tuning."""
    end_step = int(job.steps * RAMP_END) // TFMOT_FREQUENCY * TFMOT_FREQUENCY
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, job.rate, 0, end_step, frequency=TFMOT_FREQUENCY)
    pruned = tfmot.sparsity.keras.prune_low_magnitude(job.model, schedule)
    history = fit(job, pruned, [tfmot.sparsity.keras.UpdatePruningStep()])
    return tfmot.sparsity.keras.strip_pruning(pruned), history, None


def _magnitude(job: Job, rates: Rates, learning_rate: Any = None) -> Fitted:
    return job.model, fit(job, job.model, [GlobalMagnitude(rates)], learning_rate), None


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


METHODS: dict[str, Callable[[Job], Fitted]] = {
    "dense": _dense,
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
) -> TrainedRun:
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

    def method(job: Job) -> Fitted:
        return _selective(job, schedule(job.steps))

    return _train(method, "swd", build, data, recipe, rate, ())


def _train(
    run: Callable[[Job], Fitted],
    method: str,
    build: Callable[[], keras.Model],
    data: ImageData,
    recipe: Recipe,
    rate: float,
    callbacks: tuple[keras.callbacks.Callback, ...],
) -> TrainedRun:
    keras.utils.set_random_seed(recipe.seed)
    job = Job(build(), data, recipe, rate, list(callbacks))
    start = time.perf_counter()
    model, history, callback = run(job)
    seconds = time.perf_counter() - start
    states = callback.history if callback else []
    return TrainedRun(
        method=method,
        rate=0.0 if method == "dense" else rate,
        model=model,
        validation_accuracy=accuracy(model, *job.validation),
        cut=callback.cut_report if callback else None,
        statuses=tuple(each for each in states if isinstance(each, PruningStatus)),
        channels=tuple(each for each in states if isinstance(each, StructuredStatus)),
        filters=tuple(each for each in states if isinstance(each, ProgressiveStatus)),
        history={name: [float(value) for value in values] for name, values in history.items()},
        seconds=seconds,
    )


def accuracy(model: keras.Model, x: np.ndarray, y: np.ndarray) -> float:
    """Returns the share of images that the model names right; nan where it gives no finite answer."""
    logits = model.predict(x, batch_size=500, verbose=0)
    return float((logits.argmax(axis=1) == y).mean()) if np.isfinite(logits).all() else math.nan
