"""Which channels are constant, whatever the input: pushed forward through the graph in inference mode.

A filter whose weights are all zero gives its bias at every place; batch norm, activations and sums make other constants
of it. Values are arrays of the shape of the labels' ids, with NaN where a channel is not constant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.channels.walk import Trace, bound_arguments, inputs_of, nodes_of
from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.overrides import computes_as
from tfmot_swd.layers import elementwise, merging, normalization, operators, spatial, structure
from tfmot_swd.layers.activations import mixes_channels
from tfmot_swd.layers.call import LayerCall, LayerRecord
from tfmot_swd.layers.labels import Labels, Ties
from tfmot_swd.layers.registry import rule_of

layers = keras.layers

# A rule that moves channels and does not change their values.
_MOVES: frozenset[Any] = frozenset(
    {
        structure.flatten,
        structure.reshape,
        structure.permute,
        structure.repeat_vector,
        spatial.per_channel,
        spatial.global_pooling,
        merging.concatenate,
        operators.slicing,
    }
)
_MOVING_OPERATORS = frozenset(
    {"concat", "split", "reshape", "transpose", "squeeze", "expand_dims"}
    | {f"math.reduce_{name}" for name in ("mean", "max", "min")}
)
# A rule of layers that act on each element alone, so that they can be asked for the value by calling them.
_EVALUATED: frozenset[Any] = frozenset(
    {
        elementwise.passes,
        elementwise.activation,
        elementwise.prelu,
        elementwise.rescaling,
        elementwise.layer_scale,
        elementwise.scaled_sum,
        merging.elementwise_merge,
        normalization.batch_normalization,
    }
)
_PADDED = (layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D)

Inputs = dict[tuple[int, str], list[np.ndarray]]


def constant_inputs(model: Any, trace: Trace) -> Inputs:
    """Returns what each consuming weight reads: (layer identity, weight) → one array a call.

    An array has the value of each channel along the weight's consuming axis, NaN where it is not constant. Weights
    that are not in the result may read anything. Where a value cannot be computed it is NaN, and `trace.failures` says
    why.
    """
    found: Inputs = {}
    _model(model, [np.full(trace.labels[id(tensor)].ids.shape, np.nan) for tensor in model.inputs], trace, found)
    return found


def _model(model: Any, inputs: list[np.ndarray], trace: Trace, found: Inputs) -> list[np.ndarray]:
    values = {id(tensor): value for tensor, value in zip(model.inputs, inputs, strict=True)}
    for node in nodes_of(model):
        if node.is_input:
            continue
        made = tf.nest.flatten(node.outputs)
        labels = [trace.labels[id(tensor)] for tensor in made]
        # Constants among the inputs of a layer are not told from what changes: their channels stay anyway.
        read = [values.get(id(each), np.full((1,) * len(each.shape), np.nan)) for each in inputs_of(node)]
        if isinstance(node.layer, keras.Model):
            outputs = _model(node.layer, read, trace, found)
            fitting = zip(outputs, labels, strict=True)
            outputs = [value if value.shape == each.ids.shape else _unknown(each) for value, each in fitting]
        else:
            outputs = _guarded(node, read, labels, trace, found)
        for tensor, value in zip(made, outputs, strict=True):
            values[id(tensor)] = value
    return [values[id(tensor)] for tensor in model.outputs]


def _unknown(labels: Labels) -> np.ndarray:
    return np.full(labels.ids.shape, np.nan)


def _guarded(
    node: Any, inputs: list[np.ndarray], outputs: list[Labels], trace: Trace, found: Inputs
) -> list[np.ndarray]:
    """Returns what a call makes of constants; nothing is known of it where that cannot be found out."""
    record = trace.records[id(node.layer)]
    if record.blocked:
        return [_unknown(labels) for labels in outputs]
    try:
        return _call(node, inputs, outputs, trace, found)
    except Exception as error:  # What is not known costs channels that could leave, an error the whole model.
        trace.failures.append(f"{record.path}: its constants could not be found: {type(error).__name__}: {error}")
        found.pop((id(node.layer), _consuming(node.layer)), None)
        return [_unknown(labels) for labels in outputs]


def _call(node: Any, inputs: list[np.ndarray], outputs: list[Labels], trace: Trace, found: Inputs) -> list[np.ndarray]:
    layer, rule = node.layer, rule_of(node.layer)
    unknown = [_unknown(labels) for labels in outputs]
    if rule is None:
        return unknown
    kind = linear_kind(layer)
    if kind is not None and len(node.keras_inputs) == len(inputs) == 1:
        linear, labels = _LINEAR[kind], trace.labels[id(node.keras_inputs[0])]
        axis = 1 if getattr(layer, "data_format", None) == "channels_first" else labels.rank - 1
        size = labels.shape[axis]
        if set(labels.varying) - {axis} or size is None:
            return unknown
        line = np.broadcast_to(inputs[0].reshape(-1), (size,))
        found.setdefault((id(layer), _consuming(layer)), []).append(line)
        return [_activated(layer, linear(layer, line)).reshape(outputs[0].ids.shape)]
    if all(np.isnan(value).all() for value in inputs):
        return unknown
    operator = rule is operators.operator
    symbol = operators.symbol_of(layer) if operator else ""
    if rule in _MOVES or (operator and symbol in _MOVING_OPERATORS):
        moved = _moved(node, inputs, trace, len(outputs))
        fits = all(value.shape == labels.ids.shape for value, labels in zip(moved, outputs, strict=True))
        return [_padded(layer, value) for value in moved] if fits else unknown
    if rule in _EVALUATED or (operator and operators.OPERATORS.get(symbol) is operators.elementwise):
        value = _evaluated(node, inputs, zero_wins=isinstance(layer, layers.Multiply) or symbol == "math.multiply")
        return [value] if value.shape == outputs[0].ids.shape else unknown
    return unknown


def _moved(node: Any, inputs: list[np.ndarray], trace: Trace, count: int) -> list[np.ndarray]:
    """Runs the layer's own rule on labels that number the input's values, and reads off where they went."""
    rule = rule_of(node.layer)
    ties, places, numbered = Ties(), [], {}
    tensors = inputs_of(node)
    for tensor, value in zip(tensors, inputs, strict=True):
        ids = ties.new(value.size).reshape(value.shape)
        places.append(value.reshape(-1))
        shape = trace.labels[id(tensor)].shape if id(tensor) in trace.labels else tuple(tensor.shape)
        numbered[id(tensor)] = Labels(ids, shape)
    table = np.concatenate(places)
    arguments = {
        name: tf.nest.map_structure(lambda each: numbered.get(id(each), each), given)
        for name, given in bound_arguments(node).arguments.items()
    }
    shapes = [tuple(tensor.shape.as_list()) for tensor in tf.nest.flatten(node.outputs)]
    ordered = [numbered[id(tensor)] for tensor in tensors]
    call = LayerCall(LayerRecord(node.layer.name, node.layer), ordered, shapes, arguments, ties)
    if rule is None:
        raise ValueError(f"No channel rule. Received: {node.layer.name!r}")
    result = rule(call)
    result = [result] if isinstance(result, Labels) else result
    known = np.concatenate([table, np.full(ties.count - table.size, np.nan)])
    # Tied labels are channels of several tensors side by side, as in a concatenation along the height: two values.
    if ties.ties_anything:
        return [np.full((0,), np.nan)] * count
    return [known[labels.ids] for labels in result]


def _padded(layer: Any, value: np.ndarray) -> np.ndarray:
    """Padding writes zeros beside a constant."""
    return np.where(value == 0.0, 0.0, np.nan) if isinstance(layer, _PADDED) else value


def _evaluated(node: Any, inputs: list[np.ndarray], zero_wins: bool) -> np.ndarray:
    """Calls a layer that acts on each element alone with the constants; NaN where an input is not constant."""
    filled = {
        id(tensor): tf.constant(np.nan_to_num(value), tensor.dtype)
        for tensor, value in zip(inputs_of(node), inputs, strict=True)
    }
    bound = bound_arguments(node)
    args, kwargs = tf.nest.map_structure(lambda each: filled.get(id(each), each), (list(bound.args), bound.kwargs))
    result = np.asarray(node.layer(*args, **kwargs), np.float64)
    shapes = [value.shape for value in inputs]
    if np.broadcast_shapes(*shapes) != result.shape:
        return np.full((0,), np.nan)
    unknown = np.zeros(result.shape, bool)
    zero = np.zeros(result.shape, bool)
    for value in inputs:
        unknown |= np.isnan(value)
        zero |= value == 0.0
    return np.where(zero, 0.0, np.where(unknown, np.nan, result)) if zero_wins else np.where(unknown, np.nan, result)


def _activated(layer: Any, line: np.ndarray) -> np.ndarray:
    activation = getattr(layer, "activation", None)
    if activation is None:
        return line
    if mixes_channels(activation, Labels(np.zeros((1, line.size), np.int64) + np.arange(line.size), (None, line.size))):
        return np.full(line.shape, np.nan)
    result = np.asarray(activation(tf.constant(np.nan_to_num(line), tf.float32)), np.float64)
    return np.where(np.isnan(line), np.nan, result)


def linear_kind(layer: Any) -> type | None:
    """Returns the class whose product with weights a layer computes, and nothing else; None for any other layer."""
    kind = next((each for each in type(layer).__mro__ if each in _LINEAR), None)
    return kind if kind is not None and computes_as(layer, kind) else None


def is_unpadded(layer: Any) -> bool:
    """Returns whether every output of a layer reads real inputs only, so that a constant input is a constant there."""
    if isinstance(layer, layers.Dense):
        return True
    sizes = getattr(layer, "kernel_size", ())
    return getattr(layer, "padding", "") == "valid" or all(size == 1 for size in sizes)


def _weighted(line: np.ndarray, kernel: np.ndarray, unpadded: bool) -> np.ndarray:
    """Returns the constants that (…, in, out) makes of constants, without bias."""
    kernel = kernel.reshape(-1, *kernel.shape[-2:]).astype(np.float64)
    used = (kernel != 0.0).any(axis=0)
    total = kernel.sum(axis=0)
    settled = (line == 0.0) | (~np.isnan(line) & unpadded)
    value = np.where(settled, np.nan_to_num(line), 0.0) @ total
    return np.where((used & ~settled[:, None]).any(axis=0), np.nan, value)


def _with_bias(layer: Any, line: np.ndarray) -> np.ndarray:
    return line + layer.bias.numpy().astype(np.float64) if layer.use_bias else line


def _convolution(layer: Any, line: np.ndarray) -> np.ndarray:
    groups = getattr(layer, "groups", 1)
    parts = zip(np.split(line, groups), np.split(layer.kernel.numpy(), groups, axis=-1), strict=True)
    return _with_bias(layer, np.concatenate([_weighted(*part, is_unpadded(layer)) for part in parts]))


def _transposed(layer: Any, line: np.ndarray) -> np.ndarray:
    return _with_bias(layer, _weighted(line, np.swapaxes(layer.kernel.numpy(), -1, -2), False))


def _depthwise(layer: Any, line: np.ndarray) -> np.ndarray:
    return _with_bias(layer, _each(line, layer.depthwise_kernel.numpy(), is_unpadded(layer)))


def _separable(layer: Any, line: np.ndarray) -> np.ndarray:
    between = _each(line, layer.depthwise_kernel.numpy(), is_unpadded(layer))
    return _with_bias(layer, _weighted(between, layer.pointwise_kernel.numpy(), True))


def _each(line: np.ndarray, kernel: np.ndarray, unpadded: bool) -> np.ndarray:
    """Returns the constants that a depthwise kernel (…, in, multiplier) makes."""
    kernel = kernel.reshape(-1, *kernel.shape[-2:]).astype(np.float64)
    settled = ((line == 0.0) | (~np.isnan(line) & unpadded))[:, None]
    value = np.nan_to_num(line)[:, None] * kernel.sum(axis=0)
    return np.where(settled, value, np.where((kernel != 0.0).any(axis=0), np.nan, 0.0)).reshape(-1)


def _consuming(layer: Any) -> str:
    """Returns the weight that reads the input's channels."""
    return "pointwise_kernel" if isinstance(layer, layers.SeparableConv1D | layers.SeparableConv2D) else "kernel"


_LINEAR: dict[type, Callable[[Any, np.ndarray], np.ndarray]] = {
    layers.Dense: _convolution,
    layers.Conv1D: _convolution,
    layers.Conv2D: _convolution,
    layers.Conv3D: _convolution,
    layers.Conv1DTranspose: _transposed,
    layers.Conv2DTranspose: _transposed,
    layers.Conv3DTranspose: _transposed,
    layers.DepthwiseConv1D: _depthwise,
    layers.DepthwiseConv2D: _depthwise,
    layers.SeparableConv1D: _separable,
    layers.SeparableConv2D: _separable,
}
