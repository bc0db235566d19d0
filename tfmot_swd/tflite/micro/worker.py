"""Worker process for TFLite Micro, which may end the process on a file that it cannot run.

Called as a script by `interpreter.py`, so that it starts without TensorFlow; imports nothing of this package. In its
directory are `settings.json` and files `0.tflite`, `1.tflite`, ...; it adds `milliseconds.npy` (round, file) and the
outputs of a run as `output_0.npy`, ..., named by position.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from tflite_micro import runtime


def _interpreter(path: Path, arena_bytes: int) -> Any:
    return runtime.Interpreter.from_bytes(path.read_bytes(), arena_size=arena_bytes)


def _milliseconds(interpreter: Any) -> float:
    start = time.perf_counter()
    interpreter.invoke()
    return 1e3 * (time.perf_counter() - start)


def run(directory: Path, arena_bytes: int, input_count: int, output_positions: list[int]) -> None:
    """Runs one file on `inputs.npz`: arrays (round, *shape) in the order of its inputs."""
    interpreter = _interpreter(directory / "0.tflite", arena_bytes)
    with np.load(directory / "inputs.npz") as data:
        inputs = [data[f"arr_{position}"] for position in range(input_count)]
    outputs: dict[int, list[Any]] = {position: [] for position in output_positions}
    times = []
    for values in zip(*inputs, strict=True):
        # Recurrent operators keep their state from one call to the next.
        interpreter.reset()
        for position, value in enumerate(values):
            interpreter.set_input(value, position)
        times.append([_milliseconds(interpreter)])
        for position, parts in outputs.items():
            parts.append(interpreter.get_output(position))
    interpreter.print_allocations()
    for position, parts in outputs.items():
        np.save(directory / f"output_{position}.npy", np.stack(parts))
    np.save(directory / "milliseconds.npy", np.array(times))


def measure(directory: Path, arena_bytes: int, input_count: list[int], rounds: int) -> None:
    """Runs all files in turn on random values, so that what slows the host down slows all of them down."""
    generator = np.random.default_rng(0)
    interpreters = []
    for number, count in enumerate(input_count):
        interpreter = _interpreter(directory / f"{number}.tflite", arena_bytes)
        for position in range(count):
            detail = interpreter.get_input_details(position)
            values = generator.standard_normal(detail["shape"])
            if np.issubdtype(detail["dtype"], np.integer):
                values = np.clip(40 * values, -128, 127) + (128 if detail["dtype"] == np.uint8 else 0)
                # Wider integers are indices, into a table of a size that is not known here.
                values *= np.dtype(detail["dtype"]).itemsize <= 2
            interpreter.set_input(values.astype(detail["dtype"]), position)
        interpreter.invoke()
        interpreters.append(interpreter)
    times = [[_milliseconds(interpreter) for interpreter in interpreters] for _ in range(rounds)]
    np.save(directory / "milliseconds.npy", np.array(times))


def main() -> None:
    directory = Path(sys.argv[1])
    settings = json.loads((directory / "settings.json").read_text())
    try:
        if settings.pop("task") == "run":
            run(directory, **settings)
        else:
            measure(directory, **settings)
    except (RuntimeError, ValueError) as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
