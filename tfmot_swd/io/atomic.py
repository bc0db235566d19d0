"""Files that appear whole or not at all."""

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

from tfmot_swd.io.durable import sync


def check_target(path: str | os.PathLike[str]) -> Path:
    """Returns where a file can be put, links resolved, before anything costly is done.

    Missing parent directories are fine: `placed` creates them.

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
def placed(target: Path, content: bytes) -> Iterator[Path]:
    """Writes `content` beside `target`, and moves it there when the block ends well.

    The block gets the path of the temporary file, which is already on disk. If the block raises,
    the temporary file is removed and `target` is as it was. A process that is killed cannot remove
    its own: the next one that writes to `target` does, told by the lock that ended with the owner.

    Raises:
        OSError: the disk is full, or does not take the file for another reason.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    temporary, file = _create(target)
    try:
        with file:
            _write(file, content, target)
            if target.exists():
                shutil.copymode(target, temporary)
            yield temporary
            os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(target.parent)


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


def _write(file: FileIO, content: bytes, target: Path) -> None:
    left = memoryview(content)
    try:
        while left:
            left = left[file.write(left) :]
        os.fsync(file.fileno())
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror} while the file was written beside its place, which is as it was: free some space, or "
            f"choose another path. Received: {len(content):,} bytes for {os.fspath(target)!r}",
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
