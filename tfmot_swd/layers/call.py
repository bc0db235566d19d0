"""Layer calls as channel rules see them: labels of the inputs and outputs, and declarations about weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import keras, master_variable, variables_of
from tfmot_swd.keras2.overrides import computes_as
from tfmot_swd.layers.activations import mixes_channels
from tfmot_swd.layers.labels import Labels, Shape, Sizes, Ties
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


class LayerCall:
    """One call of one layer.

    A rule reads `layer`, `inputs` and `output_shapes`, declares which axes of which weights belong to which channels
    (`produce`, `follow`, `consume`, `whole`) and which entries of the config count them (`resize`), and returns the
    labels of its outputs.

    >>> def dense(call):
    ...     units = call.new(call.layer.units)
    ...     call.consume("kernel", 0, call.channels(call.input, -1))
    ...     call.produce("kernel", 1, units)
    ...     call.produce("bias", 0, units)
    ...     call.resize("units", units)
    ...     return call.output(units, -1)

    Args:
      record: of the layer; shared by all its calls, so that a layer called twice ties its channels.
      inputs: labels of its input tensors, in the order of its arguments.
      output_shapes: shapes of its output tensors.
      arguments: all arguments of the call by name, tensors replaced by their `Labels`.
      ties: of the model.
      prefix: of the names of weights, for the call of an inner layer: "cell.".
      config_path: keys that lead to the config of the inner layer.
    """

    def __init__(
        self,
        record: LayerRecord,
        inputs: list[Labels],
        output_shapes: list[Shape],
        arguments: dict[str, Any],
        ties: Ties,
        *,
        prefix: str = "",
        config_path: tuple[str, ...] = (),
    ) -> None:
        self.record = record
        self.layer = record.layer
        self.inputs = inputs
        self.output_shapes = output_shapes
        self.arguments = arguments
        self.ties = ties
        self.argument_edits: list[ArgumentEdit] = []
        self.products: list[Product] = []
        self._own_weights = {id(each) for each in variables_of(record.layer)}
        self._prefix = prefix
        self._config_path = config_path

    @property
    def input(self) -> Labels:
        """Labels of the first input tensor."""
        return self.inputs[0]

    @property
    def operand(self) -> Labels:
        """Labels of the first argument, the one tensor that a layer or an operator computes with.

        TensorFlow stacks a list of tensors into one: its parts are tied element by element.
        """
        first = next(iter(self.arguments.values()), None) if self.arguments else self.inputs[0]
        return self.packed(first)

    def packed(self, given: Any) -> Labels:
        """Returns the labels of an argument as one tensor; a list of tensors is stacked along a new first axis."""
        if isinstance(given, Labels):
            return given
        if not isinstance(given, list | tuple) or not given:
            raise NoRule("a constant where a tensor of the model is computed with has no rule")
        parts = [self.packed(each) for each in given]
        if len({part.rank for part in parts}) > 1:
            raise NoRule("a list of tensors of different ranks has no rule")
        ids = parts[0].ids
        for part in parts[1:]:
            self.ties.tie(ids, part.ids)
            ids = np.broadcast_arrays(ids, part.ids)[0]
        shape = tuple(
            next((size for size in sizes if size is not None), None)
            for sizes in zip(*(part.shape for part in parts), strict=True)
        )
        return Labels(np.array(ids)[np.newaxis], (len(parts), *shape))

    @property
    def output_shape(self) -> Shape:
        """Shape of the first output tensor."""
        return self.output_shapes[0]

    def new(self, count: int, key: str = "") -> np.ndarray:
        """Returns ids of `count` channels that this layer makes, int64 `(count,)`; the same at each of its calls."""
        key = f"{self._prefix}{key}"
        if key not in self.record.fresh:
            self.record.fresh[key] = self.ties.new(count)
        return self.record.fresh[key]

    def channels(self, labels: Labels, axis: int) -> np.ndarray:
        """Returns the channel ids along `axis`, `(size,)`; where they vary along another axis too, all must stay."""
        axis %= labels.rank
        if any(each != axis for each in labels.varying):
            reason = f"{self.record.path} needs channels on axis {axis} alone"
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
            tuple((id(master_variable(self._resolve(weight))), axis) for weight, axis in factor) for factor in made
        )
        self.products.append(Product(self.record.path, ids, (), axes, found))

    def rescale(self, weight: str, factor: Scale) -> None:
        """Declares what the kept slices of a weight are multiplied with, where a layer divides by its own size.

        Moving averages that an optimizer keeps of its gradients are only sliced.

        Args:
          weight: attribute of the weight.
          factor: `Kept` → positive number, 1 where all channels are kept.
        """
        self.record.scales[id(master_variable(self._resolve(weight)))] = factor

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
        found = self._resolve(name)
        if not any(type(found) is kind and computes_as(found, kind) for kind in kinds):
            raise NoRule(f"another {name} than {' or '.join(kind.__name__ for kind in kinds)} makes it has no rule")
        return found

    def _cut(self, weight: str, axis: int, ids: np.ndarray, role: str) -> None:
        variable = self._resolve(weight)
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
        key = (self._prefix + weight, axis)
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

    def _resolve(self, weight: str) -> Any:
        found = self.layer
        for name in weight.split("."):
            found = getattr(found, name)
        return found

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
            first = self.record.shared.setdefault(self._prefix + key, ids)
            if first is not ids:
                self.ties.tie(first, ids)

        def inside(config: dict[str, Any], kept: Kept) -> None:
            for part in path:
                if part not in config:
                    return
                config = config[part]["config"]
            edit(config, kept)

        self.record.edits.setdefault(self._prefix + key, inside)

    def edit_arguments(self, edit: ArgumentEdit) -> None:
        """Declares how the arguments of this call change: `edit` gets them by name and modifies them in place."""
        self.argument_edits.append(edit)

    def inner(self, part: str, inputs: list[Labels], output_shapes: list[Shape], key: str | None = None) -> LayerCall:
        """Returns the call of the inner layer in attribute `part`, whose config is under `key`, by default `part`."""
        call = LayerCall(
            self.record,
            inputs,
            output_shapes,
            self.arguments,
            self.ties,
            prefix=f"{self._prefix}{part}.",
            config_path=(*self._config_path, key or part),
        )
        call.layer, call.products = getattr(self.layer, part), self.products
        return call

    def output(self, ids: np.ndarray, axis: int, index: int = 0) -> Labels:
        """Returns the labels of an output with these channels along `axis`."""
        return Labels.on_axis(ids, axis, self.output_shapes[index])

    def same(self, labels: Labels, index: int = 0) -> Labels:
        """Returns the labels of an output with the channels of an input on the same axes; other sizes may differ."""
        return Labels(labels.ids, self.output_shapes[index])

    def activated(self, labels: Labels, activation: Any) -> Labels:
        """Returns the labels behind an activation function; one that mixes channels makes them stay."""
        if isinstance(activation, keras.layers.Layer):
            # Its weights keep their size.
            self.record.known.update(id(each) for each in variables_of(activation))
        reason = mixes_channels(activation, labels)
        if reason:
            self.ties.pin(labels.ids, f"{self.record.path}: {reason}")
        return labels

    def barrier(self, reason: str) -> list[Labels]:
        """Makes all channels stay that go in or come out; returns the labels of all outputs.

        So do those of all other calls of the layer, which keeps its size.

        Args:
          reason: why, as plans and tables show it.
        """
        reason = f"{self.record.path}: {reason}"
        record = self.record
        record.blocked = record.blocked or reason
        record.edits.clear()
        record.scales.clear()
        own = [labels.of.ids if isinstance(labels, Sizes) else labels.ids for labels in self.inputs]
        for ids in (*own, *record.met, *(cut.ids for cut in record.cuts.values()), *record.fresh.values()):
            self.ties.pin(ids, reason)
        return [Labels(self.ties.new_pinned(reason).reshape((1,) * len(shape)), shape) for shape in self.output_shapes]


def _is_plain_variable(found: Any) -> bool:
    """Returns whether an object is a variable of TensorFlow or Keras, which returns the value assigned to it."""
    module = type(found).__module__
    return isinstance(master_variable(found), tf.Variable) and module.startswith(("tensorflow.", "tf_keras."))
