"""Firmware project of a job: golden data of its validation samples around one of its files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfmot_swd.io.tables import print_plain
from tfmot_swd.keras2.compat import keras
from tfmot_swd.tflite.micro.firmware import MICRO_RECIPES, FirmwareProject, write_firmware_project
from tfmot_swd.tflite.micro.interpreter import require_micro
from tfmot_swd.tflite.result import ExportError
from tfmot_swd.tflite.samples import read_samples
from tfmot_swd.tflite.serving import float32_copy
from tfmot_swd.workflows.file_exports import FileExport
from tfmot_swd.workflows.job import Job


def firmware_recipe(recipes: Sequence[str]) -> str:
    """Returns the recipe whose file a firmware project is written around, the first of `MICRO_RECIPES` among these.

    Raises:
      ValueError: TFLite Micro runs none of them.
      ImportError: the package tflite-micro is not installed.

    >>> firmware_recipe(["float32", "int8"])
    'int8'
    """
    found = next((each for each in MICRO_RECIPES if each in recipes), None)
    if found is None:
        raise ValueError(
            f"Firmware needs a file that TFLite Micro runs: add one of {', '.join(MICRO_RECIPES)} to the recipes. "
            f"Received: {', '.join(recipes)}"
        )
    require_micro()
    return found


def model_firmware(
    model: keras.Model, file: str, folder: Path, data: Any, name: str, samples: int | None = None
) -> FirmwareProject:
    """Writes the firmware project around a file of a model, with samples as the model takes them.

    Args:
      model: of tf_keras.
      file: its path.
      folder: of the project.
      data: as `export_tflite` takes it.
      name: of the data, for messages.
      samples: how many; None for a few.

    Raises:
      TypeError, ValueError, OSError, ExportError: as `read_samples` and `write_firmware_project`.
    """
    served = float32_copy(model)
    read = read_samples(data, served, name)
    given = dict(zip(served.input_names, read.inputs, strict=True))
    return write_firmware_project(file, folder, given, samples=samples)


def job_firmware(
    job: Job, pruned: keras.Model, exports: Sequence[FileExport], recipe: str, folder: Path
) -> tuple[FirmwareProject | None, str]:
    """Writes the firmware project around the file of a recipe.

    Args:
      job: its validation samples are run.
      pruned: the model of the files.
      exports: what became of each recipe.
      recipe: of the file, one of `exports`.
      folder: of the project.

    Returns:
      The project and ""; or None, and why there is none: that costs none of the files.
    """
    result = next(each.result for each in exports if each.recipe == recipe)
    if result is None:
        return None, f"there is no file of {recipe}"
    print_plain(job.console, "Firmware: running samples in TFLite Micro ...")
    try:
        return model_firmware(pruned, result.path, folder, job.samples.pairs(), "validation"), ""
    except (ExportError, ValueError) as error:
        return None, str(error)
