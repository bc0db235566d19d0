"""Export: a stripped Keras model to a TFLite file that is proven before it is in place."""

from tfmot_swd.export.errors import ExportError
from tfmot_swd.export.recipes import RECIPES, Recipe
from tfmot_swd.export.result import ExportResult
from tfmot_swd.export.tflite import export_tflite, file_bytes

__all__ = ["RECIPES", "ExportError", "ExportResult", "Recipe", "export_tflite", "file_bytes"]
