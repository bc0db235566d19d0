"""Quantization error by layer: where the activations of an integer file leave those of the Keras model."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from tfmot_swd.io.json_files import JsonResult
from tfmot_swd.io.tables import COMPACT, Printable, ResultTable, View
from tfmot_swd.keras3.door import opened
from tfmot_swd.tflite.file_bytes import read_bytes_or_path
from tfmot_swd.tflite.file_run import try_out
from tfmot_swd.tflite.graph import FileTensor
from tfmot_swd.tflite.layer_tensors import TensorPair, float_file, pair_tensors, read_quantized, run_pairs
from tfmot_swd.tflite.proof import check_share
from tfmot_swd.tflite.samples import Array, read_samples
from tfmot_swd.tflite.serving import check_exportable, float32_copy

# Errors settle on few samples, and all activations of each are looked at.
_MOST_SAMPLES = 100
# A larger share of values outside the range is what makes the error, rather than rounding.
_CLIPPED = 1e-3


@dataclass(frozen=True)
class QuantizedLayer:
    """The output of one operator of the file, against that of the model.

    Attributes:
        layers: names of the Keras layers that it computes, the last one first.
        operator: `"CONV_2D"` and so on.
        least, most: of its values in the model, over all samples.
        step: of its quantization; 0 where it is in float.
        limits: the least and the largest value that the file can hold there; None where it is in float.
        clipped: share of the model's values outside of `limits`.
        error: relative error: of each channel (last axis) the root mean square of the difference, divided by that of
            the model's values; the median over channels that are not zero throughout.
        rounding: what rounding to `step` makes of it: step / sqrt(12), divided as above; beyond 1 where the step is
            larger than the values, which all become the same.
    """

    layers: tuple[str, ...]
    operator: str
    least: float
    most: float
    step: float
    limits: tuple[float, float] | None
    clipped: float
    error: float
    rounding: float

    @property
    def name(self) -> str:
        """The layers in one string, or the operator where the converter did not keep them."""
        return ", ".join(self.layers) or self.operator


@dataclass(frozen=True)
class QuantizationByLayer(Printable, JsonResult):
    """Quantization error by layer. Prints as a table.

    Attributes:
        path: of the file; None where its bytes were given.
        samples: how many were run.
        threshold: the error from which on a layer strays.
        layers: in the order of execution.
    """

    path: str | None
    samples: int
    threshold: float
    layers: tuple[QuantizedLayer, ...]

    @property
    def first(self) -> QuantizedLayer | None:
        """The first layer whose error is above the threshold; None where all are close."""
        return next((each for each in self.layers if each.error > self.threshold), None)

    @property
    def reason(self) -> str:
        """What is wrong at the first layer that strays, and what to do; empty where none does."""
        first = self.first
        if first is None:
            return ""
        said = f"{first.name} is the first layer off by more than {self.threshold:.0%}: by {first.error:.0%}."
        if first.limits is None:
            return f"{said} It is computed in float: the error comes from its weights, or from the layers before."
        ranges = (
            f"Its values go from {first.least:.4g} to {first.most:.4g}, the quantization from {first.limits[0]:.4g} to "
            f"{first.limits[1]:.4g} in steps of {first.step:.3g}"
        )
        if 2 * first.rounding > first.error:
            return (
                f"{said} {ranges}, which is too coarse for most channels: a few large values stretch the range. Bound "
                "them in the model (ReLU6, normalization), train with quantize_aware, export with recipe='int16x8', or "
                "have this layer and those that read it in float (float_layers) or 16 bits (int16_layers)."
            )
        if first.clipped > _CLIPPED:
            cut = f"{first.clipped:.1%} of them are cut off"
            return f"{said} {ranges}: {cut}. Pass representative_data that has such values."
        return f"{said} {ranges}, which is fine: the error comes from its weights, or adds up from the layers before."

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields, the first layer that strays and the reason as plain types, ready for JSON."""
        first = None if self.first is None else self.first.name
        return {**dataclasses.asdict(self), "first": first, "reason": self.reason}

    def tables(self, view: View = COMPACT) -> tuple[Table, ...]:
        table = ResultTable(f"{self.path or 'The file'} against its model by layer, {self.samples} samples")
        table.add_column("layer", overflow="fold")
        table.add_column("operator")
        for heading in ("values", "quantization", "clipped", "by rounding", "error"):
            table.add_column(heading, justify="right")
        shown, rest = view.split(self.layers, lambda each: each.error)
        for each in shown:
            limits = "float" if each.limits is None else f"{each.limits[0]:.3g} to {each.limits[1]:.3g}"
            table.add_row(
                f"{each.name} *" if each == self.first else each.name,
                each.operator,
                f"{each.least:.3g} to {each.most:.3g}",
                limits,
                f"{each.clipped:.2%}" if each.clipped else "",
                f"{each.rounding:.1%}" if each.limits else "",
                f"{each.error:.1%}",
            )
        reason = view.words(self.reason)
        table.explain(view.note(shown, rest, "layers, those of the largest errors"), f"* {reason}" if reason else "")
        return (table,)


def quantization_error(
    model: Any, file: str | os.PathLike[str] | bytes, data: Any, threshold: float = 0.1
) -> QuantizationByLayer:
    """Compares the activations of an integer file with those of its model, layer by layer.

    The proof of `export_tflite` says that a file strays; this says where. The float32 file of the same model is run
    beside it, and the outputs of their operators are compared in the order of execution. With y the values of a channel
    c in the model and ŷ those of the file,

        error = median over c of sqrt(mean (ŷ - y)²) / sqrt(mean y²).

    A channel at a time, since one large channel would hide what all others lose. Errors add up from layer to layer, so
    that the first layer above `threshold` is the one to look at.

    Args:
        model: a built tf_keras or Keras 3 model without pruning wrappers, the one that was exported.
        file: the file or its bytes, of a recipe with integer activations; LiteRT runs it.
        data: samples as `export_tflite` takes them; up to 100 are run, evenly spaced ones of arrays.
        threshold: the error from which on a layer strays; 0.1 is 20 dB below the signal.

    Returns:
        A row for each operator; `first` is the first layer that strays, `reason` what to do about it.

    Raises:
        TypeError: not a model, or data of a wrong kind.
        ValueError: not a TFLite file, one of another model or made by `"int8_pruned"`, or data that the model does not
            take.
        OSError: the file cannot be read.
        ExportError: the model cannot be converted, or the file does not run.

    Source:
        The error over the step, and ranges, are what TensorFlow's `tf.lite.experimental.QuantizationDebugger` prints;
        it quantizes the model again, and so says nothing of a file that is there.

    Example:
        >>> import tempfile, numpy as np, tf_keras as keras
        >>> from tfmot_swd import export_tflite
        >>> layers = [keras.layers.Dense(8, "relu", name="hidden"), keras.layers.Dense(2, name="head")]
        >>> model = keras.Sequential([keras.layers.Input((4,)), *layers])
        >>> x = np.random.default_rng(0).normal(size=(100, 4)).astype("float32")
        >>> path = tempfile.mkdtemp() + "/model.tflite"
        >>> result = export_tflite(model, path, "int8", representative_data=x)
        >>> found = quantization_error(model, path, x)
        >>> [each.name for each in found.layers], found.first
        (['hidden', 'head'], None)
    """
    check_share("threshold", threshold, 1)
    model = opened(model)
    check_exportable(model)
    content = read_bytes_or_path(file)
    graph = read_quantized(content)
    float_model = float32_copy(model)
    samples = read_samples(data, float_model, "data", _MOST_SAMPLES)
    if isinstance(file, str | os.PathLike):
        try_out(file, graph)
    wanted = float_file(float_model)
    pairs = pair_tensors(float_model, wanted, graph, content)
    measures = [Measure(pair, graph.tensors[pair.found]) for pair in pairs]
    for values in run_pairs(wanted, content, pairs, list(float_model.input_names), samples):
        for measure, value in zip(measures, values, strict=True):
            measure.add(*value)
    rows = tuple(measure.result() for measure in measures)
    path = os.fspath(file) if isinstance(file, str | os.PathLike) else None
    return QuantizationByLayer(path, len(samples), threshold, rows)


class Measure:
    """Sums over samples for one tensor: all activations of all samples would not fit into memory.

    Args:
        pair: of tensors.
        tensor: that of the file.
    """

    def __init__(self, pair: TensorPair, tensor: FileTensor) -> None:
        self._pair = pair
        self._step = 0.0
        self._limits: tuple[float, float] | None = None
        if len(tensor.scales) == 1 and tensor.dtype is not None and tensor.dtype.kind in "iu":
            bounds, (self._step,) = np.iinfo(tensor.dtype), tensor.scales
            zero = tensor.zero_points[0] if tensor.zero_points else 0
            self._limits = (self._step * (int(bounds.min) - zero), self._step * (int(bounds.max) - zero))
        self._least, self._most = np.inf, -np.inf
        self._rows = self._values = self._outside = 0
        self._squares: Array = np.zeros(1)
        self._errors: Array = np.zeros(1)

    def add(self, wanted: Array, found: Array) -> None:
        """Adds values of the model (..., channels) and those of the file, dequantized."""
        flat = wanted.reshape(-1, wanted.shape[-1] if wanted.ndim else 1).astype(np.float64)
        if not flat.size:
            return
        off = found.reshape(flat.shape) - flat
        self._squares = self._squares + (flat**2).sum(axis=0)
        self._errors = self._errors + (off**2).sum(axis=0)
        self._least, self._most = min(self._least, float(flat.min())), max(self._most, float(flat.max()))
        self._rows += len(flat)
        self._values += flat.size
        if self._limits is not None:
            # Half a step beyond the last value is still rounded to it.
            low, high = self._limits[0] - self._step / 2, self._limits[1] + self._step / 2
            self._outside += int(((flat < low) | (flat > high)).sum())

    def result(self) -> QuantizedLayer:
        """Returns the row of the tensor."""
        alive = self._squares > 0
        error = rounding = 0.0
        if alive.any():
            error = float(np.median(np.sqrt(self._errors[alive] / self._squares[alive])))
            size = np.sqrt(self._squares[alive] / self._rows)
            rounding = float(np.median(self._step / np.sqrt(12) / size))
        elif self._errors.any():
            error = np.inf
        return QuantizedLayer(
            layers=self._pair.layers,
            operator=self._pair.operator,
            least=self._least,
            most=self._most,
            step=self._step,
            limits=self._limits,
            clipped=self._outside / max(self._values, 1),
            error=error,
            rounding=rounding,
        )
