"""Trains one digit network across two domains by one method, so that methods differ in nothing else."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from examples.datasets import pixel_statistics, to_float
from examples.domain_data import CLASSES, SHAPE, Domain, paired_batches
from examples.domain_training import WIDTHS, DomainAdapter, classifier_of, digit_network
from examples.filter_methods import FILTER_TABLE, FilterMethod, progressive
from examples.job import Fitted, Job, Methods, TrainedRun, dense, run_job
from examples.training import accuracy
from tfmot_swd.tflite import ExportError, ExportResult, export_tflite

# Of the epochs, those in which filters leave; a network that is small early trains faster. Not chosen by any accuracy.
PRUNING_SHARE = 1 / 3
# CPU kernels are made for multiples of 4 and more: a width between them takes longer than the next one above.
ROUND_TO = 4
# Methods that remove filters while the network adapts. Behind batch norm the gradient of a filter that was set to zero
# is hundreds of times larger: without clipping PSFP diverges here.
FILTERS = {
    name: dataclasses.replace(method, pruning_share=PRUNING_SHARE)
    for name, method in {
        # A removal every other epoch, as after each the training step is traced anew.
        "rpgp": dataclasses.replace(FILTER_TABLE["rpgp_geometric"], removal_frequency=2),
        # A pass more over both domains after each epoch of the removal.
        "pgp": FilterMethod("pgp", "geometric", removal_frequency=2),
        "psfp": FILTER_TABLE["psfp"],
        "psfp_clipped": FILTER_TABLE["psfp_clipped"],
        "l1_once": FILTER_TABLE["l1_once"],
    }.items()
}


@dataclasses.dataclass(frozen=True)
class AdaptationRecipe:
    """How every method of a comparison trains.

    The strength of the alignment is the same for all three and was not tuned; nothing is chosen in a training.

    Args:
      epochs: of training in all, whatever the method does with them; the last one counts.
      batch_size: images of each domain an update.
      learning_rate: at the beginning; falls to 0 along a cosine.
      momentum: of SGD.
      weight_decay: L2 decay of the kernels as PyTorch counts it.
      alignment: a key of `examples.domain_training.ALIGNMENTS`.
      strength: weight of the alignment.
      widths: filters of each convolution, before any leave.
      seed: of the initial weights and the order of images.
    """

    epochs: int = 18
    batch_size: int = 64
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    alignment: str = "mmd"
    strength: float = 1.0
    widths: tuple[int, ...] = WIDTHS
    seed: int = 0


@dataclasses.dataclass
class AdaptationJob(Job):
    """The training of a `DomainAdapter` on both domains, by SGD; there is no way in for labels of the target."""

    source: Domain
    target_x: np.ndarray
    alignment: str | None

    @functools.cached_property
    def steps(self) -> int:
        return self.recipe.epochs * len(self.stream)

    @property
    def stream(self) -> tf.data.Dataset:
        """Batches of both domains, an epoch long; the same sequence of epochs from each."""
        return paired_batches(self.source, self.target_x, self.recipe.batch_size, self.recipe.seed)

    def training_loss(self, model: keras.Model) -> Callable[[Any], tf.Tensor]:
        return lambda batch: model.complete_loss(batch, training=False)[0]

    def compile(self, model: DomainAdapter, learning_rate: Any, clipnorm: float | None) -> None:
        model.compile(
            keras.optimizers.SGD(learning_rate, momentum=self.recipe.momentum, clipnorm=clipnorm),
            alignment=self.alignment,
            strength=self.recipe.strength,
            steps=self.steps,
        )


def _source_only(job: AdaptationJob) -> Fitted:
    return dense(dataclasses.replace(job, alignment=None))


METHODS: Methods = {
    "source_only": _source_only,
    "dense": dense,
    **{name: functools.partial(progressive, method) for name, method in FILTERS.items()},
}


def adapt(
    method: str,
    source: Domain,
    target_x: np.ndarray,
    recipe: AdaptationRecipe,
    rate: float = 0.0,
    callbacks: tuple[keras.callbacks.Callback, ...] = (),
) -> TrainedRun:
    """Trains by `method`, to `rate` where it removes filters; the model that comes back is the classifier alone.

    Args:
      method: a key of METHODS; "source_only" trains without the target, "dense" adapts and keeps all filters.
      source: its training images and labels.
      target_x: uint8 images of the target.
      recipe: what all methods share.
      rate: share of the filters of each convolution to remove.
      callbacks: more Keras callbacks, for progress bars.

    Raises:
      ValueError: the method or the alignment is unknown.
    """

    def job() -> AdaptationJob:
        adversarial = recipe.alignment == "adversarial"
        model = digit_network(SHAPE, CLASSES, recipe.weight_decay, adversarial=adversarial, widths=recipe.widths)
        return AdaptationJob(model, recipe, rate, list(callbacks), ROUND_TO, source, target_x, recipe.alignment)

    run = run_job(method, METHODS, recipe.seed, job)
    return dataclasses.replace(run, model=classifier_of(run.model))


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A training with what it is worth on held-out images of both domains, in Keras and from its int8 file.

    `export` is None where the file has failed its proof, as that of a network that has diverged may.
    """

    adapted: TrainedRun
    seed: int
    target_accuracy: float
    source_accuracy: float
    parameters: int
    macs: int
    export: ExportResult | None

    @property
    def method(self) -> str:
        return self.adapted.method

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types for JSON; paths by file name."""
        adapted, export = self.adapted, self.export
        return {
            "method": adapted.method,
            "rate": adapted.rate,
            "seed": self.seed,
            "target_accuracy": self.target_accuracy,
            "source_accuracy": self.source_accuracy,
            "parameters": self.parameters,
            "macs": self.macs,
            "seconds": adapted.seconds,
            "processor_seconds": adapted.processor_seconds,
            "history": adapted.history,
            "filters": [dataclasses.asdict(status) for status in adapted.filters],
            "export": export and {**export.to_dict(), "path": Path(export.path).name},
        }


def run_method(
    method: str,
    source: Domain,
    target: Domain,
    recipe: AdaptationRecipe,
    rate: float,
    path: Path,
    callbacks: tuple[keras.callbacks.Callback, ...] = (),
) -> Outcome:
    """Trains, scores, and exports to `path`; the labels of the target come in after the training.

    The int8 file is calibrated on images of both domains, whatever the training has seen.
    """
    adapted = adapt(method, source, target.train_x, recipe, rate, callbacks)
    pixels = pixel_statistics(source.train_x)

    def standardized(x: np.ndarray) -> np.ndarray:
        return to_float(x, *pixels)

    check = standardized(target.test_x), target.test_y
    seen = standardized(np.concatenate([source.train_x[:250], target.train_x[:250]]))
    try:
        export = export_tflite(adapted.model, path, "int8", seen, check)
    except ExportError as error:
        print(f"{method}: {error}", flush=True)
        export = None
    size = tfmot_swd.profile(adapted.model)
    return Outcome(
        adapted,
        recipe.seed,
        target_accuracy=accuracy(adapted.model, *check),
        source_accuracy=accuracy(adapted.model, standardized(source.test_x), source.test_y),
        parameters=size.parameters,
        macs=size.macs,
        export=export,
    )
