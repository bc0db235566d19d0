"""Folder of a compression: what is in it, what may be in it before, and what an earlier start has left."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from tfmot_swd.tflite.micro.firmware import FILES as FIRMWARE_FILES
from tfmot_swd.tflite.micro.firmware import check_folder as check_project_folder
from tfmot_swd.tflite.recipes import RECIPES
from tfmot_swd.workflows.trials import check_folder, folder_path

TRIALS, FILES, MODEL, RESULT, FIRMWARE = "trials", "files", "model.keras", "result.json", "firmware"
OWN = (TRIALS, FILES, MODEL, RESULT, FIRMWARE, "report.html", "report.json")


def check_output(output: str | os.PathLike[str], name: str = "output") -> Path:
    """Returns the folder of a compression: a new or empty one, or one that the same call has begun.

    Raises:
      TypeError: it is not a path.
      FileExistsError: it holds other files, or a finished result.
      NotADirectoryError: a file has this name.
    """
    folder = folder_path(name, output)
    if not folder.is_dir():
        return check_folder(name, folder)
    found = {each.name for each in folder.iterdir()}
    foreign = sorted(each for each in found - set(OWN) if not each.endswith(".tmp"))
    if foreign or (found and TRIALS not in found):
        raise FileExistsError(
            f"{name} must be a new or empty folder, as nothing is overwritten: choose another one. "
            f"Received: {name}={str(folder)!r} with {', '.join((foreign or sorted(found))[:5])}"
        )
    if RESULT in found:
        raise FileExistsError(
            f"{name} holds a finished result, and nothing is overwritten: choose another folder, or remove {RESULT} "
            f"to make it again, from its trainings as far as those are the same. Received: {name}={str(folder)!r}"
        )
    check_folder(f"{name}/{TRIALS}", folder / TRIALS)
    return folder


def remove_stale(folder: Path, files: Iterable[str], dense: Iterable[Path], has_firmware: bool) -> None:
    """Removes files of this package that an earlier start wrote for other arguments.

    Args:
      folder: of the compression.
      files, dense: paths of the TFLite files that stay.
      has_firmware: whether there is a firmware project, which stays.
    """
    listed = {each.name for each in (*map(Path, files), *dense)}
    for path in (folder / FILES).glob("*.tflite"):
        kind, _, recipe = path.stem.partition("_")
        if path.name not in listed and kind in ("model", "dense") and recipe in RECIPES:
            path.unlink()
    if not has_firmware and (folder / FIRMWARE).is_dir():
        # It raises where the folder holds anything that is not of a project: then all of it stays.
        with contextlib.suppress(OSError):
            place = check_project_folder(folder / FIRMWARE)
            for name in FIRMWARE_FILES:
                (place / name).unlink(missing_ok=True)
            place.rmdir()
