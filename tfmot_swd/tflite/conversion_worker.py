"""Worker process for conversions that may crash: converts saved models to TFLite and runs the files once.

Called as a script by `conversion.py`; imports nothing of this package. Reads the path of a directory a line. There are
`model` (a SavedModel), `settings.json` and maybe `inputs.npz` with calibration data; it adds `model.tflite`, or
`error.json`, and answers with a line. Ends with its input, or when it has waited for long.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Another export soon after the last one finds TensorFlow loaded; a program that only exports once gets its memory back.
_IDLE_SECONDS = 120


class NoOperatorError(ValueError):
    """Layers that are to have another type have no operator in the file.

    Args:
        argument: that the user named them in.
        missing: their names.
        operators: number and operator by the names in those of the tensors, among them those of layers.
    """

    def __init__(self, argument: str, missing: list[str], operators: dict[str, tuple[int, str]]) -> None:
        super().__init__(", ".join(missing))
        self.argument, self.missing, self.operators = argument, missing, operators


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
        if settings["int16_layers"]:
            floats = tf.lite.TFLiteConverter.from_saved_model(str(directory / "model"))
            return quantize_by_rules(floats.convert(), settings, list(representative()))
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
    found = operators_of(model, settings, "float_layers")
    kept = [model.subgraphs[0].tensors[index].name.decode() for operator in found for index in operator.outputs]
    dtype = tf.dtypes.as_dtype(settings["io_dtype"] or "float32")
    content: bytes = mlir_quantize(
        calibrated,
        fully_quantize=settings["io_dtype"] is not None,
        input_data_type=dtype,
        output_data_type=dtype,
        denylisted_nodes=kept,
    )
    return content


def operators_of(model: Any, settings: dict[str, Any], argument: str) -> list[Any]:
    """Returns the operators that compute some layers, in a file as an object, with names of tensors.

    Args:
        model: the file.
        settings: has the names of the layers under `argument`.
        argument: that the user gave them in.

    Raises:
        NoOperatorError: a layer has no operator in the file.
    """
    from tensorflow.lite.tools import flatbuffer_utils

    wanted = set(settings[argument])
    graph = model.subgraphs[0]
    # By name, as the converter has an order of its own. Two outputs may be one tensor.
    outputs: dict[int, set[str]] = {}
    for entry in model.signatureDefs[0].outputs:
        outputs.setdefault(int(entry.tensorIndex), set()).update(settings["output_layers"][entry.name.decode()])
    chosen: list[Any] = []
    known: dict[str, tuple[int, str]] = {}
    for number, operator in enumerate(graph.operators):
        kind = flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex)
        parts: set[str] = set()
        for index in map(int, operator.outputs):
            # Outputs of the model are called otherwise, the last layer of each by its place alone. The last part of a
            # name is that of an operation: a dense layer has an add, as an Add layer is called.
            parts |= {part for each in graph.tensors[index].name.decode().split(";") for part in each.split("/")[:-1]}
            parts |= outputs.get(index, set())
        known.update(dict.fromkeys(parts, (number, kind)))
        if parts & wanted:
            chosen.append(operator)
    missing = [each for each in settings[argument] if each not in known]
    if missing:
        raise NoOperatorError(argument, missing, known)
    return chosen


def quantize_by_rules(content: bytes, settings: dict[str, Any], samples: list[dict[str, Any]]) -> bytes:
    """Returns the int8 file of a float32 one with some layers in int16 and others in float, by AI Edge Quantizer.

    TensorFlow's quantizer has one type of activations for a whole file.

    Raises:
        NoOperatorError: a layer has no operator in the file.
        ValueError: the quantizer leaves one in another type.
    """
    from ai_edge_litert.tools import flatbuffer_utils
    from ai_edge_quantizer import algorithm_manager, calibrator, qtyping, quantizer, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils, tfl_flatbuffer_utils

    kinds = qtyping.TFLOperationName
    in_float = {"algorithm_key": algorithm_manager.AlgorithmName.NO_QUANTIZE}
    model = tfl_flatbuffer_utils.read_model(content)
    tensors = model.subgraphs[0].tensors
    # The last rule that fits an operator holds, told by the names of all tensors that the operator makes.
    rules = recipe_manager.RecipeManager()
    rules.add_static_config(".*", kinds.ALL_SUPPORTED, 8, 8)
    types = {}
    for operator in operators_of(model, settings, "int16_layers"):
        scope = tfl_flatbuffer_utils.get_op_scope(operator, tensors)
        rules.add_static_config(f"^{re.escape(scope)}$", kinds.ALL_SUPPORTED, 16, 8)
        types[scope] = qtyping.TensorType.INT16
    for operator in operators_of(model, settings, "float_layers"):
        scope = tfl_flatbuffer_utils.get_op_scope(operator, tensors)
        rules.add_quantization_config(f"^{re.escape(scope)}$", kinds.ALL_SUPPORTED, **in_float)
        types[scope] = qtyping.TensorType.FLOAT32
    for end in (kinds.INPUT, kinds.OUTPUT):
        if settings["io_dtype"]:
            rules.add_static_config("", end, 8, 8)
        else:
            rules.add_quantization_config("", end, **in_float)

    # The least and the largest value of all samples, as TensorFlow's converter takes them; its own default is a moving
    # average, which depends on the order of the samples and cuts off what is rare.
    measured = calibrator.Calibrator(content, qsv_update_func=qsv_utils.min_max_update)
    measured.calibrate({model.signatureDefs[0].signatureKey.decode(): samples}, rules)
    chosen = quantizer.Quantizer(content, rules.get_quantization_recipe())
    written = chosen.quantize(measured.get_model_qsvs(), enable_progress_bar=False, enable_progress_report=False)
    quantized = tfl_flatbuffer_utils.read_model(written.quantized_model)
    check_types(quantized, types)
    # With constants inside of the flatbuffer: the quantizer writes them behind it, where TFLite Micro takes them for
    # activations, and answers wrongly without an error.
    return bytes(flatbuffer_utils.convert_object_to_bytearray(quantized))


def check_types(model: Any, types: dict[str, int]) -> None:
    """Raises ValueError where operators are in another type than asked for: those that have no kernel in it.

    Args:
        model: a quantized file as an object.
        types: that operators were asked for, by the names of the tensors that they make; all others are to be integer.
    """
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.utils import tfl_flatbuffer_utils

    names = {code: name for name, code in vars(qtyping.BuiltinOperator).items()}
    graph = model.subgraphs[0]
    for operator in graph.operators:
        name = names[model.operatorCodes[operator.opcodeIndex].builtinCode]
        if name in ("QUANTIZE", "DEQUANTIZE"):
            continue
        found = {graph.tensors[index].type for index in operator.outputs}
        wanted = types.get(tfl_flatbuffer_utils.get_op_scope(operator, graph.tensors))
        if found != {wanted} if wanted is not None else qtyping.TensorType.FLOAT32 in found:
            told = "int16" if wanted == qtyping.TensorType.INT16 else "float" if wanted is not None else "int8"
            raise ValueError(
                "AI Edge Quantizer cannot have every operator in the type that it is to have: leave its layer out of "
                "int16_layers, name it in float_layers, or leave out int16_layers. "
                f"Received: {name}, which is not in {told}"
            )


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
            told |= {name: getattr(error, name, None) for name in ("argument", "missing", "operators")}
            (directory / "error.json").write_text(json.dumps(told))
        print("done", file=answers, flush=True)


if __name__ == "__main__":
    main()
