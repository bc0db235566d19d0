"""What a filter matters: the criteria by which filters are ranked, small interchangeable objects.

A criterion says what it needs to see of a training and what score follows. Nothing is changed here. Filters stand on
one axis of a weight, the last one for convolutions; every function gets that axis.

To add one, subclass `ChannelCriterion`, register it with `keras.utils.register_keras_serializable`, and pass an
instance; or give it a row in `CRITERIA`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import keras


@dataclasses.dataclass(frozen=True)
class ChannelCriterion:
    """Scores of the filters of one weight; the smallest scores leave first.

    Class attributes:
      watches: "" for criteria of weights alone; "weight" or "output" has `contribution` called in each backward pass
        with the layer's weight or its output.
      full: whether contributions have the shape of the weight; else they are `(filters,)`.
      extra_pass: backward passes of training do not count, those of a pass over the training data after each epoch
        do, with weights fixed and dropout and batch norm in inference mode.
      compares: whether `scores` needs the weight of the epoch's start.
    """

    watches: ClassVar[str] = ""
    full: ClassVar[bool] = False
    extra_pass: ClassVar[bool] = False
    compares: ClassVar[bool] = False

    def contribution(self, value: tf.Tensor, gradient: tf.Tensor, axis: int) -> tf.Tensor:
        """Returns what one backward pass adds to the running update, linear in `gradient`; float32."""
        raise NotImplementedError

    def settled(self, update: tf.Tensor, axis: int) -> tf.Tensor:
        """Returns what a finished update adds to the epoch, `(filters,)`, from the sum of its contributions."""
        return update

    def scores(
        self, weight: np.ndarray, total: np.ndarray, start: np.ndarray | None, axis: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Returns the scores at the end of an epoch, float64 `(filters,)`.

        Args:
          weight: now.
          total: sum of what updates have added.
          start: the weight at the epoch's start, for criteria that compare.
          axis: of the filters.
          rng: the same at the same epoch of each run.
        """
        return total.astype(np.float64)

    def get_config(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ChannelCriterion:
        return cls(**config)


def _register(kind: type[ChannelCriterion]) -> type[ChannelCriterion]:
    return keras.utils.register_keras_serializable("tfmot_swd")(kind)


def _over_filters(value: tf.Tensor, axis: int) -> tf.Tensor:
    """Returns the sum over all axes but that of the filters."""
    return tf.reduce_sum(value, [each for each in range(value.shape.rank) if each != axis])


def _rows(weight: np.ndarray, axis: int) -> np.ndarray:
    """Returns the filters as rows, float64 `(filters, elements)`."""
    moved = np.moveaxis(np.asarray(weight, np.float64), axis, 0)
    return moved.reshape(len(moved), -1)


@_register
class GradientNorm(ChannelCriterion):
    """RPGP: sum over updates of ‖dL/dW_j‖_1, seen during training."""

    watches = "weight"
    full = True

    def contribution(self, value: tf.Tensor, gradient: tf.Tensor, axis: int) -> tf.Tensor:
        return gradient

    def settled(self, update: tf.Tensor, axis: int) -> tf.Tensor:
        return _over_filters(tf.abs(update), axis)


@_register
class SummedGradient(GradientNorm):
    """PGP: ‖ sum over batches of dL/dW_j ‖_1, in a pass of its own with fixed weights.

    A pass makes no update, so its contributions stay one sum, settled when it ends.
    """

    extra_pass = True


@_register
class WeightTaylor(ChannelCriterion):
    """abs( sum over updates and weights of w·dL/dw )."""

    watches = "weight"

    def contribution(self, value: tf.Tensor, gradient: tf.Tensor, axis: int) -> tf.Tensor:
        return _over_filters(value * gradient, axis)

    def scores(
        self, weight: np.ndarray, total: np.ndarray, start: np.ndarray | None, axis: int, rng: np.random.Generator
    ) -> np.ndarray:
        return np.abs(total.astype(np.float64))


@_register
class FeatureTaylor(WeightTaylor):
    """abs( sum over updates of mean( relu(a_j)·dL/da_j ) ), a_j the maps that filter j makes."""

    watches = "output"

    def contribution(self, value: tf.Tensor, gradient: tf.Tensor, axis: int) -> tf.Tensor:
        others = [each for each in range(value.shape.rank) if each != axis]
        return tf.reduce_mean(tf.nn.relu(value) * gradient, others)


@_register
class WeightChange(ChannelCriterion):
    """‖ W_j(end of epoch) - W_j(start) ‖_1: works with any optimizer, and needs no gradient."""

    compares = True

    def scores(
        self, weight: np.ndarray, total: np.ndarray, start: np.ndarray | None, axis: int, rng: np.random.Generator
    ) -> np.ndarray:
        return np.abs(_rows(weight, axis) - _rows(np.asarray(start), axis)).sum(axis=1)


@_register
@dataclasses.dataclass(frozen=True)
class Magnitude(ChannelCriterion):
    """‖W_j‖_1 or ‖W_j‖_2.

    Args:
      order: of the norm.
    """

    order: int = 1

    def scores(
        self, weight: np.ndarray, total: np.ndarray, start: np.ndarray | None, axis: int, rng: np.random.Generator
    ) -> np.ndarray:
        powers = np.sum(np.abs(_rows(weight, axis)) ** self.order, axis=1)
        return np.asarray(powers ** (1 / self.order))


@_register
class GeometricMedian(ChannelCriterion):
    """Sum of distances to the other filters: the one that they can best replace leaves first (arXiv 1811.00250)."""

    def scores(
        self, weight: np.ndarray, total: np.ndarray, start: np.ndarray | None, axis: int, rng: np.random.Generator
    ) -> np.ndarray:
        rows = _rows(weight, axis)
        return np.array([np.linalg.norm(rows - row, axis=1).sum() for row in rows])


@_register
class Random(ChannelCriterion):
    """Chance, as a baseline; the same at the same epoch of each run, by the seed of the settings."""

    def scores(
        self, weight: np.ndarray, total: np.ndarray, start: np.ndarray | None, axis: int, rng: np.random.Generator
    ) -> np.ndarray:
        return rng.random((np.shape(weight)[axis],))


CRITERIA: dict[str, ChannelCriterion] = {
    "rpgp": GradientNorm(),
    "pgp": SummedGradient(),
    "weight_change": WeightChange(),
    "weight_taylor": WeightTaylor(),
    "feature_taylor": FeatureTaylor(),
    "l1": Magnitude(1),
    "l2": Magnitude(2),
    "geometric_median": GeometricMedian(),
    "random": Random(),
}


def resolve_criterion(criterion: str | ChannelCriterion) -> ChannelCriterion:
    """Returns the criterion of a name, or the one given.

    Raises:
      ValueError: no such name, or a class that is not registered.
      TypeError: neither a name nor a criterion.
    """
    if isinstance(criterion, ChannelCriterion):
        kind = type(criterion)
        if keras.utils.get_registered_object(keras.utils.get_registered_name(kind)) is not kind:
            raise ValueError(
                "The class of a criterion must be registered, as layers are made anew from their configs when filters "
                "leave: decorate it with @keras.utils.register_keras_serializable(package). "
                f"Received: {kind.__name__}"
            )
        return criterion
    if not isinstance(criterion, str):
        raise TypeError(f"criterion must be a name or a ChannelCriterion. Received: {type(criterion).__name__}")
    if criterion not in CRITERIA:
        raise ValueError(f"criterion must be one of {', '.join(CRITERIA)}. Received: {criterion!r}")
    return CRITERIA[criterion]
