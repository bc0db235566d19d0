"""Agreement of TFLite Micro with LiteRT, which extends a file's proof to microcontrollers."""

from __future__ import annotations

import numpy as np

from tfmot_swd.tflite.inputs import random_inputs
from tfmot_swd.tflite.interpreter import run_tflite
from tfmot_swd.tflite.layout import FileLayout
from tfmot_swd.tflite.micro.interpreter import MicroRun, run_micro
from tfmot_swd.tflite.micro.operators import DECODE
from tfmot_swd.tflite.result import ExportError
from tfmot_swd.tflite.samples import Array

SAMPLES = 16
# Kernels round differently: outputs of nets that were measured are within 3 steps of 8 bits, and mostly the same.
_STEPS = 4.0
# Of the range of float outputs, and of those in 16 bits, where a step is nothing.
_SHARE = 0.01


def proven_run(content: bytes, layout: FileLayout) -> MicroRun:
    """Runs a file in TFLite Micro, and checks that LiteRT computes the same on the same random inputs.

    Kernels of the two differ, of recurrent layers for one, and a proof in LiteRT then says nothing of a
    microcontroller.

    Args:
        content: the bytes of the file.
        layout: of the file.

    Returns:
        The run in TFLite Micro.

    Raises:
        ExportError: TFLite Micro does not run the file, or answers something else.
        ValueError: a file of open size, or with an input that no microcontroller has memory for.
    """
    layout.require_micro()
    inputs = random_inputs(layout.inputs, SAMPLES)
    run = run_micro(content, inputs)
    if DECODE in layout.operators:
        return run
    wanted, _ = run_tflite(content, inputs)
    for port in layout.outputs:
        off = _off(wanted[port.name], run.outputs[port.name])
        # Of an output of bools too, which NumPy does not subtract.
        scale = float(np.ptp(wanted[port.name].astype(np.float64)))
        allowed = _STEPS * port.scale if port.dtype.itemsize == 1 else _SHARE * scale
        if off > max(allowed, 1e-6):
            raise ExportError(
                "TFLite Micro computes something else than LiteRT with this file, where its proof was made: replace "
                "the layer whose kernels differ (recurrent layers are known to), use another recipe, or hold the file "
                "against its model there: tfmot-swd check --target=microcontroller --model=... --data=..., then "
                "write_c_source(compare=False). "
                f"Received: output {port.name!r} differs by {off:.3g} in the mean over {SAMPLES} random samples, "
                f"{allowed:.3g} is allowed, in {layout.file}"
            )
    return run


def _off(wanted: Array, found: Array) -> float:
    """Returns the mean over samples of the largest difference."""
    differences = np.abs(found.astype(np.float64) - wanted.astype(np.float64)).reshape(len(wanted), -1)
    return float(differences.max(axis=1).mean())
