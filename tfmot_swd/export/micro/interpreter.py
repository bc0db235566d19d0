"""A TFLite file run in TFLite Micro, the interpreter of microcontrollers, on this host."""

from __future__ import annotations

import importlib.util
import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfmot_swd.export.errors import ExportError
from tfmot_swd.export.graph import read_graph
from tfmot_swd.export.interpreter import dequantize, quantize
from tfmot_swd.export.micro.layout import FileLayout, Port, read_layout
from tfmot_swd.export.samples import Array, chunks

_WORKER = Path(__file__).with_name("worker.py")
_ARENA = re.compile(r"Arena allocation total (\d+) bytes")


@dataclass(frozen=True)
class MicroRun:
    """What came of a file in TFLite Micro.

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
class MicroTime:
    """How long a file takes in TFLite Micro on this host, in milliseconds.

    Attributes:
        median: over the rounds.
        least: of the rounds; ratios of these are what repeats best on a busy host.
        rounds: how many there were.
    """

    median: float
    least: float
    rounds: int


def run_micro(content: bytes, inputs: dict[str, Array], arena_bytes: int | None = None) -> MicroRun:
    """Runs a file with one signature in TFLite Micro, in a process of its own.

    TFLite Micro runs files in int8, in int8 weights with int16 activations, and in float32, at their fixed batch; also
    what `encode_pruned` makes.

    Args:
        content: the bytes of the file.
        inputs: one array (N, ...) for each input name of the signature; quantized as the file asks.
        arena_bytes: the working memory to give it, to see whether a device has enough. None gives it plenty.

    Returns:
        Outputs, arena and time.

    Raises:
        ValueError: no TFLite file, inputs of other names or shapes than the file's.
        ImportError: the package tflite-micro is not installed.
        ExportError: TFLite Micro cannot run the file, in this arena; with what it said.

    Example:
        >>> import tempfile, numpy as np, tf_keras as keras
        >>> from tfmot_swd import export_tflite
        >>> model = keras.Sequential([keras.layers.Input((4,), name="x"), keras.layers.Dense(2, name="y")])
        >>> path = tempfile.mkdtemp() + "/model.tflite"
        >>> x = np.random.default_rng(0).normal(size=(100, 4)).astype("float32")
        >>> result = export_tflite(model, path, "int8", representative_data=x)
        >>> run = run_micro(open(path, "rb").read(), {"x": x})
        >>> run.outputs["y"].shape, run.arena_bytes < 2000
        ((100, 2), True)
    """
    _require_package()
    layout = read_layout(content)
    if arena_bytes is not None and (isinstance(arena_bytes, bool) or not isinstance(arena_bytes, int)):
        raise TypeError(f"arena_bytes must be an int or None. Received: arena_bytes={arena_bytes!r}")
    arrays, count = _checked(inputs, layout)
    rounds = {port.position: _rounds(array, port) for array, port in zip(arrays, layout.inputs, strict=True)}
    settings = {
        "task": "run",
        "arena_bytes": _plenty(content) if arena_bytes is None else max(arena_bytes, 0),
        "input_count": len(rounds),
        "output_positions": sorted({port.position for port in layout.outputs}),
    }
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        np.savez(directory / "inputs.npz", *(rounds[position] for position in sorted(rounds)))
        said = _work(directory, (content,), settings)
        stored = {port.name: (np.load(directory / f"output_{port.position}.npy"), port) for port in layout.outputs}
        milliseconds = float(np.median(np.load(directory / "milliseconds.npy")))
    found = _ARENA.search(said)
    if found is None:
        raise ExportError(f"TFLite Micro ran the file and did not tell its arena. Received: {said[-500:]!r}")
    outputs = {
        name: dequantize(values.reshape(-1, *values.shape[2:])[:count], port.detail)
        for name, (values, port) in stored.items()
    }
    return MicroRun(outputs, int(found[1]), milliseconds, count)


def time_micro(contents: Sequence[bytes], rounds: int = 20) -> tuple[MicroTime, ...]:
    """Measures how long files take in TFLite Micro, on random inputs, in turn: one inference each a round.

    Args:
        contents: the bytes of each file; to compare files, pass them together.
        rounds: after one inference each that is not measured.

    Returns:
        Times in the order of the files.

    Raises:
        ValueError: no files or no rounds, or bytes that are no TFLite file.
        ImportError: the package tflite-micro is not installed.
        ExportError: TFLite Micro cannot run one of the files.

    Example:
        >>> import tempfile, tf_keras as keras
        >>> from tfmot_swd import export_tflite
        >>> path = tempfile.mkdtemp() + "/model.tflite"
        >>> model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2)])
        >>> result = export_tflite(model, path)
        >>> (measured,) = time_micro([open(path, "rb").read()], rounds=3)
        >>> 0 < measured.least <= measured.median
        True
    """
    _require_package()
    if not contents or rounds < 1:
        raise ValueError(
            f"There must be a file and a round to measure. Received: {len(contents)} files, rounds={rounds!r}"
        )
    settings = {
        "task": "measure",
        "arena_bytes": max(map(_plenty, contents)),
        "input_count": [len({port.position for port in read_layout(content).inputs}) for content in contents],
        "rounds": rounds,
    }
    with tempfile.TemporaryDirectory() as scratch:
        _work(Path(scratch), contents, settings)
        times = np.load(Path(scratch) / "milliseconds.npy")
    return tuple(MicroTime(float(np.median(column)), float(column.min()), rounds) for column in times.T)


def _require_package() -> None:
    if importlib.util.find_spec("tflite_micro") is None:
        raise ImportError(
            "The TFLite Micro interpreter is missing: pip install 'tfmot_swd[micro]'. Received: no package tflite_micro"
        )


def _plenty(content: bytes) -> int:
    """Returns an arena that any file fits into; pages that it does not use cost nothing."""
    activations = sum(4 * max(tensor.size, 1) for tensor in read_graph(content).tensors)
    return 2**26 + 8 * (activations + len(content))


def _checked(inputs: dict[str, Array], layout: FileLayout) -> tuple[list[Array], int]:
    """Returns the arrays in the order of the file's inputs, and how many samples there are."""
    names = [port.name for port in layout.inputs]
    if set(inputs) != set(names):
        raise ValueError(f"inputs must be arrays named {names}. Received: {sorted(inputs)}")
    arrays = [np.asarray(inputs[name]) for name in names]
    for array, port in zip(arrays, layout.inputs, strict=True):
        if not array.ndim or array.shape[1:] != port.shape[1:]:
            raise ValueError(
                f"Input {port.name!r} must have shape {('N', *port.shape[1:])}. Received: shape {array.shape}"
            )
    counts = {len(array) for array in arrays}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"All inputs must have the same number of samples, at least 1. Received: {sorted(counts)}")
    return arrays, counts.pop()


def _rounds(array: Array, port: Port) -> Array:
    """Returns the values as stored, (round, *shape of the port)."""
    batches = chunks((quantize(array, port.detail),), port.shape[0])
    return np.stack([batch for (batch,), _ in batches])


def _work(directory: Path, contents: Sequence[bytes], settings: dict[str, Any]) -> str:
    """Runs the worker on the files, and returns what it said."""
    for number, content in enumerate(contents):
        (directory / f"{number}.tflite").write_bytes(content)
    (directory / "settings.json").write_text(json.dumps(settings))
    # -P: the names beside the script are not to be imported in place of packages.
    command = [sys.executable, "-P", str(_WORKER), str(directory)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    said = done.stderr + done.stdout
    if done.returncode:
        crash = f"it crashed with {signal.Signals(-done.returncode).name}; " if done.returncode < 0 else ""
        raise ExportError(
            "TFLite Micro does not run this file: it takes files made with quantize='int8' or 'float32' whose "
            "operators it has, in an arena that is large enough. "
            f"Received: {crash}{said.strip()[-1500:]}"
        )
    return said
