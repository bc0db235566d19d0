"""Files that a command reads and writes."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfmot_swd.cli.command import UsageError
from tfmot_swd.io.atomic import atomic_write, check_target


def require_tflite(flag: str, path: str) -> bytes:
    """Returns the bytes of a TFLite file.

    Args:
      flag: what it was given as, for messages: "--dense" for example.
      path: of the file.

    Raises:
      UsageError: there is no such file.
      ValueError: it is not a TFLite file, or a damaged one; the message names it.
    """
    from tfmot_swd.tflite.file_bytes import read_file
    from tfmot_swd.tflite.graph import read_graph

    if not Path(path).is_file():
        raise UsageError(f"There is no such file. Received: {path!r}")
    content = read_file(path)
    try:
        read_graph(content)
    except ValueError as error:
        raise ValueError(f"{flag}: {error}") from error
    return content


def target_of(flag: str, path: str | None, suffix: str | tuple[str, ...], inputs: Sequence[str | None] = ()) -> Path:
    """Returns the path to write the file of a flag to, checked before anything costly is done.

    Args:
      flag: its name, for messages.
      path: its value.
      suffix: how the file's name must end, or several ways.
      inputs: what the command reads, which is not to be overwritten.

    Raises:
      UsageError: no path, another suffix, or an input.
      OSError: nothing can be written there.
    """
    suffixes = (suffix,) if isinstance(suffix, str) else suffix
    if not path:
        raise UsageError(f"--{flag} says where the result goes: give --{flag}=name{suffixes[0]}. Received: none")
    if not path.endswith(suffixes):
        raise UsageError(f"--{flag} must end in {' or '.join(suffixes)}. Received: {path!r}")
    target = check_target(path)
    for each in inputs:
        if each is not None and target.exists() and Path(each).exists() and target.samefile(each):
            raise UsageError(f"--{flag} would overwrite what is read: choose another name. Received: {path!r}")
    return target


def write_model(target: Path, model: Any) -> None:
    """Saves a model, of either Keras, as the `.keras` or `.h5` file that the name says, in one atomic step."""
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        # Both Keras advise against .h5, which was asked for.
        warnings.filterwarnings("ignore", "You are saving your model as an HDF5 file")
        saved = Path(directory) / f"model{target.suffix}"
        model.save(saved)
        content = saved.read_bytes()
    with atomic_write(target, content):
        pass
