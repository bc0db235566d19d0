"""TFLite files given as bytes or paths: reading, compressed sizes, digests."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path
from typing import Any

_MISSING = {
    FileNotFoundError: "There is no such file: export it first, or check the path",
    IsADirectoryError: "This is a directory: name a .tflite file in it",
}


class FileBytes(bytes):
    """The bytes of a file that know where they were read, so that messages on them can name it.

    Attributes:
        path: the file's.
    """

    path: str


def describe(content: bytes) -> str:
    """Returns how many bytes there are, and of which file where that is known, for the end of a message."""
    path = getattr(content, "path", None)
    return f"{len(content)} bytes" + (f" of {path!r}" if path else "")


def read_bytes_or_path(given: Any, name: str = "file") -> bytes:
    """Returns the bytes of a file that is given as bytes or as a path; whether they are a TFLite file is not looked at.

    Args:
        given: what the caller passed.
        name: of the argument, for messages.

    Raises:
        TypeError: neither bytes nor a path.
        OSError: as `read_file`.
    """
    if isinstance(given, bytes | bytearray | memoryview):
        return given if isinstance(given, FileBytes) else bytes(given)
    if not _is_path(given):
        raise TypeError(
            f"{name} must be the bytes of a TFLite file, or its path. Received: {name}={type(given).__name__}"
        )
    return read_file(given, name)


def read_file(path: Any, name: str = "path") -> FileBytes:
    """Returns the bytes at a path.

    Raises:
        TypeError: `path` is not a path.
        FileNotFoundError, IsADirectoryError, OSError: there is no file, or it cannot be read.
    """
    if not _is_path(path):
        raise TypeError(f"{name} must be the path of a TFLite file. Received: {name}={type(path).__name__}")
    try:
        content = FileBytes(Path(path).read_bytes())
    except OSError as error:
        reason = _MISSING.get(type(error), f"The file cannot be read ({error.strerror}): give yourself access to it")
        raise type(error)(f"{reason}. Received: {name}={os.fspath(path)!r}") from error
    content.path = os.fspath(path)
    return content


def _is_path(given: Any) -> bool:
    return isinstance(given, str | os.PathLike) and isinstance(os.fspath(given), str)


def sha256(content: bytes) -> str:
    """Returns the SHA-256 digest of a file's bytes, in hexadecimal, as `sha256sum` prints it."""
    return hashlib.sha256(content).hexdigest()


def gzip_size(content: bytes) -> int:
    """Returns the size after gzip at level 9."""
    return len(gzip.compress(content, compresslevel=9, mtime=0))


def zstd_size(content: bytes) -> int | None:
    """Returns the size after Zstandard at level 19, None where the package `zstandard` is not installed."""
    try:
        import zstandard
    except ImportError:
        return None
    return len(zstandard.ZstdCompressor(level=19).compress(content))
