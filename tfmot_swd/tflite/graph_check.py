"""Integrity checks of a TFLite file: list sizes before it is unpacked, then every index and cross-reference.

Readers of a file rely on them: once these have passed, any tensor, buffer or operator that is named exists, operators
have the inputs and options that their type needs, and the graph has no cycles.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

# More than any device has; a tensor that declares more was never run.
LARGEST_TENSOR = 2**40
# Operators whose inputs are looked at by position have at least so many, and an output.
_ONE_INPUT = (
    "ABS AVERAGE_POOL_2D CEIL COS DENSIFY DEPTH_TO_SPACE DEQUANTIZE ELU EXP FLOOR GELU HARD_SWISH LEAKY_RELU LOG "
    "LOGISTIC MAX_POOL_2D NEG RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 ROUND RSQRT SIN SQRT SQUARE TANH"
)
_TWO_INPUTS = (
    "ADD CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED MAXIMUM MEAN MINIMUM MUL PAD RESIZE_BILINEAR SUM TFLM_DECODE"
)
_LEAST_INPUTS = {
    **dict.fromkeys(_ONE_INPUT.split(), 1),
    **dict.fromkeys(_TWO_INPUTS.split(), 2),
    "TRANSPOSE_CONV": 3,
}
# The options that an operator's type asks for.
_OPTIONS = {
    "CONV_2D": schema.Conv2DOptionsT,
    "DEPTHWISE_CONV_2D": schema.DepthwiseConv2DOptionsT,
    "FULLY_CONNECTED": schema.FullyConnectedOptionsT,
    "TRANSPOSE_CONV": schema.TransposeConvOptionsT,
}
# Inputs that have four axes, by position.
_MAPS = {"CONV_2D": (0, 1), "DEPTHWISE_CONV_2D": (0, 1), "TRANSPOSE_CONV": (1, 2), "RESIZE_BILINEAR": (0,)}
_STEPS = ("strideH", "strideW", "dilationHFactor", "dilationWFactor")


class DamagedFileError(ValueError):
    """A damaged file; the message ends a sentence."""


def check_sizes(content: bytes) -> None:
    """Raises where a file declares more entries than it has bytes, before any of them is made an object.

    Each entry takes four bytes in a file that was written by a converter. In a crafted one the lists of many tables can
    be the same bytes, and unpacking it would not end.

    Raises:
        DamagedFileError: there are more.
        struct.error, IndexError, ...: an offset leads out of the file.
    """
    left = len(content)
    model = schema.Model.GetRootAs(bytearray(content))
    for count in _entries(model):
        left -= count
        if left < 0:
            raise DamagedFileError("lists that are longer than the file")


def _entries(model: Any) -> Iterator[int]:
    """Yields the lengths of all lists of tables or numbers, each before what is in it is looked at."""
    yield model.OperatorCodesLength() + model.BuffersLength() + model.MetadataLength() + model.SignatureDefsLength()
    for signature in map(model.SignatureDefs, range(model.SignatureDefsLength())):
        yield signature.InputsLength() + signature.OutputsLength()
    yield model.SubgraphsLength()
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        yield graph.TensorsLength() + graph.OperatorsLength() + graph.InputsLength() + graph.OutputsLength()
        for operator in map(graph.Operators, range(graph.OperatorsLength())):
            yield operator.InputsLength() + operator.OutputsLength()
        for tensor in map(graph.Tensors, range(graph.TensorsLength())):
            yield tensor.ShapeLength() + tensor.VariantTensorsLength()
            quantization, sparsity = tensor.Quantization(), tensor.Sparsity()
            if quantization is not None:
                yield quantization.ScaleLength() + quantization.ZeroPointLength()
            if sparsity is not None:
                yield sparsity.DimMetadataLength() + sparsity.BlockMapLength()


def check_model(model: Any, names: list[str]) -> None:
    """Raises where one part of a file refers to another that is not there.

    Args:
        model: the file as the schema's object.
        names: the types of operators, by number of their code.

    Raises:
        DamagedFileError: it is damaged.
    """
    if not model.subgraphs:
        raise DamagedFileError("no graph")
    for graph in model.subgraphs:
        _check_graph(graph, model, names)
    for signature in model.signatureDefs or ():
        _check_number(signature.subgraphIndex, len(model.subgraphs), "a signature", "graph")
        tensors = model.subgraphs[signature.subgraphIndex].tensors or ()
        for entry in (*(signature.inputs or ()), *(signature.outputs or ())):
            _check_number(entry.tensorIndex, len(tensors), "a signature", "tensor")
            if entry.name is None:
                raise DamagedFileError("a signature with an input or output without a name")
            # Those of tensors and operators are read with them.
            entry.name.decode()
    for entry in model.metadata or ():
        _check_number(entry.buffer, len(model.buffers or ()), "an entry of the metadata", "buffer")


def _check_graph(graph: Any, model: Any, names: list[str]) -> None:
    tensors, operators = graph.tensors or [], graph.operators or []
    # Where none are, readers find a list all the same.
    graph.tensors, graph.operators = tensors, operators
    for index, tensor in enumerate(tensors):
        _check_number(tensor.buffer, len(model.buffers or ()), f"tensor {index}", "buffer")
        _check_shape(tensor, f"tensor {index}")
    for each in (*_listed(graph.inputs), *_listed(graph.outputs)):
        _check_number(each, len(tensors), "the graph", "tensor")
    made: dict[int, int] = {}
    for number, operator in enumerate(operators):
        _check_number(operator.opcodeIndex, len(names), f"operator {number}", "operator code")
        for each in _listed(operator.outputs):
            _check_number(each, len(tensors), f"operator {number}", "tensor")
            if each in made or each in _listed(graph.inputs):
                raise DamagedFileError(f"tensor {each}, which is written twice")
            made[each] = number
    for number, operator in enumerate(operators):
        where = f"operator {number} {names[operator.opcodeIndex]}"
        for each in _listed(operator.inputs):
            # Optional inputs that are absent.
            if each != -1:
                _check_number(each, len(tensors), where, "tensor")
            if made.get(each, -1) >= number and not tensors[each].isVariable:
                raise DamagedFileError(
                    f"{where}, which reads tensor {each} before it is computed: the graph has a cycle"
                )
        _check_operator(operator, names[operator.opcodeIndex], tensors, where)


def _check_operator(operator: Any, name: str, tensors: list[Any], where: str) -> None:
    inputs, outputs = _listed(operator.inputs), _listed(operator.outputs)
    least = _LEAST_INPUTS.get(name, 0)
    if len(inputs) < least or -1 in inputs[:least] or (least and not outputs):
        raise DamagedFileError(f"{where} with {len(inputs)} inputs and {len(outputs)} outputs")
    wanted, options = _OPTIONS.get(name), operator.builtinOptions
    if wanted is not None and not isinstance(options, wanted):
        raise DamagedFileError(f"{where} without its options")
    if wanted is not None and any(getattr(options, each, 1) < 1 for each in _STEPS):
        raise DamagedFileError(f"{where} with a stride or dilation below 1")
    for position in _MAPS.get(name, ()):
        sides = _listed(tensors[inputs[position]].shape)
        if len(sides) != 4 or min(sides) < 1:
            raise DamagedFileError(f"{where} with an input of shape {sides}")


def _check_shape(tensor: Any, where: str) -> None:
    sides = _listed(tensor.shape)
    if any(side < 0 for side in sides) or math.prod(max(side, 1) for side in sides) > LARGEST_TENSOR:
        raise DamagedFileError(f"{where} of shape {sides}")
    blocks = () if tensor.sparsity is None else _listed(tensor.sparsity.blockMap)
    if any(not 0 <= each < len(sides) for each in blocks):
        raise DamagedFileError(f"{where} with sparse blocks along axes {blocks} of {len(sides)}")


def _check_number(number: int, count: int, where: str, kind: str) -> None:
    if not 0 <= number < count:
        raise DamagedFileError(f"{where}, which names {kind} {number} of {count}")


def _listed(values: Any) -> tuple[int, ...]:
    return () if values is None else tuple(np.asarray(values).tolist())
