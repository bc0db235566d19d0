"""Pruning of a model from the command line: in a training with data, or at once without."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from rich.console import Console

from tfmot_swd.channels import channel_groups, remove_channels
from tfmot_swd.cli.data import Data, length
from tfmot_swd.cli.methods import Wanted
from tfmot_swd.cli.progress import FitProgress
from tfmot_swd.cli.task import Task
from tfmot_swd.costs.limits import fit_budget
from tfmot_swd.keras2.compat import keras
from tfmot_swd.pruning.callbacks import UpdatePruningStep
from tfmot_swd.pruning.methods import method_named
from tfmot_swd.pruning.strip import strip_pruning
from tfmot_swd.swd.structured import channel_scores


@dataclasses.dataclass(frozen=True)
class Training:
    """How a model is trained while it is pruned.

    Args:
      epochs: of the whole training.
      batch_size: samples an update.
      learning_rate: of Adam, at the beginning; falls to 0 along a cosine.
      seed: of the order of samples, and of what else is drawn.
      backup_dir: where the state is kept after each epoch; a training that finds one there goes on behind it.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int = 0
    backup_dir: str | None = None


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a pruning ended with.

    Args:
      model: the smaller one.
      history: Keras's epoch logs; empty where nothing was trained.
      statuses: the states of the method after each epoch.
      final_step: the `FinalStepReport` of Selective Weight Decay; None for other methods.
    """

    model: keras.Model
    history: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    statuses: tuple[Any, ...] = ()
    final_step: Any = None


def prune_at_once(model: keras.Model, wanted: Wanted) -> keras.Model:
    """Returns the model without its weakest channels, so many that it is within the budget; nothing is trained.

    Raises:
      ValueError: no channel can be removed; the budget cannot be met, with what could be.
    """
    scores = channel_scores(model, **wanted.choice)
    if not scores:
        plan = method_named("structured").plan(model, **wanted.choice)
        raise ValueError(f"No channel of this model can be removed. Received: {plan.summary()}")
    groups = channel_groups(model)
    fitted = fit_budget(model, scores, wanted.target().as_budget(), round_to=wanted.round_to, groups=groups)
    return remove_channels(model, fitted.keep)


def prune_in_training(
    model: keras.Model, method: str, wanted: Wanted, data: Data, task: Task, training: Training, notes: Console
) -> Trained:
    """Returns the model that a pruned training ends with, stripped, without dead channels.

    Args:
      model: the whole one; stays as it is.
      method: name of a registered pruning method.
      wanted: the target.
      data: with a validation part.
      task: the loss.
      training: how.
      notes: where progress is shown.

    Raises:
      TypeError, ValueError: as the entry functions of the methods.
    """
    keras.utils.set_random_seed(training.seed)
    updates = math.ceil(length(data.x) / training.batch_size)
    pruned = method_named(method).wrap_to(model, wanted.target(training.epochs, updates), **wanted.choice)
    rate = keras.optimizers.schedules.CosineDecay(training.learning_rate, training.epochs * updates)
    pruned.compile(keras.optimizers.Adam(rate), task.make_loss(), metrics=[task.make_metric()])
    validation = (data.x_val, data.y_val)
    callback = UpdatePruningStep(validation, backup_dir=training.backup_dir)
    fitted = pruned.fit(
        data.x,
        data.y,
        batch_size=training.batch_size,
        epochs=training.epochs,
        validation_data=validation,
        callbacks=[callback, FitProgress(task.metric, notes)],
        verbose=0,
    )
    history = {name: [float(value) for value in values] for name, values in fitted.history.items()}
    return Trained(strip_pruning(pruned), history, tuple(callback.history), callback.final_step)
