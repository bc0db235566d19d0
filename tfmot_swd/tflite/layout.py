"""Inputs, outputs and operators of a TFLite file, as a caller must know them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from tfmot_swd.tflite.file_bytes import describe
from tfmot_swd.tflite.graph import FileTensor, read_graph

# Bytes of an input or output; no interpreter takes more.
MAX_PORT_BYTES = 2**31
# More than a microcontroller has memory.
_MAX_MICRO_PORT_BYTES = 2**24

_INTEGERS: dict[int, Any] = {
    schema.TensorType.INT8: np.iinfo(np.int8),
    schema.TensorType.UINT8: np.iinfo(np.uint8),
    schema.TensorType.INT16: np.iinfo(np.int16),
}


@dataclass(frozen=True)
class Port:
    """An input or output of a file.

    Attributes:
        name: its name in the signature; without a signature that of its tensor, else `"input_0"` and so on.
        position: what `interpreter.input(position)` or `output(position)` takes.
        shape: with the fixed batch in front.
        dtype: as the interpreter takes or gives it.
        scale, zero_point: real value = (stored value - zero_point) · scale; scale 0.0 where nothing is quantized.
        open_axes: axes behind the batch whose size the file leaves open; `shape` has 1 there.
        limits: the least and the largest real value that it tells apart, where it is quantized or quantized next; None
            for others.
    """

    name: str
    position: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float
    zero_point: int
    open_axes: tuple[int, ...] = ()
    limits: tuple[float, float] | None = None

    @property
    def sides(self) -> tuple[int | None, ...]:
        """The shape with None where the size is open."""
        return tuple(None if axis in self.open_axes else side for axis, side in enumerate(self.shape))

    @property
    def detail(self) -> dict[str, Any]:
        """Dtype and quantization in the form of TensorFlow's interpreter details."""
        return {"dtype": self.dtype.type, "quantization": (self.scale, self.zero_point)}


@dataclass(frozen=True)
class FileLayout:
    """Inputs, outputs and operators of a file.

    Attributes:
        inputs, outputs: by position.
        operators: names of those of all subgraphs, each once.
        file: which it is, for messages.
        is_whole: whether all constants are inside of the flatbuffer, as in most files below 2 GB.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    operators: tuple[str, ...]
    file: str = "a file"
    is_whole: bool = True

    def require_micro(self) -> None:
        """Raises on a file that TFLite Micro does not run, or answers wrongly to without an error.

        It takes constants behind the flatbuffer, where AI Edge Quantizer writes them, for activations.

        Raises:
            ValueError: names what is wrong and the remedy.
        """
        self.require_sizes(_MAX_MICRO_PORT_BYTES)
        if not self.is_whole:
            raise ValueError(
                "TFLite Micro reads constants inside of the flatbuffer alone, and answers wrongly without an error: "
                "write it again by write_model(read_model(path), path) of ai_edge_litert.tools.flatbuffer_utils. "
                f"Received: {self.file}, with constants behind the flatbuffer"
            )

    def require_sizes(self, max_bytes: int = MAX_PORT_BYTES) -> None:
        """Raises where a file leaves the size of an input open, or declares an excessive one.

        An open size is stored as 1: the file would be run and measured for an image of one pixel. An excessive one
        would fill the memory.

        Args:
            max_bytes: how many bytes an input or output may take.

        Raises:
            ValueError: names the input and the remedy.
        """
        for port in self.inputs:
            if port.open_axes:
                raise ValueError(open_size(port.name, port.sides))
        for port in (*self.inputs, *self.outputs):
            # Beside a side of 0 another one can be anything.
            size = math.prod(max(side, 1) for side in port.shape) * port.dtype.itemsize
            if size > max_bytes:
                raise ValueError(
                    "An input or output of this file takes more memory than there is where it is to run: it is "
                    "damaged, or was exported with another batch or image size than it is used with. "
                    f"Received: {self.file}, with {port.name!r} of shape {port.shape}, {size:,} bytes"
                )


def open_size(name: str, sides: tuple[int | None, ...]) -> str:
    """Returns the message on an input whose size is open."""
    return (
        f"The size of input {name!r} is open, and memory and time depend on it: fix it before the export, as in "
        "keras.models.clone_model(model, input_tensors=keras.Input((96, 96, 3))) and set_weights. "
        f"Received: an input of shape {sides}"
    )


def read_layout(content: bytes) -> FileLayout:
    """Reads the bytes of a TFLite file.

    Raises:
        ValueError: not a TFLite file, or an input or output of a dtype that NumPy lacks.
    """
    graph = read_graph(content)
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    main, file = model.subgraphs[0], describe(content)
    signature = (model.signatureDefs or [None])[0]

    quantized = {each.inputs[0]: each.outputs[0] for each in graph.operators if each.name == "QUANTIZE"}

    def ports(kind: str, indices: tuple[int, ...]) -> tuple[Port, ...]:
        entries = [] if signature is None else getattr(signature, f"{kind}s") or []
        names: dict[int, list[str]] = {}
        for entry in entries:
            names.setdefault(int(entry.tensorIndex), []).append(entry.name.decode())
        found = []
        for position, index in enumerate(indices):
            # A tensor may have several names: one for each of its positions, or all of them at its only one.
            free = names.get(index, [graph.tensors[index].name or f"{kind}_{position}"])
            taken = free[:1] if index in indices[position + 1 :] else free
            names[index] = free[len(taken) :] or free
            limits = _limits(main.tensors[quantized.get(index, index)])
            found += [_port(main.tensors[index], graph.tensors[index], name, position, limits, file) for name in taken]
        return tuple(found)

    operators = [flatbuffer_utils.opcode_to_name(model, number) for number in range(len(model.operatorCodes))]
    customs = [None if code.customCode is None else code.customCode.decode() for code in model.operatorCodes]
    known = (custom if name == "CUSTOM" and custom else name for name, custom in zip(operators, customs, strict=True))
    inputs, outputs = ports("input", graph.inputs), ports("output", graph.outputs)
    # 1 is no place.
    is_whole = all(buffer.offset <= 1 for buffer in model.buffers or ())
    return FileLayout(inputs, outputs, tuple(dict.fromkeys(known)), file, is_whole)


def _limits(tensor: Any) -> tuple[float, float] | None:
    quantization, dtype = tensor.quantization, _INTEGERS.get(tensor.type)
    if dtype is None or quantization is None or quantization.scale is None or not len(quantization.scale):
        return None
    zero_point = 0 if quantization.zeroPoint is None else int(quantization.zeroPoint[0])
    least, most = (float(quantization.scale[0]) * (limit - zero_point) for limit in (dtype.min, dtype.max))
    return least, most


def _port(
    tensor: Any, read: FileTensor, name: str, position: int, limits: tuple[float, float] | None, file: str
) -> Port:
    dtype = read.dtype
    if dtype is None:
        raise ValueError(
            "Inputs and outputs must be of a dtype that NumPy has: cast them in the model. "
            f"Received: {file}, with {name!r} of TFLite type {tensor.type}"
        )
    quantization = tensor.quantization
    is_quantized = quantization is not None and quantization.scale is not None and len(quantization.scale) > 0
    scale = float(quantization.scale[0]) if is_quantized else 0.0
    zero_point = int(quantization.zeroPoint[0]) if is_quantized and quantization.zeroPoint is not None else 0
    return Port(name, position, read.shape, dtype, scale, zero_point, read.open_axes, limits)
