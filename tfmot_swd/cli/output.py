"""Files that a command writes: whole or not at all, and never in the place of what it reads."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfmot_swd.cli.command import UsageError


def target_of(flag: str, path: str | None, suffix: str, inputs: Sequence[str | None] = ()) -> Path:
    """Returns where the file of a flag can be put, before anything costly is done.

    Args:
      flag: its name, for messages.
      path: its value.
      suffix: how the file's name must end.
      inputs: what the command reads, which is not to be overwritten.

    Raises:
      UsageError: no path, another suffix, or an input.
      OSError: nothing can be written there.
    """
    from tfmot_swd.io.atomic import check_target

    if not path:
        raise UsageError(f"--{flag} says where the result goes: give --{flag}=name{suffix}. Received: none")
    if not path.endswith(suffix):
        raise UsageError(f"--{flag} must end in {suffix}. Received: {path!r}")
    target = check_target(path)
    for each in inputs:
        if each is not None and target.exists() and Path(each).exists() and target.samefile(each):
            raise UsageError(f"--{flag} would overwrite what is read: choose another name. Received: {path!r}")
    return target


def write_json(target: Path, content: dict[str, Any]) -> None:
    """Writes plain types as JSON, in one step; numbers that JSON does not know, as of a net that diverged, are null."""
    from tfmot_swd.io.atomic import atomic_write

    with atomic_write(target, (json.dumps(_finite(content), indent=1, allow_nan=False) + "\n").encode()):
        pass


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_model(target: Path, model: Any) -> None:
    """Saves a model as a `.keras` file, in one step."""
    from tfmot_swd.io.atomic import atomic_write

    with tempfile.TemporaryDirectory() as directory:
        saved = Path(directory) / "model.keras"
        model.save(saved)
        content = saved.read_bytes()
    with atomic_write(target, content):
        pass
