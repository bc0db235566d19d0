"""Provenance of a result: the command that made it, the machine and the versions."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from importlib import metadata
from pathlib import Path

_PACKAGES = (
    "tfmot_swd",
    "tensorflow",
    "keras",
    "tf_keras",
    "tensorflow-model-optimization",
    "ai-edge-litert",
    "tflite-micro",
    "numpy",
)


def command() -> str:
    """Returns the command line of this process, without the directory of the program."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    script = Path(sys.argv[0]).name
    if spec is not None:
        program = ["python", "-m", spec.name.removesuffix(".__main__")]
    else:
        # What was installed as a program is called by its name alone.
        program = ["python", script] if script.endswith(".py") or script == "-c" else [script]
    return shlex.join([*program, *sys.argv[1:]])


def machine() -> str:
    """Returns system, architecture and number of processors, without the name of the host."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that decide a result, where they are installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
