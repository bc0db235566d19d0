"""Measurements in a process of their own, so that its memory is free again and nothing is left of an earlier one."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
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
