"""Scripts that a test runs in a process of its own, and what they print."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def start(script: Path, *args: object, **environment: str) -> subprocess.Popen:
    """Starts a script of the tests with the repository on its path."""
    env = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": str(ROOT),
        **environment,
    }
    command = [sys.executable, str(script), *map(str, args)]
    return subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def results(process: subprocess.Popen, timeout: float = 240) -> list:
    """Returns what a script has said in lines of RESULT and JSON; with none, fails with the end of its errors."""
    out, err = process.communicate(timeout=timeout)
    lines = [line.removeprefix("RESULT ") for line in out.splitlines() if line.startswith("RESULT ")]
    assert lines, err[-3000:]
    return [json.loads(line) for line in lines]
