"""Filter importance: the criteria by which channels are ranked.

A criterion of the weights alone is one formula, `importance`, in TensorFlow operations. It is usable wherever channels
are ranked: Progressive Gradient Pruning, `StructuredDecay` and one-shot removal. Criteria that need a training
(gradients, weights at the start of an epoch) are usable in Progressive Gradient Pruning; they are in
`tfmot_swd.pgp.criteria`.

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
    """Importance of channels; those with the smallest scores are removed first.

    A subclass for weights alone defines `importance`; one that needs a training defines `contribution` or `scores`, and
    the class attributes.

    Class attributes:
      watches: "" for criteria of weights alone; "weight" or "output" to have `contribution` called in each backward
        pass with the layer's weight or its output.
      full: whether contributions have the shape of the weight; otherwise they are `(filters,)`.
      extra_pass: whether contributions come from a pass over the training data after each epoch, with fixed weights and
        dropout and batch normalization in inference mode, instead of the backward passes of training.
      compares: whether `scores` needs the weight at the start of the epoch.
      averages: whether the importances of all slices that make a channel are averaged; otherwise they are added up.

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
        """Whether it needs weights alone, so that it can be used without a training."""
        return type(self).importance is not ChannelCriterion.importance and not (self.watches or self.compares)

    @property
    def is_relative(self) -> bool:
        """Whether scores are divided by the mean of their group, so that groups of different scale are comparable."""
        return True

    @property
    def ranks_groups(self) -> bool:
        """Whether it ranks by other weights of a group than those that make its channels."""
        return type(self).of_group is not ChannelCriterion.of_group

    def importance(self, weight: tf.Tensor, axis: int) -> tf.Tensor:
        """Returns the importance of each slice of a weight, `(slices,)`, in the weight's dtype: float32 or float64.

        It is traced into training steps: use TensorFlow operations only.

        Args:
          weight: of any shape.
          axis: the axis that indexes the slices; see `slices_of` and `sum_of_slices`.
        """
        raise NotImplementedError

    def from_mean(self, mean: tf.Tensor) -> tf.Tensor:
        """Returns the scores of channels from the mean (or sum) of their slices' importances; by default unchanged."""
        return mean

    def of_group(
        self, group: ChannelGroup, makers: Sequence[Member], variables: Collection[int]
    ) -> tuple[ChannelCriterion, Sequence[Member]]:
        """Returns the criterion and the weights by which a group is ranked; by default itself and `makers`.

        Args:
          group: the group.
          makers: its weights whose slices are the filters.
          variables: identities of the variables that count, the trainable ones.
        """
        return self, makers

    def contribution(self, value: tf.Tensor, gradient: tf.Tensor, axis: int) -> tf.Tensor:
        """Returns the contribution of one backward pass to the current update, float32; linear in `gradient`."""
        raise NotImplementedError

    def settled(self, update: tf.Tensor, axis: int) -> tf.Tensor:
        """Returns the contribution of one update to the epoch, `(filters,)`, from the sum of its backward passes."""
        return update

    def scores(
        self, weight: np.ndarray, total: np.ndarray, start: np.ndarray | None, axis: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Returns the scores of one weight's filters at the end of an epoch, float64 `(filters,)`.

        Args:
          weight: the current value.
          total: sum of the contributions of all updates.
          start: the weight at the start of the epoch, for criteria with `compares`; else None.
          axis: the axis that indexes the filters.
          rng: random generator, with the same seed at the same epoch of each run.
        """
        if not self.is_of_weights:
            return total.astype(np.float64)
        found: np.ndarray = self.from_mean(self.importance(tf.constant(weight, tf.float64), axis)).numpy()
        return found

    def get_config(self) -> dict[str, Any]:
        """Returns the fields of the dataclass."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ChannelCriterion:
        return cls(**config)


def slices_of(weight: tf.Tensor, axis: int) -> tf.Tensor:
    """Returns the slices of a weight along an axis as rows, `(slices, elements)`.

    >>> slices_of(tf.constant([[1, 2, 3], [4, 5, 6]]), axis=1).numpy().tolist()
    [[1, 4], [2, 5], [3, 6]]
    """
    others = [each for each in range(weight.shape.rank) if each != axis]
    return tf.reshape(tf.transpose(weight, [axis, *others]), [weight.shape[axis], -1])


def sum_of_slices(value: tf.Tensor, axis: int) -> tf.Tensor:
    """Returns the sum of each slice along an axis, `(slices,)`.

    >>> sum_of_slices(tf.constant([[1, 2, 3], [4, 5, 6]]), axis=1).numpy().tolist()
    [5, 7, 9]
    """
    return tf.reduce_sum(value, [each for each in range(value.shape.rank) if each != axis])


def _register(kind: type[ChannelCriterion]) -> type[ChannelCriterion]:
    return keras.utils.register_keras_serializable("tfmot_swd")(kind)


@_register
@dataclasses.dataclass(frozen=True)
class Magnitude(ChannelCriterion):
    """Norm of the filter: ‖W_j‖_p; for several weights that make a channel, (mean ‖W_j‖_p^p)^(1/p).

    Args:
      order: p of the norm.

    >>> criterion = Magnitude(2)
    >>> criterion.from_mean(criterion.importance(tf.constant([[3.0, 1.0], [4.0, 0.0]]), axis=1)).numpy().tolist()
    [5.0, 1.0]
    """

    order: int = 1

    def importance(self, weight: tf.Tensor, axis: int) -> tf.Tensor:
        powers = tf.square(weight) if self.order == 2 else tf.abs(weight) ** self.order
        return sum_of_slices(powers, axis)

    def from_mean(self, mean: tf.Tensor) -> tf.Tensor:
        return tf.sqrt(mean) if self.order == 2 else mean ** (1 / self.order)


@_register
class GeometricMedian(ChannelCriterion):
    """Sum of distances to the other filters, Σ_i ‖W_j - W_i‖_2 (arXiv 1811.00250).

    The filter nearest to all others, which they can best replace, is removed first.
    """

    def importance(self, weight: tf.Tensor, axis: int) -> tf.Tensor:
        rows = slices_of(weight, axis)
        # Row by row: all differences at once would be as large as the square of the number of filters.
        return tf.map_fn(lambda row: tf.reduce_sum(tf.norm(rows - row, axis=1)), rows)


@_register
@dataclasses.dataclass(frozen=True)
class NormalizationScale(ChannelCriterion):
    """Mean |gamma| of the normalizations behind a channel; in a group without any, the L2 norm of its filter.

    Both scale an input of variance 1, which makes them comparable.

    Args:
      relative: whether scores are divided by the mean of their group. The published criterion does not.
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
    """L2 norm of all weight slices of a channel: its filters, biases and normalizations, and slices that read it.

    Args:
      roles: roles of the weights that count: "produce", "follow" and "consume".
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
    """Returns the gammas, among these variables, of the normalizations of the channels of a group.

    An empty list unless each channel has one; behind a concatenation, only a part may be normalized.
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
    """Registers a criterion under a name, which is accepted wherever a criterion is; replaces an earlier one.

    Args:
      name: such as "l1".
      criterion: an instance; methods that train need its class registered with Keras.

    Returns:
      The criterion.

    Raises:
      TypeError: the name is not a string, or the criterion not a `ChannelCriterion`.

    >>> registered = register_criterion("l4", Magnitude(4))
    >>> resolve_criterion("l4")
    Magnitude(order=4)
    >>> removed = CRITERIA.pop("l4")
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


# Methods of which a criterion defines one at least.
_SCORING = ("importance", "contribution", "scores", "of_group")


def resolve_criterion(
    criterion: str | ChannelCriterion, *, of_weights: bool = False, saved: bool = True
) -> ChannelCriterion:
    """Returns the criterion registered under a name, or the one given.

    Args:
      criterion: a name or a criterion.
      of_weights: require a criterion of weights alone, as there is no training.
      saved: require a registered class, as layers keep the criterion in their configs.

    Raises:
      ValueError: an unknown name; a class that is not registered; a criterion that needs a training where there is
        none.
      TypeError: `criterion` is neither a name nor a `ChannelCriterion`.
    """
    if not isinstance(criterion, str | ChannelCriterion):
        raise TypeError(f"criterion must be a name or a ChannelCriterion. Received: {type(criterion).__name__}")
    # First the criteria that only one method can use.
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
    kind = type(found)
    if not any(getattr(kind, each) is not getattr(ChannelCriterion, each) for each in _SCORING):
        raise ValueError(
            f"A ChannelCriterion must define one of {', '.join(_SCORING)}, by which filters are ranked. "
            f"Received: {kind.__name__}, which defines none"
        )
    if saved:
        check_registered(found, "criterion", "layers are made from their configs when filters leave")
    return found
