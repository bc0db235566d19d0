"""Positions of the inputs and outputs of a file: those that they have in Keras.

The converter sorts them by name, or in an order of its own. Whoever calls a file by name does not notice, but firmware
calls `interpreter.input(0)`, and mobile code an array of inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tensorflow.lite.python import schema_py_generated as schema

from tfmot_swd.tflite.errors import ExportError


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
