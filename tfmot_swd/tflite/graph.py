"""The graph in a TFLite file: operators, tensors, stored weights, and findings about them."""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from tfmot_swd.tflite.file_bytes import describe
from tfmot_swd.tflite.graph_check import DamagedFileError, check_model, check_sizes
from tfmot_swd.tflite.samples import Array

_DTYPES = {
    getattr(schema.TensorType, name.upper()): np.dtype(name)
    for name in ("float32", "float16", "int32", "uint8", "int64", "bool", "int16", "int8", "float64")
}
_WEIGHT_DTYPES = tuple(map(np.dtype, ("float32", "float16", "int8")))
_UNPACKING = frozenset({"DENSIFY", "DEQUANTIZE"})
_OPERATOR_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}


@dataclass(frozen=True)
class FileTensor:
    """One tensor of a file.

    Attributes:
        index: its number in the main subgraph.
        name: as the converter called it; empty once names are stripped.
        shape: of the file's fixed batch; () for scalars.
        dtype: of an element; int4 and strings are None.
        values: the constant it holds (shape `shape`, dtype `dtype`), or None: an activation, a constant that is stored
            sparse, or of a dtype NumPy lacks.
        stored_bytes: of its buffer in the file; 0 for activations.
        nonzeros: how many elements of the constant are not zero, stored sparse or not; 0 for activations.
        is_sparse: whether it is stored in TFLite's sparse encoding.
        block: of the sparse encoding, as long as `shape`: (1, 4) for blocks of 4 inputs of a dense layer, and so
            (4, 1) in Keras; () where single elements are stored, or all of them.
        scales: of the quantization, one or one a channel; empty in float.
        open_axes: axes behind the batch whose size is open until the file is run; `shape` has 1 there.
        zero_points: as `scales`.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    values: Array | None
    stored_bytes: int
    nonzeros: int
    is_sparse: bool
    block: tuple[int, ...]
    scales: tuple[float, ...]
    open_axes: tuple[int, ...] = ()
    zero_points: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class FileOperator:
    """One operator of a file, in the order of execution.

    Attributes:
        index: its number in the main subgraph.
        name: `"CONV_2D"` and so on; for custom operators their own code.
        inputs: numbers of its tensors; optional ones that are absent are left out.
        outputs: the same.
        options: its builtin options as the schema's object (`CONV_2D` has strideH, padding, ...), or None.
    """

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any


@dataclass(frozen=True)
class FileGraph:
    """The main subgraph of a file.

    Attributes:
        tensors: all of them, by number.
        operators: in the order of execution.
        inputs, outputs: numbers of the tensors that go in and come out.
    """

    tensors: tuple[FileTensor, ...]
    operators: tuple[FileOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def constant(self, index: int) -> FileTensor | None:
        """Returns the stored constant that a tensor is made from, or None: an activation.

        A constant that is stored sparse or in float16 is unpacked by operators of its own, DENSIFY and DEQUANTIZE.
        """
        while not self.tensors[index].stored_bytes:
            if index not in self._unpacked:
                return None
            index = self._unpacked[index]
        return self.tensors[index]

    @functools.cached_property
    def _unpacked(self) -> dict[int, int]:
        return {each.outputs[0]: each.inputs[0] for each in self.operators if each.name in _UNPACKING}

    @property
    def open_inputs(self) -> tuple[FileTensor, ...]:
        """The inputs that leave a size open, behind the batch."""
        return tuple(self.tensors[index] for index in self.inputs if self.tensors[index].open_axes)

    def kernels(self) -> Iterator[FileTensor]:
        """Yields the weights in the order in which operators use them: no shapes, permutations, paddings or biases.

        They are the stored constants of a float or int8 dtype with more than one dimension of two or more.
        """
        seen = set()
        for index in (index for operator in self.operators for index in operator.inputs):
            tensor = self.tensors[index]
            is_matrix = tensor.dtype in _WEIGHT_DTYPES and sum(side > 1 for side in tensor.shape) > 1
            if index not in seen and tensor.stored_bytes and is_matrix:
                seen.add(index)
                yield tensor


def read_graph(content: bytes) -> FileGraph:
    """Reads the bytes of a TFLite file.

    All numbers by which parts of the file name each other are checked here, so that readers of the graph need not.

    Raises:
        ValueError: the bytes are not a TFLite file, or one that is damaged.
    """
    if content[4:8] != b"TFL3":
        raise ValueError(
            "This is not a TFLite file, which has TFL3 at its fifth byte: pass what the converter wrote. "
            f"Received: {describe(content)} that begin with {content[:8]!r}"
        )
    try:
        return _read(content)
    except (struct.error, ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
        # Offsets that lead out of the file or to something else.
        found = str(error) if isinstance(error, DamagedFileError) else f"{type(error).__name__}: {error}"
        raise ValueError(
            "This TFLite file is damaged or incomplete: export or download it again. "
            f"Received: {describe(content)}, and {found}"
        ) from error


def _read(content: bytes) -> FileGraph:
    check_sizes(content)
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    names = [_operator_name(each) for each in model.operatorCodes or ()]
    check_model(model, names)
    for buffer in model.buffers or ():
        # Constants behind the flatbuffer: in files of 2 GB, and in those of AI Edge Quantizer. 1 is no place.
        if buffer.offset > 1:
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
    graph = model.subgraphs[0]
    counted: dict[tuple[int, np.dtype[Any]], int] = {}
    tensors = tuple(_tensor(index, each, model.buffers, counted) for index, each in enumerate(graph.tensors))
    operators = tuple(
        FileOperator(
            index,
            names[each.opcodeIndex],
            _numbers(each.inputs),
            _numbers(each.outputs),
            each.builtinOptions,
        )
        for index, each in enumerate(graph.operators)
    )
    return FileGraph(tensors, operators, _numbers(graph.inputs), _numbers(graph.outputs))


def _tensor(index: int, tensor: Any, buffers: Any, counted: dict[tuple[int, np.dtype[Any]], int]) -> FileTensor:
    """Returns a tensor; `counted` has the nonzeros of buffers, which several tensors can share."""
    shape = () if tensor.shape is None else tuple(int(side) for side in tensor.shape)
    dtype = _DTYPES.get(tensor.type)
    data = buffers[tensor.buffer].data
    stored = 0 if data is None else len(data)
    values, nonzeros = None, 0
    if dtype is not None and stored:
        if tensor.sparsity is None and stored != math.prod(shape) * dtype.itemsize:
            raise DamagedFileError(f"tensor {index} of shape {shape} and {dtype}, for which {stored} bytes are stored")
        elements = np.asarray(data, np.uint8).view(dtype)
        values = elements.reshape(shape) if tensor.sparsity is None else None
        # Buffers of sparse tensors hold whole blocks, with the zeros in them, and nothing else.
        key = (tensor.buffer, dtype)
        nonzeros = counted[key] = counted[key] if key in counted else int(np.count_nonzero(elements))
    quantization = tensor.quantization
    scales = () if quantization is None or quantization.scale is None else tuple(map(float, quantization.scale))
    zeros = () if quantization is None or quantization.zeroPoint is None else tuple(map(int, quantization.zeroPoint))
    name = b"" if tensor.name is None else tensor.name
    block = _block(tensor.sparsity, len(shape))
    is_sparse = tensor.sparsity is not None
    signature = () if tensor.shapeSignature is None else tensor.shapeSignature
    # An open batch is one sample at a time, as files are run.
    open_axes = tuple(axis for axis, side in enumerate(signature) if axis and side < 0)
    stores = (shape, dtype, values, stored, nonzeros, is_sparse, block, scales, open_axes, zeros)
    return FileTensor(index, name.decode(), *stores)


def _block(sparsity: Any, rank: int) -> tuple[int, ...]:
    """Returns the sides of a block: levels after those of the dimensions divide the dimension that the map names."""
    if sparsity is None or sparsity.blockMap is None or not len(sparsity.blockMap):
        return ()
    sides = [1] * rank
    for level, dimension in zip(sparsity.dimMetadata[rank:], sparsity.blockMap, strict=True):
        sides[int(dimension)] = int(level.denseSize)
    return tuple(sides)


def _operator_name(code: Any) -> str:
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if number == schema.BuiltinOperator.CUSTOM and code.customCode is not None:
        custom: str = code.customCode.decode()
        return custom
    return _OPERATOR_NAMES[number]


def _numbers(values: Any) -> tuple[int, ...]:
    return () if values is None else tuple(int(value) for value in values if value >= 0)


@dataclass(frozen=True)
class Finding:
    """One rule that a file breaks.

    Attributes:
        rule: which one, as the check that found it calls it.
        operator: number of the operator in the main subgraph, or None: the rule is about the file as a whole.
        name: that operator's, `"CONV_2D"` and so on; empty where `operator` is None.
        where: the same with the output shape, as `place` writes it; empty where `operator` is None.
        found: what is there instead.
        remedy: what to do, in a sentence.
    """

    rule: str
    operator: int | None
    name: str
    where: str
    found: str
    remedy: str


def place(graph: FileGraph, operator: FileOperator) -> str:
    """Returns where an operator is: its number, its type, the shape it makes and, unless stripped, the name of that."""
    if not operator.outputs:
        # Those that only write a variable or call another subgraph.
        return f"operator {operator.index} {operator.name}"
    output = graph.tensors[operator.outputs[0]]
    sides = "x".join(map(str, output.shape)) or "scalar"
    # The converter joins the names of all that it fused with semicolons.
    name = output.name.partition(";")[0]
    return f"operator {operator.index} {operator.name} -> {sides}" + (f" ({name})" if name else "")
