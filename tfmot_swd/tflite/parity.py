"""Numerical differences between the outputs of a TFLite file and of its Keras model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfmot_swd.tflite.result import ExportError
from tfmot_swd.tflite.samples import Array

# The share of samples at each end that the range leaves out.
_OUTLIERS = 0.01


@dataclass(frozen=True)
class Parity:
    """Differences between the outputs of a file and of its Keras model on the same samples.

    The relative differences are shares of the Keras output range, which includes zero as the
    ranges of quantized tensors do: max(y, 0) - min(y, 0). With several outputs each has its own
    range, and the worst output counts. For the mean, the samples with the 1 % largest maxima and
    the 1 % lowest minima do not count in the range (from 101 samples on), and no vector is off by
    more than the range: one outlier neither hides what the others are off by nor stands for them.

    Attributes:
        worst_difference: largest absolute difference of any element of any output.
        mean_difference: mean absolute difference over all elements of all outputs.
        relative_worst: `worst_difference` as a share of the range.
        relative_mean: mean over output vectors (the last axis) of the largest difference within
            the vector, as a share of the range. Unlike a mean over all elements it does not
            shrink with the number of classes: a file that names wrong classes is near 1.
        agreement: share of samples with the same largest class, None unless there is a single
            output of shape (N, 2 or more).
        accuracy: share of samples the file names right, None without labels or agreement.
        keras_accuracy: the same of the Keras model.
        samples: number of samples.
    """

    worst_difference: float
    mean_difference: float
    relative_worst: float
    relative_mean: float
    agreement: float | None
    accuracy: float | None
    keras_accuracy: float | None
    samples: int


def compare(reference: dict[str, Array], outputs: dict[str, Array], labels: Array | None = None) -> Parity:
    """Measures the outputs of a file against the Keras outputs of the same names.

    Args:
        reference: Keras outputs (N, ...) by name, all finite.
        outputs: the file's outputs, dequantized.
        labels: integer classes (N,).

    Raises:
        ExportError: other names or shapes, or a value that is NaN or infinite.
    """
    wanted = {name: array.shape for name, array in reference.items()}
    got = {name: array.shape for name, array in outputs.items()}
    if wanted != got:
        raise ExportError(f"The file has other outputs than the model, which has {wanted}. Received: {got}")
    for name, array in outputs.items():
        bad = count_bad(array)
        if bad:
            raise ExportError(
                f"The file's output {name!r} is not finite: try another recipe, float32 first. "
                f"Received: {bad} of {array.size} values NaN or infinite"
            )
    differences = {
        name: np.abs(outputs[name].astype(np.float64) - array.astype(np.float64)) for name, array in reference.items()
    }
    elements = sum(each.size for each in differences.values())
    classes = classes_of(reference)
    file_classes = classes_of(outputs)
    right = None if labels is None or file_classes is None else _share(file_classes, labels)
    keras_right = None if labels is None or classes is None else _share(classes, labels)
    return Parity(
        worst_difference=max(float(each.max()) for each in differences.values()),
        mean_difference=float(sum(each.sum() for each in differences.values()) / elements),
        relative_worst=max(_relative(float(each.max()), reference[name]) for name, each in differences.items()),
        relative_mean=max(_relative_mean(each, reference[name]) for name, each in differences.items()),
        agreement=None if classes is None or file_classes is None else _share(classes, file_classes),
        accuracy=right,
        keras_accuracy=keras_right,
        samples=len(next(iter(reference.values()))),
    )


def count_bad(array: Array) -> int:
    """Counts the values that are NaN or infinite."""
    return int(array.size - np.isfinite(array).sum())


def _relative_mean(difference: Array, reference: Array) -> float:
    largest = difference.reshape(-1, 1 if difference.ndim == 1 else difference.shape[-1]).max(axis=1)
    samples = reference.reshape(len(reference), -1)
    top = float(np.quantile(samples.max(axis=1), 1 - _OUTLIERS, method="higher"))
    bottom = float(np.quantile(samples.min(axis=1), _OUTLIERS, method="lower"))
    scale = max(top, 0.0) - min(bottom, 0.0)
    if not scale:
        # All but some samples are zero throughout: the others are the range.
        return _relative(float(largest.mean()), reference)
    return float(np.minimum(largest / scale, 1.0).mean())


def _relative(difference: float, reference: Array) -> float:
    scale = max(float(reference.max()), 0.0) - min(float(reference.min()), 0.0)
    if scale:
        return difference / scale
    return float("inf") if difference else 0.0


def classes_of(outputs: dict[str, Array]) -> Array | None:
    """Returns the largest class (N,) of a single output (N, 2 or more), None for others."""
    arrays = list(outputs.values())
    if len(arrays) != 1 or arrays[0].ndim != 2 or arrays[0].shape[1] < 2:
        return None
    classes: Array = arrays[0].argmax(axis=1)
    return classes


def _share(left: Array, right: Array) -> float:
    return float((left == right).mean())
