"""A TFLite file run on data, as a device would run it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from tfmot_swd.export.quiet import quiet
from tfmot_swd.export.samples import Array, chunks


def run_tflite(content: bytes, inputs: dict[str, Array]) -> tuple[dict[str, Array], str]:
    """Runs a file with one signature on float or integer data.

    The file runs in its own batch, 1 as a rule: resized to a larger one, a graph with a reshape
    in it can answer wrongly without a word, and the larger batch is no faster.

    Args:
        content: the bytes of the file.
        inputs: one array (N, ...) for each input name of the signature; quantized as the file asks.

    Returns:
        One array (N, ...) for each output name, dequantized, and the interpreter that was used:
        `"ai_edge_litert"` or, where that is not installed, `"tensorflow"`.

    Raises:
        RuntimeError, ValueError: from the interpreter, when it cannot run the file.
    """
    # The interpreters announce their delegates on file descriptor 2.
    with quiet():
        interpreter, library = open_interpreter(content)
        # Only the signature keeps the names; the runner itself must go before tensors are set.
        runner = interpreter.get_signature_runner()
        wanted, given = runner.get_input_details(), runner.get_output_details()
        del runner
        batch = 1
        for name, array in inputs.items():
            detail = wanted[name]
            batch = int(detail["shape"][0])
            shape = (batch, *array.shape[1:])
            if shape != tuple(detail["shape"]):
                interpreter.resize_tensor_input(detail["index"], shape)
        interpreter.allocate_tensors()
        return _run(interpreter, wanted, given, inputs, batch), library


def open_interpreter(content: bytes, threads: int | None = None) -> tuple[Any, str]:
    """Returns an interpreter of a file, its memory not yet allocated, and which one it is, as `run_tflite` names it.

    Args:
        content: the bytes of the file.
        threads: that it may use; None for its own default.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except (ImportError, OSError):
        import tensorflow as tf

        with warnings.catch_warnings():
            # It announces its own end at every construction.
            warnings.simplefilter("ignore")
            return tf.lite.Interpreter(model_content=content, num_threads=threads), "tensorflow"
    return Interpreter(model_content=content, num_threads=threads), "ai_edge_litert"


def _run(
    interpreter: Any,
    wanted: dict[str, Any],
    given: dict[str, Any],
    inputs: dict[str, Array],
    batch: int,
) -> dict[str, Array]:
    quantized = tuple(quantize(array, wanted[name]) for name, array in inputs.items())
    indices = [wanted[name]["index"] for name in inputs]
    parts: dict[str, list[Array]] = {name: [] for name in given}
    for arrays, real in chunks(quantized, batch):
        # Recurrent operators keep their state from one call to the next.
        interpreter.reset_all_variables()
        for index, array in zip(indices, arrays, strict=True):
            interpreter.set_tensor(index, array)
        interpreter.invoke()
        for name, detail in given.items():
            parts[name].append(interpreter.get_tensor(detail["index"])[:real])
    return {name: dequantize(np.concatenate(part), given[name]) for name, part in parts.items()}


def quantize(array: Array, detail: dict[str, Any]) -> Array:
    """Returns real values in the dtype and quantization of an interpreter's tensor detail, rounded and clipped."""
    scale, zero_point = detail["quantization"]
    if not scale:
        return array.astype(detail["dtype"], copy=False)
    limits = np.iinfo(detail["dtype"])
    rounded = np.round(array / np.float32(scale)) + zero_point
    clipped: Array = np.clip(rounded, limits.min, limits.max).astype(detail["dtype"])
    return clipped


def dequantize(array: Array, detail: dict[str, Any]) -> Array:
    """Returns the real values of what a tensor of that detail holds; float tensors pass as they are."""
    scale, zero_point = detail["quantization"]
    if not scale:
        return array
    real: Array = (array.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
    return real
