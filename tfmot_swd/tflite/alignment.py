"""Files whose data begin at multiples of 16 bytes, so that a microcontroller reads them in place."""

from __future__ import annotations

import copy
from typing import Any

from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

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
