"""Trains the detector by one method under one recipe: dense, with filters that leave, or within a budget."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from examples.channel_methods import structured
from examples.detection_data import DetectionData, Scenes
from examples.detection_decoding import Detections, Precision, decode, precision
from examples.detection_targets import losses, targets_of
from examples.filter_methods import FILTER_TABLE, FilterMethod, afresh, narrow, progressive
from examples.job import Fitted, Job, Methods, Recipe, TrainedRun, dense, run_job

# Of the epochs, those in which filters leave: the earlier they are gone, the longer what is left can learn, and the
# sooner training is cheap. Chosen for RPGP on the validation scenes, as that weak filters leave at once; all methods
# that remove filters share the epochs. Structured SWD has all of them.
PRUNING_SHARE = 1 / 3
# Each removal has Keras trace the training step anew, some seconds of a detector's ten heads and stages.
REMOVAL_FREQUENCY = 2
# More scenes at a time would hold their floats, and the scores of all their places, in memory.
CHUNK = 500
# Updates between two looks at which channels structured SWD targets; they decay in each.
DECAY_FREQUENCY = 10


def _leaving(name: str) -> FilterMethod:
    """Returns one of the methods that rank filters by gradients; the weak ones leave at once, down to the rate."""
    return dataclasses.replace(
        FILTER_TABLE[name], curve="geometric", hard_share=1.0, removal_frequency=REMOVAL_FREQUENCY
    )


# Of all filter methods those that a comparison of detectors needs.
FILTER_METHODS = {
    name: dataclasses.replace(method, pruning_share=PRUNING_SHARE)
    for name, method in {
        **{name: _leaving(name) for name in ("rpgp", "pgp", "weight_taylor")},
        **{name: FILTER_TABLE[name] for name in ("psfp", "psfp_clipped", "l1_once")},
    }.items()
}


@dataclasses.dataclass
class DetectionJob(Job):
    """The training of a detector, by Adam."""

    data: DetectionData

    @property
    def steps(self) -> int:
        return self.recipe.epochs * (len(self.data.train) // self.recipe.batch_size)

    @property
    def stream(self) -> tf.data.Dataset:
        """The training scenes, an epoch of whole batches; the same sequence of epochs from each."""
        return self._pairs(self.data.train, self._targets, shuffle=True)

    @functools.cached_property
    def validation(self) -> tf.data.Dataset:
        return self._pairs(self.data.validation, targets_of(self.data.validation), shuffle=False)

    @functools.cached_property
    def _targets(self) -> dict[str, np.ndarray]:
        return targets_of(self.data.train)

    def _pairs(self, scenes: Scenes, targets: dict[str, np.ndarray], *, shuffle: bool) -> tf.data.Dataset:
        pairs = tf.data.Dataset.from_tensor_slices((scenes.images, targets))
        if shuffle:
            pairs = pairs.shuffle(len(scenes), seed=self.recipe.seed)
        mean, std = self.data.pixels
        batches = pairs.batch(self.recipe.batch_size, drop_remainder=shuffle)
        return batches.map(lambda x, y: ((tf.cast(x, tf.float32) / 255 - mean) / std, y)).prefetch(2)

    def compile(self, model: keras.Model, learning_rate: Any, clipnorm: float | None) -> None:
        optimizer = keras.optimizers.Adam(learning_rate, beta_1=self.recipe.momentum, clipnorm=clipnorm)
        model.compile(optimizer, losses())


@dataclasses.dataclass(frozen=True)
class TrainedDetector(TrainedRun):
    """A `TrainedRun`, and the precision of its model on the validation scenes."""

    validation: Precision


def _structured(job: Job) -> Fitted:
    """Structured SWD within the parameters and the MACs of the net that has lost the same share of every layer."""
    left = tfmot_swd.profile(narrow(job.model, 1 - job.rate, job.round_to))
    budget = tfmot_swd.Budget(parameters=left.parameters, macs=left.macs)
    schedule = tfmot_swd.StructuredDecay(budget, job.steps, round_to=job.round_to, frequency=DECAY_FREQUENCY)
    return structured(job, schedule)


def _small_dense(job: Job) -> Fitted:
    """A dense net of those widths, trained from a random start of its own."""
    small = afresh(narrow(job.model, 1 - job.rate, job.round_to))
    return small, job.fit(small, []), None


METHODS: Methods = {
    "dense": dense,
    **{name: functools.partial(progressive, method) for name, method in FILTER_METHODS.items()},
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
    run = run_job(
        method, METHODS, recipe.seed, lambda: DetectionJob(build(), recipe, rate, list(callbacks), round_to, data)
    )
    found = precision(detect(run.model, data, data.validation), data.validation)
    return TrainedDetector(**vars(run), validation=found)


def detect(model: Any, data: DetectionData, scenes: Scenes) -> Detections:
    """Returns what a detector finds on scenes of a split; the detector is a model, or the bytes of a TFLite file."""
    parts = []
    for start in range(0, len(scenes), CHUNK):
        x = data.to_float(scenes[start : start + CHUNK])
        if isinstance(model, bytes):
            outputs, _ = tfmot_swd.tflite.run_tflite(model, {"image": x})
        else:
            outputs = model.predict(x, batch_size=CHUNK // 2, verbose=0)
        parts.append(decode(outputs, data.input_shape[:2]))
    return Detections.joined(parts)
