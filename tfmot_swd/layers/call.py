"""Layer calls as channel rules see them: labels of the inputs and outputs, beside what a rule declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import SlicingOpLambda, keras, variables_of
from tfmot_swd.keras2.graph import GraphCall
from tfmot_swd.keras2.layer_weights import attribute_at
from tfmot_swd.keras2.overrides import computes_as
from tfmot_swd.layers.activations import is_unknown, mixes_channels, name_of
from tfmot_swd.layers.declarations import Declarations
from tfmot_swd.layers.labels import Labels, Shape, Sizes, Ties
from tfmot_swd.layers.record import LayerRecord, NoRule, Product

# (record, function, structure of labels, other arguments, wholly) → labels of the flattened results, and the products
# of tensors inside; it raises NoRule.
FunctionWalk = Callable[[LayerRecord, Any, Any, Mapping[str, Any], bool], tuple[list[Labels], list[Product]]]


class LayerCall(Declarations):
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
      config_path: keys, and places in lists, that lead to the config of the inner layer.
      walk_function: what `through` asks, of the walk through the model.
      approximate: whether channels may leave where that changes more than what reads them.
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
        config_path: tuple[str | int, ...] = (),
        walk_function: FunctionWalk | None = None,
        approximate: bool = False,
    ) -> None:
        super().__init__(record, inputs, ties, prefix=prefix, config_path=config_path)
        self.output_shapes = output_shapes
        self.arguments = arguments
        self._walk_function = walk_function
        self._approximate = approximate

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
        key = f"{self.prefix}{key}"
        if key not in self.record.fresh:
            self.record.fresh[key] = self.ties.new(count)
        return self.record.fresh[key]

    def inner(
        self, part: str, inputs: list[Labels], output_shapes: list[Shape], key: str | tuple[str | int, ...] = ()
    ) -> LayerCall:
        """Returns the call of the inner layer in attribute `part`, with its config under `key`, by default `part`."""
        call = LayerCall(
            self.record,
            inputs,
            output_shapes,
            self.arguments,
            self.ties,
            prefix=f"{self.prefix}{part}.",
            config_path=(*self._config_path, *((key,) if isinstance(key, str) else key or (part,))),
            walk_function=self._walk_function,
            approximate=self._approximate,
        )
        call.layer, call.products = attribute_at(self.layer, part), self.products
        return call

    def output(self, ids: np.ndarray, axis: int, index: int = 0) -> Labels:
        """Returns the labels of an output with these channels along `axis`."""
        return Labels.on_axis(ids, axis, self.output_shapes[index])

    def same(self, labels: Labels, index: int = 0) -> Labels:
        """Returns the labels of an output with the channels of an input on the same axes; other sizes may differ."""
        return Labels(labels.ids, self.output_shapes[index])

    def may_approximate(self, change: str) -> bool:
        """Returns whether channels may leave although that changes more than what reads them.

        It is asked for by the user (`channel_groups(model, approximate=True)`), and never so by default.

        Args:
          change: what it changes, as plans show it.
        """
        if self._approximate:
            self.record.approximations[change] = None
        return self._approximate

    def activated(self, labels: Labels, activation: Any) -> Labels:
        """Returns the labels behind an activation function; one that mixes channels makes them stay.

        What a function of the user's does is found by `through`.
        """
        slopes = type(activation) is keras.layers.PReLU and computes_as(activation, keras.layers.PReLU)
        if slopes and activation is getattr(self.layer, "activation", None):
            return self.scaled_by("activation.alpha", labels)
        if isinstance(activation, keras.layers.Layer):
            # Its weights keep their size.
            self.record.known.update(id(each) for each in variables_of(activation))
        reason = mixes_channels(activation, labels)
        if reason and is_unknown(activation):
            reason = self._reason_inside(activation, labels)
        if reason:
            self.ties.pin(labels.ids, f"{self.record.path}: {reason}")
        return labels

    def _reason_inside(self, activation: Any, labels: Labels) -> str:
        """Returns why a function of the user's makes channels stay; "" where it need not, or an operation in it did."""
        if any(ids not in (1, size) for ids, size in zip(labels.ids.shape, labels.shape, strict=True)):
            raise NoRule(f"activation {name_of(activation)} changes the shape of what it gets")
        try:
            found = self.through(activation, labels)
        except NoRule as error:
            return str(error)
        (first, *_) = found
        if first.shape != labels.shape:
            raise NoRule(f"activation {name_of(activation)} changes the shape of what it gets")
        in_place = len(found) == 1 and first.shape == labels.shape and np.array_equal(first.ids, labels.ids)
        return "" if in_place or self.ties.are_pinned(first.ids) else f"activation {name_of(activation)} moves channels"

    def through(
        self, function: Any, inputs: Any, arguments: Mapping[str, Any] | None = None, *, wholly: bool = False
    ) -> list[Labels]:
        """Returns the labels of the tensors that a function of the user's returns, by the rules for its operations.

        The function is called on symbolic tensors. It is called as it is in the smaller model, so numbers of channels
        inside it must be those of the tensors that it gets.

        Args:
          function: of a tensor or a structure of tensors.
          inputs: labels of these, in the structure.
          arguments: its other arguments by name.
          wholly: whether a function in which channels must stay is not followed at all.

        Raises:
          NoRule: it cannot be followed.
        """
        if self._walk_function is None:
            raise NoRule(f"function {name_of(function)} is not followed here")
        found, products = self._walk_function(self.record, function, inputs, dict(arguments or {}), wholly)
        self.products += products
        return found

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


def labelled_arguments(made: GraphCall, known: Mapping[int, Labels]) -> dict[str, Any]:
    """Returns the arguments of a call by name, tensors replaced by their labels, which `known` has by identity."""
    return {
        name: tf.nest.map_structure(lambda each: known.get(id(each), each), value)
        for name, value in made.bind().arguments.items()
    }


def pin_what_is_no_operand(made: GraphCall, known: Mapping[int, Labels], ties: Ties, path: str) -> None:
    """Makes the channels stay of a tensor that a call takes as a mask or a flag, or whose sizes it computes with.

    Args:
      made: the call.
      known: labels of tensors, by identity.
      ties: of the model.
      path: of the layer.
    """
    operands = made.operands()
    for tensor in made.inputs:
        if not any(tensor is each for each in operands):
            _pin(ties, known[id(tensor)], f"{path}: given as a mask or a flag")
    if not isinstance(made.layer, SlicingOpLambda):
        for labels in (known[id(tensor)] for tensor in operands):
            if isinstance(labels, Sizes):
                _pin(ties, labels, f"{path}: the sizes of a tensor are computed with")


def _pin(ties: Ties, labels: Labels, reason: str) -> None:
    ties.pin(labels.of.ids if isinstance(labels, Sizes) else labels.ids, reason)
