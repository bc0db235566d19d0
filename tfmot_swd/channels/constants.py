"""Constant propagation through the graph of a model in inference mode: channels with the same value for all inputs.

A filter of zeros outputs its bias at every position; batch normalization, activations and sums turn it into other
constants. Values are arrays of the shape of the labels' ids, with NaN where a channel is not constant.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.channels.walk import Trace
from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.graph import GraphCall, propagate
from tfmot_swd.layers.activations import is_elementwise
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.constants import Linear, Moves, PerElement
from tfmot_swd.layers.labels import Classes, Labels, Ties
from tfmot_swd.layers.record import LayerRecord
from tfmot_swd.layers.registry import constants_of, rule_of

Inputs = dict[tuple[int, str | int], list[np.ndarray]]


def constant_inputs(model: Any, trace: Trace) -> Inputs:
    """Returns the constants that each consuming weight reads: (layer identity, weight) → one array per call.

    An array has the value of each channel along the weight's consuming axis, float64, NaN where it is not constant.
    The constant factors of products of tensors are there too: (call key, place among its operands) → one array of the
    shape of the operand's ids each time that the call is made.
    Nothing is known of the inputs of weights that are missing. Where a value cannot be computed it is NaN, and
    `trace.failures` has the reason.

    Args:
      model: a Sequential or Functional model.
      trace: `trace_channels(model)`.
    """
    found: Inputs = {}
    _model(model, [np.full(trace.labels[id(tensor)].ids.shape, np.nan) for tensor in model.inputs], trace, found)
    return found


def _model(model: Any, inputs: list[np.ndarray], trace: Trace, found: Inputs) -> list[np.ndarray]:
    def visit(call: GraphCall, values: dict[int, np.ndarray]) -> list[np.ndarray]:
        labels = [trace.labels[id(tensor)] for tensor in call.outputs]
        # Constants among the inputs of a layer count as not constant: their channels stay anyway.
        read = [values.get(id(each), np.full((1,) * len(each.shape), np.nan)) for each in call.operands()]
        if not isinstance(call.layer, keras.Model):
            return _guarded(call, read, labels, trace, found)
        fitting = zip(_model(call.layer, read, trace, found), labels, strict=True)
        return [value if value.shape == each.ids.shape else _unknown(each) for value, each in fitting]

    return propagate(model, inputs, visit)


def _unknown(labels: Labels) -> np.ndarray:
    return np.full(labels.ids.shape, np.nan)


def _guarded(
    call: GraphCall, inputs: list[np.ndarray], outputs: list[Labels], trace: Trace, found: Inputs
) -> list[np.ndarray]:
    """Returns the constant outputs of a call; all NaN where computing them fails."""
    record = trace.records[id(call.layer)]
    if record.blocked:
        return [_unknown(labels) for labels in outputs]
    for place in {place for product in trace.products[call.key] for place, _ in product.factors}:
        found.setdefault((call.key, place), []).append(inputs[place])
    try:
        return _called(call, inputs, outputs, trace, found)
    except Exception as error:  # An unknown constant keeps a channel that could be removed; an error would stop it all.
        trace.failures.append(f"{record.path}: its constants could not be found: {type(error).__name__}: {error}")
        for key in [key for key in found if key[0] == id(call.layer)]:
            del found[key]
        return [_unknown(labels) for labels in outputs]


def _called(
    call: GraphCall, inputs: list[np.ndarray], outputs: list[Labels], trace: Trace, found: Inputs
) -> list[np.ndarray]:
    layer, rule = call.layer, constants_of(call.layer)
    unknown = [_unknown(labels) for labels in outputs]
    if rule is None or rule_of(layer) is None:
        return unknown
    if isinstance(rule, Linear):
        if len(call.inputs) != 1 or len(inputs) != 1:
            return unknown
        labels = trace.labels[id(call.inputs[0])]
        axis = 1 if getattr(layer, "data_format", None) == "channels_first" else labels.rank - 1
        size = labels.shape[axis]
        if set(labels.varying) - {axis} or size is None:
            return unknown
        line = np.broadcast_to(inputs[0].reshape(-1), (size,))
        found.setdefault((id(layer), rule.weight), []).append(line)
        value = rule.outputs(layer, line)
        return [_activated(layer, value, trace.records[id(layer)]).reshape(outputs[0].ids.shape)]
    if isinstance(rule, PerElement) and not _is_elementwise(rule.function, trace.records[id(layer)]):
        return unknown
    if all(np.isnan(value).all() for value in inputs):
        return unknown
    made = _moved(call, inputs, trace, rule) if isinstance(rule, Moves) else [_evaluated(call, inputs, rule)]
    fits = [value.shape for value in made] == [labels.ids.shape for labels in outputs]
    return made if fits else unknown


def _moved(made: GraphCall, inputs: list[np.ndarray], trace: Trace, constants: Moves) -> list[np.ndarray]:
    """Runs the layer's channel rule on labels that number the input's values, and reads off where they have moved."""
    rule = rule_of(made.layer)
    ties, places, numbered = Ties(), [], {}
    tensors = made.operands()
    for tensor, value in zip(tensors, inputs, strict=True):
        ids = ties.new(value.size).reshape(value.shape)
        places.append(value.reshape(-1))
        shape = trace.labels[id(tensor)].shape if id(tensor) in trace.labels else tuple(tensor.shape)
        numbered[id(tensor)] = Labels(ids, shape)
    table = np.concatenate(places)
    arguments = {
        name: tf.nest.map_structure(lambda each: numbered.get(id(each), each), given)
        for name, given in made.bind().arguments.items()
    }
    shapes = [tuple(tensor.shape.as_list()) for tensor in made.outputs]
    ordered = [numbered[id(tensor)] for tensor in tensors]
    call = LayerCall(LayerRecord(made.layer.name, made.layer), ordered, shapes, arguments, ties)
    if rule is None:
        raise ValueError(f"No channel rule. Received: {made.layer.name!r}")
    result = rule(call)
    result = [result] if isinstance(result, Labels) else result
    known = np.concatenate([table, np.full(ties.count - table.size, np.nan)])
    if ties.ties_anything:
        known = _joined(known, ties.resolve())
    values = [known[labels.ids] for labels in result]
    return [np.where(value == 0.0, 0.0, np.nan) for value in values] if constants.pads_with_zeros else values


def _joined(values: np.ndarray, classes: Classes) -> np.ndarray:
    """Returns the value of each label where labels are tied: that of all, or NaN where they differ.

    Tied labels are channels of several places or tensors side by side, as of the heads of an attention, or in a
    concatenation along the height.
    """
    lowest, highest = np.full(values.shape, np.inf), np.full(values.shape, -np.inf)
    # What is not a number makes the minimum of its class one that is none.
    with np.errstate(invalid="ignore"):
        np.minimum.at(lowest, classes.root, values)
        np.maximum.at(highest, classes.root, values)
    same = np.where((lowest == highest) & ~classes.is_pinned(np.arange(values.size)), lowest, np.nan)
    return np.asarray(same[classes.root])


def _evaluated(call: GraphCall, inputs: list[np.ndarray], constants: PerElement) -> np.ndarray:
    """Calls a layer that acts on each element alone on the constants; NaN where an input is not constant."""
    filled = {
        id(tensor): tf.constant(np.nan_to_num(value), tensor.dtype)
        for tensor, value in zip(call.operands(), inputs, strict=True)
    }
    bound = call.bind()
    args, kwargs = tf.nest.map_structure(lambda each: filled.get(id(each), each), (list(bound.args), bound.kwargs))
    result = np.asarray(call.layer(*args, **kwargs), np.float64)
    shapes = [value.shape for value in inputs]
    if np.broadcast_shapes(*shapes) != result.shape:
        return np.full((0,), np.nan)
    unknown = np.zeros(result.shape, bool)
    zero = np.zeros(result.shape, bool)
    for value in inputs:
        unknown |= np.isnan(value)
        zero |= value == 0.0
    found = np.where(unknown, np.nan, result)
    return np.where(zero, 0.0, found) if constants.zero_wins else found


def _activated(layer: Any, line: np.ndarray, record: LayerRecord) -> np.ndarray:
    activation = getattr(layer, "activation", None)
    if activation is None:
        return line
    if not _is_elementwise(activation, record):
        return np.full(line.shape, np.nan)
    result = np.asarray(activation(tf.constant(np.nan_to_num(line), tf.float32)), np.float64)
    # A function may have a number for each position.
    return np.where(np.isnan(line), np.nan, result) if result.shape == line.shape else np.full(line.shape, np.nan)


def _is_elementwise(function: Any, record: LayerRecord) -> bool:
    """Returns whether a function acts on each element alone, as is known of it or was found in the walk."""
    return is_elementwise(function) or id(function) in record.elementwise
