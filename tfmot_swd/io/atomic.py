"""Atomic file writes.

Readers find the old file or the new one and never a part, also where the process is killed or the power fails.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any


def check_target(path: str | os.PathLike[str]) -> Path:
    """Returns where a file can be put, links resolved, before anything costly is done.

    Missing parent directories are fine: `atomic_write` creates them.

    Raises:
        TypeError: `path` is not a path.
        OSError: a directory or a device is at `path`, a parent is a file, or nothing can be
            written there.
    """
    text = path_text(path)
    if not text:
        raise ValueError(f"path must name the file to write. Received: path={text!r}")
    target = Path(os.path.realpath(text))
    if target.is_dir() or text.endswith(("/", os.sep)):
        raise IsADirectoryError(f"path is a directory: add a file name, such as model.tflite. Received: path={text!r}")
    parent = target.parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        raise NotADirectoryError(
            f"{str(parent)!r} is a file, so nothing can be put below it: choose another path. Received: path={text!r}"
        )
    if target.exists() and not target.is_file():
        raise OSError(f"path is neither new nor a regular file. Received: path={text!r}")
    try:
        # Written for real: permission bits say nothing of a read-only disk, nor to root.
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        kind = PermissionError if isinstance(error, PermissionError) else OSError
        raise kind(
            f"Cannot write into {str(parent)!r} ({error.strerror}): choose another path or give "
            f"yourself write access. Received: path={text!r}"
        ) from error
    return target


def path_text(path: Any) -> str:
    """Returns a path as text.

    Raises:
        TypeError: `path` is not a path.
    """
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise TypeError(f"path must be a str or a pathlib.Path. Received: path={path!r}")
    return os.fspath(path)


@contextlib.contextmanager
def atomic_write(target: Path, data: bytes) -> Iterator[Path]:
    """Writes `data` to a temporary file beside `target`, and renames it to `target` when the block succeeds.

    The block receives the path of the temporary file, already on disk, so that it can be checked before it replaces
    anything. If the block raises, the temporary file is removed and `target` is unchanged. A killed process cannot
    remove its temporary file: the next write to `target` does, which recognizes it by the lock that ended with its
    owner.

    Args:
        target: the file to write, as `check_target` returns it.
        data: its bytes.

    Raises:
        OSError: the disk is full, or does not take the file for another reason.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "net.tflite"
    >>> with atomic_write(target, b"new") as temporary:
    ...     target.exists(), temporary.read_bytes()
    (False, b'new')
    >>> target.read_bytes()
    b'new'
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    temporary, file = _create(target)
    try:
        with file:
            _write(file, data, target)
            if target.exists():
                shutil.copymode(target, temporary)
            yield temporary
            os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(target.parent)


def sync(path: Path) -> None:
    """Flushes a file or a directory to disk, as far as the system can.

    A rename survives a power cut once the directory is flushed. Some systems cannot open a directory, and some disks
    cannot be asked: the renamed file is whole there all the same.

    Args:
        path: the file or directory.
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _create(target: Path) -> tuple[Path, FileIO]:
    """Opens a new file beside `target` and locks it for as long as it is open."""
    while True:
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
        file = FileIO(temporary, "xb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if temporary.exists():
                return temporary, file
        except BlockingIOError:
            pass
        except OSError:
            # A file system without locks, where nobody can sweep either.
            return temporary, file
        # Before it was locked, another process took it for one without an owner.
        file.close()
        temporary.unlink(missing_ok=True)


def _write(file: FileIO, data: bytes, target: Path) -> None:
    left = memoryview(data)
    try:
        while left:
            left = left[file.write(left) :]
        os.fsync(file.fileno())
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror} while the file was written beside its place, which is as it was: free some space, or "
            f"choose another path. Received: {len(data):,} bytes for {os.fspath(target)!r}",
        ) from error


def _sweep(target: Path) -> None:
    """Removes the temporary files of processes that were killed."""
    form = re.compile(re.escape(f".{target.name}.") + r"[0-9a-f]{8}\.tmp")
    try:
        names = os.listdir(target.parent)
    except OSError:
        return
    for name in filter(form.fullmatch, names):
        # Its owner is alive and has the lock, or another process was faster, or it is not ours to touch.
        with contextlib.suppress(OSError), open(target.with_name(name), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            target.with_name(name).unlink()
