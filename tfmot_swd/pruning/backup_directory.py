"""The directory of a backup: one owner at a time, and what is in it is whole or gone."""

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

# Locks of this process, by directory: the open file and whose it is. POSIX locks end with the process and are not
# inherited by forked ones, which may live on; but closing any descriptor of a file ends them, so each is open once.
_held: dict[Path, tuple[int, BackupDirectory]] = {}


class BackupDirectory:
    """Places backups in a directory and removes them, so that a kill at any moment leaves the old one or the new one.

    Args:
      path: made when it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._has_claimed = False

    def claim(self, size: int) -> None:
        """Makes this process the owner, and checks that a backup can be written.

        A training in this process that claimed it before has lost it: it was interrupted, or is refused when it saves.

        Args:
          size: bytes that one backup will take.

        Raises:
          OSError: a file is in the way, nothing can be written there, or the disk is too full.
          RuntimeError: another process owns it.
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
        """Returns the backups in it, the latest one last."""
        return sorted(each for each in self.path.glob("epoch_*") if each.is_dir())

    @contextlib.contextmanager
    def placed(self, name: str) -> Iterator[Path]:
        """Gives the block a new directory to write into, which becomes the only backup when the block ends well.

        Raises:
          OSError: the disk is full, or does not take the backup for another reason; the one before is as it was.
          RuntimeError: another training of this process has claimed the directory since.
        """
        if self._has_claimed and not self._is_owner():
            raise RuntimeError(
                "A later training of this process has taken over the backup: give each training that runs at the same "
                f"time a backup_dir of its own. Received: backup_dir={str(self.path)!r}"
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
                f"{error.strerror or error} while the backup was written; the one before it is as it was: free some "
                f"space or choose another backup_dir, and start the training again, which will go on behind it. "
                f"Received: backup_dir={str(self.path)!r}",
            ) from error
        for each in earlier:
            self._discard(each)

    def delete(self) -> None:
        """Removes all backups, gives the directory up and removes it, where nothing else is in it."""
        # The latest one last: until it is gone as a whole, a next start goes on behind it.
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
            # Somebody removed the directory by hand.
            os.close(descriptor)
        while True:
            try:
                descriptor = os.open(key / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
            except FileNotFoundError:
                # Its last owner has just removed the directory.
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
                    "Another training keeps its backup there and is still running: wait for it or end it, or choose "
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
            # Removed while it is locked: whoever opens it from now on makes a new one.
            (self.path / _LOCK).unlink(missing_ok=True)
            os.close(_held.pop(self._key)[0])
        self._has_claimed = False

    def _check_space(self, size: int) -> None:
        try:
            # For real: neither permission bits nor the free bytes of the disk tell of quotas and read-only disks.
            with tempfile.TemporaryFile(dir=self.path) as file:
                if size and hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno in _FULL:
                raise OSError(
                    error.errno,
                    f"There is no room for a backup, which takes about {size:,} bytes: free some space or choose "
                    f"another backup_dir. Received: backup_dir={str(self.path)!r}",
                ) from error
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise self._unwritable(error) from error

    def _free(self, name: str) -> Path:
        """Returns a place that sorts behind a backup of the same epoch, which leaves only when this one is there."""
        place = self.path / name
        while place.exists():
            place = place.with_name(place.name + "_later")
        return place

    def _discard(self, path: Path) -> None:
        """Removes a backup: it is whole until it has another name, and none from then on."""
        gone = path.with_name(_DISCARDED + path.name)
        shutil.rmtree(gone, ignore_errors=True)
        os.replace(path, gone)
        shutil.rmtree(gone, ignore_errors=True)

    def _sweep(self) -> None:
        """Removes what processes that were killed have left."""
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
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
