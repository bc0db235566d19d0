"""Diagnosis of quantization error: outliers that stretch a range, indices in float, softmax in 8 bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfmot_swd.keras2.compat import keras
from tfmot_swd.tflite.graph import read_graph
from tfmot_swd.tflite.samples import Array, Samples, takes_ids
from tfmot_swd.tflite.serving import batch_size

# How far beyond its 99.9th percentile a range is stretched: the largest of a million normal values is at 1.5.
_FAR = 4.0
_PERCENTILE = 99.9
# Elements of each sample that the percentile of a layer's output is taken from.
_ELEMENTS = 2000
_CHUNK = 32
_AFTER_SOFTMAX = ("QUANTIZE", "DEQUANTIZE", "RESHAPE")


@dataclass(frozen=True)
class Stretched:
    """A tensor whose largest value is far beyond nearly all others, so that 8 bits leave those few steps.

    Attributes:
        name: of the input, or of the layer whose output it is.
        largest: magnitude of its largest value.
        percentile: 99.9 % of its magnitudes are not above this.
        is_input: whether it is an input.
    """

    name: str
    largest: float
    percentile: float
    is_input: bool


def explain(model: keras.Model, calibration: Samples, content: bytes) -> tuple[str, ...]:
    """Returns what makes an integer file differ from its model, and what to do, as sentences; none if nothing is found.

    Args:
        model: in float32.
        calibration: the samples that the ranges were measured on.
        content: the file.
    """
    said = []
    found = stretched(model, calibration)
    if found is not None:
        numbers = (
            f"reaches {found.largest:.4g}, and 99.9 % of its values lie within {found.percentile:.4g}: 8 bits are "
            "spread over the few"
        )
        if found.is_input:
            said.append(
                f"Input {found.name!r} {numbers}. Remove such values from the data, or pass "
                f"calibration_percentile={_PERCENTILE:g}, which clips them when ranges are measured."
            )
        else:
            said.append(
                f"The output of layer {found.name!r} {numbers}. Bound it in the model (ReLU6, normalization), leave "
                "the samples that cause it out of representative_data, or use int16x8."
            )
    for name, tensor in zip(model.input_names, model.inputs, strict=True):
        if tensor.dtype.is_floating and takes_ids(model, tensor):
            said.append(
                f"Input {name!r} holds indices of an embedding in {tensor.dtype.name}, which quantization rounds to "
                "others: build the model with keras.Input(..., dtype='int32'), which stays as it is."
            )
    if ends_in_softmax(content):
        said.append(
            "Softmax in 8 bits has steps of 1/256, which is coarse where many classes share the probability: leave the "
            "softmax out of the file, exporting a model that ends in the logits, and take the largest, or softmax, in "
            "the program that uses it."
        )
    return tuple(said)


def stretched(model: keras.Model, calibration: Samples) -> Stretched | None:
    """Returns the input, or else the layer, whose range is stretched the most; None where none is."""
    inputs = [
        _measured(name, np.abs(array).max(), np.abs(array), True)
        for name, array in zip(model.input_names, calibration.inputs, strict=True)
        if array.dtype.kind == "f"
    ]
    return _furthest(inputs) or _furthest(list(_layers(model, calibration)))


def ends_in_softmax(content: bytes) -> bool:
    """Returns whether an output of the file is made by softmax."""
    graph = read_graph(content)
    makers = {output: operator for operator in graph.operators for output in operator.outputs}
    for index in graph.outputs:
        operator = makers.get(index)
        while operator is not None and operator.name in _AFTER_SOFTMAX:
            operator = makers.get(operator.inputs[0])
        if operator is not None and operator.name == "SOFTMAX":
            return True
    return False


def _measured(name: str, largest: Any, magnitudes: Array, is_input: bool) -> Stretched:
    # Of few values the largest alone is left out.
    percentile = np.percentile(magnitudes, _PERCENTILE, method="lower")
    return Stretched(name, float(largest), float(percentile), is_input)


def _furthest(found: list[Stretched]) -> Stretched | None:
    far = [each for each in found if each.largest > _FAR * each.percentile]
    return max(far, key=lambda each: each.largest / max(each.percentile, 1e-30), default=None)


def _layers(model: keras.Model, calibration: Samples) -> Iterator[Stretched]:
    outputs = {}
    for layer in model.layers:
        # A layer that is called several times has no single output, an input layer is looked at as data.
        single = len(getattr(layer, "_inbound_nodes", ())) == 1 and not isinstance(layer, keras.layers.InputLayer)
        # Of a nested model, `output` is that of its own graph, which does not hang on the inputs of this one.
        output = layer.get_output_at(0) if single else None
        if output is not None and keras.backend.is_keras_tensor(output) and output.dtype.is_floating:
            outputs[layer.name] = output
    if not outputs:
        return
    watched = keras.Model(model.inputs, outputs)
    largest = dict.fromkeys(outputs, 0.0)
    parts: dict[str, list[Array]] = {name: [] for name in outputs}
    chunk = batch_size(model) or _CHUNK
    for start in range(0, len(calibration) - chunk + 1 if batch_size(model) else len(calibration), chunk):
        arrays = [array[start : start + chunk] for array in calibration.inputs]
        for name, output in watched(arrays if len(arrays) > 1 else arrays[0], training=False).items():
            magnitudes = np.abs(output.numpy()).reshape(len(output), -1)
            largest[name] = max(largest[name], float(magnitudes.max()))
            parts[name].append(magnitudes[:, :: -(-magnitudes.shape[1] // _ELEMENTS)].reshape(-1))
    for name, found in parts.items():
        if found:
            yield _measured(name, largest[name], np.concatenate(found), False)
