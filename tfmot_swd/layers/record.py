"""Declarations of channel rules about one layer: which axis of which weight belongs to which channels."""

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
    """One axis of one weight whose slices leave with their channels.

    Args:
      layer: path of the layer; layers of nested models are written model/layer.
      layer_id: identity of the layer object in this process.
      weight: attribute of the weight, dots for parts ("cell.kernel").
      variable_id: identity of the variable.
      axis: of the weight, not negative.
      ids: the channel at each index of that axis.
      role: "produce" (its slice makes the channel), "follow" (acts on it), "consume" (reads it) or "state" (what a
        pruning wrapper keeps about it).
    """

    layer: str
    layer_id: int
    weight: str
    variable_id: int
    axis: int
    ids: np.ndarray
    role: str


class Kept:
    """What stays: asked by rules for the sizes of the smaller layers."""

    def __init__(self, stays: np.ndarray) -> None:
        self._stays = stays

    def mask(self, ids: np.ndarray) -> np.ndarray:
        """Returns whether each id stays."""
        return self._stays[ids]

    def count(self, ids: np.ndarray) -> int:
        """Returns how many of these ids stay."""
        return int(np.count_nonzero(self._stays[ids]))

    def count_along(self, labels: Labels, axis: int) -> int:
        """Returns how many indices of an axis stay: those of which any element does."""
        others = tuple(each for each in range(labels.ids.ndim) if each != axis)
        return int(np.count_nonzero(self._stays[labels.ids].any(axis=others)))

    def shape(self, labels: Labels) -> Shape:
        """Returns the shape that a tensor is left with."""
        return tuple(
            size if labels.ids.shape[axis] == 1 else self.count_along(labels, axis)
            for axis, size in enumerate(labels.shape)
        )


ConfigEdit = Callable[[dict[str, Any], Kept], None]
ArgumentEdit = Callable[[dict[str, Any], Kept], None]


class NoRule(Exception):
    """Raised by a rule, or by what it asks, where it does not hold for a call: a barrier, and the message says why."""


@dataclasses.dataclass
class LayerRecord:
    """What the calls of one layer have said about it so far.

    Args:
      path, layer: its path, and itself.
      cuts: axes of its weights that channels own, by weight and axis.
      fresh: channels that it makes.
      edits: how its config follows.
      shared: channels that an entry of the config counts, which all calls have in common.
      known: identities of the weights that its rule has a word for.
      met: the channels of all that went in and came out so far.
      blocked: why all of that stays; empty where it does not.
    """

    path: str
    layer: Any
    cuts: dict[tuple[str, int], Cut] = dataclasses.field(default_factory=dict)
    fresh: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    edits: dict[str, ConfigEdit] = dataclasses.field(default_factory=dict)
    shared: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    known: set[int] = dataclasses.field(default_factory=set)
    met: list[np.ndarray] = dataclasses.field(default_factory=list)
    blocked: str = ""

    def before(self) -> LayerRecord:
        """Returns what is known now, for `forget`."""
        own = ("cuts", "fresh", "edits", "shared", "known", "met")
        return dataclasses.replace(self, **{name: type(held)(held) for name in own for held in [getattr(self, name)]})

    def forget(self, before: LayerRecord) -> None:
        """Takes back what was said since, as by a rule that has failed."""
        self.cuts, self.fresh, self.edits = before.cuts, before.fresh, before.edits
        self.shared, self.known = before.shared, before.known

    def unknown_weights(self) -> list[str]:
        """Returns the names of the weights that the rule has said nothing about."""
        return [each.name for each in variables_of(self.layer) if id(each) not in self.known]
