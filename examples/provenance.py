"""Where a result comes from: the command that made it and the versions of what ran."""

from __future__ import annotations

import platform
import shlex
import sys
from importlib import metadata
from pathlib import Path

_PACKAGES = (
    "tfmot_swd",
    "tensorflow",
    "tf_keras",
    "tensorflow-model-optimization",
    "numpy",
)


def command() -> str:
    """How this process was started, without the directories of this machine."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    program = ["-m", spec.name] if spec is not None else [Path(sys.argv[0]).name]
    return shlex.join(["python", *program, *sys.argv[1:]])


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that decide a result."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
