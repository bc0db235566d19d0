"""Microcontrollers: inference in TFLite Micro, weights pruned in flash, C source, firmware, NPU estimates."""

from tfmot_swd.tflite.micro.c_source import CSource, write_c_source
from tfmot_swd.tflite.micro.decode import EncodedFile, EncodedTensor, encode_pruned
from tfmot_swd.tflite.micro.firmware import FirmwareProject, write_firmware_project
from tfmot_swd.tflite.micro.interpreter import MicroRun, MicroTime, run_micro, time_micro
from tfmot_swd.tflite.micro.vela import NpuEstimate, estimate_npu

__all__ = [
    "CSource",
    "EncodedFile",
    "EncodedTensor",
    "FirmwareProject",
    "MicroRun",
    "MicroTime",
    "NpuEstimate",
    "encode_pruned",
    "estimate_npu",
    "run_micro",
    "time_micro",
    "write_c_source",
    "write_firmware_project",
]
