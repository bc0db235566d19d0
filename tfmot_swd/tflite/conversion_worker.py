"""Worker process for conversions that may crash: converts saved models to TFLite and runs the files once.

Called as a script by `conversion.py`; imports nothing of this package. Reads the path of a directory a line. There are
`model` (a SavedModel), `settings.json` and maybe `inputs.npz` with calibration data; it adds `model.tflite`, or
`error.json`, and answers with a line. Ends with its input, or when it has waited for long.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Another export soon after the last one finds TensorFlow loaded; a program that only exports once gets its memory back.
_IDLE_SECONDS = 120


class NoOperatorError(ValueError):
    """Layers that are to stay in float have no operator in the file.

    Args:
        missing: their names.
        operators: number and operator by the names in those of the tensors, among them those of layers.
    """

    def __init__(self, missing: list[str], operators: dict[str, tuple[int, str]]) -> None:
        super().__init__(", ".join(missing))
        self.missing, self.operators = missing, operators


def convert(directory: Path) -> bytes:
    """Returns the file of the model in a directory."""
    import numpy as np
    import tensorflow as tf

    settings = json.loads((directory / "settings.json").read_text())
    converter = tf.lite.TFLiteConverter.from_saved_model(str(directory / "model"))
    converter.optimizations = [tf.lite.Optimize[name] for name in settings["optimizations"]]
    if settings["supported_types"]:
        converter.target_spec.supported_types = [tf.dtypes.as_dtype(name) for name in settings["supported_types"]]
    if settings["supported_ops"]:
        converter.target_spec.supported_ops = [tf.lite.OpsSet[name] for name in settings["supported_ops"]]
    if settings["io_dtype"]:
        converter.inference_input_type = converter.inference_output_type = tf.dtypes.as_dtype(settings["io_dtype"])
    if settings["input_names"]:
        with np.load(directory / "inputs.npz") as data:
            arrays = [data[f"arr_{position}"] for position in range(len(settings["input_names"]))]

        def representative() -> Iterator[dict[str, Any]]:
            for batches in zip(*arrays, strict=True):
                yield dict(zip(settings["input_names"], batches, strict=True))

        converter.representative_dataset = representative
    if settings["float_layers"]:
        return convert_in_part(converter, settings)
    content: bytes = converter.convert()
    return content


def convert_in_part(converter: Any, settings: dict[str, Any]) -> bytes:
    """Returns the file of a converter with some layers left in float, as TensorFlow's QuantizationDebugger does it.

    The quantizer is told operators by the name of the tensor that they make, which holds the names of layers.

    Raises:
        NoOperatorError: a layer has no operator in the file.
    """
    import tensorflow as tf
    from tensorflow.lite.python.convert import mlir_quantize
    from tensorflow.lite.tools import flatbuffer_utils

    # The debugger measures the ranges; its own files have other inputs and outputs than were asked for.
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=converter.representative_dataset
    )
    calibrated = debugger.calibrated_model
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(calibrated))
    graph = model.subgraphs[0]
    # By name, as the converter has an order of its own. Two outputs may be one tensor.
    outputs: dict[int, set[str]] = {}
    for entry in model.signatureDefs[0].outputs:
        outputs.setdefault(int(entry.tensorIndex), set()).update(settings["output_layers"][entry.name.decode()])
    kept: list[str] = []
    operators: dict[str, tuple[int, str]] = {}
    for number, operator in enumerate(graph.operators):
        kind = flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex)
        for index in map(int, operator.outputs):
            name = graph.tensors[index].name.decode()
            # Outputs of the model are called otherwise, the last layer of each by its place alone.
            parts = {part for each in name.split(";") for part in each.split("/")} | outputs.get(index, set())
            operators.update(dict.fromkeys(parts, (number, kind)))
            if parts & set(settings["float_layers"]):
                kept.append(name)
    missing = [each for each in settings["float_layers"] if each not in operators]
    if missing:
        raise NoOperatorError(missing, operators)
    dtype = tf.dtypes.as_dtype(settings["io_dtype"] or "float32")
    content: bytes = mlir_quantize(
        calibrated,
        fully_quantize=settings["io_dtype"] is not None,
        input_data_type=dtype,
        output_data_type=dtype,
        denylisted_nodes=kept,
    )
    return content


def try_out(content: bytes) -> None:
    """Runs a file once: interpreters end the process on some that the converter writes.

    What they refuse in words, the caller's own run is told.
    """
    import numpy as np

    try:
        from ai_edge_litert.interpreter import Interpreter
    except (ImportError, OSError):
        import tensorflow as tf

        Interpreter = tf.lite.Interpreter
    with contextlib.suppress(RuntimeError, ValueError):
        interpreter = Interpreter(model_content=content)
        interpreter.allocate_tensors()
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
        interpreter.invoke()


def main() -> None:
    # What the converter prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import tensorflow  # noqa: F401  while the caller computes what the file is compared with

    while select.select([sys.stdin], [], [], _IDLE_SECONDS)[0]:
        line = sys.stdin.readline()
        if not line:
            return
        directory = Path(line.rstrip("\n"))
        try:
            content = convert(directory)
            (directory / "model.tflite").write_bytes(content)
            try_out(content)
        except Exception as error:
            told: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
            told |= {name: getattr(error, name, None) for name in ("missing", "operators")}
            (directory / "error.json").write_text(json.dumps(told))
        print("done", file=answers, flush=True)


if __name__ == "__main__":
    main()
