"""Operators as Keras records them in a functional model: x + y, tf.nn.relu, tf.concat, slices, tf.reshape…

A rule here gets the call and its arguments by name; the table at the end says which function has which.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from tf_keras.src.layers.core.tf_op_layer import SlicingOpLambda, TFOpLambda

from tfmot_swd.channels.call import Kept, LayerCall
from tfmot_swd.channels.labels import Labels
from tfmot_swd.channels.registry import register_channel_rule
from tfmot_swd.channels.rules import structure
from tfmot_swd.channels.rules.merging import joined, tied

Found = Labels | list[Labels]
OperatorRule = Callable[[LayerCall], Found]


@register_channel_rule(TFOpLambda)
def operator(call: LayerCall) -> Found:
    symbol = (call.layer.symbol or getattr(call.layer.function, "__name__", "")).removeprefix("compat.v1.")
    rule = OPERATORS.get(symbol)
    return call.barrier(f"no channel rule for tf.{symbol}") if rule is None else rule(call)


def elementwise(call: LayerCall) -> Found:
    """A function of tensors and constants; a constant with one number a channel is cut like a weight."""
    if len(call.output_shapes) != 1:
        return call.barrier("an operator of several outputs has no rule")
    found = tied(call, call.inputs, call.output_shape)
    for name, value in call.arguments.items():
        if all(isinstance(each, str | bool | int | float | tf.DType | Labels | None) for each in _parts(value)):
            continue
        if not isinstance(value, np.ndarray | tf.Tensor | list | tuple):
            return call.barrier(f"argument {name!r} of class {type(value).__name__}")
        if not _cut_constant(call, name, value, found):
            return call.barrier(f"argument {name!r} does not have a number for each channel")
    return found


def _parts(value: Any) -> list[Any]:
    """Returns the tensors of a list of tensors, as tf.add_n takes it; anything else by itself."""
    is_list = isinstance(value, list | tuple) and any(isinstance(each, Labels) for each in value)
    return list(value) if is_list else [value]


def _cut_constant(call: LayerCall, name: str, value: Any, labels: Labels) -> bool:
    """Says how a constant operand follows the channels; returns whether it can."""
    try:
        shape = np.shape(value)
    except ValueError:
        return False
    if len(shape) > labels.rank:
        return False
    first = labels.rank - len(shape)
    axes = [axis - first for axis in labels.varying if axis >= first and shape[axis - first] > 1]
    if any(shape[axis] != labels.ids.shape[axis + first] for axis in axes):
        return False

    def edit(arguments: dict[str, Any], kept: Kept) -> None:
        constant = np.asarray(arguments[name])
        for axis in axes:
            constant = np.compress(_stays(labels, axis + first, kept), constant, axis)
        like = arguments[name]
        arguments[name] = tf.constant(constant, like.dtype) if isinstance(like, tf.Tensor) else constant.tolist()

    if axes:
        call.edit_arguments(edit)
    return True


def _stays(labels: Labels, axis: int, kept: Kept) -> np.ndarray:
    others = tuple(each for each in range(labels.ids.ndim) if each != axis)
    return kept.mask(labels.ids).any(axis=others)


def _softmax(call: LayerCall) -> Found:
    axis = call.arguments.get("axis")
    if (-1 if axis is None else axis) % call.input.rank in call.input.varying:
        return call.barrier("softmax looks across channels")
    return call.same(call.input)


def _concat(call: LayerCall) -> Found:
    values = call.arguments["values"]
    if not isinstance(values, list | tuple) or not all(isinstance(each, Labels) for each in values):
        return call.barrier("concatenation with a constant has no rule")
    return joined(call, list(values), int(call.arguments.get("axis", 0)), call.output_shape)


def _split(call: LayerCall) -> Found:
    axis = int(call.arguments.get("axis", 0)) % call.input.rank
    if set(call.input.varying) - {axis}:
        return [call.same(call.input, index) for index in range(len(call.output_shapes))]
    if call.input.shape[axis] is None:
        return call.barrier("a split of an axis of unknown size")
    sizes = [shape[axis] for shape in call.output_shapes]
    parts = np.split(call.input.along(axis), np.cumsum(sizes)[:-1])  # type: ignore[arg-type]

    def edit(arguments: dict[str, Any], kept: Kept) -> None:
        arguments["num_or_size_splits"] = [kept.count(part) for part in parts]

    if call.input.varying:
        call.edit_arguments(edit)
    return [call.output(part, axis, index) for index, part in enumerate(parts)]


def _reduce(call: LayerCall) -> Found:
    labels, axis = call.input, call.arguments.get("axis")
    axes = range(labels.rank) if axis is None else np.atleast_1d(axis).tolist()
    gone = {each % labels.rank for each in axes}
    if gone & set(labels.varying) or (not labels.varying and labels.rank - 1 in gone):
        return call.barrier("a reduction over channels")
    if call.arguments.get("keepdims"):
        return call.same(labels)
    return Labels(labels.ids.reshape([s for each, s in enumerate(labels.ids.shape) if each not in gone]), call.output_shape)


def _reshape(call: LayerCall) -> Found:
    found = structure.reshaped(call, call.input, call.output_shape)
    shape = call.arguments["shape"]
    if isinstance(shape, Labels):
        return call.barrier("a reshape to a computed shape")

    def edit(arguments: dict[str, Any], kept: Kept) -> None:
        given = arguments["shape"]
        given = given.numpy().tolist() if isinstance(given, tf.Tensor) else list(given)
        arguments["shape"] = list(structure.smaller_shape(given, found, kept))

    call.edit_arguments(edit)
    return found


def _transpose(call: LayerCall) -> Found:
    order = call.arguments.get("perm")
    order = tuple(reversed(range(call.input.rank))) if order is None else tuple(int(each) for each in order)
    return structure.transposed(call.input, order)


def _squeeze(call: LayerCall) -> Found:
    labels, axis = call.input, call.arguments.get("axis")
    if axis is None:
        gone = {each for each, size in enumerate(labels.shape) if size == 1}
    else:
        gone = {each % labels.rank for each in np.atleast_1d(axis).tolist()}
    return Labels(labels.ids.reshape([s for each, s in enumerate(labels.ids.shape) if each not in gone]), call.output_shape)


def _expand_dims(call: LayerCall) -> Found:
    return Labels(np.expand_dims(call.input.ids, int(call.arguments["axis"])), call.output_shape)


def _per_channel(call: LayerCall) -> Found:
    """Pooling and resizing of (batch, …, channels)."""
    if call.arguments.get("data_format") not in (None, "NHWC", "NWC", "NDHWC"):
        return call.barrier("channels first in an operator has no rule")
    ids = call.channels(call.input, -1)
    return call.output(ids, -1) if call.input.varying else call.same(call.input)


def _pad(call: LayerCall) -> Found:
    paddings = call.arguments["paddings"]
    if isinstance(paddings, Labels) or any(np.asarray(paddings)[axis].any() for axis in call.input.varying):
        return call.barrier("padding along the channels")
    if not call.input.varying and np.asarray(paddings)[-1].any():
        return call.barrier("padding along the channels")
    return call.same(call.input)


def _sizes(call: LayerCall) -> Found:
    """tf.shape: numbers, not channels; they follow by themselves where they are computed anew."""
    if call.input.varying:
        return call.barrier("its sizes are computed with")
    return call.barrier("sizes")


@register_channel_rule(SlicingOpLambda)
def slicing(call: LayerCall) -> Found:
    """x[:, 1:3, ..., :8]: along the channels, contiguous parts only."""
    labels = call.input
    spec = call.arguments.get("slice_spec", call.arguments.get("key"))
    plan = _sliced_axes(spec, labels.rank)
    if plan is None or any(isinstance(value, Labels) for value in tf.nest.flatten(call.arguments)[1:]):
        return call.barrier("a slice with computed bounds, or with a list, has no rule")
    sizes: list[int] = []
    ids = labels.ids
    edits: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for axis, (place, part) in enumerate(plan):
        if part is None:
            continue
        if axis in labels.varying:
            if isinstance(part, int) or part.step not in (None, 1) or len(labels.varying) > 1:
                return call.barrier("a slice that takes single channels, or every other one")
            start, stop, _ = part.indices(ids.shape[axis])
            line = labels.along(axis)
            edits[place] = line[:start], line[start:stop]
            ids = np.take(ids, np.arange(start, stop), axis)
        elif axis == labels.rank - 1 and not labels.varying:
            continue
    kept_axes = [axis for axis, (_, part) in enumerate(plan) if not isinstance(part, int)]
    sizes = [ids.shape[axis] for axis in kept_axes]

    def edit(arguments: dict[str, Any], kept: Kept) -> None:
        name = "slice_spec" if "slice_spec" in arguments else "key"
        whole = isinstance(arguments[name], list | tuple)
        items = list(arguments[name]) if whole else [arguments[name]]
        for place, (before, inside) in edits.items():
            first = kept.count(before)
            items[place] = _like(items[place], first, first + kept.count(inside))
        arguments[name] = tuple(items) if whole else items[0]

    if edits:
        call.edit_arguments(edit)
    if len(sizes) != len(call.output_shape):
        return call.barrier("a slice that adds axes has no rule")
    return Labels(ids.reshape(sizes), call.output_shape)


def _sliced_axes(spec: Any, rank: int) -> list[tuple[int, Any]] | None:
    """Returns for each axis the place of its item in the spec and a slice, a number or None for all of it."""
    items = list(spec) if isinstance(spec, list | tuple) else [spec]
    if sum(item is Ellipsis for item in items) > 1 or any(item is None for item in items):
        return None
    dots = next((place for place, item in enumerate(items) if item is Ellipsis), len(items))
    after = [place for place in range(dots + 1, len(items))]
    plan: list[tuple[int, Any]] = [(-1, None)] * rank
    for axis, place in [*enumerate(range(dots)), *((rank - len(after) + i, place) for i, place in enumerate(after))]:
        part = _as_slice(items[place])
        if part is None or not 0 <= axis < rank:
            return None
        plan[axis] = place, part
    return plan


def _as_slice(item: Any) -> slice | int | None:
    if isinstance(item, dict) and {"start", "stop", "step"} <= set(item):
        item = slice(item["start"], item["stop"], item["step"])
    if isinstance(item, slice):
        bounds = (item.start, item.stop, item.step)
        return item if all(each is None or isinstance(each, int | np.integer) for each in bounds) else None
    return int(item) if isinstance(item, int | np.integer) else None


def _like(item: Any, start: int, stop: int) -> Any:
    if isinstance(item, dict):
        return {**item, "start": start, "stop": stop}
    return slice(start, stop, None)


_ELEMENTWISE = """
    __operators__.add math.add math.add_n math.subtract math.multiply math.multiply_no_nan math.divide math.truediv
    math.divide_no_nan math.maximum math.minimum math.pow math.squared_difference math.negative math.abs math.square
    math.sqrt math.rsqrt math.exp math.log math.log1p math.erf math.floor math.ceil math.round math.sign math.sin math.cos
    math.reciprocal math.reciprocal_no_nan math.tanh math.sigmoid math.softplus nn.softsign nn.softplus nn.sigmoid nn.tanh
    nn.relu nn.relu6 nn.leaky_relu nn.elu nn.selu nn.gelu nn.silu nn.bias_add nn.dropout clip_by_value cast identity
    stop_gradient math.greater math.greater_equal math.less math.less_equal where
"""
OPERATORS: dict[str, OperatorRule] = {
    **{name: elementwise for name in _ELEMENTWISE.split()},
    "nn.softmax": _softmax,
    "nn.log_softmax": _softmax,
    "concat": _concat,
    "split": _split,
    "math.reduce_mean": _reduce,
    "math.reduce_sum": _reduce,
    "math.reduce_max": _reduce,
    "math.reduce_min": _reduce,
    "reshape": _reshape,
    "transpose": _transpose,
    "squeeze": _squeeze,
    "expand_dims": _expand_dims,
    "pad": _pad,
    "image.resize": _per_channel,
    "nn.max_pool": _per_channel,
    "nn.avg_pool": _per_channel,
    "nn.max_pool2d": _per_channel,
    "shape": _sizes,
}
