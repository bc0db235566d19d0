"""Checks of an export's arguments, before anything costly is done."""

from __future__ import annotations

from tfmot_swd.keras2.compat import keras
from tfmot_swd.tflite.layout import open_size
from tfmot_swd.tflite.micro.decode import check_max_encoded
from tfmot_swd.tflite.micro.interpreter import has_micro
from tfmot_swd.tflite.proof import check_share
from tfmot_swd.tflite.recipes import Recipe
from tfmot_swd.tflite.result import ExportError


def check_runtime(recipe: Recipe) -> None:
    """Raises ImportError where the interpreter of a recipe is not installed."""
    if recipe.runtime == "micro" and not has_micro():
        raise ImportError(
            f"A file of {recipe.name!r} is proven in the TFLite Micro interpreter, which is missing: "
            "pip install 'tfmot_swd[micro]'. Received: no package tflite_micro"
        )


def check_sizes(model: keras.Model, recipe: Recipe) -> None:
    """Raises ValueError where a recipe needs inputs of fixed sizes and one is open."""
    for name, tensor in zip(model.input_names, model.inputs, strict=True):
        if recipe.runtime == "micro" and None in tuple(tensor.shape[1:]):
            raise ValueError(f"{recipe.name!r} is for TFLite Micro. {open_size(name, tuple(tensor.shape))}")


def check_encoding(max_encoded_weights: int | None, recipe: Recipe) -> None:
    """Raises on a bound of encoded weights that is no positive int, or for a recipe that encodes nothing."""
    check_max_encoded(max_encoded_weights)
    if max_encoded_weights is not None and recipe.encode is None:
        raise ValueError(
            "max_encoded_weights bounds the kernels that are encoded: leave it out, or use recipe='int8_pruned'. "
            f"Received: max_encoded_weights={max_encoded_weights!r} with recipe={recipe.name!r}"
        )


def check_danger(recipe: Recipe, content: bytes) -> None:
    """Raises ExportError on a file that passes its proof here and must not be shipped."""
    danger = recipe.danger(content)
    if danger is not None:
        raise ExportError(
            f"The {recipe.name} file was not put in place: {danger}. Use 'float32' or 'float16'. "
            f"Received: a file of {len(content):,} bytes"
        )


def check_percentile(percentile: float | None, recipe: Recipe) -> None:
    """Raises on a percentile that is no share, or for a recipe that measures no ranges."""
    if percentile is None:
        return
    check_share("calibration_percentile", percentile, 100)
    if percentile <= 50:
        raise ValueError(
            "calibration_percentile is the share of the values that stay as they are, 99.9 for example. "
            f"Received: calibration_percentile={percentile!r}"
        )
    if not recipe.needs_data:
        raise ValueError(
            "calibration_percentile is for recipes that measure ranges, such as int8: leave it out. "
            f"Received: calibration_percentile={percentile!r} with recipe={recipe.name!r}"
        )
