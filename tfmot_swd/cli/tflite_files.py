"""TFLite files that a command reads: there, and what they are given as."""

from __future__ import annotations

from pathlib import Path

from tfmot_swd.cli.command import UsageError


def require_tflite(flag: str, path: str) -> bytes:
    """Returns the bytes of a file.

    Args:
      flag: what it was given as, for messages: "--dense" for example.
      path: of the file.

    Raises:
      UsageError: there is none.
      ValueError: it is no TFLite file, or a damaged one; the message names it.
    """
    from tfmot_swd.tflite.file_bytes import read_file
    from tfmot_swd.tflite.graph import read_graph

    if not Path(path).is_file():
        raise UsageError(f"There is no such file. Received: {path!r}")
    content = read_file(path)
    try:
        read_graph(content)
    except ValueError as error:
        raise ValueError(f"{flag}: {error}") from error
    return content
