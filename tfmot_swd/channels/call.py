"""One call of one layer, as a channel rule sees it: labels in, labels out, and what follows which channel."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from tfmot_swd._compat import master_variable
from tfmot_swd.channels.activations import mixes_channels
from tfmot_swd.channels.labels import Labels, Shape, Ties

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


@dataclasses.dataclass
class LayerRecord:
    """What the calls of one layer have said about it so far."""

    path: str
    layer: Any
    cuts: dict[tuple[str, int], Cut] = dataclasses.field(default_factory=dict)
    fresh: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    edits: dict[str, ConfigEdit] = dataclasses.field(default_factory=dict)


class LayerCall:
    """One call of one layer.

    A rule reads `layer`, `inputs` and `output_shapes`, says which weights follow which channels, and returns the
    labels of its outputs.

    Args:
      record: of the layer; shared by all its calls, so that a layer called twice ties its channels.
      inputs: labels of its input tensors, in the order of its arguments.
      output_shapes: shapes of its output tensors.
      arguments: all arguments of the call by name, tensors replaced by their `Labels`.
      ties: of the model.
    """

    def __init__(
        self,
        record: LayerRecord,
        inputs: list[Labels],
        output_shapes: list[Shape],
        arguments: dict[str, Any],
        ties: Ties,
    ) -> None:
        self.record = record
        self.layer = record.layer
        self.inputs = inputs
        self.output_shapes = output_shapes
        self.arguments = arguments
        self.ties = ties
        self.argument_edits: list[ArgumentEdit] = []
        self._prefix = ""
        self._config_path: tuple[str, ...] = ()

    @property
    def input(self) -> Labels:
        """Labels of the first input tensor."""
        return self.inputs[0]

    @property
    def output_shape(self) -> Shape:
        """Shape of the first output tensor."""
        return self.output_shapes[0]

    def new(self, count: int, key: str = "") -> np.ndarray:
        """Returns `count` channels that this layer makes; the same ones at each of its calls."""
        key = f"{self._prefix}{key}"
        if key not in self.record.fresh:
            self.record.fresh[key] = self.ties.new(count)
        return self.record.fresh[key]

    def channels(self, labels: Labels, axis: int) -> np.ndarray:
        """Returns the channels along `axis`; where they change along another axis too, they all must stay."""
        axis %= labels.rank
        if any(each != axis for each in labels.varying):
            reason = f"{self.record.path} needs channels on axis {axis} alone"
            self.ties.pin(labels.ids, reason)
            return np.repeat(self.ties.new_pinned(reason), labels.shape[axis] or 1)
        return labels.along(axis)

    def produce(self, weight: str, axis: int, ids: np.ndarray) -> None:
        """Says that the slices of this weight along `axis` make these channels."""
        self._cut(weight, axis, ids, PRODUCE)

    def follow(self, weight: str, axis: int, ids: np.ndarray) -> None:
        """Says that the slices of this weight along `axis` act on these channels, each on its own."""
        self._cut(weight, axis, ids, FOLLOW)

    def consume(self, weight: str, axis: int, ids: np.ndarray) -> None:
        """Says that the slices of this weight along `axis` read these channels: zero, and nothing is read."""
        self._cut(weight, axis, ids, CONSUME)

    def _cut(self, weight: str, axis: int, ids: np.ndarray, role: str) -> None:
        variable = self._resolve(weight)
        axis %= len(variable.shape)
        if len(ids) != variable.shape[axis]:
            raise ValueError(
                f"The channel rule of {type(self.layer).__name__} gives axis {axis} of {weight!r} as many channels as "
                f"it has slices. Received: {len(ids)} channels for shape {tuple(variable.shape)} in "
                f"{self.record.path!r}"
            )
        key = (self._prefix + weight, axis)
        known = self.record.cuts.get(key)
        if known is not None:
            self.ties.tie(known.ids, ids)
            return
        variable_id = id(master_variable(variable))
        path = self.record.path
        self.record.cuts[key] = Cut(path, id(self.record.layer), key[0], variable_id, axis, ids, role)

    def mirror(self, weight: Any, state: Any, axis: int | None = None) -> None:
        """Says that a variable of the weight's shape is cut like it, or a vector like the weight's one axis."""
        for cut in list(self.record.cuts.values()):
            if cut.variable_id == id(master_variable(weight)) and axis in (None, cut.axis):
                name, own_axis = f"{cut.weight}:{state.name}", cut.axis if axis is None else 0
                like = dataclasses.replace(
                    cut, weight=name, variable_id=id(master_variable(state)), axis=own_axis, role=STATE
                )
                self.record.cuts.setdefault((name, own_axis), like)

    def _resolve(self, weight: str) -> Any:
        found = self.layer
        for name in weight.split("."):
            found = getattr(found, name)
        return found

    def resize(self, key: str, ids: np.ndarray) -> None:
        """Says that this entry of the layer's config counts these channels."""
        self.reconfigure(key, lambda config, kept: config.__setitem__(key, kept.count(ids)))

    def reconfigure(self, key: str, edit: ConfigEdit) -> None:
        """Says how the config of the smaller layer comes from this one's; one edit a key."""
        path = self._config_path

        def inside(config: dict[str, Any], kept: Kept) -> None:
            for part in path:
                if part not in config:
                    return
                config = config[part]["config"]
            edit(config, kept)

        self.record.edits.setdefault(self._prefix + key, inside)

    def edit_arguments(self, edit: ArgumentEdit) -> None:
        """Says how the arguments of this call change: `edit` gets them by name and changes them in place."""
        self.argument_edits.append(edit)

    def inner(self, part: str, inputs: list[Labels], output_shapes: list[Shape], key: str | None = None) -> LayerCall:
        """Returns the call of the layer in the attribute `part`; its config stands under `key`, by default `part`."""
        call = LayerCall(self.record, inputs, output_shapes, self.arguments, self.ties)
        call.layer = getattr(self.layer, part)
        call._prefix = f"{self._prefix}{part}."
        call._config_path = (*self._config_path, key or part)
        return call

    def output(self, ids: np.ndarray, axis: int, index: int = 0) -> Labels:
        """Returns labels of an output that vary along `axis`."""
        return Labels.on_axis(ids, axis, self.output_shapes[index])

    def same(self, labels: Labels, index: int = 0) -> Labels:
        """Returns labels of an output that has its channels where an input has them, sizes of other axes aside."""
        return Labels(labels.ids, self.output_shapes[index])

    def activated(self, labels: Labels, activation: Any) -> Labels:
        """Returns the labels behind an activation function; one that looks across channels makes them stay."""
        reason = mixes_channels(activation, labels)
        if reason:
            self.ties.pin(labels.ids, f"{self.record.path}: {reason}")
        return labels

    def barrier(self, reason: str) -> list[Labels]:
        """Says that all channels that come in stay, and those that go out; returns the labels of all outputs."""
        reason = f"{self.record.path}: {reason}"
        for labels in self.inputs:
            self.ties.pin(labels.ids, reason)
        return [Labels(self.ties.new_pinned(reason).reshape((1,) * len(shape)), shape) for shape in self.output_shapes]
