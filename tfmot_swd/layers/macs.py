"""Multiply-accumulates (MACs) of one call of a layer, from its class, its weights and its shapes.

A MAC is one multiplication whose product is added to a sum: what matrix products and convolutions
consist of. Bias additions, activations, normalization, pooling, resizing, gates of recurrent cells
and every other elementwise step count 0. Products with the zeros of "same" padding count, as in the
figures that papers publish; a zeroed weight counts like any other.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tf_keras.src.layers.core.tf_op_layer import TFOpLambda

from tfmot_swd.keras2.compat import keras, variables_of
from tfmot_swd.keras2.overrides import replaced_on_object
from tfmot_swd.keras2.pruning_warning import PruningWarning

layers = keras.layers

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class LayerCall:
    """One call of a layer on one sample.

    All shapes have the batch axis first, at size 1; it is longer where other axes were merged into
    it, as `tf.reshape(x, (-1, depth))` does. So the products of shapes count one sample's work.

    Args:
      inputs: shapes of the Keras tensors it reads, nested arguments flattened.
      outputs: shapes of those it returns.
      args: its positional arguments, with a `tf.TensorSpec` of one sample for each Keras tensor.
      kwargs: its keyword arguments, alike.
    """

    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def argument(self, layer: Any, name: str, default: Any = None) -> Any:
        """Returns the argument that `layer.call` knows as `name`, however it was passed."""
        names = layer._call_spec.arg_names
        position = names.index(name) if name in names else len(self.args)
        return self.args[position] if position < len(self.args) else self.kwargs.get(name, default)


MacRule = Callable[[Any, LayerCall], int | None]

_RULES: dict[type, MacRule] = {}


def register_macs(*kinds: type) -> Callable[[MacRule], MacRule]:
    """Decorates the function `(layer, call) -> MACs` of some layer classes and their subclasses.

    The function returns the MACs of one `LayerCall` for one sample, or None where it cannot say. The
    nearest class in a layer's ancestry decides, and a later registration of a class replaces an
    earlier one.

    Raises:
      TypeError: a class that is no Keras layer.

    >>> import tf_keras as keras
    >>> class Swish(keras.layers.Layer):
    ...     def call(self, inputs):
    ...         return keras.activations.swish(inputs)
    >>> rule = register_macs(Swish)(lambda layer, call: 0)
    """
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, layers.Layer)):
            raise TypeError(f"MACs are registered for classes of tf_keras layers. Received: {kind!r}")

    def register(rule: MacRule) -> MacRule:
        _RULES.update(dict.fromkeys(kinds, rule))
        return rule

    return register


def count_macs(layer: Any, call: LayerCall) -> int | None:
    """Returns the MACs of one call of a built `layer`, or None for a class that nothing is known of.

    Keras's own layers without a rule count 0 unless they own a matrix. Classes of others without a
    rule, `Lambda` among them, are unknown, as is a `tf` operator that may multiply matrices, and a layer
    whose `call` was replaced on the object. A rule that fails leaves its layer unknown too, with a warning.
    """
    if "call" in replaced_on_object(layer):
        return None
    ancestry = type(layer).__mro__
    rule = next((_RULES[kind] for kind in ancestry if kind in _RULES), None)
    if rule is not None:
        try:
            return rule(layer, call)
        except Exception as error:  # A rule may be anybody's, and a profile of the rest is worth having.
            warnings.warn(
                f"The multiply-accumulates of layer {layer.name!r} are unknown, as the rule for its class failed with "
                f"{type(error).__name__}: {error}",
                PruningWarning,
                stacklevel=2,
            )
            return None
    from_keras = any(
        issubclass(kind, layers.Layer) and kind.__module__.startswith("tf_keras.") and kind not in _OPEN_CLASSES
        for kind in ancestry
    )
    # Keras's layers with vectors alone, such as ConvNeXt's LayerScale, can but scale and shift.
    return 0 if from_keras and all(len(weight.shape) < 2 for weight in variables_of(layer)) else None


def macs_by_weight(layer: Any, call: LayerCall) -> tuple[list[tuple[Any, float]], int]:
    """Returns (weight, MACs of each of its elements) of one call, and the MACs that no weight takes part in.

    Together they are `count_macs`; unknown ones are 0. Elements of one layer's matrices count alike, but in attention,
    where queries and values may be of different length.
    """
    # The bias of a GRU has two axes, and that of attention too.
    variables = variables_of(layer)
    names = {id(weight): weight.name.split(":")[0].rsplit("/", 1)[-1] for weight in variables}
    matrices = [each for each in variables if len(each.shape) > 1 and not names[id(each)].startswith("bias")]
    total = count_macs(layer, call)
    if total is None or not matrices:
        return [], total or 0
    if isinstance(layer, layers.MultiHeadAttention):
        queries, keys, values = _attention_positions(layer, call)
        found = [
            (layer._query_dense.kernel, float(queries)),
            (layer._output_dense.kernel, float(queries)),
            (layer._key_dense.kernel, float(keys)),
            (layer._value_dense.kernel, float(values)),
        ]
        return found, total - round(sum(times * _size(weight) for weight, times in found))
    return [(weight, total / _size(*matrices)) for weight in matrices], 0


# What a class makes of these is its own affair.
_OPEN_CLASSES = {layers.Layer, layers.Lambda, keras.Model}


def _shape(operand: Any) -> Shape:
    """Returns the shape of an argument of a call: a `tf.TensorSpec`, or a constant of any type."""
    return tuple(np.shape(operand))


def _size(*weights: Any) -> int:
    return sum(math.prod(weight.shape) for weight in weights)


def _positions(layer: Any, shape: Shape) -> int:
    """Returns the places of an image, of any rank, that a convolution reads or writes."""
    if layer.data_format == "channels_first":
        channel_axis = len(shape) - len(layer.kernel_size) - 1
        return math.prod(shape) // shape[channel_axis]
    return math.prod(shape[:-1])


@register_macs(
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.GroupNormalization,
    layers.Normalization,
    layers.PReLU,
    layers.Embedding,
)
def _none(layer: Any, call: LayerCall) -> int:
    return 0


@register_macs(layers.Dense)
def _dense(layer: Any, call: LayerCall) -> int:
    return math.prod(call.inputs[0][:-1]) * _size(layer.kernel)


@register_macs(layers.Conv1D, layers.Conv2D, layers.Conv3D)
def _convolution(layer: Any, call: LayerCall) -> int:
    # The kernel's input axis has the channels of one group only.
    return _positions(layer, call.outputs[0]) * _size(layer.kernel)


@register_macs(layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
def _transposed_convolution(layer: Any, call: LayerCall) -> int:
    # Every input place is multiplied with the whole kernel; what falls over the border is cropped.
    return _positions(layer, call.inputs[0]) * _size(layer.kernel)


@register_macs(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
def _depthwise_convolution(layer: Any, call: LayerCall) -> int:
    return _positions(layer, call.outputs[0]) * _size(layer.depthwise_kernel)


@register_macs(layers.SeparableConv1D, layers.SeparableConv2D)
def _separable_convolution(layer: Any, call: LayerCall) -> int:
    return _positions(layer, call.outputs[0]) * _size(layer.depthwise_kernel, layer.pointwise_kernel)


@register_macs(layers.LocallyConnected1D, layers.LocallyConnected2D)
def _locally_connected(layer: Any, call: LayerCall) -> int:
    # Not from the kernel: each `implementation` keeps it in another shape.
    channels = math.prod(call.inputs[0]) // _positions(layer, call.inputs[0])
    return math.prod(call.outputs[0]) * math.prod(layer.kernel_size) * channels


@register_macs(layers.EinsumDense)
def _einsum_dense(layer: Any, call: LayerCall) -> int:
    return _einsum(layer.equation, call.inputs[0], tuple(layer.kernel.shape))


def _einsum(equation: str, *shapes: Shape) -> int:
    """Returns the MACs of a product of two operands: the product of the sizes of all its labels."""
    sizes: dict[str, int] = {}
    terms = equation.replace(" ", "").split("->")[0].split(",")
    for term, shape in zip(terms, shapes, strict=True):
        head, dots, tail = term.partition("...")
        # The axes behind an ellipsis are aligned at the right, like any that broadcast.
        spread = len(shape) - len(head) - len(tail) if dots else 0
        labels = [*head, *(f".{axis}" for axis in range(spread, 0, -1)), *tail]
        for label, size in zip(labels, shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    return math.prod(sizes.values())


@register_macs(layers.RNN)
def _recurrent(layer: Any, call: LayerCall) -> int | None:
    step = _cell(layer.cell)
    return None if step is None else math.prod(call.inputs[0][:2]) * step


def _cell(cell: Any) -> int | None:
    """Returns the MACs of one time step."""
    if isinstance(cell, layers.StackedRNNCells):
        steps = [_cell(each) for each in cell.cells]
        known = [step for step in steps if step is not None]
        return sum(known) if len(known) == len(steps) else None
    if isinstance(cell, (layers.LSTMCell, layers.GRUCell, layers.SimpleRNNCell)):
        return _size(cell.kernel, cell.recurrent_kernel)
    return None


@register_macs(layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D)
def _convolutional_lstm(layer: Any, call: LayerCall) -> int:
    rank = len(layer.kernel_size)
    output = call.outputs[0]
    image = output[-rank:] if layer.data_format == "channels_first" else output[-rank - 1 : -1]
    steps = math.prod(call.inputs[0][:2])
    return steps * math.prod(image) * _size(layer.cell.kernel, layer.cell.recurrent_kernel)


@register_macs(layers.Bidirectional)
def _bidirectional(layer: Any, call: LayerCall) -> int | None:
    forward, backward = count_macs(layer.forward_layer, call), count_macs(layer.backward_layer, call)
    return None if forward is None or backward is None else forward + backward


@register_macs(layers.TimeDistributed)
def _time_distributed(layer: Any, call: LayerCall) -> int | None:
    def merge(shape: Shape) -> Shape:
        return (shape[0] * shape[1], *shape[2:])

    return count_macs(layer.layer, LayerCall(tuple(map(merge, call.inputs)), tuple(map(merge, call.outputs))))


@register_macs(layers.Wrapper)
def _wrapper(layer: Any, call: LayerCall) -> int | None:
    return count_macs(layer.layer, call)


@register_macs(layers.MultiHeadAttention)
def _multi_head_attention(layer: Any, call: LayerCall) -> int:
    queries, keys, values = _attention_positions(layer, call)
    value = _shape(call.argument(layer, "value"))
    projections = (
        queries * _size(layer._query_dense.kernel, layer._output_dense.kernel)
        + keys * _size(layer._key_dense.kernel)
        + values * _size(layer._value_dense.kernel)
    )
    attended = math.prod(value[axis] for axis in layer._attention_axes)
    return projections + queries * attended * layer._num_heads * (layer._key_dim + layer._value_dim)


def _attention_positions(layer: Any, call: LayerCall) -> tuple[int, int, int]:
    """Returns the positions of queries, keys and values."""
    query, value = _shape(call.argument(layer, "query")), _shape(call.argument(layer, "value"))
    key = value if call.argument(layer, "key") is None else _shape(call.argument(layer, "key"))
    queries, keys, values = (math.prod(shape[:-1]) for shape in (query, key, value))
    return queries, keys, values


@register_macs(layers.Attention, layers.AdditiveAttention)
def _attention(layer: Any, call: LayerCall) -> int:
    # Scores, additive ones too, take a MAC for each feature of each pair; then they weigh the values.
    query, value = _operands(layer, call)[:2]
    return math.prod(query[:-1]) * value[-2] * (query[-1] + value[-1])


@register_macs(layers.Dot)
def _dot(layer: Any, call: LayerCall) -> int:
    axis = layer.axes if isinstance(layer.axes, int) else layer.axes[0]
    return math.prod(call.outputs[0]) * _operands(layer, call)[0][axis]


def _operands(layer: Any, call: LayerCall) -> tuple[Shape, ...]:
    """Returns the shapes of a layer's list of inputs, constants among them."""
    given = call.argument(layer, "inputs")
    return tuple(map(_shape, given)) if isinstance(given, list | tuple) else call.inputs


@register_macs(TFOpLambda)
def _operator(layer: Any, call: LayerCall) -> int | None:
    name = operator_name(layer)
    if name == "linalg.matmul":
        transposed = call.argument(layer, "transpose_a") or call.argument(layer, "adjoint_a")
        contracted = _shape(call.argument(layer, "a"))[-2 if transposed else -1]
        return math.prod(call.outputs[0]) * contracted
    if name == "einsum":
        operands = call.args[1:]
        # The order in which TensorFlow multiplies three or more decides what they cost.
        return _einsum(call.args[0], *map(_shape, operands)) if len(operands) == 2 else None
    return None if not name or name.startswith(_HEAVY_OPERATORS) else 0


# Operators without a rule that are, or may be, products of matrices.
_HEAVY_OPERATORS = (
    "keras.",
    "linalg.",
    "nn.atrous",
    "nn.conv",
    "nn.depthwise",
    "nn.separable",
    "signal.",
    "sparse.",
    "tensordot",
)


def operator_name(layer: Any) -> str:
    """Returns the name below `tf.` of the operator in a layer, such as "linalg.matmul"; else nothing."""
    symbol = layer.symbol if isinstance(layer, TFOpLambda) else None
    return (symbol or "").removeprefix("compat.v1.")
