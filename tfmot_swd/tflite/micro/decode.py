"""Weights pruned in flash: TFLite Micro's DECODE operator, with a bit mask and the remaining values."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from tfmot_swd.io.deprecation import renamed_arguments
from tfmot_swd.tflite.file_bytes import describe, read_bytes_or_path
from tfmot_swd.tflite.flatbuffer import pack, padded
from tfmot_swd.tflite.graph import FileGraph, read_graph
from tfmot_swd.tflite.micro.operators import DECODE
from tfmot_swd.tflite.samples import Array

# DECODE common metadata: type 2 (pruning), version 1, two reserved bytes, and the twelve of the type, which begin with
# its own version, 1. Sixteen bytes, so that what follows is as aligned as the tensor.
_METADATA = bytes([2, 1, 0, 0, 1]) + bytes(11)
# The weights of these are read when they are run, and not when the memory is planned, where DECODE has not run yet.
_WEIGHTS = {
    (schema.BuiltinOperator.CONV_2D, 1),
    (schema.BuiltinOperator.DEPTHWISE_CONV_2D, 1),
    (schema.BuiltinOperator.FULLY_CONNECTED, 1),
}
# What an operator more costs in tables, measured up to the padding of buffers; one that is not the first to read a
# tensor has scales and zero points of its own.
_USE_BYTES = 104
_CHANNEL_BYTES = 12


@dataclass(frozen=True)
class EncodedTensor:
    """A weight tensor that is stored as a mask and the values left.

    Attributes:
        index: its number in the main subgraph, before and after.
        name: of the tensor in the file; empty once names are stripped.
        shape: of the weights, as DECODE restores them.
        zeros: how many weights are zero, which is to say at their zero point.
        plain_bytes: one a weight; so much of the arena is taken while its operator runs.
        encoded_bytes: an eighth for the mask, one a value left, and 16 of metadata.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    zeros: int
    plain_bytes: int
    encoded_bytes: int


@dataclass(frozen=True)
class EncodedFile:
    """A file for TFLite Micro, its pruned weights encoded.

    Attributes:
        content: its bytes; the very ones that came in where nothing can be gained.
        tensors: what is encoded, in the file's order; empty where nothing can be gained.
        bytes_before, bytes_after: sizes of the file.
    """

    content: bytes
    tensors: tuple[EncodedTensor, ...]
    bytes_before: int
    bytes_after: int

    @property
    def bytes_saved(self) -> int:
        """Bytes of flash saved; 0 where nothing is encoded."""
        return self.bytes_before - self.bytes_after


@dataclass(frozen=True)
class _Candidate:
    """A buffer that can be encoded: who reads it, as (subgraph, tensor), and what is left of it."""

    buffer: int
    tensors: tuple[tuple[int, int], ...]
    mask: Array
    values: Array
    uses: int
    channels: int

    @property
    def encoded_bytes(self) -> int:
        return padded(len(self.mask)) + padded(len(_METADATA) + len(self.values))

    def gain(self, plain_bytes: int) -> int:
        tables = self.uses * _USE_BYTES + (self.uses - 1) * self.channels * _CHANNEL_BYTES
        return padded(plain_bytes) - self.encoded_bytes - tables


@renamed_arguments(content="file", largest="max_encoded_weights")
def encode_pruned(file: bytes | str | os.PathLike[str], max_encoded_weights: int | None = None) -> EncodedFile:
    """Stores the pruned weights of an int8 file as a bit mask and the nonzero values, which TFLite Micro decodes.

    A tensor of n weights with z zeros takes n/8 + (n - z) + 16 bytes in place of n, and some 100 for the operator that
    restores it just before it is used, bit by bit the same; so it pays from about 15 % zeros on in large tensors. Each
    is decided on alone: kernels of convolutions, depthwise convolutions and dense layers, also where several operators
    or tensors share one. A weight counts as zero at its zero point. What the signature names stays as it is.

    The file then runs in TFLite Micro only, built from sources of 2025 or later with `AddDecode()` in its resolver:
    neither TensorFlow nor LiteRT knows the operator. Weights are restored in the arena, one tensor at a time,
    in each inference: it must hold the largest of them beside the activations of its operator, and 200 bytes for each.
    Convolutional nets take little more memory and time; a large dense layer takes as much RAM as it has weights, and
    most of its time to decode. `max_encoded_weights` leaves such layers alone.

    Args:
        file: the bytes of an int8 file (or of one with int16 activations and int8 weights), or its path.
        max_encoded_weights: leave tensors of more than so many weights as they are, to bound the arena. None encodes
            them all.

    Returns:
        The file, what was encoded and what it saves.

    Raises:
        TypeError: `file` is neither bytes nor a path.
        ValueError: not a TFLite file, one that does not compute in integers, or `max_encoded_weights` not positive.
        OSError: the file cannot be read.

    Source: format of DECODE in TensorFlow's tflite-micro, "TFLM DECODE Operator Design" of May 20, 2025.

    Example:
        >>> import tempfile, numpy as np, tf_keras as keras
        >>> from tfmot_swd import export_tflite
        >>> model = keras.Sequential([keras.layers.Input((64,)), keras.layers.Dense(64)])
        >>> kernel = np.random.default_rng(0).normal(size=(64, 64))
        >>> model.layers[0].set_weights([np.where(abs(kernel) > 1.28, kernel, 0), np.zeros(64)])
        >>> path = tempfile.mkdtemp() + "/model.tflite"
        >>> x = np.random.default_rng(1).normal(size=(100, 64)).astype("float32")
        >>> result = export_tflite(model, path, "int8", representative_data=x)
        >>> encoded = encode_pruned(open(path, "rb").read())
        >>> [tensor.shape for tensor in encoded.tensors], encoded.bytes_saved > 2000
        ([(64, 64)], True)
    """
    check_max_encoded(max_encoded_weights)
    content = read_bytes_or_path(file)
    graph = read_graph(content)
    _require_integers(graph, content)
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    unchanged = EncodedFile(content, (), len(content), len(content))
    chosen = []
    for candidate in _candidates(model):
        plain_bytes = len(model.buffers[candidate.buffer].data)
        if candidate.gain(plain_bytes) > 0 and (max_encoded_weights is None or plain_bytes <= max_encoded_weights):
            chosen.append(candidate)
    if not chosen:
        return unchanged
    tensors = tuple(
        EncodedTensor(
            index,
            graph.tensors[index].name,
            graph.tensors[index].shape,
            graph.tensors[index].size - len(candidate.values),
            graph.tensors[index].size,
            len(candidate.mask) + len(_METADATA) + len(candidate.values),
        )
        for candidate in chosen
        for subgraph, index in candidate.tensors
        if subgraph == 0
    )
    _insert(model, chosen)
    encoded = pack(model)
    if len(encoded) >= len(content):
        return unchanged
    return EncodedFile(encoded, tuple(sorted(tensors, key=lambda each: each.index)), len(content), len(encoded))


def check_max_encoded(max_encoded_weights: Any) -> None:
    """Checks that a bound is None or a positive int.

    Raises:
        ValueError: neither None nor a positive int.
    """
    is_count = isinstance(max_encoded_weights, int) and not isinstance(max_encoded_weights, bool)
    if max_encoded_weights is not None and not (is_count and max_encoded_weights >= 1):
        raise ValueError(
            "max_encoded_weights must be a positive number of weights, or None. "
            f"Received: max_encoded_weights={max_encoded_weights!r}"
        )


def _require_integers(graph: FileGraph, content: bytes) -> None:
    activations = [each for each in graph.tensors if each.dtype is not None and not each.stored_bytes]
    if not any(each.dtype in (np.int8, np.int16) for each in activations):
        raise ValueError(
            f'TFLite Micro decodes int8 weights: export with recipe="int8". Received: {describe(content)}, whose '
            f"activations are {sorted({str(each.dtype) for each in activations})}"
        )


def _candidates(model: Any) -> Iterator[_Candidate]:
    """Yields each buffer all of whose tensors are weights that DECODE can restore."""
    owners: dict[int, list[tuple[int, int]]] = {}
    for number, subgraph in enumerate(model.subgraphs):
        for index, tensor in enumerate(subgraph.tensors):
            owners.setdefault(tensor.buffer, []).append((number, index))
    for buffer, tensors in owners.items():
        data = model.buffers[buffer].data
        if data is None or not len(data):
            continue
        uses = [_uses(model, number, index) for number, index in tensors]
        if 0 in uses:
            continue
        kept = [_kept(model.subgraphs[number].tensors[index], data) for number, index in tensors]
        first = kept[0]
        # One encoding serves all tensors only if they have the same zeros.
        if first is None or any(each is None or not np.array_equal(each, first) for each in kept):
            continue
        values = np.frombuffer(bytes(data), np.uint8)[first]
        scale = model.subgraphs[tensors[0][0]].tensors[tensors[0][1]].quantization.scale
        yield _Candidate(buffer, tuple(tensors), np.packbits(first), values, sum(uses), len(scale))


def _uses(model: Any, number: int, index: int) -> int:
    """Returns how many operators read a tensor as their weights; 0 if anything reads it otherwise."""
    subgraph = model.subgraphs[number]
    readers = [
        (_code(model.operatorCodes[operator.opcodeIndex]), position)
        for operator in subgraph.operators
        for position, each in enumerate([] if operator.inputs is None else operator.inputs)
        if each == index
    ]
    return len(readers) if _WEIGHTS.issuperset(readers) and index not in subgraph.outputs else 0


def _code(code: Any) -> int:
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def _kept(tensor: Any, data: Array) -> Array | None:
    """Returns which weights are not at their zero point, flat; None if DECODE cannot restore such a tensor."""
    quantization = tensor.quantization
    is_plain = tensor.type == schema.TensorType.INT8 and tensor.sparsity is None and not tensor.isVariable
    if not is_plain or tensor.shape is None or quantization is None or quantization.scale is None:
        return None
    shape, channels, axis = tuple(tensor.shape), len(quantization.scale), quantization.quantizedDimension
    if not shape:
        return None
    zero_points = np.asarray(quantization.zeroPoint if quantization.zeroPoint is not None else [], np.int64)
    # The kernel knows channels on the first or the last axis, and a single one on the first only.
    has_axis = axis == 0 or (axis == len(shape) - 1 and channels > 1)
    if not has_axis or len(zero_points) != channels or channels not in (1, shape[axis]):
        return None
    along = [1] * len(shape)
    along[axis] = channels
    values = np.frombuffer(bytes(data), np.int8).reshape(shape)
    kept: Array = (values != zero_points.reshape(along)).reshape(-1)
    return kept


def _insert(model: Any, chosen: list[_Candidate]) -> None:
    """Replaces the buffers, and puts a DECODE in front of each operator that reads one."""
    opcode = len(model.operatorCodes)
    custom = schema.BuiltinOperator.CUSTOM
    model.operatorCodes.append(
        schema.OperatorCodeT(deprecatedBuiltinCode=custom, builtinCode=custom, customCode=DECODE, version=1)
    )
    ancillaries: dict[tuple[int, int], int] = {}
    decoded: dict[tuple[int, int], Any] = {}
    for candidate in chosen:
        model.buffers[candidate.buffer].data = candidate.mask
        table = np.concatenate([np.frombuffer(_METADATA, np.uint8), candidate.values])
        model.buffers.append(schema.BufferT(data=table))
        for number, index in candidate.tensors:
            tensors = model.subgraphs[number].tensors
            decoded[number, index] = copy.copy(tensors[index])
            decoded[number, index].name, decoded[number, index].buffer = None, 0
            tensors[index] = _bytes_tensor(len(candidate.mask), candidate.buffer, tensors[index].name)
            ancillaries[number, index] = len(tensors)
            tensors.append(_bytes_tensor(len(table), len(model.buffers) - 1, None))
    for number, subgraph in enumerate(model.subgraphs):
        operators = []
        for operator in subgraph.operators:
            weights = -1 if operator.inputs is None or len(operator.inputs) < 2 else int(operator.inputs[1])
            if (number, weights) in decoded:
                # Restored for this operator alone: kept for a later one, it would hold the arena all the while.
                operator.inputs = np.array(operator.inputs, np.int32)
                operator.inputs[1] = len(subgraph.tensors)
                inputs = np.array([weights, ancillaries[number, weights]], np.int32)
                outputs = np.array([len(subgraph.tensors)], np.int32)
                operators.append(schema.OperatorT(opcodeIndex=opcode, inputs=inputs, outputs=outputs))
                subgraph.tensors.append(decoded[number, weights])
            operators.append(operator)
        subgraph.operators = operators


def _bytes_tensor(size: int, buffer: int, name: Any) -> Any:
    shape = np.array([size], np.int32)
    return schema.TensorT(shape=shape, type=schema.TensorType.UINT8, buffer=buffer, name=name)
