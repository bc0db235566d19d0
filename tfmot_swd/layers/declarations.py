"""Declarations of a channel rule: axes of weights with channels, products of tensors, and edits of configs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import master_variable, variables_of
from tfmot_swd.keras2.layer_weights import attribute_at
from tfmot_swd.keras2.overrides import computes_as
from tfmot_swd.layers.labels import Labels, Ties
from tfmot_swd.layers.record import (
    CONSUME,
    FOLLOW,
    PRODUCE,
    STATE,
    ArgumentEdit,
    ConfigEdit,
    Cut,
    Kept,
    LayerRecord,
    NoRule,
    Product,
    Scale,
)


class Declarations:
    """What a channel rule declares about a call of a layer.

    Args:
      record: of the layer; shared by all its calls, so that a layer called twice ties its channels.
      inputs: labels of its input tensors, in the order of its arguments.
      ties: of the model.
      prefix: of the names of weights, for the call of an inner layer: "cell.".
      config_path: keys, and places in lists, that lead to the config of the inner layer.
    """

    def __init__(
        self,
        record: LayerRecord,
        inputs: list[Labels],
        ties: Ties,
        *,
        prefix: str = "",
        config_path: tuple[str | int, ...] = (),
    ) -> None:
        self.record = record
        self.layer = record.layer
        self.inputs = inputs
        self.ties = ties
        self.argument_edits: list[ArgumentEdit] = []
        self.products: list[Product] = []
        self._own_weights = {id(each) for each in variables_of(record.layer)}
        self.prefix = prefix
        self._config_path = config_path

    def channels(self, labels: Labels, axis: int) -> np.ndarray:
        """Returns the channel ids along `axis`, `(size,)`; where they vary along another axis too, all must stay."""
        axis %= labels.rank
        if any(each != axis for each in labels.varying):
            others = " and ".join(str(each) for each in labels.varying if each != axis)
            reason = f"{self.record.path} needs channels on axis {axis} alone, and they lie on axis {others}"
            self.ties.pin(labels.ids, reason)
            return np.repeat(self.ties.new_pinned(reason), labels.shape[axis] or 1)
        return labels.along(axis)

    def produce(self, weight: str, axis: int, ids: np.ndarray) -> None:
        """Declares that the slices of this weight along `axis` make these channels."""
        self._cut(weight, axis, ids, PRODUCE)

    def follow(self, weight: str, axis: int, ids: np.ndarray) -> None:
        """Declares that the slices of this weight along `axis` act on these channels, each slice on one."""
        self._cut(weight, axis, ids, FOLLOW)

    def consume(self, weight: str, axis: int, ids: np.ndarray) -> None:
        """Declares that the slices of this weight along `axis` read these channels; a slice of zeros reads nothing."""
        self._cut(weight, axis, ids, CONSUME)

    def scaled_by(self, weight: str, labels: Labels) -> Labels:
        """Declares a weight with a number for each element of one sample, or one for all along shared axes.

        Returns the labels of what it acts on.
        """
        self.whole(attribute_at(self.layer, weight))
        shape = (1, *attribute_at(self.layer, weight).shape)
        axes = [axis for axis in labels.varying if shape[axis] > 1]
        for axis in axes:
            self.follow(weight, axis - 1, self.channels(labels, axis))
        return labels

    def multiply(self, *axes: np.ndarray, summed: Sequence[tuple[Labels, int]] = ()) -> None:
        """Declares a product of two tensors, for the channels that it reads without a weight and for its cost.

        A channel that it sums over is read unless one of the factors is zero there.

        Args:
          axes: the channel at each index of each axis with channels; its multiply-accumulates are proportional to
            their sizes.
          summed: (labels, axis) of each factor with the channels that it sums over, which the rule has tied.
        """
        places = [next((n for n, each in enumerate(self.inputs) if each is labels), None) for labels, _ in summed]
        factors = tuple(
            (place, axis % labels.rank - labels.rank)
            for place, (labels, axis) in zip(places, summed, strict=True)
            if place is not None
        )
        sums = summed[0][0].along(summed[0][1]) if summed else np.zeros(0, np.int64)
        self.products.append(Product(self.record.path, sums, factors, axes))

    def multiply_inside(self, ids: np.ndarray, *axes: np.ndarray, made: Sequence[Sequence[tuple[str, int]]]) -> None:
        """Declares a product of two tensors that the layer makes itself, as attention makes queries and keys.

        Args:
          ids: the channels that it sums over.
          axes: as for `multiply`.
          made: for each factor, the (weight, axis) pairs whose slices make these channels, with no activation behind.
        """
        found = tuple(
            tuple((id(master_variable(attribute_at(self.layer, weight))), axis) for weight, axis in factor)
            for factor in made
        )
        self.products.append(Product(self.record.path, ids, (), axes, found))

    def rescale(self, weight: str, factor: Scale) -> None:
        """Declares what the kept slices of a weight are multiplied with, where a layer divides by its own size.

        Moving averages that an optimizer keeps of its gradients are only sliced.

        Args:
          weight: attribute of the weight.
          factor: `Kept` → positive number, 1 where all channels are kept.
        """
        self.record.scales[id(master_variable(attribute_at(self.layer, weight)))] = factor

    def whole(self, *weights: Any) -> None:
        """Declares weights that no channel owns a slice of: variables, or names of attributes.

        Absent attributes and None are skipped. A rule holds only if it declares every weight of its layer.
        """
        for weight in weights:
            found = getattr(self.layer, weight, None) if isinstance(weight, str) else weight
            if found is not None:
                self.record.known.add(id(master_variable(found)))

    def part(self, name: str, *kinds: type) -> Any:
        """Returns the layer in an attribute, which must be of one of these classes.

        Raises:
          NoRule: it is of another class, or computes something else than its class does.
        """
        found = attribute_at(self.layer, name)
        if not any(type(found) is kind and computes_as(found, kind) for kind in kinds):
            raise NoRule(f"another {name} than {' or '.join(kind.__name__ for kind in kinds)} makes it has no rule")
        return found

    def _cut(self, weight: str, axis: int, ids: np.ndarray, role: str) -> None:
        variable = attribute_at(self.layer, weight)
        if not _is_plain_variable(variable) or id(master_variable(variable)) not in self._own_weights:
            raise NoRule(f"{weight} is no weight of the layer but computed, or kept by something else")
        axis %= len(variable.shape)
        if len(ids) != variable.shape[axis]:
            raise ValueError(
                f"The channel rule of {type(self.layer).__name__} gives axis {axis} of {weight!r} as many channels as "
                f"it has slices. Received: {len(ids)} channels for shape {tuple(variable.shape)} in "
                f"{self.record.path!r}"
            )
        self.record.known.add(id(master_variable(variable)))
        key = (self.prefix + weight, axis)
        known = self.record.cuts.get(key)
        if known is not None:
            self.ties.tie(known.ids, ids)
            return
        variable_id = id(master_variable(variable))
        path = self.record.path
        self.record.cuts[key] = Cut(path, id(self.record.layer), key[0], variable_id, axis, ids, role)

    def mirror(self, weight: Any, state: Any, axis: int | None = None, *, is_copy: bool = False) -> None:
        """Declares that `state` is sliced like a weight: a variable of its shape, or a vector along one axis of it.

        Args:
          weight: the weight.
          state: the other variable.
          axis: that of the weight along which the state is a vector; None where it has the weight's shape.
          is_copy: whether it holds values of the weight, which are rescaled with it.
        """
        self.record.known.add(id(master_variable(state)))
        scale = self.record.scales.get(id(master_variable(weight)))
        if is_copy and scale is not None:
            self.record.scales[id(master_variable(state))] = scale
        for cut in list(self.record.cuts.values()):
            if cut.variable_id == id(master_variable(weight)) and axis in (None, cut.axis):
                name, own_axis = f"{cut.weight}:{state.name}", cut.axis if axis is None else 0
                like = dataclasses.replace(
                    cut, weight=name, variable_id=id(master_variable(state)), axis=own_axis, role=STATE
                )
                self.record.cuts.setdefault((name, own_axis), like)

    def resize(self, key: str, ids: np.ndarray) -> None:
        """Declares that this entry of the layer's config is the number of these channels."""
        self.reconfigure(key, lambda config, kept: config.__setitem__(key, kept.count(ids)), ids)

    def reconfigure(self, key: str, edit: ConfigEdit, ids: np.ndarray | None = None) -> None:
        """Declares how an entry of the config changes for the smaller layer; the first edit of a key holds.

        A layer has one config: where it is called several times, `ids`, the channels that the entry depends on, are
        tied to those of the first call.

        Args:
          key: of the entry.
          edit: (config, `Kept`) → None, modifies the config in place.
          ids: the channels that the entry depends on.
        """
        path = self._config_path
        if ids is not None:
            first = self.record.shared.setdefault(self.prefix + key, ids)
            if first is not ids:
                self.ties.tie(first, ids)

        def inside(config: dict[str, Any], kept: Kept) -> None:
            found: Any = config
            for part in path:
                if isinstance(part, str) and part not in found:
                    return
                found = found[part]["config"] if isinstance(found[part], dict) else found[part]
            edit(found, kept)

        self.record.edits.setdefault(self.prefix + key, inside)

    def edit_arguments(self, edit: ArgumentEdit) -> None:
        """Declares how the arguments of this call change: `edit` gets them by name and modifies them in place."""
        self.argument_edits.append(edit)


def _is_plain_variable(found: Any) -> bool:
    """Returns whether an object is a variable of TensorFlow or Keras, which returns the value assigned to it."""
    module = type(found).__module__
    return isinstance(master_variable(found), tf.Variable) and module.startswith(("tensorflow.", "tf_keras."))
