"""Loads TensorFlow without its start-up lines, which say nothing to whoever runs an example."""

from __future__ import annotations

import importlib
import os
import sys

from tfmot_swd_cli import errors_aside

LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def load_tensorflow() -> None:
    """Imports TensorFlow with its start-up chatter muted.

    Some of it comes before TensorFlow reads its own log level, so the file descriptor of stderr is
    turned aside meanwhile; what was said is shown after all where the import fails. Whoever sets a
    log level below 3 hears everything.
    """
    # Level 3, as TensorFlow calls it an error that a machine has no GPU.
    if os.environ.setdefault(LOG_LEVEL, "3") != "3" or "tensorflow" in sys.modules:
        importlib.import_module("tensorflow")
        return
    with errors_aside():
        importlib.import_module("tensorflow")
