"""Inference with TFLite Micro, the interpreter of microcontrollers, on this host."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfmot_swd.io.deprecation import renamed_arguments
from tfmot_swd.tflite.file_bytes import describe, read_bytes_or_path
from tfmot_swd.tflite.graph import read_graph
from tfmot_swd.tflite.inputs import check_inputs
from tfmot_swd.tflite.interpreter import dequantize, quantize
from tfmot_swd.tflite.layout import FileLayout, Port, read_layout
from tfmot_swd.tflite.result import ExportError
from tfmot_swd.tflite.samples import Array, chunks
from tfmot_swd.tflite.subprocesses import TIMEOUT, check_timeout, describe_exit, run_subprocess

_WORKER = Path(__file__).with_name("worker.py")
_ARENA = re.compile(r"Arena allocation total (\d+) bytes")
# What an inference is waited for, beside `TIMEOUT` for all of them: a second is much, even by the reference kernels.
_INFERENCE_SECONDS = 10


@dataclass(frozen=True)
class MicroRun:
    """Outputs, working memory and time of a file in TFLite Micro.

    Attributes:
        outputs: one array (N, ...) for each output name of the signature, dequantized to float32.
        arena_bytes: the working memory that the file takes on this 64-bit host. A 32-bit device takes less, some tenths
            of a kB an operator, as its pointers are half as wide; optimized kernels may want scratch memory on top.
        milliseconds: median time of an inference on this host, by the reference kernels: of use in ratios only.
        samples: N.
    """

    outputs: dict[str, Array]
    arena_bytes: int
    milliseconds: float
    samples: int


@dataclass(frozen=True)
class StoredRun:
    """What a file computes in TFLite Micro, as it is stored.

    Attributes:
        outputs: for each position of an output an array (round, *shape of the port).
        arena_bytes, milliseconds: as in `MicroRun`.
    """

    outputs: dict[int, Array]
    arena_bytes: int
    milliseconds: float


@dataclass(frozen=True)
class MicroTime:
    """Latency of a file in TFLite Micro on this host, in milliseconds.

    Attributes:
        median: over the rounds.
        least: of the rounds; ratios of these are what repeats best on a busy host.
        rounds: how many there were.
    """

    median: float
    least: float
    rounds: int


@renamed_arguments(content="file")
def run_micro(
    file: bytes | str | os.PathLike[str],
    inputs: Mapping[str, Array],
    arena_bytes: int | None = None,
    timeout: float | None = None,
) -> MicroRun:
    """Runs a file with one signature in TFLite Micro, in a separate process.

    TFLite Micro runs files in int8, in int8 weights with int16 activations, and in float32, at their fixed batch; also
    what `encode_pruned` makes.

    Args:
        file: the bytes of the file, or its path.
        inputs: one array (N, ...) for each input name of the signature; quantized as the file asks.
        arena_bytes: the working memory to give it, to see whether a device has enough. None gives it plenty.
        timeout: seconds after which the process is stopped. None waits for 600, and 10 more for each inference.

    Returns:
        Outputs, arena and time.

    Raises:
        TypeError: `file` is neither bytes nor a path, `inputs` is not a dictionary of numbers.
        ValueError: not a TFLite file, one that leaves the size of an input open, inputs of other names or shapes than
            the file's.
        OSError: the file cannot be read.
        ImportError: the package tflite-micro is not installed.
        ExportError: TFLite Micro cannot run the file, in this arena; with what it said. Or not in time.

    Example:
        >>> import tempfile, numpy as np, tf_keras as keras
        >>> from tfmot_swd import export_tflite
        >>> model = keras.Sequential([keras.layers.Input((4,), name="x"), keras.layers.Dense(2, name="y")])
        >>> path = tempfile.mkdtemp() + "/model.tflite"
        >>> x = np.random.default_rng(0).normal(size=(100, 4)).astype("float32")
        >>> result = export_tflite(model, path, "int8", representative_data=x)
        >>> run = run_micro(path, {"x": x})
        >>> run.outputs["y"].shape, run.arena_bytes < 2000
        ((100, 2), True)
    """
    require_micro()
    if timeout is not None:
        check_timeout(timeout)
    content = read_bytes_or_path(file)
    layout = read_layout(content)
    if arena_bytes is not None and (isinstance(arena_bytes, bool) or not isinstance(arena_bytes, int)):
        raise TypeError(f"arena_bytes must be an int or None. Received: arena_bytes={arena_bytes!r}")
    layout.require_micro()
    arrays, count = check_inputs(inputs, layout.inputs, layout.file)
    rounds = {port.position: stored_rounds(array, port) for array, port in zip(arrays, layout.inputs, strict=True)}
    run = run_stored(content, layout, rounds, arena_bytes, timeout)
    outputs = {
        port.name: dequantize(values.reshape(-1, *values.shape[2:])[:count], port.detail)
        for port in layout.outputs
        for values in (run.outputs[port.position],)
    }
    return MicroRun(outputs, run.arena_bytes, run.milliseconds, count)


def run_stored(
    content: bytes,
    layout: FileLayout,
    rounds: Mapping[int, Array],
    arena_bytes: int | None = None,
    timeout: float | None = None,
) -> StoredRun:
    """Runs a file in TFLite Micro on values as they are stored.

    Args:
        content: the bytes of the file.
        layout: of the file, of fixed sizes.
        rounds: for each position of an input an array (round, *shape of the port), as `stored_rounds` makes it.
        arena_bytes: the working memory; None gives it plenty.
        timeout: seconds after which the process is stopped; None waits for 600, and 10 more for each round.

    Raises:
        ExportError: TFLite Micro cannot run the file, in this arena; with what it said. Or not in time.
        ImportError: the package tflite-micro is not installed.
    """
    require_micro()
    settings = {
        "task": "run",
        "arena_bytes": _plenty(content) if arena_bytes is None else max(arena_bytes, 0),
        "input_count": len(rounds),
        "output_positions": sorted({port.position for port in layout.outputs}),
    }
    count = max(map(len, rounds.values()), default=1)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        np.savez(directory / "inputs.npz", *(rounds[position] for position in sorted(rounds)))
        said = _work(directory, (content,), settings, _patience(count) if timeout is None else timeout)
        outputs = {port.position: np.load(directory / f"output_{port.position}.npy") for port in layout.outputs}
        milliseconds = float(np.median(np.load(directory / "milliseconds.npy")))
    found = _ARENA.search(said)
    if found is None:
        raise ExportError(f"TFLite Micro ran the file and did not tell its arena. Received: {said[-500:]!r}")
    return StoredRun(outputs, int(found[1]), milliseconds)


def stored_rounds(array: Array, port: Port) -> Array:
    """Returns real values as an input stores them, (round, *shape of the port); the last round is filled up."""
    batches = chunks((quantize(array, port.detail),), port.shape[0])
    return np.stack([batch for (batch,), _ in batches])


@renamed_arguments(contents="files")
def time_micro(
    files: Sequence[bytes | str | os.PathLike[str]], rounds: int = 20, timeout: float | None = None
) -> tuple[MicroTime, ...]:
    """Measures the latency of files in TFLite Micro in turn, on random inputs: one inference of each file a round.

    Args:
        files: the bytes of each file, or its path; to compare files, pass them together.
        rounds: after one inference each that is not measured.
        timeout: seconds after which the process is stopped. None waits for 600, and 10 more for each inference.

    Returns:
        Times in the order of the files.

    Raises:
        TypeError: `files` is not a list of bytes or paths, or `rounds` not an int.
        ValueError: no files or no rounds, or bytes that are not a TFLite file.
        OSError: a file cannot be read.
        ImportError: the package tflite-micro is not installed.
        ExportError: TFLite Micro cannot run one of the files, or not in time.

    Example:
        >>> import tempfile, tf_keras as keras
        >>> from tfmot_swd import export_tflite
        >>> path = tempfile.mkdtemp() + "/model.tflite"
        >>> model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2)])
        >>> result = export_tflite(model, path)
        >>> (measured,) = time_micro([path], rounds=3)
        >>> 0 < measured.least <= measured.median
        True
    """
    require_micro()
    if timeout is not None:
        check_timeout(timeout)
    if isinstance(files, bytes | str | os.PathLike) or not isinstance(files, Sequence):
        raise TypeError(f"files is a list of TFLite files, timed together. Received: files={type(files).__name__}")
    if isinstance(rounds, bool) or not isinstance(rounds, int):
        raise TypeError(f"rounds must be a whole number. Received: rounds={rounds!r}")
    if not files or rounds < 1:
        raise ValueError(
            f"There must be a file and a round to measure. Received: {len(files)} files, rounds={rounds!r}"
        )
    contents = [read_bytes_or_path(each, f"files[{number}]") for number, each in enumerate(files)]
    layouts = [read_layout(content) for content in contents]
    for layout in layouts:
        layout.require_micro()
    settings = {
        "task": "measure",
        "arena_bytes": max(map(_plenty, contents)),
        "input_count": [len({port.position for port in layout.inputs}) for layout in layouts],
        "rounds": rounds,
    }
    patience = _patience((rounds + 1) * len(contents)) if timeout is None else timeout
    with tempfile.TemporaryDirectory() as scratch:
        _work(Path(scratch), contents, settings, patience)
        times = np.load(Path(scratch) / "milliseconds.npy")
    return tuple(MicroTime(float(np.median(column)), float(column.min()), rounds) for column in times.T)


def has_micro() -> bool:
    """Returns whether the package tflite-micro is installed."""
    return importlib.util.find_spec("tflite_micro") is not None


def require_micro() -> None:
    """Raises an ImportError unless the package tflite-micro is installed."""
    if not has_micro():
        raise ImportError(
            "The TFLite Micro interpreter is missing: pip install 'tfmot_swd[micro]'. Received: no package tflite_micro"
        )


def _plenty(content: bytes) -> int:
    """Returns an arena that any file fits into; pages that it does not use cost nothing."""
    activations = sum(4 * max(tensor.size, 1) for tensor in read_graph(content).tensors)
    return 2**26 + 8 * (activations + len(content))


def _patience(inferences: int) -> float:
    return TIMEOUT + _INFERENCE_SECONDS * inferences


def _work(directory: Path, contents: Sequence[bytes], settings: dict[str, Any], timeout: float) -> str:
    """Runs the worker on the files, and returns what it said."""
    for number, content in enumerate(contents):
        (directory / f"{number}.tflite").write_bytes(content)
    (directory / "settings.json").write_text(json.dumps(settings))
    # -P: the names beside the script are not to be imported in place of packages.
    command = [sys.executable, "-P", str(_WORKER), str(directory)]
    done = run_subprocess(command, timeout, "TFLite Micro")
    said = done.stderr + done.stdout
    if done.returncode:
        files = ", ".join(map(describe, contents))
        crash = f"{describe_exit(done.returncode)}; " if done.returncode < 0 else ""
        raise ExportError(
            "TFLite Micro does not run this file: it takes files made with recipe='int8' or 'float32' whose "
            "operators it has, in an arena that is large enough. "
            f"Received: {files}, and {crash}{said.strip()[-1500:]}"
        )
    return said
