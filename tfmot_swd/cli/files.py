"""Files that a command reads and writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tfmot_swd.cli.command import UsageError
from tfmot_swd.cli.words import in_shell_words
from tfmot_swd.io.atomic import check_target

# The names of `tfmot_swd.tflite.RECIPES`, which needs TensorFlow and seconds: `--help` does without.
RECIPES = (
    "float32",
    "float16",
    "dynamic",
    "int8",
    "int8_float_io",
    "int16x8",
    "sparse_float32",
    "sparse_float16",
    "int8_pruned",
)


def check_recipes(recipes: Sequence[str]) -> None:
    """Raises a UsageError where `--recipes` names none, or one that there is not, with those that there are."""
    from tfmot_swd.tflite.recipes import get_recipe

    if not recipes:
        raise UsageError("--recipes names what to export, float32,int8 for example. Received: none")
    for recipe in recipes:
        try:
            get_recipe(recipe)
        except ValueError as error:
            raise UsageError(in_shell_words(str(error))) from error


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
