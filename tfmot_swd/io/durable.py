"""Names in a directory that a power cut does not undo."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def sync(path: Path) -> None:
    """Has the system write a file or a directory to the disk, as far as it can.

    After a file was moved, its new name is on the disk once its directory is. Some systems cannot open a directory, and
    some disks cannot be asked; what was moved is whole there all the same.

    Args:
        path: of the file or directory.
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
