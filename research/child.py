"""Measurements in a process of their own, so that its memory is free again and nothing is left of an earlier one."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def measure_apart(module: str, *arguments: str) -> dict[str, Any]:
    """Returns what a module measures in a process of its own.

    Args:
        module: as "research.applications_coverage"; with `--child=PATH` it writes the result there as JSON and does
            nothing else.
        arguments: of its command, which say what to measure.

    Raises:
        RuntimeError: with the end of what the process said, where it failed.
    """
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "result.json"
        command = [sys.executable, "-m", module, *arguments, f"--child={path}"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
        if done.returncode:
            raise RuntimeError(f"{' '.join([module, *arguments])} failed. Received: {done.stderr[-3000:]}")
        return dict(json.loads(path.read_text()))


def measure_forked(measure: Callable[[], dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Returns what a function measures in a copy of this process, which has imported all that takes long.

    TensorFlow must not have run anything in this process.

    Args:
        measure: returns what JSON can say.
        seconds: by the clock, after which the copy is ended.

    Raises:
        RuntimeError: with the end of what the copy said, where it failed or was ended.
    """
    with tempfile.TemporaryDirectory() as directory:
        path, log = Path(directory) / "result.json", Path(directory) / "log.txt"
        process = multiprocessing.get_context("fork").Process(target=_write_measured, args=(measure, path, log))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise RuntimeError(f"Ended after {seconds:.0f} s.")
        if process.exitcode:
            raise RuntimeError(f"Failed with {process.exitcode}. Received: {log.read_text()[-3000:]}")
        return dict(json.loads(path.read_text()))


def _write_measured(measure: Callable[[], dict[str, Any]], path: Path, log: Path) -> None:
    """Writes what is measured, in the process that was made for it."""
    with log.open("wb") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        path.write_text(json.dumps(measure()))
