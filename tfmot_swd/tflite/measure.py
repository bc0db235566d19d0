"""Size, latency, memory and contents of TFLite files, measured side by side on this machine."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfmot_swd.io.json_files import JsonResult
from tfmot_swd.tflite.file_bytes import gzip_size, read_file, sha256, zstd_size
from tfmot_swd.tflite.file_facts import form_of
from tfmot_swd.tflite.file_rows import OperatorRow, PortRow, operator_rows, port_rows
from tfmot_swd.tflite.graph import FileGraph, read_graph
from tfmot_swd.tflite.latency import Latency, measure_latency, random_input
from tfmot_swd.tflite.layout import read_layout
from tfmot_swd.tflite.memory import peak_memory
from tfmot_swd.tflite.micro.interpreter import run_micro, time_micro
from tfmot_swd.tflite.micro.operators import DECODE, is_encoded
from tfmot_swd.tflite.result import ExportError


@dataclass(frozen=True)
class FileMeasure(JsonResult):
    """Measurements of one file; a figure that could not be measured is None, with a reason.

    Attributes:
        name: as given.
        path: the same.
        bytes: its size.
        gzip_bytes: after gzip at level 9.
        zstd_bytes: after Zstandard at level 19; None where the package `zstandard` is not installed.
        latency: one for each number of threads, with the ratio to the dense file; empty if the file does not run here.
        peak_memory_bytes: what one run adds to a process, see `memory.peak_memory`.
        runtime_reason: why latency, its ratio to the dense file or memory are missing; empty where they are not.
        operators: in the order of execution.
        weights: elements of its weights, None where some are stored sparse or encoded.
        zeros: how many of them are zero, None as `weights`.
        arena_bytes: working memory in TFLite Micro.
        micro_ms: median time of a run in TFLite Micro on this machine: a figure to compare files by.
        micro_reason: why those two are missing; empty where they are not.
        form: the numbers that it computes with and keeps: `"float32"`, `"float16"`, `"dynamic"`, `"int8"` or
            `"int16x8"`.
        sha256: of the file's bytes, in hexadecimal.
        inputs, outputs: in the order of their positions; empty where NumPy lacks a dtype.
    """

    name: str
    path: str
    bytes: int
    gzip_bytes: int
    zstd_bytes: int | None
    latency: tuple[Latency, ...]
    peak_memory_bytes: int | None
    runtime_reason: str
    operators: tuple[OperatorRow, ...]
    weights: int | None
    zeros: int | None
    arena_bytes: int | None
    micro_ms: float | None
    micro_reason: str
    form: str = ""
    sha256: str = ""
    inputs: tuple[PortRow, ...] = ()
    outputs: tuple[PortRow, ...] = ()

    @property
    def operator_counts(self) -> dict[str, int]:
        """Count of each operator in the file, the most frequent first."""
        return dict(Counter(row.name for row in self.operators).most_common())

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain types, ready for JSON."""
        return {**dataclasses.asdict(self), "operator_counts": self.operator_counts}


def measure_files(
    files: Mapping[str, str | os.PathLike[str]],
    dense: str | Mapping[str, str] | None = None,
    threads: Sequence[int] = (1, 2),
    rounds: int = 50,
) -> tuple[FileMeasure, ...]:
    """Measures size, latency, memory and contents of files side by side on this machine.

    A file that TensorFlow Lite cannot run, such as one for microcontrollers, keeps its sizes and operators. If that is
    the dense file, the others have no ratios, with the reason in `runtime_reason`.

    Args:
        files: paths by name.
        dense: name of the file that the latencies of the others are compared with; or names by name, where there is a
            dense file of each form.
        threads, rounds: as `measure_latency` takes them.

    Raises:
        TypeError, ValueError: no files or no paths, an unknown `dense`, not a TFLite file, or as `measure_latency`.
        OSError: a file is not there or cannot be read.

    >>> import tempfile, tf_keras as keras, tfmot_swd
    >>> net = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2)])
    >>> path = tempfile.mkdtemp() + "/model.tflite"
    >>> _ = tfmot_swd.export_tflite(net, path)
    >>> (found,) = measure_files({"float32": path}, dense="float32", threads=(1,), rounds=3)
    >>> found.operator_counts, found.weights, found.latency[0].ratio
    ({'FULLY_CONNECTED': 1}, 8, 1.0)
    """
    if not isinstance(files, Mapping) or not files:
        raise ValueError(f"files must hold at least one path by name. Received: files={files!r}")
    references = dict.fromkeys(files, dense) if isinstance(dense, str) else dict(dense or {})
    unknown = [each for each in (*references, *references.values()) if each not in files]
    if unknown:
        raise ValueError(f"dense must be one of {', '.join(files)}. Received: dense={unknown[0]!r}")
    contents = {name: read_file(path, f"files[{name!r}]") for name, path in files.items()}
    graphs = {name: read_graph(content) for name, content in contents.items()}
    encoded = [name for name, graph in graphs.items() if is_encoded(graph)]
    unsized = _unsized(contents)
    memory, failures, reasons = _memory(
        {name: path for name, path in files.items() if name not in (*encoded, *unsized)}
    )
    failures |= dict.fromkeys(encoded, f"It is for TFLite Micro alone, which knows {DECODE}.") | unsized
    running = {name: content for name, content in contents.items() if name not in failures}
    latencies: tuple[Latency, ...] = ()
    if running:
        both = {name: each for name, each in references.items() if name in running and each in running}
        latencies = measure_latency(running, threads, rounds, both)
    for name, each in references.items():
        if name in running and each in failures:
            told = f"Its latency has no ratio, as the dense file, {each}, does not run here."
            reasons[name] = f"{told} {reasons.get(name, '')}".rstrip()
    reasons |= failures
    arenas, times, micro_reasons = _micro(contents, min(rounds, 20))
    return tuple(
        dataclasses.replace(
            _described(name, files[name], content, graphs[name]),
            latency=tuple(each for each in latencies if each.name == name),
            peak_memory_bytes=memory.get(name),
            runtime_reason=reasons.get(name, ""),
            arena_bytes=arenas.get(name),
            micro_ms=times.get(name),
            micro_reason=micro_reasons.get(name, ""),
        )
        for name, content in contents.items()
    )


def describe_file(name: str, path: str | os.PathLike[str]) -> FileMeasure:
    """Returns size and contents of a file without running it: times and memory are None, without a reason.

    Args:
        name: as it is to be called.
        path: of the file.

    Raises:
        TypeError, ValueError: no path, or not a TFLite file.
        OSError: the file cannot be read.
    """
    content = read_file(path, "path")
    return _described(name, path, content, read_graph(content))


def _described(name: str, path: str | os.PathLike[str], content: bytes, graph: FileGraph) -> FileMeasure:
    weights, zeros = _weights(graph)
    inputs, outputs = port_rows(content)
    return FileMeasure(
        name=name,
        path=os.fspath(path),
        bytes=len(content),
        gzip_bytes=gzip_size(content),
        zstd_bytes=zstd_size(content),
        latency=(),
        peak_memory_bytes=None,
        runtime_reason="",
        operators=operator_rows(graph),
        weights=weights,
        zeros=zeros,
        arena_bytes=None,
        micro_ms=None,
        micro_reason="",
        form=form_of(graph),
        sha256=sha256(content),
        inputs=inputs,
        outputs=outputs,
    )


def _unsized(contents: Mapping[str, bytes]) -> dict[str, str]:
    """Returns by name why files cannot be measured that leave the size of an input open."""
    found = {}
    for name, content in contents.items():
        try:
            read_layout(content).require_sizes()
        except ValueError as error:
            found[name] = str(error)
    return found


def _memory(files: Mapping[str, str | os.PathLike[str]]) -> tuple[dict[str, int], dict[str, str], dict[str, str]]:
    """Returns the peak memory by name, by name why a file does not run, and by name why only the figure is missing.

    Measured first, and in separate processes: a file that crashes the interpreter is found here.
    """
    found, failures, untold = {}, {}, {}
    for name, path in files.items():
        try:
            found[name] = peak_memory(path)
        except ExportError as error:
            failures[name] = str(error)
        except OSError as error:
            # Nothing is wrong with the file: this system does not tell.
            untold[name] = str(error)
    return found, failures, untold


def _weights(graph: FileGraph) -> tuple[int | None, int | None]:
    """Returns how many weights there are and how many of them are zero; None where they are not stored plainly."""
    kernels = list(graph.kernels())
    values = [tensor.values for tensor in kernels if tensor.values is not None]
    if len(values) < len(kernels) or is_encoded(graph):
        return None, None
    # Zero points of weights are 0, in every form that the converter makes.
    return sum(each.size for each in values), sum(int((each == 0).sum()) for each in values)


def _micro(contents: Mapping[str, bytes], rounds: int) -> tuple[dict[str, int], dict[str, float], dict[str, str]]:
    """Returns arena and milliseconds by name, and by name why a file has none."""
    arenas: dict[str, int] = {}
    reasons: dict[str, str] = {}
    for name, content in contents.items():
        try:
            layout = read_layout(content)
            layout.require_micro()
            # Real values, which are quantized on their way in.
            dtypes = {port.name: (port.shape, float if port.scale else port.dtype) for port in layout.inputs}
            inputs = {name: random_input(*given) for name, given in dtypes.items()}
            arenas[name] = run_micro(content, inputs).arena_bytes
        except (ExportError, ImportError, ValueError) as error:
            reasons[name] = str(error)
    times: dict[str, float] = {}
    if arenas:
        measured = time_micro([contents[name] for name in arenas], rounds)
        times = {name: each.median for name, each in zip(arenas, measured, strict=True)}
    return arenas, times, reasons
