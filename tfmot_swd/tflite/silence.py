"""Silenced logs of TensorFlow's converter, which writes from C++ past Python's streams."""

from __future__ import annotations

import contextlib
import logging
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
    """Captures file descriptors 1 and 2 of the process and TensorFlow's Python logger, and drops Python warnings.

    All are restored whatever happens. They belong to the process: what other threads print meanwhile is collected
    too. A process that runs without the descriptors is left as it is.
    """
    captured = CapturedLogs()
    saved: dict[int, int] = {}
    with tempfile.TemporaryFile() as sink, warnings.catch_warnings(), _logger_to(sink.fileno()):
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


@contextlib.contextmanager
def _logger_to(descriptor: int) -> Iterator[None]:
    """Sends TensorFlow's logger to a descriptor: in a notebook its handlers write past the standard ones."""
    logger = logging.getLogger("tensorflow")
    handlers, propagate = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [_DescriptorHandler(descriptor)], False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = handlers, propagate


class _DescriptorHandler(logging.Handler):
    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def emit(self, record: logging.LogRecord) -> None:
        os.write(self._descriptor, f"{record.levelname}:{record.name}:{record.getMessage()}\n".encode())


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        # A stream may be None or closed in a process without a terminal.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.flush()
