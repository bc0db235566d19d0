"""Whole jobs on a trained model: how sensitive its layers are, a smaller model, its files and its report.

Each is a composition of public parts of the other rooms, as the commands of `tfmot-swd` are.
"""

from tfmot_swd.workflows.calibrate import calibrate
from tfmot_swd.workflows.compress import compress
from tfmot_swd.workflows.compress_result import Compressed, CompressedFile
from tfmot_swd.workflows.sensitivity import sensitivity
from tfmot_swd.workflows.sensitivity_result import Sensitivity, SensitivityRow
from tfmot_swd.workflows.smallest import smallest
from tfmot_swd.workflows.smallest_result import Smallest, Trial

__all__ = [
    "Compressed",
    "CompressedFile",
    "Sensitivity",
    "SensitivityRow",
    "Smallest",
    "Trial",
    "calibrate",
    "compress",
    "sensitivity",
    "smallest",
]
