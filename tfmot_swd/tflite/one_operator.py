"""TFLite files of one kind of operator several times, written without a converter, to be timed."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from tfmot_swd.costs.latency_fit import convolution_kind
from tfmot_swd.tflite.file_macs import operator_macs
from tfmot_swd.tflite.flatbuffer import pack
from tfmot_swd.tflite.graph import FileGraph, FileOperator

_SCALE = 0.05
_VERSIONS = {"int8": {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "MAX_POOL_2D": 2}}


@dataclasses.dataclass(frozen=True)
class OperatorCase:
    """One operator on one size of input.

    Args:
      name: of the operator, as "CONV_2D".
      side: height and width of the input; 0 for a vector.
      channels: of the input.
      filters: channels or units of the output, where the operator has weights.
      kernel: height and width of the kernel or pool.
      stride: of both axes.
    """

    name: str
    side: int
    channels: int
    filters: int = 0
    kernel: int = 1
    stride: int = 1

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input, of one sample."""
        return (1, self.side, self.side, self.channels) if self.side else (1, self.channels)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of the output, with "same" padding."""
        side = math.ceil(self.side / self.stride)
        shapes = {
            "CONV_2D": (1, side, side, self.filters),
            "DEPTHWISE_CONV_2D": (1, side, side, self.channels),
            "FULLY_CONNECTED": (1, self.filters),
            "MAX_POOL_2D": (1, side, side, self.channels),
            "AVERAGE_POOL_2D": (1, side, side, self.channels),
            "MEAN": (1, self.channels),
            "PAD": (1, self.side + 1, self.side + 1, self.channels),
            "CONCATENATION": (*self.input_shape[:-1], 2 * self.channels),
        }
        return shapes.get(self.name, self.input_shape)


def operator_file(case: OperatorCase, recipe: str, count: int) -> bytes:
    """Returns a TFLite file of `count` operators that read the same input, each with an output of its own.

    The difference between files of more and fewer operators is the time of the operators alone, without what an
    inference takes besides. Weights are random.

    Args:
      case: the operator.
      recipe: "int8" (activations and weights of int8, inputs and outputs too) or "float32".
      count: of operators.

    >>> from tfmot_swd.tflite.graph import read_graph
    >>> graph = read_graph(operator_file(OperatorCase("CONV_2D", 4, 2, filters=3, kernel=3), "int8", 2))
    >>> [operator.name for operator in graph.operators], graph.tensors[graph.outputs[1]].shape
    (['CONV_2D', 'CONV_2D'], (1, 4, 4, 3))
    """
    return _Writer(recipe).write(case, count)


class _Writer:
    def __init__(self, recipe: str) -> None:
        self.recipe = recipe
        self.buffers = [schema.BufferT()]
        self.tensors: list[Any] = []
        self._rng = np.random.default_rng(0)

    def write(self, case: OperatorCase, count: int) -> bytes:
        given = self._activation(case.input_shape)
        constants = self._constants(case)
        operators, outputs = [], []
        for _ in range(count):
            scale = 1 / 256 if case.name in ("LOGISTIC", "SOFTMAX") else _SCALE
            outputs.append(self._activation(case.output_shape, scale))
            operators.append(_operator(case, [given, *constants], outputs[-1]))
        graph = schema.SubGraphT()
        graph.tensors, graph.inputs, graph.outputs, graph.operators = self.tensors, [given], outputs, operators
        code = schema.OperatorCodeT()
        number = getattr(schema.BuiltinOperator, case.name)
        code.builtinCode, code.deprecatedBuiltinCode = number, number
        code.version = _VERSIONS.get(self.recipe, {}).get(case.name, 2 if self.recipe == "int8" else 1)
        model = schema.ModelT()
        model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], self.buffers
        return bytes(pack(model))

    def _constants(self, case: OperatorCase) -> list[int]:
        """Adds the weights and other constants that an operator reads behind its first input."""
        shape = {
            "CONV_2D": (case.filters, case.kernel, case.kernel, case.channels),
            "DEPTHWISE_CONV_2D": (1, case.kernel, case.kernel, case.channels),
            "FULLY_CONNECTED": (case.filters, case.channels),
        }.get(case.name)
        if shape is not None:
            made = shape[-1] if case.name == "DEPTHWISE_CONV_2D" else shape[0]
            axis = 3 if case.name == "DEPTHWISE_CONV_2D" else 0
            return [self._weights(shape, made, axis), self._bias(made)]
        if case.name in ("ADD", "MUL", "CONCATENATION"):
            return [0]
        if case.name == "MEAN":
            return [self._integers(np.array([1, 2], np.int32))]
        if case.name == "PAD":
            return [self._integers(np.array([[0, 0], [0, 1], [0, 1], [0, 0]], np.int32))]
        return []

    def _activation(self, shape: tuple[int, ...], scale: float = _SCALE) -> int:
        zero = -128 if scale != _SCALE else 0
        return self._tensor(shape, 0, *((schema.TensorType.INT8, [scale], [zero]) if self._is_int8 else ()))

    def _weights(self, shape: tuple[int, ...], made: int, axis: int) -> int:
        if not self._is_int8:
            return self._tensor(shape, self._buffer(self._rng.standard_normal(shape).astype(np.float32) * 0.1))
        values = self._rng.integers(-127, 128, shape).astype(np.int8)
        return self._tensor(shape, self._buffer(values), schema.TensorType.INT8, [0.01] * made, [0] * made, axis)

    def _bias(self, made: int) -> int:
        if not self._is_int8:
            return self._tensor((made,), self._buffer(np.zeros(made, np.float32)))
        scales = [_SCALE * 0.01] * made
        return self._tensor(
            (made,), self._buffer(np.zeros(made, np.int32)), schema.TensorType.INT32, scales, [0] * made
        )

    def _integers(self, values: np.ndarray) -> int:
        return self._tensor(values.shape, self._buffer(values), schema.TensorType.INT32)

    def _buffer(self, values: np.ndarray) -> int:
        self.buffers.append(schema.BufferT(np.frombuffer(values.tobytes(), np.uint8)))
        return len(self.buffers) - 1

    def _tensor(
        self,
        shape: tuple[int, ...],
        buffer: int,
        dtype: int = schema.TensorType.FLOAT32,
        scales: list[float] | None = None,
        zero_points: list[int] | None = None,
        axis: int = 0,
    ) -> int:
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = list(shape), dtype, buffer
        tensor.name = f"t{len(self.tensors)}".encode()
        if scales:
            quantization = schema.QuantizationParametersT()
            quantization.scale, quantization.zeroPoint = scales, zero_points
            quantization.quantizedDimension = axis
            tensor.quantization = quantization
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    @functools.cached_property
    def _is_int8(self) -> bool:
        return self.recipe == "int8"


_OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "PAD": "PadOptions",
    "ADD": "AddOptions",
    "MUL": "MulOptions",
    "CONCATENATION": "ConcatenationOptions",
    "SOFTMAX": "SoftmaxOptions",
}


def _operator(case: OperatorCase, inputs: list[int], output: int) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, inputs, [output]
    kind = _OPTIONS.get(case.name)
    if kind is None:
        return operator
    options = getattr(schema, f"{kind}T")()
    values = {
        "strideW": case.stride,
        "strideH": case.stride,
        "dilationWFactor": 1,
        "dilationHFactor": 1,
        "depthMultiplier": 1,
        "filterWidth": case.kernel,
        "filterHeight": case.kernel,
        "padding": schema.Padding.SAME,
        "beta": 1.0,
        "axis": len(case.input_shape) - 1,
    }
    for name, value in values.items():
        if hasattr(options, name):
            setattr(options, name, value)
    # Most networks end their convolutions with one, which costs nothing.
    if case.name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
    operator.builtinOptions = options
    return operator


_KINDS = {
    **dict.fromkeys(("CONV_2D", "TRANSPOSE_CONV", "CONV_3D"), "conv"),
    "DEPTHWISE_CONV_2D": "depthwise",
    **dict.fromkeys(("FULLY_CONNECTED", "BATCH_MATMUL"), "dense"),
    "MAX_POOL_2D": "max_pool",
    "AVERAGE_POOL_2D": "average_pool",
    **dict.fromkeys(("MEAN", "REDUCE_MAX", "SUM"), "mean"),
    **dict.fromkeys(("ADD", "SUB"), "add"),
    **dict.fromkeys(("LOGISTIC", "TANH", "HARD_SWISH", "ELU", "GELU", "EXP"), "activation"),
    "SOFTMAX": "softmax",
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), "pad"),
    **dict.fromkeys(
        ("CONCATENATION", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "TILE", "PACK", "GATHER", "SPLIT"), "copy"
    ),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), "copy"),
}
# They copy nothing, or are done before the first inference.
_FREE = frozenset({"RESHAPE", "DEQUANTIZE", "DENSIFY", "SQUEEZE", "EXPAND_DIMS"})


def operator_kind(graph: FileGraph, operator: FileOperator) -> str | None:
    """Returns the kind of an operator, of `costs.latency_fit.KINDS`; None for one that takes no time.

    >>> from tfmot_swd.tflite.graph import read_graph
    >>> graph = read_graph(operator_file(OperatorCase("MEAN", 4, 2), "float32", 1))
    >>> operator_kind(graph, graph.operators[0])
    'mean'
    """
    is_constant = operator.inputs and graph.constant(operator.inputs[0]) is not None
    if operator.name in _FREE and (operator.name != "DEQUANTIZE" or is_constant):
        return None
    kind = _KINDS.get(operator.name, "elementwise")
    if operator.name != "CONV_2D":
        return kind
    is_pointwise = graph.tensors[operator.inputs[1]].shape[1:3] == (1, 1)
    return convolution_kind(graph.tensors[operator.inputs[0]].shape[-1], is_pointwise)


def operator_counts(graph: FileGraph, operator: FileOperator) -> tuple[int, int, int]:
    """Returns the MACs of one run of an operator (0 where they are unknown), the bytes that it moves, and positions.

    Bytes are those of its inputs, outputs and weights; positions as in `costs.OperatorRun`.

    >>> from tfmot_swd.tflite.graph import read_graph
    >>> graph = read_graph(operator_file(OperatorCase("CONV_2D", 4, 2, filters=3, kernel=3, stride=2), "float32", 1))
    >>> operator_counts(graph, graph.operators[0])
    (216, 404, 36)
    """
    nbytes = 0
    for index in (*dict.fromkeys(operator.inputs), *operator.outputs):
        tensor = graph.tensors[index]
        nbytes += tensor.stored_bytes or tensor.size * (tensor.dtype.itemsize if tensor.dtype is not None else 1)
    return operator_macs(graph, operator) or 0, nbytes, _positions(graph, operator)


def _positions(graph: FileGraph, operator: FileOperator) -> int:
    kind = _KINDS.get(operator.name)
    where = graph.tensors[operator.inputs[0] if kind == "mean" else operator.outputs[0]].shape
    taps = 1
    if operator.name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        taps = math.prod(graph.tensors[operator.inputs[1]].shape[1:3])
    elif operator.name in ("MAX_POOL_2D", "AVERAGE_POOL_2D") and operator.options is not None:
        taps = operator.options.filterHeight * operator.options.filterWidth
    return math.prod(where[:-1]) * taps
