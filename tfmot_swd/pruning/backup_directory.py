"""Backup directory: one owner at a time, and atomic replacement of backups."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tfmot_swd.io.atomic import sync

_LOCK = "owner.lock"
_PARTIAL = "partial"
_DISCARDED = "discarded_"
_FULL = (errno.ENOSPC, errno.EDQUOT)

# Locks of this process by directory: the open file and its owner. POSIX locks end with the process and are not
# inherited by forked ones; but closing any descriptor of a file releases them, so each file is open once.
_held: dict[Path, tuple[int, BackupDirectory]] = {}


class BackupDirectory:
    """Writes and removes backups so that a process killed at any moment leaves the old backup or the new one.

    Args:
      path: created when it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._has_claimed = False

    def claim(self, size: int) -> None:
        """Makes this process the owner, and checks that a backup can be written.

        A training of this process that claimed it before loses it: it was interrupted, or raises when it saves.

        Args:
          size: bytes that one backup will take.

        Raises:
          OSError: a file is in the way, nothing can be written there, or the disk is too full.
          RuntimeError: another process owns the directory.
        """
        self._make()
        self._own()
        try:
            self._check_space(size)
        except BaseException:
            self._release()
            raise
        self._sweep()

    def finished(self) -> list[Path]:
        """Returns the paths of the complete backups, the latest one last."""
        return sorted(each for each in self.path.glob("epoch_*") if each.is_dir())

    @contextlib.contextmanager
    def placed(self, name: str) -> Iterator[Path]:
        """Yields a new directory to write into, which becomes the only backup when the block ends without an error.

        Raises:
          OSError: the disk is full, or the backup cannot be written for another reason; the previous one is unchanged.
          RuntimeError: another training of this process has claimed the directory since.
        """
        if self._has_claimed and not self._is_owner():
            raise RuntimeError(
                "A later training of this process has taken over the backup: give each training that runs at the same "
                f"time another backup_dir. Received: backup_dir={str(self.path)!r}"
            )
        self._make()
        partial = self.path / _PARTIAL
        shutil.rmtree(partial, ignore_errors=True)
        earlier = self.finished()
        try:
            partial.mkdir()
            yield partial
            for file in partial.iterdir():
                sync(file)
            os.replace(partial, self._free(name))
            sync(self.path)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise OSError(
                error.errno or errno.EIO,
                f"{error.strerror or error} while the backup was written; the previous one is unchanged: free some "
                f"space or choose another backup_dir, and start the training again, which resumes after that backup. "
                f"Received: backup_dir={str(self.path)!r}",
            ) from error
        for each in earlier:
            self._discard(each)

    def delete(self) -> None:
        """Removes all backups, releases the directory, and removes it if it is empty then."""
        # The latest one last: until it is removed, another start would resume from it.
        for each in self.finished():
            self._discard(each)
        self._sweep()
        self._release()
        with contextlib.suppress(OSError):
            self.path.rmdir()

    @property
    def _key(self) -> Path:
        return Path(os.path.realpath(self.path))

    def _make(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise NotADirectoryError(
                "backup_dir must be a directory, or a path where one can be made: choose another one. "
                f"Received: backup_dir={str(self.path)!r}, where a file is in the way"
            ) from error
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> OSError:
        kind = PermissionError if isinstance(error, PermissionError) else OSError
        return kind(
            f"Nothing can be written into backup_dir ({error.strerror}): choose another one or give yourself write "
            f"access. Received: backup_dir={str(self.path)!r}"
        )

    def _own(self) -> None:
        key, self._has_claimed = self._key, True
        if key in _held:
            descriptor, _ = _held[key]
            if _is_same_file(descriptor, key / _LOCK):
                _held[key] = (descriptor, self)
                return
            # The directory was removed by hand.
            os.close(descriptor)
        while True:
            try:
                descriptor = os.open(key / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
            except FileNotFoundError:
                # The previous owner has just removed the directory.
                self._make()
                continue
            except OSError as error:
                raise self._unwritable(error) from error
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError) as error:
                owner = os.read(descriptor, 200).decode(errors="replace").strip() or "unknown"
                os.close(descriptor)
                raise RuntimeError(
                    "Another running training has its backup there: wait for it or end it, or choose "
                    f"another backup_dir. Received: backup_dir={str(self.path)!r}, in use by process {owner}"
                ) from error
            except OSError:
                # A file system without locks.
                pass
            if _is_same_file(descriptor, key / _LOCK):
                break
            os.close(descriptor)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()} on {socket.gethostname()}\n".encode())
        _held[key] = (descriptor, self)

    def _is_owner(self) -> bool:
        return self._key in _held and _held[self._key][1] is self

    def _release(self) -> None:
        if self._is_owner():
            # Removed while it is locked, so that the next owner creates a new file.
            (self.path / _LOCK).unlink(missing_ok=True)
            os.close(_held.pop(self._key)[0])
        self._has_claimed = False

    def _check_space(self, size: int) -> None:
        try:
            # A test write: permission bits and free bytes do not show quotas and read-only disks.
            with tempfile.TemporaryFile(dir=self.path) as file:
                if size and hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno in _FULL:
                raise OSError(
                    error.errno,
                    f"The disk has no space for a backup, which takes about {size:,} bytes: free some space or choose "
                    f"another backup_dir. Received: backup_dir={str(self.path)!r}",
                ) from error
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise self._unwritable(error) from error

    def _free(self, name: str) -> Path:
        """Returns a path that sorts after an existing backup of the same epoch, which is removed only later."""
        place = self.path / name
        while place.exists():
            place = place.with_name(place.name + "_later")
        return place

    def _discard(self, path: Path) -> None:
        """Removes a backup, renamed first so that it is either complete or not a backup."""
        gone = path.with_name(_DISCARDED + path.name)
        shutil.rmtree(gone, ignore_errors=True)
        os.replace(path, gone)
        shutil.rmtree(gone, ignore_errors=True)

    def _sweep(self) -> None:
        """Removes the files left by killed processes."""
        for each in (self.path / _PARTIAL, *self.path.glob(f"{_DISCARDED}*")):
            shutil.rmtree(each, ignore_errors=True)


def checksums(directory: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file in a directory, by name."""
    found = {}
    for file in sorted(directory.iterdir()):
        with file.open("rb") as content:
            found[file.name] = hashlib.file_digest(content, "sha256").hexdigest()
    return found


def _is_same_file(descriptor: int, path: Path) -> bool:
    """Returns whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
