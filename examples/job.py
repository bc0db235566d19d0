"""One training as every method of a comparison does it: the recipe, the job with its data, what came of it."""

from __future__ import annotations

import abc
import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfmot_swd import UpdatePruningStep
from tfmot_swd.pgp.status import ProgressiveStatus
from tfmot_swd.swd.final_step import FinalStepReport
from tfmot_swd.swd.monitor import PruningStatus
from tfmot_swd.swd.structured.monitor import StructuredStatus

# Methods that have no rate.
UNPRUNED = ("dense", "source_only")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How every method of a comparison trains.

    Args:
      epochs: of training in all, whatever the method does with them.
      batch_size: images an update.
      learning_rate: at the beginning; falls to 0 along a cosine.
      momentum: of SGD, or of the first moment of Adam.
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
class Job(abc.ABC):
    """One training about to start: what the methods need to know of it. A task says how it streams and compiles.

    Args:
      model: not compiled yet.
      recipe: what all methods share.
      rate: how much is to be removed; of what, the method says.
      callbacks: more Keras callbacks, for progress bars.
      round_to: methods that rank filters keep a multiple of this in each layer.
    """

    model: keras.Model
    recipe: Any
    rate: float
    callbacks: list[keras.callbacks.Callback]
    round_to: int

    @property
    @abc.abstractmethod
    def steps(self) -> int:
        """Updates in all."""

    @property
    @abc.abstractmethod
    def stream(self) -> tf.data.Dataset:
        """The training data, an epoch of whole batches."""

    @abc.abstractmethod
    def compile(self, model: keras.Model, learning_rate: Any, clipnorm: float | None) -> None:
        """Compiles a model with the optimizer and the losses of the task."""

    def fit(
        self,
        model: keras.Model,
        callbacks: list[keras.callbacks.Callback],
        learning_rate: Any = None,
        clipnorm: float | None = None,
    ) -> dict[str, list[float]]:
        """Trains a model as the recipe says and returns Keras's history.

        Args:
          model: the job's, or what a method has made of it.
          callbacks: of the method.
          learning_rate: the recipe's cosine by default.
          clipnorm: bounds the norm of each weight's gradient.
        """
        self.compile(model, self.cosine if learning_rate is None else learning_rate, clipnorm)
        fitted = model.fit(
            self.stream,
            epochs=self.recipe.epochs,
            callbacks=[*callbacks, *self.callbacks],
            verbose=0,
            **self.watched,
        )
        return fitted.history

    @property
    def watched(self) -> dict[str, Any]:
        """Arguments of Keras's `fit` about validation; none where nothing may be looked at."""
        validation = self.validation
        if validation is None:
            return {}
        return {"validation_data": validation, "validation_freq": self.recipe.validation_freq}

    @property
    def validation(self) -> Any:
        """What `fit` looks at beside the training data; None where nothing may be."""
        return None

    @property
    def cosine(self) -> keras.optimizers.schedules.LearningRateSchedule:
        """The recipe's learning rate, which falls to 0."""
        return keras.optimizers.schedules.CosineDecay(self.recipe.learning_rate, self.steps)

    @property
    def stepped(self) -> keras.optimizers.schedules.LearningRateSchedule:
        """The published steps of Selective Weight Decay: ÷10 at 1/3 and 2/3."""
        rates = [self.recipe.learning_rate / 10**power for power in range(3)]
        return keras.optimizers.schedules.PiecewiseConstantDecay([self.steps // 3, 2 * self.steps // 3], rates)

    def training_loss(self, model: keras.Model) -> Callable[[Any], tf.Tensor] | None:
        """Returns the loss of a batch for a pass over the data beside `fit`; None for the compiled one."""
        return None


# The stripped model, the history of Keras, the callback of a method of this package.
Fitted = tuple[keras.Model, dict[str, list[float]], UpdatePruningStep | None]
Methods = Mapping[str, Callable[[Any], Fitted]]


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """What one training gave.

    Args:
      method, rate: as asked.
      model: the stripped model.
      final_step: what the final pruning step of SWD changed; None for other methods.
      statuses: the states of SWD on the way; empty for other methods.
      channels: the states of structured SWD on the way; empty for other methods.
      filters: the states of a progressive removal of filters, one an epoch; empty for other methods.
      history: Keras's epoch logs.
      seconds: of training, validation included, on the clock.
      processor_seconds: the same of the processor, whatever else the machine does.
    """

    method: str
    rate: float
    model: keras.Model
    final_step: FinalStepReport | None
    statuses: tuple[PruningStatus, ...]
    channels: tuple[StructuredStatus, ...]
    filters: tuple[ProgressiveStatus, ...]
    history: dict[str, list[float]]
    seconds: float
    processor_seconds: float


def run_job(method: str, methods: Methods, seed: int, make: Callable[[], Job]) -> TrainedRun:
    """Makes a job after seeding, trains it by a method of a table, and tells what came of it.

    Raises:
      ValueError: the method is unknown.
    """
    if method not in methods:
        raise ValueError(f"method must be one of {', '.join(methods)}. Received: {method!r}")
    keras.utils.set_random_seed(seed)
    job = make()
    start = time.perf_counter(), time.process_time()
    model, history, callback = methods[method](job)
    seconds = time.perf_counter() - start[0], time.process_time() - start[1]
    states = callback.history if callback else []
    return TrainedRun(
        method=method,
        rate=0.0 if method in UNPRUNED else job.rate,
        model=model,
        final_step=callback.final_step if callback else None,
        statuses=tuple(each for each in states if isinstance(each, PruningStatus)),
        channels=tuple(each for each in states if isinstance(each, StructuredStatus)),
        filters=tuple(each for each in states if isinstance(each, ProgressiveStatus)),
        history={name: [float(value) for value in values] for name, values in history.items()},
        seconds=seconds[0],
        processor_seconds=seconds[1],
    )


def dense(job: Job) -> Fitted:
    """Trains the model as it is."""
    return job.model, job.fit(job.model, []), None
