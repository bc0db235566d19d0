"""Filter importance: the criteria by which channels are ranked, as small interchangeable objects.

A criterion of the weights alone gives one formula, `importance`, in TensorFlow operations; it serves everywhere that
channels are ranked: Progressive Gradient Pruning, `StructuredDecay` and removal at once. One that has to see a training
(gradients, an epoch's start) serves Progressive Gradient Pruning; those stand in `tfmot_swd.pgp.criteria`.

To add one, subclass `ChannelCriterion` and pass an instance, or register it under a name. Methods that train need the
class registered with `keras.utils.register_keras_serializable`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tfmot_swd.channels.groups import ChannelGroup, Member
from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.serialization import check_registered
from tfmot_swd.layers.record import CONSUME, FOLLOW, PRODUCE


@dataclasses.dataclass(frozen=True)
class ChannelCriterion:
    """Importance of channels; those of the smallest scores leave first.

    A subclass for weights alone defines `importance`; one that sees a training defines `contribution` or `scores`, and
    the class attributes.

    Class attributes:
      watches: "" for criteria of weights alone; "weight" or "output" has `contribution` called in each backward pass
        with the layer's weight or its output.
      full: whether contributions have the shape of the weight; else they are `(filters,)`.
      extra_pass: backward passes of training do not count, those of a pass over the training data after each epoch
        do, with weights fixed and dropout and batch norm in inference mode.
      compares: whether `scores` needs the weight of the epoch's start.
      averages: whether the importances of all slices that make a channel are averaged; else they are added up.

    >>> class Largest(ChannelCriterion):
    ...     def importance(self, weight, axis):
    ...         return tf.reduce_max(tf.abs(slices_of(weight, axis)), axis=1)
    >>> Largest().importance(tf.constant([[1.0, -5.0], [2.0, 3.0]]), axis=1).numpy().tolist()
    [2.0, 5.0]
    """

    watches: ClassVar[str] = ""
    full: ClassVar[bool] = False
    extra_pass: ClassVar[bool] = False
    compares: ClassVar[bool] = False
    averages: ClassVar[bool] = True

    @property
    def is_of_weights(self) -> bool:
        """Whether it needs nothing but weights, and can be used without a training."""
        return type(self).importance is not ChannelCriterion.importance and not (self.watches or self.compares)

    @property
    def is_relative(self) -> bool:
        """Whether groups are compared by scores over their group's mean: else wide layers may outlive all others."""
        return True

    @property
    def ranks_groups(self) -> bool:
        """Whether it looks at other weights of a group than those that make its channels."""
        return type(self).of_group is not ChannelCriterion.of_group

    def importance(self, weight: tf.Tensor, axis: int) -> tf.Tensor:
        """Returns the importance of each slice of a weight, `(slices,)`, of the weight's dtype: float32 or float64.

        Traced into training steps: use TensorFlow operations alone.

        Args:
          weight: of any shape.
          axis: on which the slices stand; see `slices_of` and `sum_of_slices`.
        """
        raise NotImplementedError

    def from_mean(self, mean: tf.Tensor) -> tf.Tensor:
        """Returns the scores of channels from the mean of the importances of their slices; by default the mean."""
        return mean

    def of_group(
        self, group: ChannelGroup, makers: Sequence[Member], variables: Collection[int]
    ) -> tuple[ChannelCriterion, Sequence[Member]]:
        """Returns the criterion and the weights by which a group is ranked: by default itself and what makes channels.

        Args:
          group: of channels.
          makers: its weights whose slices are the filters.
          variables: identities of those that count: the trainable ones.
        """
        return self, makers

    def contribution(self, value: tf.Tensor, gradient: tf.Tensor, axis: int) -> tf.Tensor:
        """Returns what one backward pass adds to the running update, linear in `gradient`; float32."""
        raise NotImplementedError

    def settled(self, update: tf.Tensor, axis: int) -> tf.Tensor:
        """Returns what a finished update adds to the epoch, `(filters,)`, from the sum of its contributions."""
        return update

    def scores(
        self, weight: np.ndarray, total: np.ndarray, start: np.ndarray | None, axis: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Returns the scores of one weight's filters at the end of an epoch, float64 `(filters,)`.

        Args:
          weight: now.
          total: sum of what updates have added.
          start: the weight at the epoch's start, for criteria that compare.
          axis: of the filters.
          rng: the same at the same epoch of each run.
        """
        if not self.is_of_weights:
            return total.astype(np.float64)
        found: np.ndarray = self.from_mean(self.importance(tf.constant(weight, tf.float64), axis)).numpy()
        return found

    def get_config(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ChannelCriterion:
        return cls(**config)


def slices_of(weight: tf.Tensor, axis: int) -> tf.Tensor:
    """Returns the slices of a weight along an axis as rows, `(slices, elements)`."""
    others = [each for each in range(weight.shape.rank) if each != axis]
    return tf.reshape(tf.transpose(weight, [axis, *others]), [weight.shape[axis], -1])


def sum_of_slices(value: tf.Tensor, axis: int) -> tf.Tensor:
    """Returns the sum of each slice along an axis, `(slices,)`."""
    return tf.reduce_sum(value, [each for each in range(value.shape.rank) if each != axis])


def _register(kind: type[ChannelCriterion]) -> type[ChannelCriterion]:
    return keras.utils.register_keras_serializable("tfmot_swd")(kind)


@_register
@dataclasses.dataclass(frozen=True)
class Magnitude(ChannelCriterion):
    """‖W_j‖_1 or ‖W_j‖_2; of several weights that make a channel (mean ‖W_j‖^p)^(1/p).

    Args:
      order: p of the norm.
    """

    order: int = 1

    def importance(self, weight: tf.Tensor, axis: int) -> tf.Tensor:
        powers = tf.square(weight) if self.order == 2 else tf.abs(weight) ** self.order
        return sum_of_slices(powers, axis)

    def from_mean(self, mean: tf.Tensor) -> tf.Tensor:
        return tf.sqrt(mean) if self.order == 2 else mean ** (1 / self.order)


@_register
class GeometricMedian(ChannelCriterion):
    """Sum of distances to the other filters: the one that they can best replace leaves first (arXiv 1811.00250)."""

    def importance(self, weight: tf.Tensor, axis: int) -> tf.Tensor:
        rows = slices_of(weight, axis)
        # Row by row: all differences at once would be as large as the square of the number of filters.
        return tf.map_fn(lambda row: tf.reduce_sum(tf.norm(rows - row, axis=1)), rows)


@_register
@dataclasses.dataclass(frozen=True)
class NormalizationScale(ChannelCriterion):
    """Mean |gamma| of the normalizations behind a channel, and the L2 norm of its filter in a group without any.

    Both are what an input of variance 1 is scaled by.

    Args:
      relative: whether groups are compared by the scores over their group's mean; published without.
    """

    relative: bool = True

    @property
    def is_relative(self) -> bool:
        return self.relative

    def importance(self, weight: tf.Tensor, axis: int) -> tf.Tensor:
        return sum_of_slices(tf.abs(weight), axis)

    def of_group(
        self, group: ChannelGroup, makers: Sequence[Member], variables: Collection[int]
    ) -> tuple[ChannelCriterion, Sequence[Member]]:
        gammas = scales(group, variables)
        return (self, gammas) if gammas else (Magnitude(2), makers)


@_register
@dataclasses.dataclass(frozen=True)
class OwnedNorm(ChannelCriterion):
    """L2 norm of all that a channel owns: its filters, the biases and normalizations behind, what reads it.

    Args:
      roles: of the weights that count: "produce", "follow" and "consume".
    """

    roles: tuple[str, ...] = (PRODUCE, FOLLOW, CONSUME)

    averages = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "roles", tuple(self.roles))

    def importance(self, weight: tf.Tensor, axis: int) -> tf.Tensor:
        return sum_of_slices(tf.square(weight), axis)

    def from_mean(self, mean: tf.Tensor) -> tf.Tensor:
        return tf.sqrt(mean)

    def of_group(
        self, group: ChannelGroup, makers: Sequence[Member], variables: Collection[int]
    ) -> tuple[ChannelCriterion, Sequence[Member]]:
        return self, [each for each in group.members if each.role in self.roles and each.variable_id in variables]


def scales(group: ChannelGroup, variables: Collection[int]) -> list[Member]:
    """Returns the gammas of normalizations, of these variables, that act on the channels of a group one by one.

    None where there is not one for each channel, as behind a concatenation of which one part alone is normalized.
    """
    found = [
        each for each in group.followers if each.weight.split(".")[-1] == "gamma" and each.variable_id in variables
    ]
    scaled = np.zeros(group.size, bool)
    for member in found:
        scaled[member.channels[member.channels >= 0]] = True
    return found if scaled.all() else []


CRITERIA: dict[str, ChannelCriterion] = {}


def register_criterion(name: str, criterion: ChannelCriterion) -> ChannelCriterion:
    """Makes a criterion known under a name, which stands for it everywhere; a later one replaces an earlier one.

    Raises:
      TypeError: the name is no string, or the criterion no `ChannelCriterion`.
    """
    if not isinstance(name, str) or not isinstance(criterion, ChannelCriterion):
        raise TypeError(
            f"A criterion is registered as a ChannelCriterion under a name. Received: {name!r}, {criterion!r}"
        )
    CRITERIA[name] = criterion
    return criterion


for _name, _criterion in {
    "auto": NormalizationScale(),
    "scale": NormalizationScale(relative=False),
    "magnitude": OwnedNorm(),
    "filter_norm": OwnedNorm((PRODUCE,)),
    "l1": Magnitude(1),
    "l2": Magnitude(2),
    "geometric_median": GeometricMedian(),
}.items():
    register_criterion(_name, _criterion)


def resolve_criterion(
    criterion: str | ChannelCriterion, *, of_weights: bool = False, saved: bool = True
) -> ChannelCriterion:
    """Returns the criterion of a name, or the one given.

    Args:
      criterion: the name or the object.
      of_weights: whether there is no training that the criterion could look at.
      saved: whether layers keep it in their configs, so that its class has to be registered.

    Raises:
      ValueError: no such name; a class that is not registered; one that needs a training where there is none.
      TypeError: neither a name nor a criterion.
    """
    if not isinstance(criterion, str | ChannelCriterion):
        raise TypeError(f"criterion must be a name or a ChannelCriterion. Received: {type(criterion).__name__}")
    # Those first that only one method can use.
    names = sorted(CRITERIA, key=lambda name: CRITERIA[name].is_of_weights)
    names = [name for name in names if CRITERIA[name].is_of_weights or not of_weights]
    if isinstance(criterion, str) and criterion not in CRITERIA:
        raise ValueError(f"criterion must be one of {', '.join(names)}. Received: {criterion!r}")
    found = CRITERIA[criterion] if isinstance(criterion, str) else criterion
    if of_weights and not found.is_of_weights:
        said = repr(criterion) if isinstance(criterion, str) else type(criterion).__name__
        raise ValueError(
            "This criterion needs gradients, or the epochs of a training: use it with prune_progressive_gradient, or "
            f"choose one of the weights alone, which defines importance(weight, axis): {', '.join(names)}. "
            f"Received: {said}"
        )
    if saved:
        check_registered(found, "criterion", "layers are made from their configs when filters leave")
    return found
