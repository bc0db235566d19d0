"""TFLite export: a stripped Keras model converted to a file that is proven against it before it is written."""

from tfmot_swd.tflite import file_size as _file_size  # noqa: F401  (registers the cost)
from tfmot_swd.tflite.advice import FileAdvice, advise
from tfmot_swd.tflite.board_fit import BoardFit, check_fit
from tfmot_swd.tflite.boards import BOARDS, Board, register_board
from tfmot_swd.tflite.export import export_tflite, file_bytes
from tfmot_swd.tflite.interpreter import run_tflite
from tfmot_swd.tflite.measure import FileMeasure, measure_files
from tfmot_swd.tflite.quantization_error import QuantizationByLayer, QuantizedLayer, quantization_error
from tfmot_swd.tflite.quantize_aware import quantize_aware
from tfmot_swd.tflite.recipes import DEFAULT_RECIPES, RECIPES, REFUSED, Recipe, register_recipe
from tfmot_swd.tflite.result import ExportError, ExportResult

__all__ = [
    "BOARDS",
    "DEFAULT_RECIPES",
    "RECIPES",
    "REFUSED",
    "Board",
    "BoardFit",
    "ExportError",
    "ExportResult",
    "FileAdvice",
    "FileMeasure",
    "QuantizationByLayer",
    "QuantizedLayer",
    "Recipe",
    "advise",
    "check_fit",
    "export_tflite",
    "file_bytes",
    "measure_files",
    "quantization_error",
    "quantize_aware",
    "register_board",
    "register_recipe",
    "run_tflite",
]
