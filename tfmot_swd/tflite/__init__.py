"""Export: a stripped Keras model to a TFLite file that is proven before it is in place."""

from tfmot_swd.tflite import file_size as _file_size  # noqa: F401  (registers the cost)
from tfmot_swd.tflite.errors import ExportError
from tfmot_swd.tflite.export import export_tflite, file_bytes
from tfmot_swd.tflite.recipes import DEFAULT_RECIPES, RECIPES, REFUSED, Recipe
from tfmot_swd.tflite.result import ExportResult

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
