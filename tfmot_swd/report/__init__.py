"""Device report: a model before and after pruning, for a terminal, a program and a browser."""

from tfmot_swd.report.build import device_report
from tfmot_swd.report.data import BarrierRow, FileRow, LayerRow, Panel, Series, Totals
from tfmot_swd.report.result import DeviceReport

__all__ = [
    "BarrierRow",
    "DeviceReport",
    "FileRow",
    "LayerRow",
    "Panel",
    "Series",
    "Totals",
    "device_report",
]
