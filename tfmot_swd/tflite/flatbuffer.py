"""Flatbuffer rewriting for TFLite files: metadata stripped, inputs and outputs in Keras's order, buffers aligned.

The converter sorts inputs and outputs by name, or in an order of its own. That does not matter where a file is called
by name, but firmware calls `interpreter.input(0)`, and mobile code an array of inputs.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from tfmot_swd.tflite.result import ExportError

# Which TensorFlow made the file, with which options, and the oldest runtime that knows its operators: those carry
# their versions themselves. What is left, such as reduced_precision_support, is read by delegates.
_NOTES = (b"CONVERSION_METADATA", b"min_runtime_version")


def compact(content: bytes, keep_names: bool = False, inputs: Sequence[str] = (), outputs: Sequence[str] = ()) -> bytes:
    """Returns the same file without tensor and graph names, description, conversion notes and empty buffers.

    The signature stays with its names of inputs and outputs, so that `get_signature_runner` works as before; TFLite's
    own `flatbuffer_utils.strip_strings` drops it. Data are aligned to 16 bytes, as the schema wants them. Saves about
    60 bytes for each tensor: 5.3 of 305.8 kB of an int8 ResNet-20, and a third of a file of two small layers.

    Args:
        content: of a file below 2 GB, where constants are inside of the flatbuffer; a larger one returns as it is.
        keep_names: whether the names of tensors and graphs stay, for reading the file in Netron and the like.
        inputs, outputs: names in the signature, in the order of the positions that they are to have, see
            `positions.arrange`; empty leaves them where they are.

    Raises:
        ExportError: the file has other inputs or outputs.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    arrange(model, inputs, outputs)
    if any(buffer.offset for buffer in model.buffers):
        return in_place(content, model)
    model.description = None
    model.metadata = [each for each in model.metadata or () if each.name not in _NOTES] or None
    for graph in model.subgraphs:
        if not keep_names:
            graph.name = None
        for tensor in graph.tensors:
            if not keep_names:
                tensor.name = None
            tensor.quantization = _used(tensor.quantization)
    _renumber(model)
    return pack(model)


def _used(quantization: Any) -> Any:
    """Returns scales and zero points without the ranges they came from; None where there are none."""
    if quantization is None or (quantization.scale is None and quantization.details is None):
        return None
    quantization.min = quantization.max = None
    return quantization


def _renumber(model: Any) -> None:
    """Leaves the buffers that hold data, behind the empty one that the schema wants at 0 and all others share."""
    numbers: dict[int, int] = {}
    buffers = [schema.BufferT()]
    for owner in (*(tensor for graph in model.subgraphs for tensor in graph.tensors), *(model.metadata or ())):
        data = model.buffers[owner.buffer].data
        if data is None or not len(data):
            owner.buffer = 0
            continue
        if owner.buffer not in numbers:
            numbers[owner.buffer] = len(buffers)
            buffers.append(schema.BufferT(data))
        owner.buffer = numbers[owner.buffer]
    model.buffers = buffers


def arrange(model: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Permutes the inputs and outputs of TensorFlow's flatbuffer object of a model with one signature.

    Args:
        model: is changed in place: the lists of its main subgraph and of its signature.
        inputs, outputs: all names in the signature, in the order that they are to have; empty changes nothing.

    Raises:
        ExportError: the file has other inputs or outputs.
    """
    graph = model.subgraphs[0]
    for kind, names in (("inputs", inputs), ("outputs", outputs)):
        if not names:
            continue
        entries = {entry.name.decode(): entry for entry in getattr(model.signatureDefs[0], kind) or ()}
        positions = [int(index) for index in getattr(graph, kind)]
        if set(entries) != set(names) or {int(each.tensorIndex) for each in entries.values()} != set(positions):
            raise ExportError(
                f"The file has other {kind} than the model, which has {list(names)}: look for an input that no layer "
                f"uses. Received: {sorted(entries)}"
            )
        wanted = [int(entries[name].tensorIndex) for name in names]
        # One tensor may be two outputs of the model, and be in the list of the file once.
        setattr(graph, kind, wanted if len(wanted) == len(positions) else list(dict.fromkeys(wanted)))
        setattr(model.signatureDefs[0], kind, [entries[name] for name in names])


def in_place(content: bytes, model: Any) -> bytes:
    """Returns the bytes of a file with the positions of its flatbuffer object, and all else as it is.

    For files of 2 GB and more, whose constants lie behind the flatbuffer, where packing would lose them.
    """
    buffer = bytearray(content)
    graph = schema.Model.GetRootAs(buffer, 0).Subgraphs(0)
    for kind, stored in (("inputs", graph.InputsAsNumpy()), ("outputs", graph.OutputsAsNumpy())):
        stored[:] = getattr(model.subgraphs[0], kind)
    return bytes(buffer)


# The schema's `force_align` of a buffer, which Python's flatbuffer builder, and so the converter, does not keep.
ALIGNMENT = 16


def padded(size: int) -> int:
    """Returns the next multiple of 16.

    >>> padded(1), padded(16)
    (16, 16)
    """
    return -(-size // ALIGNMENT) * ALIGNMENT


def pack(model: Any) -> bytes:
    """Returns the file of TensorFlow's flatbuffer object of a model, with the data of all its buffers aligned.

    Constants must be inside of the flatbuffer, as they are in files below 2 GB.
    """
    aligned = copy.copy(model)
    aligned.buffers = [_AlignedBuffer(buffer.data) for buffer in model.buffers]
    return flatbuffer_utils.convert_object_to_bytearray(aligned)


class _AlignedBuffer(schema.BufferT):
    def __init__(self, data: Any) -> None:
        super().__init__(data=data)

    def Pack(self, builder: Any) -> Any:
        if self.data is not None:
            builder.Prep(ALIGNMENT, len(self.data))
        return super().Pack(builder)
