"""TensorFlow operators in Functional models: x + y, tf.nn.relu, tf.concat, tf.reshape…

A rule gets the call with its arguments by name; `OPERATORS` maps the names of functions to rules.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import TFOpLambda
from tfmot_swd.keras2.graph import function_name, operator_name
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.constants import ConstantsRule, Moves, PerElement
from tfmot_swd.layers.dense import einsum_macs
from tfmot_swd.layers.labels import Labels, Sizes
from tfmot_swd.layers.merging import tied
from tfmot_swd.layers.normalization import APPROXIMATION
from tfmot_swd.layers.products import PRODUCTS
from tfmot_swd.layers.rearranging import REARRANGING, without_axes
from tfmot_swd.layers.record import Kept, axes_with_channels
from tfmot_swd.layers.registry import register_layer
from tfmot_swd.layers.sample import CallShapes, shape_of_argument

Found = Labels | list[Labels]
OperatorRule = Callable[[LayerCall], Found]


_NUMBERS = bool | int | float | np.number | np.bool_
# Arguments of TensorFlow 1 that stand for others.
_WITHOUT_RULE = ("keep_dims", "reduction_indices", "squeeze_dims", "dim", "keep_prob")


def operator(call: LayerCall) -> Found:
    """Applies the rule of the function that the operator calls; a barrier where there is none."""
    symbol = function_name(call.layer)
    rule = OPERATORS.get(symbol)
    if rule is None:
        return call.barrier(f"no channel rule for tf.{symbol or getattr(call.layer.function, '__name__', '')}")
    given = call.arguments
    if any(given.get(name) is not None for name in _WITHOUT_RULE):
        return call.barrier(f"an argument of tf.{symbol} has no rule")
    settings = [given.get(name) for name in ("axis", "perm", "paddings", "ksize", "num_or_size_splits")]
    if any(isinstance(each, Labels) for each in tf.nest.flatten(settings)):
        return call.barrier(f"a computed argument of tf.{symbol} has no rule")
    if str(given.get("data_format") or "").startswith("NC"):
        return call.barrier("channels first in an operator has no rule")
    return rule(call)


def elementwise(call: LayerCall) -> Found:
    """Ties the channels of all operands; a constant with one number per channel is sliced like a weight."""
    if len(call.output_shapes) != 1:
        return call.barrier("an operator of several outputs has no rule")
    if "condition" in call.arguments and call.arguments.get("x") is None:
        return call.barrier("the places where a condition holds have no rule")
    # What tf.add_n takes is a list of operands; elsewhere a list of tensors is one tensor.
    is_sum = call.arguments.keys() & {"inputs"}
    given = {} if is_sum else {name: _packed(call, value) for name, value in call.arguments.items()}
    operands = [value for value in given.values() if isinstance(value, Labels)]
    found = tied(call, call.inputs if is_sum else operands, call.output_shape)
    for name, value in (call.arguments if is_sum else given).items():
        if all(isinstance(each, _NUMBERS | str | tf.DType | Labels | None) for each in _parts(value)):
            continue
        if not isinstance(value, np.ndarray | tf.Tensor | list | tuple):
            return call.barrier(f"argument {name!r} of class {type(value).__name__}")
        if not _cut_constant(call, name, value, found):
            return call.barrier(f"argument {name!r} does not have a number for each channel")
    return found


def _packed(call: LayerCall, value: Any) -> Any:
    """Returns an argument with a list of tensors as the one tensor that TensorFlow stacks it to."""
    is_list = isinstance(value, list | tuple) and any(isinstance(each, Labels) for each in tf.nest.flatten(value))
    return call.packed(value) if is_list else value


def _parts(value: Any) -> list[Any]:
    """Returns the tensors of a list of tensors, as tf.add_n takes it; any other value in a list."""
    is_list = isinstance(value, list | tuple) and any(isinstance(each, Labels) for each in value)
    return list(value) if is_list else [value]


def _cut_constant(call: LayerCall, name: str, value: Any, labels: Labels) -> bool:
    """Declares how a constant operand is sliced with the channels; returns False where it cannot be."""
    if any(isinstance(each, Labels) for each in tf.nest.flatten(value)):
        return False
    shape = np.shape(value)
    if len(shape) > labels.rank:
        return False
    axes = axes_with_channels(shape, labels)
    if any(shape[axis] != labels.ids.shape[axis] for axis in axes):
        return False

    def edit(arguments: dict[str, Any], kept: Kept) -> None:
        like = arguments[name]
        constant = kept.part_of(like, labels)
        arguments[name] = tf.constant(constant, like.dtype) if isinstance(like, tf.Tensor) else constant.tolist()

    if axes:
        call.edit_arguments(edit)
    return True


def _dropout(call: LayerCall) -> Found:
    """Passes channels on; noise that all of them share has size one along their axis."""
    labels, noise = call.operand, call.arguments.pop("noise_shape", None)
    if noise is not None:
        shared = isinstance(noise, list | tuple) and len(noise) == labels.rank
        if not shared or any(noise[axis] != 1 for axis in labels.varying):
            return call.barrier("a noise shape with a number for each channel has no rule")
    return elementwise(call)


def _softmax(call: LayerCall) -> Found:
    axis = call.arguments.get("axis")
    if (-1 if axis is None else axis) % call.operand.rank in call.operand.varying:
        return call.barrier("softmax looks across channels")
    return call.same(call.operand)


def _cumulative(call: LayerCall) -> Found:
    if int(call.arguments.get("axis", 0)) % call.operand.rank in call.operand.varying:
        return call.barrier("a sum or product that runs along the channels")
    return call.same(call.operand)


def _l2_normalize(call: LayerCall) -> Found:
    axis, rank = call.arguments.get("axis"), call.operand.rank
    axes = range(rank) if axis is None else np.atleast_1d(axis).tolist()
    if {each % rank for each in axes} & set(call.operand.varying):
        return call.barrier("l2_normalize looks across channels")
    return call.same(call.operand)


def _reduce(call: LayerCall) -> Found:
    labels, axis = call.operand, call.arguments.get("axis")
    axes = range(labels.rank) if axis is None else np.atleast_1d(axis).tolist()
    gone = {each % labels.rank for each in axes}
    across = gone & set(labels.varying)
    is_mean = function_name(call.layer) in _MEANS
    if across and not (is_mean and across == set(labels.varying) and call.may_approximate(APPROXIMATION)):
        return call.barrier("a reduction over channels")
    if not labels.varying and labels.rank - 1 in gone:
        return call.barrier("a reduction over channels")
    if across:
        ids = call.ties.new_pinned(f"{call.record.path}: numbers, no channels")
        return Labels(ids.reshape((1,) * len(call.output_shape)), call.output_shape)
    if call.arguments.get("keepdims"):
        return call.same(labels)
    return without_axes(labels, gone, call.output_shape)


def _per_channel(call: LayerCall) -> Found:
    """Passes the channels of `(batch, …, channels)` through pooling and resizing."""
    windows = [np.atleast_1d(call.arguments.get(name, 1)) for name in ("ksize", "strides")]
    if any(window.size == call.operand.rank and window[-1] != 1 for window in windows):
        return call.barrier("pooling across channels")
    if call.operand.rank != len(call.output_shape):
        return call.barrier("an image of another rank than the output has no rule")
    ids = call.channels(call.operand, -1)
    return call.output(ids, -1) if call.operand.varying else call.same(call.operand)


def _pad(call: LayerCall) -> Found:
    paddings = np.asarray(call.arguments["paddings"])
    if paddings[-1].any() or any(paddings[axis].any() for axis in call.operand.varying):
        return call.barrier("padding along the channels")
    return call.same(call.operand)


def _sizes(call: LayerCall) -> Found:
    """Labels the output of tf.shape, of which a slice may read spatial sizes; other uses make the channels stay."""
    ids = call.ties.new_pinned(f"{call.record.path}: numbers, no channels").reshape(1)
    return Sizes(ids, call.output_shape, call.operand)


_ELEMENTWISE = """
    __operators__.add math.add math.add_n math.subtract math.multiply math.multiply_no_nan math.divide math.truediv
    math.divide_no_nan math.maximum math.minimum math.pow math.squared_difference math.negative math.abs math.square
    math.sqrt math.rsqrt math.exp math.log math.log1p math.erf math.floor math.ceil math.round math.sign math.sin
    math.cos math.reciprocal math.reciprocal_no_nan math.tanh math.sigmoid math.softplus nn.softsign nn.softplus
    nn.sigmoid nn.tanh nn.relu nn.relu6 nn.leaky_relu nn.elu nn.selu nn.gelu nn.silu nn.bias_add
    clip_by_value cast identity stop_gradient zeros_like ones_like where math.greater math.greater_equal math.less
    math.less_equal __operators__.eq __operators__.ne math.equal math.not_equal math.logical_and math.logical_or
    math.logical_not math.floormod floor_div math.log_sigmoid
"""
_REDUCTIONS = """
    math.reduce_mean math.reduce_sum math.reduce_max math.reduce_min math.reduce_prod math.reduce_std
    math.reduce_variance math.reduce_logsumexp math.reduce_any math.reduce_all
"""
# Those that stay near what they were over all channels.
_MEANS = ("math.reduce_mean", "math.reduce_variance", "math.reduce_std")
OPERATORS: dict[str, OperatorRule] = {
    **dict.fromkeys(_ELEMENTWISE.split(), elementwise),
    "nn.dropout": _dropout,
    "nn.softmax": _softmax,
    "nn.log_softmax": _softmax,
    "math.cumsum": _cumulative,
    "math.cumprod": _cumulative,
    "math.l2_normalize": _l2_normalize,
    **REARRANGING,
    **dict.fromkeys(_REDUCTIONS.split(), _reduce),
    "pad": _pad,
    "image.resize": _per_channel,
    "image.flip_left_right": _per_channel,
    "image.flip_up_down": _per_channel,
    "nn.max_pool": _per_channel,
    "nn.avg_pool": _per_channel,
    "nn.max_pool2d": _per_channel,
    "nn.avg_pool2d": _per_channel,
    "shape": _sizes,
    "compat.v1.shape": _sizes,
    **PRODUCTS,
}


_MOVING = frozenset(REARRANGING.keys() | {f"math.reduce_{name}" for name in ("mean", "max", "min")})
_VIEWS = frozenset({"reshape", "identity", "squeeze", "expand_dims", "stop_gradient"})
# Operators without a rule that are, or may be, products of matrices.
_HEAVY = (
    "keras.",
    "linalg.",
    "nn.atrous",
    "nn.conv",
    "nn.depthwise",
    "nn.separable",
    "numpy_function",
    "py_function",
    "signal.",
    "sparse.",
    "tensordot",
)


def _operator_constants(layer: Any) -> ConstantsRule | None:
    name = function_name(layer)
    if name in _MOVING:
        return Moves()
    if OPERATORS.get(name) is not elementwise:
        return None
    return PerElement(zero_wins=name == "math.multiply")


def _operator_macs(layer: Any, call: CallShapes) -> int | None:
    name = operator_name(layer)
    if name == "linalg.matmul":
        transposed = call.argument(layer, "transpose_a") or call.argument(layer, "adjoint_a")
        contracted = shape_of_argument(call.argument(layer, "a"))[-2 if transposed else -1]
        return math.prod(call.outputs[0]) * contracted
    if name == "einsum":
        operands = call.args[1:]
        # The order in which TensorFlow multiplies three or more decides what they cost.
        return einsum_macs(call.args[0], *map(shape_of_argument, operands)) if len(operands) == 2 else None
    return None if not name or name.startswith(_HEAVY) else 0


register_layer(
    TFOpLambda,
    channels=operator,
    macs=_operator_macs,
    constants=_operator_constants,
    view=lambda layer: operator_name(layer) in _VIEWS,
)
