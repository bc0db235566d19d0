"""Inference with a TFLite file in the runtime that it is made for, safe against crashes of the interpreter."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from tfmot_swd.tflite.file_bytes import read_file
from tfmot_swd.tflite.graph import FileGraph, read_graph
from tfmot_swd.tflite.interpreter import run_tflite
from tfmot_swd.tflite.layout import read_layout
from tfmot_swd.tflite.memory import peak_memory
from tfmot_swd.tflite.micro.interpreter import run_micro
from tfmot_swd.tflite.micro.operators import is_encoded
from tfmot_swd.tflite.samples import Array


def try_out(path: str | os.PathLike[str], graph: FileGraph) -> None:
    """Runs a file once in a separate process, as the interpreter crashes on some.

    Raises:
        ExportError: it crashes, or does not run.
    """
    if graph.open_inputs:
        return
    # Some systems do not tell the memory, which is not what it is run for.
    with contextlib.suppress(OSError):
        peak_memory(path)


def run_file(path: str | os.PathLike[str], names: Sequence[str], inputs: Sequence[Array]) -> dict[str, Array]:
    """Runs a file in TFLite Micro if its weights are encoded for it, else in LiteRT.

    Args:
        path: the file.
        names: of the model's inputs. A file whose inputs are called otherwise gets them by position.
        inputs: one array (N, ...) for each name.

    Returns:
        One array (N, ...) for each output name, dequantized.

    Raises:
        ExportError, ImportError, OSError, RuntimeError, TypeError, ValueError: it does not run, or takes other inputs.
    """
    content = read_file(path, "path")
    ports = read_layout(content).inputs
    if {port.name for port in ports} != set(names) and len(ports) == len(names):
        names = [port.name for port in ports]
    given = dict(zip(names, inputs, strict=True))
    graph = read_graph(content)
    if is_encoded(graph):
        return dict(run_micro(content, given).outputs)
    try_out(path, graph)
    return run_tflite(content, given)[0]
