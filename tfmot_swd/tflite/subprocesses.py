"""Subprocesses with a timeout, for programs that may crash or hang."""

from __future__ import annotations

import math
import signal
import subprocess
from collections.abc import Sequence
from numbers import Real
from typing import Any

from tfmot_swd.tflite.result import ExportError

# Seconds, for a file as large as they come; imports included.
TIMEOUT = 600.0


def check_timeout(timeout: Any) -> None:
    """Checks that a timeout is a positive number of seconds.

    Raises:
        TypeError: not a number.
        ValueError: not above 0, or not finite.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, Real):
        raise TypeError(f"timeout must be a number of seconds. Received: timeout={timeout!r}")
    if not (math.isfinite(timeout) and float(timeout) > 0):
        raise ValueError(f"timeout must be a finite number of seconds above 0. Received: timeout={timeout!r}")


def describe_exit(code: int) -> str:
    """Describes an exit code: the name of the signal that ended the process, or the number."""
    if code >= 0:
        return f"it ended with exit code {code}"
    try:
        return f"it ended with {signal.Signals(-code).name}"
    except ValueError:
        return f"it ended with signal {-code}"


def run_subprocess(command: Sequence[str], timeout: float, what: str) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end, without input, and returns its exit code and output.

    Args:
        command: the program and its arguments.
        timeout: seconds after which it is killed.
        what: name of the program, as the subject of an error message.

    Raises:
        ExportError: it did not end in time.
        OSError: no process can be started.
    """
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(
            f"{what} had not ended after {timeout:g} s and was stopped: pass a larger timeout if it needs longer, or "
            f"fewer samples or a smaller file. Received: timeout={timeout:g}"
        ) from error
