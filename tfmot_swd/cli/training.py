"""Flags of a training, its data, and the model compiled for it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from absl import flags

from tfmot_swd.cli.command import Call
from tfmot_swd.cli.data import length, read_data
from tfmot_swd.cli.task import Task, define_loss_flag, task_of

if TYPE_CHECKING:
    from tfmot_swd.workflows.training import Training


@dataclasses.dataclass(frozen=True)
class LabelledSplits:
    """What a model is trained and validated on.

    Args:
      train, validation: (x, y) of arrays, as the model is fed.
      task: the loss and its metric.
    """

    train: tuple[Any, Any]
    validation: tuple[Any, Any]
    task: Task


def define_training_flags(values: flags.FlagValues) -> None:
    """Defines `--data`, and how a training goes."""
    flags.DEFINE_string(
        "data",
        None,
        "an .npz file with arrays x and y to train on, and x_val and y_val to validate on; without those a "
        "random tenth is held out",
        flag_values=values,
    )
    flags.DEFINE_integer("epochs", 10, "epochs of training; the last ones fine-tune", 1, flag_values=values)
    flags.DEFINE_integer("batch_size", 64, "samples per update", 1, flag_values=values)
    flags.DEFINE_float(
        "learning_rate", 1e-3, "initial learning rate of Adam; decays to 0 along a cosine", 0.0, flag_values=values
    )
    define_loss_flag(values)
    flags.DEFINE_integer(
        "seed", 0, "random seed of the order of samples and of the validation split", flag_values=values
    )


def training_of(values: Any) -> Training:
    """Returns what the flags say of the training."""
    from tfmot_swd.workflows.training import Training

    return Training(values.epochs, values.batch_size, values.learning_rate, seed=values.seed)


def read_splits(call: Call, model: Any) -> LabelledSplits:
    """Returns what `--data` holds, in two parts, and compiles the model with the loss that goes with it.

    Raises:
      UsageError: there is no such file.
      TypeError, ValueError: it holds something else, or nothing to validate on.
    """
    data = read_data("data", call.flags.data, model)
    task = task_of(model, data, call.flags.loss)
    data = data.with_validation(call.flags.seed)
    if data.x_val is None or data.y is None or data.y_val is None:
        raise ValueError("Validation needs y as well as x: put both into --data. Received: x alone")
    call.note(f"Loss: {task.description}. {length(data.x):,} samples to train on, {len(data.y_val):,} to validate on.")
    model.compile("sgd", task.make_loss(), metrics=[task.make_metric()])
    return LabelledSplits((data.x, data.y), (data.x_val, data.y_val), task)
