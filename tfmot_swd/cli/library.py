"""The library behind the commands, which loads TensorFlow: seconds that only a command takes that runs."""

from __future__ import annotations

import contextlib
import os
import sys

from tfmot_swd_cli import errors_aside

_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def load_library() -> None:
    """Runs the package where the entry point has left that for later, without the lines that TensorFlow logs.

    Level 3 of its log, from here on, keeps what it says of devices and instruction sets to itself; it calls an error
    that a machine has no GPU. What fails is raised all the same. Whoever sets a level below 3 hears everything.
    """
    package = sys.modules["tfmot_swd"]
    if hasattr(package, "__all__"):
        return
    quiet = os.environ.setdefault(_LOG_LEVEL, "3") == "3"
    loader = None if package.__spec__ is None else package.__spec__.loader
    assert loader is not None
    with errors_aside() if quiet else contextlib.nullcontext():
        loader.exec_module(package)
