"""TFLite files of a pruned model in several recipes, quantization-aware where plain rounding costs accuracy."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfmot_swd.io.tables import print_plain
from tfmot_swd.keras2.compat import keras
from tfmot_swd.tflite.export import export_tflite
from tfmot_swd.tflite.export_checks import check_runtime, check_sizes
from tfmot_swd.tflite.quantize_aware import quantize_aware
from tfmot_swd.tflite.recipes import Recipe, get_recipe
from tfmot_swd.tflite.result import ExportError, ExportResult
from tfmot_swd.tflite.serving import check_exportable
from tfmot_swd.workflows.job import Job
from tfmot_swd.workflows.progress import FitProgress

# Of accuracy: a file of integers that loses more than half a point is trained for its rounding.
_LOSS = 0.005
# Of the learning rate of the training.
_SLOWER = 0.1


@dataclasses.dataclass(frozen=True)
class FileExport:
    """What became of one recipe.

    Args:
      recipe: its name.
      result: of the export; None where no file was written.
      is_aware: whether the file is of a model that was trained with the rounding.
      failure: why there is no file, empty where there is one.
    """

    recipe: str
    result: ExportResult | None
    is_aware: bool = False
    failure: str = ""


def check_recipes(recipes: Any) -> tuple[str, ...]:
    """Returns the names of recipes, each once.

    Raises:
      TypeError: not a list of names.
      ValueError: an unknown one, or none.
      ImportError: what proves its files is not installed.
    """
    if isinstance(recipes, str) or not isinstance(recipes, list | tuple):
        raise TypeError(f"recipes must be a list of names, such as ['float32', 'int8']. Received: recipes={recipes!r}")
    if not recipes:
        raise ValueError("recipes names what to export, ['float32', 'int8'] for example. Received: recipes=[]")
    for name in recipes:
        check_runtime(get_recipe(name))
    return tuple(dict.fromkeys(recipes))


def check_model_for(recipes: Sequence[str], model: keras.Model) -> None:
    """Raises a ValueError where it is known before any training that a recipe cannot be made of a model.

    Pruning changes neither the inputs of a model nor the kinds of its layers.
    """
    check_exportable(model)
    for name in recipes:
        recipe = get_recipe(name)
        if recipe.runtime == "micro":
            check_sizes(model, recipe)


class Exporter:
    """Exports of one job, all into one folder, proven on its validation data.

    Args:
      job: its training data give the ranges of integer files.
      folder: where files go.
      aware_epochs: of quantization-aware training, of files that need it; 0 for none.
    """

    def __init__(self, job: Job, folder: Path, aware_epochs: int) -> None:
        self._job, self._folder, self._epochs = job, folder, aware_epochs
        # One training serves all recipes of integers.
        self._aware: keras.Model | None = None

    def dense(self, recipes: Sequence[str]) -> dict[str, Path]:
        """Returns the files of the model before pruning, by recipe, of those that can be made."""
        found = {}
        for recipe in recipes:
            path = self._folder / f"dense_{recipe}.tflite"
            # It is there to be compared with; what matters is said of the pruned one.
            with contextlib.suppress(ExportError, ValueError):
                self._export(self._job.model, path, recipe)
                found[recipe] = path
        return found

    def pruned(self, model: keras.Model, recipes: Sequence[str]) -> list[FileExport]:
        """Returns what became of each recipe, for a stripped model."""
        return [self._pruned(model, recipe) for recipe in recipes]

    def _pruned(self, model: keras.Model, recipe: str) -> FileExport:
        print_plain(self._job.console, f"{recipe}: converting, and running the file against the model ...")
        path = self._folder / f"model_{recipe}.tflite"
        try:
            plain = FileExport(recipe, self._export(model, path, recipe))
        # Of data too, such as samples that are all the same: it must not cost the training and the other files.
        except (ExportError, ValueError) as error:
            plain = FileExport(recipe, None, failure=str(error))
        if not (self._epochs and _is_int8(get_recipe(recipe)) and _loses(plain)):
            return plain
        return self._better(model, path, plain)

    def _better(self, model: keras.Model, path: Path, plain: FileExport) -> FileExport:
        """Returns the file of a quantization-aware training, where that is better than the plain one."""
        trial = path.with_name(f".{path.name}.aware.tmp")
        try:
            if self._aware is None:
                self._aware = self._trained_aware(model)
            found = self._export(self._aware, trial, plain.recipe)
            if plain.result is not None and (found.accuracy or 0) <= (plain.result.accuracy or 0):
                print_plain(self._job.console, f"{plain.recipe}: the file without that training is as good, and stays.")
                return plain
            os.replace(trial, path)
        except (ExportError, ValueError) as error:
            print_plain(self._job.console, f"{plain.recipe}: no file of a quantization-aware training: {error}")
            return plain
        finally:
            trial.unlink(missing_ok=True)
        return FileExport(plain.recipe, dataclasses.replace(found, path=str(path)), is_aware=True)

    def _trained_aware(self, model: keras.Model) -> keras.Model:
        job, training = self._job, self._job.training
        print_plain(
            job.console,
            f"int8 by plain rounding costs accuracy: {self._epochs} epochs of quantization-aware training ...",
        )
        updates = job.train.steps(training.batch_size)
        aware = quantize_aware(model)
        slower = dataclasses.replace(training, learning_rate=training.learning_rate * _SLOWER, optimizer=None)
        keras.utils.set_random_seed(training.seed)
        job.objective.compile(aware, slower.new_optimizer(self._epochs * updates))
        aware.fit(
            **job.train.arguments(training.batch_size),
            epochs=self._epochs,
            validation_data=job.validation.batches,
            callbacks=[FitProgress(job.metric, job.console, updates)],
            verbose=0,
        )
        return aware

    def _export(self, model: keras.Model, path: Path, recipe: str) -> ExportResult:
        needs_data = get_recipe(recipe).needs_data
        seen = self._job.train.pairs() if needs_data else None
        return export_tflite(model, path, recipe, seen, self._job.samples.pairs())


def _is_int8(recipe: Recipe) -> bool:
    return recipe.needs_data and tf.lite.OpsSet.TFLITE_BUILTINS_INT8 in recipe.supported_ops


def _loses(export: FileExport) -> bool:
    """Returns whether rounding costs accuracy, or there is no file at all."""
    found = export.result
    if found is None:
        return True
    if found.accuracy is None or found.keras_accuracy is None:
        return False
    return found.keras_accuracy - found.accuracy > _LOSS
