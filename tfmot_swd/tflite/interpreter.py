"""Inference with LiteRT, or with TensorFlow Lite where LiteRT is not installed."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfmot_swd.io.deprecation import renamed_arguments
from tfmot_swd.tflite.file_bytes import describe, read_bytes_or_path
from tfmot_swd.tflite.inputs import check_inputs
from tfmot_swd.tflite.layout import FileLayout, read_layout
from tfmot_swd.tflite.result import ExportError
from tfmot_swd.tflite.samples import Array, chunks
from tfmot_swd.tflite.silence import silenced_logs


@renamed_arguments(content="file")
def run_tflite(file: bytes | str | os.PathLike[str], inputs: Mapping[str, Array]) -> tuple[dict[str, Array], str]:
    """Runs a TFLite file on float or integer data, as a device would.

    Samples run at the batch of the file, usually 1: a graph that contains a reshape can return wrong results without an
    error once it is resized, and a larger batch is not faster.

    Args:
        file: the bytes of the file, or its path.
        inputs: one array (N, ...) for each input name of the signature; quantized as the file asks.
            Sizes that the file leaves open are those of the arrays.

    Returns:
        One array (N, ...) for each output name, dequantized, and the interpreter that was used:
        `"ai_edge_litert"` or, where that is not installed, `"tensorflow"`.

    Raises:
        TypeError: `file` is neither bytes nor a path, `inputs` is not a dictionary of numbers.
        ValueError: not a TFLite file, an input that is missing or of another shape, as `inputs.check_inputs`.
        OSError: the file cannot be read.
        ExportError: the interpreter cannot run the file; with what it said.

    Example:
        >>> import tempfile, numpy as np, tf_keras as keras
        >>> from tfmot_swd import export_tflite
        >>> model = keras.Sequential([keras.layers.Input((4,), name="x"), keras.layers.Dense(2, name="y")])
        >>> path = tempfile.mkdtemp() + "/model.tflite"
        >>> result = export_tflite(model, path)
        >>> outputs, _ = run_tflite(path, {"x": np.ones((3, 4), "float32")})
        >>> outputs["y"].shape
        (3, 2)
    """
    content = read_bytes_or_path(file)
    layout = read_layout(content)
    arrays, _ = check_inputs(inputs, layout.inputs, layout.file)
    try:
        # The interpreters announce their delegates on file descriptor 2.
        with silenced_logs():
            interpreter, library = open_interpreter(content)
            indices = [detail["index"] for detail in interpreter.get_input_details()]
            for array, port in zip(arrays, layout.inputs, strict=True):
                if port.open_axes:
                    interpreter.resize_tensor_input(indices[port.position], (port.shape[0], *array.shape[1:]))
            interpreter.allocate_tensors()
            return _run(interpreter, layout, arrays), library
    except (RuntimeError, ValueError) as error:
        raise ExportError(
            "The interpreter does not run this file: export or download it again, or use another recipe if the "
            "operator that is named is not known here. "
            f"Received: {describe(content)}, and {type(error).__name__}: {error}"
        ) from error


def open_interpreter(content: bytes, threads: int | None = None, keep_tensors: bool = False) -> tuple[Any, str]:
    """Returns an interpreter with its memory not yet allocated, and its name as `run_tflite` gives it.

    Args:
        content: the bytes of the file.
        threads: that it may use; None for its own default.
        keep_tensors: whether all tensors can be read after a run; without delegates then, which keep theirs.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except (ImportError, OSError):
        import tensorflow as tf

        with warnings.catch_warnings():
            # It announces its own end at every construction.
            warnings.simplefilter("ignore")
            kept = _kept(tf.lite.experimental.OpResolverType) if keep_tensors else {}
            return tf.lite.Interpreter(model_content=content, num_threads=threads, **kept), "tensorflow"
    kept = _kept(OpResolverType) if keep_tensors else {}
    return Interpreter(model_content=content, num_threads=threads, **kept), "ai_edge_litert"


def _kept(resolvers: Any) -> dict[str, Any]:
    return {
        "experimental_preserve_all_tensors": True,
        "experimental_op_resolver_type": resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    }


def _run(interpreter: Any, layout: FileLayout, arrays: Sequence[Array]) -> dict[str, Array]:
    given = [detail["index"] for detail in interpreter.get_input_details()]
    got = [detail["index"] for detail in interpreter.get_output_details()]
    quantized = tuple(quantize(array, port.detail) for array, port in zip(arrays, layout.inputs, strict=True))
    batch = layout.inputs[0].shape[0]
    parts: dict[str, list[Array]] = {port.name: [] for port in layout.outputs}
    for values, real in chunks(quantized, batch):
        # Recurrent operators keep their state from one call to the next.
        interpreter.reset_all_variables()
        for port, value in zip(layout.inputs, values, strict=True):
            interpreter.set_tensor(given[port.position], value)
        interpreter.invoke()
        for port in layout.outputs:
            parts[port.name].append(interpreter.get_tensor(got[port.position])[:real])
    return {port.name: dequantize(np.concatenate(parts[port.name]), port.detail) for port in layout.outputs}


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
