"""Export: a stripped Keras model to a TFLite file that is proven before it is in place."""

from tfmot_swd.export.errors import ExportError
from tfmot_swd.export.recipes import DEFAULT_RECIPES, RECIPES, REFUSED, Recipe
from tfmot_swd.export.result import ExportResult
from tfmot_swd.export.tflite import export_tflite, file_bytes

__all__ = [
    "DEFAULT_RECIPES",
    "RECIPES",
    "REFUSED",
    "ExportError",
    "ExportResult",
    "Recipe",
    "export_tflite",
    "file_bytes",
]
