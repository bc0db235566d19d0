"""Facts of a TFLite file for the advice: number format, weights and zeros, activation memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tfmot_swd.tflite.file_bytes import gzip_size
from tfmot_swd.tflite.graph import FileGraph, FileOperator, FileTensor, place, read_graph
from tfmot_swd.tflite.micro.operators import DECODE, is_hybrid

# What stands in front of the values that DECODE puts in place.
_DECODE_METADATA = 16
# Where the kernel of an operator has its output channels.
_CHANNEL_AXES = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}


@dataclass(frozen=True)
class FileFacts:
    """Counts of a file, and its graph.

    Attributes:
        graph: its operators and tensors.
        bytes, gzip_bytes: as it is, and compressed at level 9.
        form: `"float32"`, `"float16"`, `"dynamic"`, `"int8"` or `"int16x8"`.
        is_sparse: whether any weights are stored sparse.
        weights, zeros: of all kernels.
        channels, zero_channels: of kernels that are stored whole, and how many of those are zero throughout.
        kernels: name of the operator and shape of the weights, for each operator with channels, in order.
        unpacked_bytes: what weights that are stored sparse take once they are unpacked.
        decoded_bytes: the largest kernel that TFLite Micro restores in its arena before it is used; 0 without DECODE.
        most_bytes: activations that go in and out of the operator with the most; the least that memory has to hold.
        most_at: which operator that is.
    """

    graph: FileGraph
    bytes: int
    gzip_bytes: int
    form: str
    is_sparse: bool
    weights: int
    zeros: int
    channels: int
    zero_channels: int
    kernels: tuple[tuple[str, tuple[int, ...]], ...]
    unpacked_bytes: int
    decoded_bytes: int
    most_bytes: int
    most_at: str

    @property
    def sparsity(self) -> float:
        """The share of the weights that are zero."""
        return self.zeros / self.weights if self.weights else 0.0


def read_facts(content: bytes) -> FileFacts:
    """Counts the weights, channels and activations of a file.

    Raises:
        ValueError: it is not a TFLite file.
    """
    graph = read_graph(content)
    kernels = tuple(graph.kernels())
    with_channels = list(_with_channels(graph))
    whole = [(kernel.values, axis) for _, kernel, axis in with_channels if kernel.values is not None]
    alive = [values.any(axis=tuple(each for each in range(values.ndim) if each != axis)) for values, axis in whole]
    largest = max(graph.operators, key=lambda each: _moved(graph, each), default=None)
    densify = [each for each in graph.operators if each.name == "DENSIFY"]
    # By what is stored: a kernel that several operators share is restored for each of them.
    decoded = {each.inputs[0]: each for each in graph.operators if each.name == DECODE}
    restored = [graph.tensors[each.outputs[0]].size for each in decoded.values()]
    left = [graph.tensors[each.inputs[1]].stored_bytes - _DECODE_METADATA for each in decoded.values()]
    return FileFacts(
        graph=graph,
        bytes=len(content),
        gzip_bytes=gzip_size(content),
        form=form_of(graph),
        is_sparse=any(kernel.is_sparse for kernel in kernels),
        weights=sum(kernel.size for kernel in kernels) + sum(restored),
        zeros=sum(kernel.size - kernel.nonzeros for kernel in kernels) + sum(restored) - sum(left),
        channels=sum(each.size for each in alive),
        zero_channels=sum(int(np.count_nonzero(~each)) for each in alive),
        kernels=tuple((operator.name, kernel.shape) for operator, kernel, _ in with_channels),
        unpacked_bytes=sum(_bytes(graph.tensors[each.outputs[0]]) for each in densify),
        decoded_bytes=max(restored, default=0),
        most_bytes=0 if largest is None else _moved(graph, largest),
        most_at="" if largest is None else place(graph, largest),
    )


def _with_channels(graph: FileGraph) -> Iterator[tuple[FileOperator, FileTensor, int]]:
    decoded = {each.outputs[0] for each in graph.operators if each.name == DECODE}
    for operator in graph.operators:
        if operator.name in _CHANNEL_AXES:
            index = operator.inputs[1]
            kernel = graph.tensors[index] if index in decoded else graph.constant(index)
            if kernel is not None:
                yield operator, kernel, _CHANNEL_AXES[operator.name]


def form_of(graph: FileGraph) -> str:
    """Returns the number format of a file, of its arithmetic and weights: `FileFacts.form`."""
    if any(is_hybrid(graph, operator) for operator in graph.operators):
        return "dynamic"
    if any(kernel.dtype == np.float16 for kernel in graph.kernels()):
        return "float16"
    computed = {each.dtype for each in graph.tensors if not each.stored_bytes and each.scales}
    if np.dtype("int16") in computed:
        return "int16x8"
    return "int8" if np.dtype("int8") in computed else "float32"


def _moved(graph: FileGraph, operator: FileOperator) -> int:
    """Returns the bytes of the activations that an operator reads and writes."""
    computed = {index for index in (*operator.inputs, *operator.outputs) if graph.constant(index) is None}
    return sum(_bytes(graph.tensors[index]) for index in computed)


def _bytes(tensor: FileTensor) -> int:
    return 0 if tensor.dtype is None else tensor.size * tensor.dtype.itemsize
