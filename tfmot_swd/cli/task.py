"""Training task of a model: its loss, guessed from the data unless given, and its metric."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from tfmot_swd.cli.data import Array, Data, first_of

if TYPE_CHECKING:
    from tfmot_swd.keras2.compat import keras

LOSSES = (
    "sparse_categorical_crossentropy",
    "categorical_crossentropy",
    "binary_crossentropy",
    "mean_squared_error",
    "mean_absolute_error",
)
_SAMPLES = 256


@dataclasses.dataclass(frozen=True)
class Task:
    """A loss and its metric.

    Args:
      name: of the loss, of `LOSSES`.
      from_logits: whether the loss takes the outputs through a softmax or a sigmoid first.
      metric: shown besides the loss: "accuracy" or "mean absolute error".
      is_guessed: whether the loss was guessed from the data.
    """

    name: str
    from_logits: bool
    metric: str
    is_guessed: bool

    @property
    def description(self) -> str:
        """The loss as text."""
        text = self.name.replace("_", " ") + (" of logits" if self.from_logits else "")
        return f"{text} (guessed from the data; --loss says otherwise)" if self.is_guessed else text

    def make_loss(self) -> keras.losses.Loss:
        """Returns the loss, as `compile` takes it."""
        from tfmot_swd.keras2.compat import keras

        losses = keras.losses
        if self.name == "sparse_categorical_crossentropy":
            return losses.SparseCategoricalCrossentropy(from_logits=self.from_logits)
        if self.name == "categorical_crossentropy":
            return losses.CategoricalCrossentropy(from_logits=self.from_logits)
        if self.name == "binary_crossentropy":
            return losses.BinaryCrossentropy(from_logits=self.from_logits)
        return losses.MeanSquaredError() if self.name == "mean_squared_error" else losses.MeanAbsoluteError()

    def make_metric(self) -> keras.metrics.Metric:
        """Returns a new metric, named `metric` in the logs."""
        from tfmot_swd.keras2.compat import keras

        metrics = keras.metrics
        if self.name == "sparse_categorical_crossentropy":
            return metrics.SparseCategoricalAccuracy(self.metric)
        if self.name == "categorical_crossentropy":
            return metrics.CategoricalAccuracy(self.metric)
        if self.name == "binary_crossentropy":
            return metrics.BinaryAccuracy(self.metric, threshold=0.0 if self.from_logits else 0.5)
        return metrics.MeanAbsoluteError(self.metric)


def define_loss_flag(values: flags.FlagValues) -> None:
    """Defines `--loss`, of commands that train or measure."""
    flags.DEFINE_enum(
        "loss",
        None,
        LOSSES,
        "training loss of the model; by default guessed from y and the outputs",
        flag_values=values,
    )


def task_of(model: keras.Model, data: Data, loss: str | None = None) -> Task:
    """Returns the training task of a model on some data.

    Integers below the number of outputs are classes; zeros and ones before a single output are yes and no; rows of the
    outputs' shape that sum to 1 are shares of classes, and other rows of that shape are numbers to come near to.
    Outputs that are not in [0, 1], or of classes do not sum to 1, are logits.

    Raises:
      ValueError: no y; several outputs; y and outputs of shapes that do not go together.
    """
    y = data.y
    if y is None:
        raise ValueError("Training needs to know what is right: put y into --data. Received: x alone")
    if len(model.outputs) != 1:
        raise ValueError(
            "This command trains models of one output; train this one in Python (docs/training.md). "
            f"Received: outputs {', '.join(model.output_names)}"
        )
    outputs = np.asarray(model.predict(first_of(data.x, _SAMPLES), batch_size=_SAMPLES, verbose=0), np.float32)
    found = loss or _guess(y, outputs.shape)
    shape = outputs.shape[:-1] if found == LOSSES[0] else outputs.shape
    # Keras takes a last axis of one as none.
    if _squeezed((1, *y.shape[1:])) != _squeezed((1, *shape[1:])):
        raise ValueError(
            f"y does not go with the model's outputs under {found}: give another --loss, or y of shape "
            f"{('N', *shape[1:])}. Received: y of shape {y.shape}, outputs of shape {('N', *outputs.shape[1:])}"
        )
    logits = found.endswith("crossentropy") and not _are_probabilities(outputs, found)
    metric = "accuracy" if found.endswith("crossentropy") else "mean absolute error"
    return Task(found, logits, metric, loss is None)


def _guess(y: Array, shape: tuple[int, ...]) -> str:
    whole = y.dtype.kind in "iub"
    if whole and shape[-1] > 1 and _squeezed(y.shape) == _squeezed((len(y), *shape[1:-1])):
        if y.min() < 0 or y.max() >= shape[-1]:
            raise ValueError(
                "y has classes that the model has no output for: they begin at 0. "
                f"Received: classes from {y.min()} to {y.max()}, and {shape[-1]} outputs"
            )
        return "sparse_categorical_crossentropy"
    if _squeezed(y.shape) == _squeezed((len(y), *shape[1:])):
        in_range = y.min() >= 0 and y.max() <= 1
        if shape[-1] == 1 and np.isin(y, (0, 1)).all():
            return "binary_crossentropy"
        if shape[-1] > 1 and in_range and np.allclose(y.sum(axis=-1), 1.0, atol=1e-3):
            return "categorical_crossentropy"
        return "mean_squared_error"
    raise ValueError(
        "y goes with no loss that could be guessed: give whole numbers (N,) for classes, or rows of the outputs' "
        f"shape. Received: y of shape {y.shape} and dtype {y.dtype}, outputs of shape {('N', *shape[1:])}"
    )


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns a shape without a last axis of one."""
    return shape[:-1] if len(shape) > 1 and shape[-1] == 1 else shape


def _are_probabilities(outputs: Any, loss: str) -> bool:
    in_range = bool((outputs >= 0).all() and (outputs <= 1).all())
    return in_range and (loss == "binary_crossentropy" or np.allclose(outputs.sum(axis=-1), 1.0, atol=1e-2))
