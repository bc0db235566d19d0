"""Checks of an export's arguments, before anything costly is done."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import tensorflow as tf

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


def check_layers(float_layers: Sequence[str], int16_layers: Sequence[str], model: keras.Model, recipe: Recipe) -> None:
    """Raises on layers for another type that the model has not, that are named twice, or for a recipe not in int8."""
    names = {each.name for each in model.submodules if isinstance(each, keras.layers.Layer)}
    for argument, layers in (("float_layers", float_layers), ("int16_layers", int16_layers)):
        if isinstance(layers, str) or not all(isinstance(each, str) for each in layers):
            raise TypeError(f"{argument} must be a list of names of layers. Received: {argument}={layers!r}")
        if layers and recipe.supported_ops != (tf.lite.OpsSet.TFLITE_BUILTINS_INT8,):
            raise ValueError(
                f"{argument} is for recipes in int8: leave it out, or use recipe='int8'. "
                f"Received: {argument}={list(layers)!r} with recipe={recipe.name!r}"
            )
        unknown = [each for each in layers if each not in names]
        if unknown:
            raise ValueError(
                f"{argument} must be names of the model's layers: {', '.join(sorted(names)[:10])}, ... "
                f"Received: {', '.join(map(repr, unknown))}"
            )
    both = [each for each in int16_layers if each in float_layers]
    if both:
        raise ValueError(
            "A layer is in float or in int16: name it in float_layers or in int16_layers. "
            f"Received: {', '.join(map(repr, both))} in both"
        )
    if int16_layers and not has_quantizer():
        raise ImportError(
            "int16_layers needs AI Edge Quantizer, which is missing: pip install 'tfmot_swd[quantizer]'. "
            "Received: no package ai_edge_quantizer"
        )


def has_quantizer() -> bool:
    """Returns whether AI Edge Quantizer is installed."""
    return importlib.util.find_spec("ai_edge_quantizer") is not None
