"""Pauses of Python's collector of reference cycles."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def collection_paused() -> Iterator[None]:
    """Pauses the collector in the block, which makes many objects that stay.

    Their number sets it off, several times in the construction of one model, and each time it looks at all objects of
    the process, of which TensorFlow has a million: a third of the time. What is free for collection goes after the
    block, as it would have gone.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
