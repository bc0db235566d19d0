"""Vela's estimates: the reading of its summary, and the real compiler where it is installed."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys

import pytest

from tfmot_swd.tflite.micro import vela as module
from tfmot_swd.tflite.micro.vela import _parsed, estimate_npu
from tfmot_swd.tflite.result import ExportError

_SUMMARY = """\
experiment,network,inference_time,sram_memory_used,dram_memory_used,on_chip_flash_memory_used,off_chip_flash_memory_used,nn_macs,cycles_total
default,model,5.5e-05,9.5,2.0,1.25,18.5,423560,27500
"""


def test_summary():
    estimate = _parsed("ethos-u55-128", _SUMMARY, "CPU operators = 1 (3.0%)\nNPU operators = 32 (97.0%)\n")
    assert dataclasses.astuple(estimate) == (
        "ethos-u55-128", 19.75, 9.5, 2.0, 27500, pytest.approx(0.055), 423560, 32, 1
    )  # fmt: skip


def test_a_file_that_the_npu_does_not_take():
    with pytest.raises(ExportError, match="Received: 7 operators, 0 on the NPU"):
        _parsed("ethos-u55-128", _SUMMARY, "CPU operators = 7 (100.0%)\nNPU operators = 0 (0.0%)\n")


def test_what_is_refused(pruned_file, monkeypatch):
    with pytest.raises(ValueError, match="ethos-u55-128.*Received: accelerator='ethos-u11'"):
        estimate_npu(pruned_file, "ethos-u11")
    with pytest.raises(ValueError, match="not a TFLite file"):
        estimate_npu(b"no file")
    with pytest.raises(FileNotFoundError, match="no such file.*Received: file='absent.tflite'$"):
        estimate_npu("absent.tflite")
    with pytest.raises(TypeError, match="Received: timeout='long'$"):
        estimate_npu(pruned_file, timeout="long")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"tfmot_swd\[vela\]"):
        estimate_npu(pruned_file)


def test_a_compiler_that_hangs_is_an_error(pruned_file, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(module, "_COMMAND", (sys.executable, "-c", "import time; time.sleep(60)"))
    with pytest.raises(ExportError, match=r"The Vela compiler had not ended after 0\.5 s"):
        estimate_npu(pruned_file, timeout=0.5)


@pytest.mark.skipif(importlib.util.find_spec("ethosu") is None, reason="ethos-u-vela is not installed")
def test_the_compiler_itself(pruned_file, float_file):
    estimate = estimate_npu(pruned_file, "ethos-u55-64")
    # 5 · 5 · 64 · 27, 5 · 5 · 64 · 9, 5 · 5 · 16 · 64 and 400 · 10.
    assert estimate.macs == 43200 + 14400 + 25600 + 4000
    assert (estimate.accelerator, estimate.cpu_operators) == ("ethos-u55-64", 0)
    # 7,328 weights, four fifths of them zero.
    assert 0 < estimate.flash_kib < 6
    assert estimate.milliseconds > 0
    with pytest.raises(ExportError, match="all operators to the CPU"):
        estimate_npu(float_file)
