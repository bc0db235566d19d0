"""The arena of a file: working memory in which TFLite Micro has just run it."""

from __future__ import annotations

from tfmot_swd.tflite.flatbuffer import padded
from tfmot_swd.tflite.inputs import random_inputs
from tfmot_swd.tflite.layout import FileLayout
from tfmot_swd.tflite.micro.agreement import proven_run
from tfmot_swd.tflite.micro.interpreter import run_micro
from tfmot_swd.tflite.result import ExportError


def find_arena(content: bytes, layout: FileLayout, compare: bool) -> int:
    """Returns an arena in which TFLite Micro has just run a file, in bytes, a multiple of 16.

    It is enough for the reference kernels, on a device with 32 bits too, whose pointers are half as wide.

    Args:
        content: the bytes of the file.
        layout: of the file, of fixed sizes.
        compare: whether TFLite Micro must compute what LiteRT computes, see `agreement.proven_run`.

    Raises:
        ImportError: the package tflite-micro is not installed.
        ExportError: TFLite Micro cannot run the file, or computes something else with it than LiteRT.
    """
    inputs = random_inputs(layout.inputs, 1)
    run = proven_run(content, layout) if compare else run_micro(content, inputs)
    found = padded(run.arena_bytes)
    # What planning needs for a moment is not in the count.
    for arena in (found, found + 256, found + 1024):
        try:
            run_micro(content, inputs, arena)
        except ExportError:
            continue
        return arena
    raise ExportError(f"TFLite Micro does not run in the arena that it reports. Received: {found} bytes")
