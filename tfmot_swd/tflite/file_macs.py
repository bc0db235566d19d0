"""Multiply-accumulates (MACs) of the operators of a TFLite file, computed from the shapes in its graph."""

from __future__ import annotations

import math
from collections.abc import Callable

from tensorflow.lite.python import schema_py_generated as schema

from tfmot_swd.tflite.graph import FileGraph, FileOperator
from tfmot_swd.tflite.micro.operators import DECODE

_Shape = tuple[int, ...]
_RECURRENT = frozenset(
    f"{direction}_SEQUENCE_{cell}" for direction in ("UNIDIRECTIONAL", "BIDIRECTIONAL") for cell in ("LSTM", "RNN")
)
# They multiply matrices, or run graphs of their own, in ways that shapes do not tell.
_UNKNOWN = frozenset(
    {
        *("CUSTOM", "DELEGATE", "WHILE", "IF", "CALL", "CALL_ONCE", "LSTM", "RNN", "SVDF", "RFFT2D"),
        *("STABLEHLO_DOT_GENERAL", "STABLEHLO_CONVOLUTION", "STABLEHLO_CUSTOM_CALL", "STABLEHLO_WHILE"),
        *("STABLEHLO_COMPOSITE", "STABLEHLO_REDUCE_WINDOW", "STABLEHLO_SCATTER"),
    }
)
_BUILTIN = frozenset(name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)) - _UNKNOWN


def operator_macs(graph: FileGraph, operator: FileOperator) -> int | None:
    """Returns the MACs of one run of an operator, with the batch of the file.

    Counted are products of matrices and convolutions, as `profile` counts those of Keras layers: activations, poolings
    and other elementwise steps are 0, zeros of weights and of the padding count like other values.

    Returns:
        The number; None where the graph does not tell: a custom operator, one that runs a graph of its own, or a file
        that leaves the size of an input open.

    >>> import tensorflow as tf, tf_keras as keras
    >>> from tfmot_swd.tflite.graph import read_graph
    >>> net = keras.Sequential([keras.layers.Dense(3, input_shape=(4,))])
    >>> graph = read_graph(tf.lite.TFLiteConverter.from_keras_model(net).convert())
    >>> [(each.name, operator_macs(graph, each)) for each in graph.operators]
    [('FULLY_CONNECTED', 12)]
    """
    name = operator.name
    if graph.open_inputs or name in _UNKNOWN or (name not in _BUILTIN and name != DECODE):
        return None
    if name in _RECURRENT:
        return _recurrent(graph, operator)
    if name == "BATCH_MATMUL":
        return _batch_matmul(graph, operator)
    if name not in _RULES:
        return 0
    rule, ranks = _RULES[name]
    shapes = [graph.tensors[index].shape for index in operator.inputs]
    if len(shapes) < len(ranks) or any(len(shape) < rank for shape, rank in zip(shapes, ranks, strict=False)):
        # No converter writes such an operator.
        return None
    return rule(shapes, math.prod(graph.tensors[operator.outputs[0]].shape) if operator.outputs else 0)


def _recurrent(graph: FileGraph, operator: FileOperator) -> int | None:
    """Counts each element of the matrices once a step; the input is (batch, time, features), or time first."""
    if not operator.inputs:
        return None
    stored = (graph.constant(index) for index in dict.fromkeys(operator.inputs[1:]))
    matrices = sum(each.size for each in stored if each is not None and len(each.shape) == 2)
    return math.prod(graph.tensors[operator.inputs[0]].shape[:-1]) * matrices


def _batch_matmul(graph: FileGraph, operator: FileOperator) -> int | None:
    if not (operator.inputs and operator.outputs):
        return None
    left, output = (graph.tensors[each[0]].shape for each in (operator.inputs, operator.outputs))
    is_transposed = operator.options is not None and operator.options.adjX
    return math.prod(output) * left[-2 if is_transposed else -1] if len(left) > 1 else None


# From the shapes of the inputs and the number of outputs, and the least rank of each input that is needed. Of kernels:
# (outputs, height, width, inputs of a group), (1, height, width, channels), (outputs, inputs), and in three dimensions
# (depth, height, width, inputs, outputs). A transposed convolution multiplies every input with the whole kernel.
_RULES: dict[str, tuple[Callable[[list[_Shape], int], int], tuple[int, ...]]] = {
    "CONV_2D": (lambda shapes, outputs: outputs * math.prod(shapes[1][1:]), (1, 4)),
    "DEPTHWISE_CONV_2D": (lambda shapes, outputs: outputs * math.prod(shapes[1][1:3]), (1, 4)),
    "FULLY_CONNECTED": (lambda shapes, outputs: outputs * shapes[1][-1], (1, 2)),
    "CONV_3D": (lambda shapes, outputs: outputs * math.prod(shapes[1][:-1]), (1, 5)),
    "TRANSPOSE_CONV": (lambda shapes, outputs: math.prod(shapes[2]) * math.prod(shapes[1][:-1]), (1, 4, 4)),
    "CONV_3D_TRANSPOSE": (lambda shapes, outputs: math.prod(shapes[2]) * math.prod(shapes[1][:-1]), (1, 5, 5)),
}
