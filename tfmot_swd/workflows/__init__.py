"""Whole jobs on a trained model: how sensitive its layers are, a smaller model, its files and its report.

Each is a composition of public parts of the other rooms, as the commands of `tfmot-swd` are.
"""

from tfmot_swd.workflows.sensitivity import sensitivity
from tfmot_swd.workflows.sensitivity_result import Sensitivity, SensitivityRow
from tfmot_swd.workflows.smallest import smallest
from tfmot_swd.workflows.smallest_result import Smallest, Trial

__all__ = ["Sensitivity", "SensitivityRow", "Smallest", "Trial", "sensitivity", "smallest"]
