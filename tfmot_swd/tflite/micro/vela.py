"""Estimates for Ethos-U NPUs, by Arm's Vela compiler."""

from __future__ import annotations

import csv
import importlib.util
import io
import math
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tfmot_swd.io.deprecation import renamed_arguments
from tfmot_swd.tflite.file_bytes import describe, read_bytes_or_path
from tfmot_swd.tflite.graph import read_graph
from tfmot_swd.tflite.result import ExportError
from tfmot_swd.tflite.subprocesses import TIMEOUT, check_timeout, run_subprocess

ACCELERATORS = tuple(
    f"ethos-{core}-{macs}"
    for core, sizes in (
        ("u55", (32, 64, 128, 256)),
        ("u65", (256, 512)),
        ("u85", (128, 256, 512, 1024, 2048)),
    )
    for macs in sizes
)
# Vela's own command takes no `-m`; this is what its script does.
_COMMAND = (sys.executable, "-P", "-c", "import sys; from ethosu.vela.vela import main; sys.exit(main())")
_OPERATORS = re.compile(r"(CPU|NPU) operators = (\d+)")


@dataclass(frozen=True)
class NpuEstimate:
    """Vela's estimate for one inference, in its default system configuration and memory mode of the accelerator.

    Attributes:
        accelerator: its name and MACs a cycle, `"ethos-u55-128"`.
        flash_kib: weights, compressed: zeros cost little, so that unstructured sparsity counts here.
        sram_kib, dram_kib: working memory; where the default memory mode has DRAM, the weights are in it.
        cycles: in total.
        milliseconds: at the default clock.
        macs: multiplications of the graph, with zeros.
        npu_operators, cpu_operators: what the NPU takes on (after Vela's splitting) and what is left to the CPU, whose
            time is not in the estimate.
    """

    accelerator: str
    flash_kib: float
    sram_kib: float
    dram_kib: float
    cycles: int
    milliseconds: float
    macs: int
    npu_operators: int
    cpu_operators: int


@renamed_arguments(content="file")
def estimate_npu(
    file: bytes | str | os.PathLike[str], accelerator: str = "ethos-u55-128", timeout: float = TIMEOUT
) -> NpuEstimate:
    """Compiles an int8 file with Vela, and returns its estimate for an Ethos-U NPU.

    Pass the plain int8 file, not one of `encode_pruned`: Vela compresses zeros itself and leaves DECODE to the CPU.

    Args:
        file: the bytes of the file, or its path.
        accelerator: one of `ACCELERATORS`; the number is MACs a cycle.
        timeout: seconds after which the compiler, which runs in a separate process, is stopped.

    Returns:
        The estimate. No board was measured.

    Raises:
        TypeError: `file` is neither bytes nor a path.
        ValueError: not a TFLite file, or an unknown accelerator.
        OSError: the file cannot be read.
        ImportError: the package ethos-u-vela is not installed.
        ExportError: Vela cannot compile the file, leaves all of it to the CPU, or does not end in time.

    Example:
        >>> import tempfile, numpy as np, tf_keras as keras
        >>> from tfmot_swd import export_tflite
        >>> model = keras.Sequential([keras.layers.Input((8, 8, 3)), keras.layers.Conv2D(8, 3)])
        >>> path = tempfile.mkdtemp() + "/model.tflite"
        >>> x = np.random.default_rng(0).normal(size=(100, 8, 8, 3)).astype("float32")
        >>> result = export_tflite(model, path, "int8", representative_data=x)
        >>> estimate_npu(path).macs
        7776
    """
    if accelerator not in ACCELERATORS:
        raise ValueError(f"accelerator must be one of {', '.join(ACCELERATORS)}. Received: accelerator={accelerator!r}")
    check_timeout(timeout)
    content = read_bytes_or_path(file)
    read_graph(content)
    if not has_vela():
        raise ImportError("The Vela compiler is missing: pip install 'tfmot_swd[vela]'. Received: no package ethosu")
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch) / "model.tflite"
        model.write_bytes(content)
        command = [*_COMMAND, str(model), "--output-dir", scratch, "--accelerator-config", accelerator]
        done = run_subprocess(command, timeout, "The Vela compiler")
        summaries = list(Path(scratch).glob("model_summary_*.csv"))
        if done.returncode or len(summaries) != 1:
            raise ExportError(
                "Vela cannot compile this file: pass one made with recipe='int8'. "
                f"Received: {describe(content)}, exit code {done.returncode}, "
                f"{(done.stderr + done.stdout).strip()[-1500:]}"
            )
        return _parsed(accelerator, summaries[0].read_text(), done.stdout)


def has_vela() -> bool:
    """Returns whether the package ethos-u-vela is installed."""
    return importlib.util.find_spec("ethosu") is not None


def _parsed(accelerator: str, summary: str, said: str) -> NpuEstimate:
    """Reads Vela's summary (CSV, one row a network), and the share of the NPU from what it prints."""
    *_, row = csv.DictReader(io.StringIO(summary))
    operators = {name: int(count) for name, count in _OPERATORS.findall(said)}
    cycles = float(row["cycles_total"])
    if not operators.get("NPU") or not math.isfinite(cycles):
        raise ExportError(
            "Vela leaves all operators to the CPU, so there is nothing to estimate: pass a file made with "
            f"recipe='int8'. Received: {operators.get('CPU', 0)} operators, {operators.get('NPU', 0)} on the NPU"
        )
    return NpuEstimate(
        accelerator=accelerator,
        flash_kib=float(row["on_chip_flash_memory_used"]) + float(row["off_chip_flash_memory_used"]),
        sram_kib=float(row["sram_memory_used"]),
        dram_kib=float(row["dram_memory_used"]),
        cycles=int(cycles),
        milliseconds=1e3 * float(row["inference_time"]),
        macs=int(float(row["nn_macs"])),
        npu_operators=operators["NPU"],
        cpu_operators=operators.get("CPU", 0),
    )
