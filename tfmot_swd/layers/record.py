"""Declarations of channel rules about one layer: axes of weights that belong to channels, and config edits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from tfmot_swd.keras2.compat import variables_of
from tfmot_swd.layers.labels import Labels, Shape

PRODUCE, FOLLOW, CONSUME, STATE = "produce", "follow", "consume", "state"


@dataclasses.dataclass(frozen=True)
class Cut:
    """One axis of one weight whose slices are removed with their channels.

    Args:
      layer: path of the layer; layers of nested models are written model/layer.
      layer_id: identity of the layer object in this process.
      weight: attribute of the weight, dots for parts ("cell.kernel").
      variable_id: identity of the variable.
      axis: of the weight, not negative.
      ids: the channel at each index of that axis.
      role: "produce" (the slice makes the channel), "follow" (acts on it), "consume" (reads it) or "state" (of a
        pruning wrapper).
    """

    layer: str
    layer_id: int
    weight: str
    variable_id: int
    axis: int
    ids: np.ndarray
    role: str


@dataclasses.dataclass(frozen=True)
class Product:
    """A product of two tensors in one call of a layer, such as that of queries and keys.

    Args:
      layer: path of the layer.
      sums: the channels that it sums over, which no weight reads, in order; empty where it sums over none.
      factors: those of its factors that have these channels, as (place among the operands of the call, axis from the
        end): where one of them is zero, nothing is read of the other.
      axes: the channel at each index of each axis with channels; its multiply-accumulates are proportional to their
        sizes. Empty where another product of the call has its cost.
      made: the factors that the layer makes itself, each as the axes of weights, (identity of the variable, axis),
        whose slices make these channels and nothing else: it is zero where all of them are.
    """

    layer: str
    sums: np.ndarray
    factors: tuple[tuple[int, int], ...]
    axes: tuple[np.ndarray, ...]
    made: tuple[tuple[tuple[int, int], ...], ...] = ()


class Kept:
    """The channels that are kept, from which rules compute the sizes of the smaller layers."""

    def __init__(self, stays: np.ndarray) -> None:
        self._stays = stays

    def mask(self, ids: np.ndarray) -> np.ndarray:
        """Returns whether each channel is kept, bool of the shape of `ids`."""
        return self._stays[ids]

    def count(self, ids: np.ndarray) -> int:
        """Returns how many of these channels are kept."""
        return int(np.count_nonzero(self._stays[ids]))

    def count_along(self, labels: Labels, axis: int) -> int:
        """Returns how many indices of an axis are kept: those with at least one kept element."""
        return int(np.count_nonzero(self._along(labels, axis)))

    def part_of(self, constant: Any, labels: Labels) -> np.ndarray:
        """Returns what is left of a constant that broadcasts with a tensor, as a number for each channel."""
        constant = np.asarray(constant)
        for axis in axes_with_channels(constant.shape, labels):
            constant = np.compress(self._along(labels, axis + labels.rank), constant, axis)
        return constant

    def _along(self, labels: Labels, axis: int) -> np.ndarray:
        others = tuple(each for each in range(labels.ids.ndim) if each != axis)
        return np.asarray(self._stays[labels.ids].any(axis=others))

    def shape(self, labels: Labels) -> Shape:
        """Returns the shape of a tensor without the removed channels."""
        return tuple(
            size if labels.ids.shape[axis] == 1 else self.count_along(labels, axis)
            for axis, size in enumerate(labels.shape)
        )


def axes_with_channels(shape: tuple[int, ...], labels: Labels) -> list[int]:
    """Returns the axes, counted from the last, on which a constant has a number for each channel of a tensor.

    Args:
      shape: of the constant, which broadcasts with the tensor and has not more axes.
      labels: of the tensor.
    """
    axes = [axis - labels.rank for axis in labels.varying]
    return [axis for axis in axes if axis >= -len(shape) and shape[axis] > 1]


Scale = Callable[[Kept], float]
ConfigEdit = Callable[[dict[str, Any], Kept], None]
ArgumentEdit = Callable[[dict[str, Any], Kept], None]


class NoRule(Exception):
    """A channel rule does not hold for a call: the layer becomes a barrier, with the message as its reason."""


@dataclasses.dataclass
class LayerRecord:
    """Declarations about one layer, from all of its calls so far.

    Args:
      path: of the layer; layers of nested models are written model/layer.
      layer: the layer.
      cuts: axes of its weights that belong to channels, by weight and axis.
      fresh: channels that it makes, by name.
      edits: edits of its config, by key.
      scales: what the kept slices of a weight are multiplied with, by the identity of the variable.
      shared: channels that an entry of the config depends on, common to all calls.
      known: identities of the weights that its rule has declared.
      met: channels of all inputs and outputs so far.
      blocked: why all of these must stay; "" where they need not.
      approximations: what the removal of channels changes beyond what reads them; only where that is allowed.
      places: identity of a layer inside it → where it stands, the beginning of the names of its weights.
      elementwise: identities of functions that it calls and that were found to act on each element alone.
    """

    path: str
    layer: Any
    cuts: dict[tuple[str, int], Cut] = dataclasses.field(default_factory=dict)
    fresh: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    edits: dict[str, ConfigEdit] = dataclasses.field(default_factory=dict)
    scales: dict[int, Scale] = dataclasses.field(default_factory=dict)
    shared: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    known: set[int] = dataclasses.field(default_factory=set)
    met: list[np.ndarray] = dataclasses.field(default_factory=list)
    blocked: str = ""
    approximations: dict[str, None] = dataclasses.field(default_factory=dict)
    places: dict[int, str] = dataclasses.field(default_factory=dict)
    elementwise: set[int] = dataclasses.field(default_factory=set)

    def before(self) -> LayerRecord:
        """Returns a snapshot, for `forget`."""
        own = ("cuts", "fresh", "edits", "scales", "shared", "known", "met", "approximations")
        return dataclasses.replace(self, **{name: type(held)(held) for name in own for held in [getattr(self, name)]})

    def forget(self, before: LayerRecord) -> None:
        """Restores a snapshot, after a rule has failed."""
        self.cuts, self.fresh = before.cuts, before.fresh
        self.edits, self.scales = before.edits, before.scales
        self.shared, self.known, self.approximations = before.shared, before.known, before.approximations

    def unknown_weights(self) -> list[str]:
        """Returns the names of the weights that the rule has not declared."""
        return [each.name for each in variables_of(self.layer) if id(each) not in self.known]
