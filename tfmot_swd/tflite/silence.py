"""Silenced logs of TensorFlow's converter, which writes from C++ past Python's streams."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class CapturedLogs:
    """Output captured by `silenced_logs`, filled in when the block ends."""

    text: str = ""

    def tail(self, characters: int = 2000) -> str:
        """Returns the end of the text, for an error message."""
        return self.text[-characters:].strip()


@contextlib.contextmanager
def silenced_logs() -> Iterator[CapturedLogs]:
    """Captures file descriptors 1 and 2 of the process, and drops Python warnings.

    The descriptors are restored whatever happens. They belong to the process: what other threads
    print meanwhile is collected too. A process that runs without them is left as it is.
    """
    captured = CapturedLogs()
    saved: dict[int, int] = {}
    with tempfile.TemporaryFile() as sink, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _flush()
        try:
            for descriptor in (1, 2):
                with contextlib.suppress(OSError):
                    saved[descriptor] = os.dup(descriptor)
                    os.dup2(sink.fileno(), descriptor)
            yield captured
        finally:
            # Before the descriptors go back: what Python still holds was written in here.
            _flush()
            for descriptor, copy in saved.items():
                os.dup2(copy, descriptor)
                os.close(copy)
            sink.seek(0)
            captured.text = sink.read().decode(errors="replace")


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        # A stream may be None or closed in a process without a terminal.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.flush()
