"""Pruning of a model to a goal: in one training with data, or at once without."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

from rich.console import Console

from tfmot_swd.channels import channel_groups, channel_scores, remove_channels
from tfmot_swd.costs.limits import fit_budget
from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.validation import whole_number
from tfmot_swd.pruning.callbacks import UpdatePruningStep
from tfmot_swd.pruning.methods import method_named
from tfmot_swd.pruning.strip import strip_pruning
from tfmot_swd.workflows.data import LabelledData
from tfmot_swd.workflows.goal import Goal
from tfmot_swd.workflows.objective import Objective
from tfmot_swd.workflows.progress import FitProgress

# Of samples at once where nothing is trained.
EVALUATION_BATCH = 256


@dataclasses.dataclass(frozen=True)
class Training:
    """How a model is trained while it is pruned.

    Args:
      epochs: of the whole training; the last ones fine-tune.
      batch_size: samples an update, of arrays.
      learning_rate: of Adam, at the beginning; falls to 0 along a cosine.
      optimizer: number of updates → a new optimizer of either Keras, in place of Adam; None for Adam.
      seed: of the order of samples, and of what else is drawn.

    Raises:
      TypeError: a number of another kind, or an optimizer that is no function.
      ValueError: a number out of range.
    """

    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 1e-3
    optimizer: Callable[[int], Any] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), 1))
        rate = self.learning_rate
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < float("inf"):
            raise ValueError(f"learning_rate must be a number from 0 on. Received: learning_rate={rate!r}")
        if self.optimizer is not None and (isinstance(self.optimizer, type) or not callable(self.optimizer)):
            raise TypeError(
                "optimizer must be a function of the number of updates that returns a new optimizer, as each training "
                "needs its own: optimizer=lambda updates: keras.optimizers.SGD(0.01). "
                f"Received: optimizer={self.optimizer!r}"
            )

    def new_optimizer(self, updates: int) -> Any:
        """Returns an optimizer for a training of so many updates."""
        if self.optimizer is not None:
            return self.optimizer(updates)
        return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(self.learning_rate, updates))

    def settings(self) -> dict[str, Any]:
        """Returns what tells this training from others, as plain types."""
        made = None if self.optimizer is None else getattr(self.optimizer, "__qualname__", repr(self.optimizer))
        return {**dataclasses.asdict(dataclasses.replace(self, optimizer=None)), "optimizer": made}


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a pruning ended with.

    Args:
      model: the smaller one, of tf_keras.
      history: Keras's epoch logs; empty where nothing was trained.
      statuses: the states of the method after each epoch.
      final_step: the `FinalStepReport` of Selective Weight Decay; None for other methods.
      first_epoch: at which history and statuses begin, from 0; above that where the training was resumed.
    """

    model: keras.Model
    history: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    statuses: tuple[Any, ...] = ()
    final_step: Any = None
    first_epoch: int = 0

    def record(self) -> dict[str, Any]:
        """Returns all but the model as plain types, for a JSON file."""
        final_step = None if self.final_step is None else dataclasses.asdict(self.final_step)
        statuses = [dataclasses.asdict(each) for each in self.statuses]
        return {
            "history": self.history,
            "final_step": final_step,
            "statuses": statuses,
            "first_epoch": self.first_epoch,
        }


def prune_at_once(model: keras.Model, goal: Goal) -> keras.Model:
    """Returns the model without its weakest channels, so many that it is within the budget; nothing is trained.

    Args:
      model: of tf_keras; stays as it is.
      goal: a budget, or a rate, of the parameters.

    Raises:
      ValueError: no channel can be removed; the budget cannot be met, with what could be.
    """
    scores = channel_scores(model, **goal.layers)
    if not scores:
        plan = method_named("structured").plan(model, **goal.layers)
        raise ValueError(f"No channel of this model can be removed. Received: {plan.summary()}")
    groups = channel_groups(model)
    fitted = fit_budget(model, scores, goal.target().as_budget(), round_to=goal.round_to, groups=groups)
    return remove_channels(model, fitted.keep)


def prune_in_training(
    model: keras.Model,
    goal: Goal,
    train: LabelledData,
    validation: LabelledData,
    objective: Objective,
    training: Training,
    console: Console,
    backup_dir: str | os.PathLike[str] | None = None,
) -> Trained:
    """Returns the model that a pruned training ends with, stripped, without dead channels.

    Args:
      model: the whole one, of tf_keras; stays as it is.
      goal: what it is to become.
      train: to train on.
      validation: measured after each epoch.
      objective: the loss, and the metric that is shown.
      training: how.
      console: where progress is shown.
      backup_dir: where the state is kept after each epoch; a training that finds one there goes on behind it. Its
        history begins there, and its samples come in another order than without the break, so that the model is
        another one, too.

    Raises:
      TypeError, ValueError: as the entry functions of the methods.
    """
    keras.utils.set_random_seed(training.seed)
    updates = train.steps(training.batch_size)
    pruned = method_named(goal.method).wrap_to(model, goal.target(training.epochs, updates), **goal.layers)
    objective.compile(pruned, training.new_optimizer(training.epochs * updates))
    held = validation.batched(EVALUATION_BATCH).batches
    callback = UpdatePruningStep(held, backup_dir=backup_dir)
    fitted = pruned.fit(
        **train.arguments(training.batch_size),
        epochs=training.epochs,
        validation_data=held,
        callbacks=[callback, FitProgress(objective.metric, console, updates)],
        verbose=0,
    )
    history = {name: [float(value) for value in values] for name, values in fitted.history.items()}
    # None at all where the process was killed behind the last one.
    first_epoch = fitted.epoch[0] if fitted.epoch else training.epochs
    return Trained(strip_pruning(pruned), history, tuple(callback.history), callback.final_step, first_epoch)
