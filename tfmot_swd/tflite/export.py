"""Export of a stripped model to a proven TFLite file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

from tfmot_swd.io.atomic import atomic_write, check_target
from tfmot_swd.io.deprecation import renamed_arguments
from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.validation import PruningWarning
from tfmot_swd.keras3.door import opened
from tfmot_swd.tflite.conversion import convert, prepare
from tfmot_swd.tflite.diagnosis import explain
from tfmot_swd.tflite.export_checks import (
    check_danger,
    check_encoding,
    check_percentile,
    check_runtime,
    check_sizes,
)
from tfmot_swd.tflite.file_bytes import gzip_size, sha256, zstd_size
from tfmot_swd.tflite.flatbuffer import compact
from tfmot_swd.tflite.interpreter import run_tflite
from tfmot_swd.tflite.layer_types import check_layers
from tfmot_swd.tflite.micro.interpreter import run_micro
from tfmot_swd.tflite.parity import compare, count_bad
from tfmot_swd.tflite.proof import Bounds, require
from tfmot_swd.tflite.recipes import Recipe, get_recipe
from tfmot_swd.tflite.result import ExportError, ExportResult
from tfmot_swd.tflite.samples import HELD_OUT, Array, Samples, random_samples, read_samples
from tfmot_swd.tflite.serving import check_exportable, float32_copy, keras_outputs
from tfmot_swd.tflite.zeros import check_zeros

# Ranges settle within a few hundred samples; TensorFlow's own guide names 100 to 500.
CALIBRATION_SAMPLES = 500
# Fewer than that are warned of.
_FEW_SAMPLES = 20
# Half precision over a deep model strays by some thousandths of the range, a wrong copy by much.
_COPY_TOLERANCE = 0.02


@renamed_arguments(quantize="recipe", largest="max_encoded_weights")
def export_tflite(
    model: Any,
    path: str | os.PathLike[str],
    recipe: str = "float32",
    representative_data: Any = None,
    check_data: Any = None,
    tolerance: float | None = None,
    keep_names: bool = False,
    max_encoded_weights: int | None = None,
    min_agreement: float | None = None,
    max_accuracy_loss: float | None = None,
    calibration_percentile: float | None = None,
    float_layers: Sequence[str] = (),
    int16_layers: Sequence[str] = (),
) -> ExportResult:
    """Converts a model to a TFLite file, and writes it only if it computes the same as the model.

    The file has batch 1 when the model's batch is open, and one signature with the names of the
    Keras inputs and outputs (the layers' names where those are dicts); their positions in the file
    are those of `model.inputs` and `model.outputs`. It is written to a temporary file
    beside `path`, run on `check_data` and compared with the Keras model, and renamed to `path` if it passes and all
    zeros of the weights are still zeros. If anything fails, or the process is killed, an older file at `path` stays.
    Missing parent directories are created.

    | `recipe` | weights | activations | inputs, outputs | the proof bounds |
    |---|---|---|---|---|
    | `"float32"` | float32 | float32 | float32 | the worst difference, 1e-4 |
    | `"float16"` | float16 | float32 | float32 | the worst difference, 1e-2 |
    | `"dynamic"` | int8 from 1,024 elements on | float32 | float32 | the mean difference, 0.1 |
    | `"int8"` | int8, per channel | int8 | int8 | the mean difference, 0.1 |
    | `"int8_float_io"` | int8, per channel | int8 | float32 | the mean difference, 0.1 |
    | `"int16x8"` | int8, per channel | int16 | int16 | the mean difference, 0.05 |
    | `"sparse_float32"` | float32 without zeros | float32 | float32 | the worst difference, 1e-4 |
    | `"sparse_float16"` | float16 without zeros | float32 | float32 | the worst difference, 1e-2 |
    | `"int8_pruned"` | int8 without zeros | int8 | int8 | the mean difference, 0.1 |

    The sparse ones are small on disk and are unpacked when they are loaded; `recipes.REFUSED` has
    those that do not work. `"int8_pruned"` is small in the flash of a microcontroller, see
    `micro.encode_pruned`; it runs in TFLite Micro only and is proven there, on plain C kernels, so
    pass some hundred samples of `check_data` rather than thousands.

    Differences are shares of the Keras output range, defined in `parity.Parity`. A file of a
    classifier (a single output of shape (N, 2 or more)) also fails where it names another class than
    Keras on more than 30 % of the samples, or where labels are known and its accuracy is more than 10
    points lower; from 10 % and from 2 points on a `PruningWarning` says so. A single sample is never
    counted against it. A model under a mixed precision policy is converted from a float32 copy, which
    is then also the reference.

    Args:
        model: a built tf_keras or Keras 3 Sequential or Functional model without pruning wrappers.
        path: the file to write.
        recipe: what kind of file, the name of a row of the table.
        representative_data: what the model sees in use, scaled as in training, for the recipes
            with integer activations: an array (N, ...), for several inputs a list or dict of arrays, or an iterable or
            `tf.data.Dataset` of batches, each alone or as `(x, y)`. Ranges are measured on up to 500 samples,
            evenly spaced ones of arrays and the first ones of an iterable.
        check_data: data for the proof, in the same forms; all of it is used, so an iterable must
            end. Integer labels (N,) or (N, 1), or one-hot ones (N, classes), give the accuracies. Defaults
            to the representative samples; for recipes that measure ranges on those, to every fifth of them, which is
            then left out of the measuring (of 10 samples or more). Without either, to 64 random normal samples.
        tolerance: bound of the proof, in place of the recipe's own.
        keep_names: whether the names of tensors stay in the file, for reading it in Netron; they
            cost some kB, and no runtime needs them.
        max_encoded_weights: for `"int8_pruned"`, leaves kernels of more than so many weights plain in flash. TFLite
            Micro restores each encoded kernel in the arena, beside the activations of its operator and at one byte a
            weight: so this bounds what the arena grows by, and a large dense layer, whose zeros then stay in flash,
            takes no RAM. None encodes them all.
        min_agreement: least share of the samples on which the file must name the same class as Keras, in place of 0.7
            and the warning below 0.9.
        max_accuracy_loss: by how much the accuracy of the file may be lower, in place of 0.1 and the warning above
            0.02.
        calibration_percentile: for recipes that measure ranges, clips each float input of `representative_data` to the
            range of so many percent of its values, 99.9 for example: one outlier otherwise stretches the range, and
            leaves few of 256 steps to all other values. None takes the data as they are.
        float_layers: for recipes in int8, names of layers that stay in float32, such as the one that
            `tflite.quantization_error` names; values are converted in front of it and behind. What the converter fuses
            with such a layer stays in float too. Integer accelerators do not run those layers.
        int16_layers: for recipes in int8, names of layers whose activations are in int16, with weights in int8 as
            before: where 8 bits are too coarse, and the device has no fast floating point. What reads large values
            has to be among them, as with `float_layers`. TFLite Micro has kernels for most; on CPUs, LiteRT computes
            such layers in plain C, many times slower than in float. Needs the extra `quantizer`.

    Returns:
        The size and the numbers of the proof.

    Raises:
        TypeError: not a model of tf_keras or Keras 3, data of a wrong kind or dtype.
        ValueError: a model not built or still wrapped, a recipe that is unknown or does not work,
            missing, empty, misshapen, non-finite or constant data; `max_encoded_weights` not positive, or with a recipe
            that encodes nothing; `float_layers` or `int16_layers` that the model has not, or with a recipe that is not
            int8.
        OSError: nothing can be written at `path`.
        ImportError: `"int8_pruned"` without the package tflite-micro, `int16_layers` without ai-edge-quantizer.
        ExportError: the model cannot be converted, or the file failed its proof.

    Example:
        >>> import tempfile, numpy as np, tf_keras as keras
        >>> model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2)])
        >>> x = np.random.default_rng(0).normal(size=(100, 4)).astype("float32")
        >>> path = tempfile.mkdtemp() + "/model.tflite"
        >>> result = export_tflite(model, path, recipe="int8", representative_data=x)
        >>> result.recipe, result.samples, result.bytes < 2000
        ('int8', 20, True)
    """
    chosen = get_recipe(recipe)
    check_runtime(chosen)
    check_encoding(max_encoded_weights, chosen)
    model = opened(model)
    check_exportable(model)
    check_sizes(model, chosen)
    bounds = Bounds(chosen.tolerance if tolerance is None else tolerance, min_agreement, max_accuracy_loss)
    check_percentile(calibration_percentile, chosen)
    check_layers(float_layers, int16_layers, model, chosen)
    target = check_target(path)
    float32_model = float32_copy(model)
    calibration, check = _data(float32_model, chosen, representative_data, check_data)
    if calibration is not None and calibration_percentile is not None:
        calibration = calibration.clipped(calibration_percentile)
    prepare(chosen)
    reference = _reference(model, float32_model, check)

    content = compact(
        convert(float32_model, chosen, calibration, float_layers, int16_layers),
        keep_names,
        float32_model.input_names,
        float32_model.output_names,
    )
    kernels = check_zeros(float32_model, content, chosen.name)
    check_danger(chosen, content)
    content = chosen.encoded(content, max_encoded_weights)
    with atomic_write(target, content) as temporary:
        written = temporary.read_bytes()
        outputs, interpreter = _run(written, chosen, dict(zip(float32_model.input_names, check.inputs, strict=True)))
        parity = compare(reference, outputs, check.labels)
        _warn_of_no_accuracy(check, parity.accuracy)
        require(parity, chosen, bounds, lambda: _explain(float32_model, chosen, calibration, written))
    return ExportResult(
        recipe=chosen.name,
        path=os.fspath(path),
        bytes=len(written),
        gzip_bytes=gzip_size(written),
        zstd_bytes=zstd_size(written),
        weights=sum(kernel.size for kernel in kernels),
        keras_zeros=sum(kernel.keras_zeros for kernel in kernels),
        zeros=sum(kernel.zeros for kernel in kernels),
        accuracy=parity.accuracy,
        keras_accuracy=parity.keras_accuracy,
        worst_difference=parity.worst_difference,
        mean_difference=parity.mean_difference,
        agreement=parity.agreement,
        samples=len(check),
        interpreter=interpreter,
        sha256=sha256(written),
    )


@renamed_arguments(quantize="recipe")
def file_bytes(model: Any, recipe: str) -> int:
    """Returns the size of the TFLite file of a tf_keras or Keras 3 model in bytes, without writing or proving it.

    Recipes with integer activations are calibrated on random samples, which does not change the size.

    Raises:
        ExportError: the model cannot be converted.
        TypeError, ValueError: the model is of a kind that cannot be exported, as in `export_tflite`.
    """
    chosen = get_recipe(recipe)
    model = opened(model)
    check_exportable(model)
    float32_model = float32_copy(model)
    samples = random_samples(float32_model)
    few = Samples(tuple(array[:2] for array in samples.inputs), None)
    return len(chosen.encoded(compact(convert(float32_model, chosen, few))))


def _data(
    model: keras.Model, recipe: Recipe, representative_data: Any, check_data: Any
) -> tuple[Samples | None, Samples]:
    """Reads both data arguments, the representative one no more than once."""
    if recipe.needs_data and representative_data is None:
        raise ValueError(
            f"recipe={recipe.name!r} measures the ranges of all activations: pass "
            "representative_data, 100 or more samples as the model sees them in use. "
            "Received: representative_data=None"
        )
    if representative_data is None:
        calibration = None
    else:
        splits = recipe.needs_data and check_data is None
        most = CALIBRATION_SAMPLES * HELD_OUT // (HELD_OUT - 1) if splits else CALIBRATION_SAMPLES
        calibration = read_samples(representative_data, model, "representative_data", most)
        if recipe.needs_data:
            _check_varied(calibration)
            _warn_of_few(calibration)
        if splits:
            return calibration.held_out()
    if check_data is not None:
        return calibration, read_samples(check_data, model, "check_data")
    return calibration, random_samples(model) if calibration is None else calibration


def _warn_of_few(calibration: Samples) -> None:
    if len(calibration) < _FEW_SAMPLES:
        warnings.warn(
            "The ranges of all activations are measured on representative_data: values beyond them are cut off. Pass "
            f"100 samples or more. Received: {len(calibration)} of them",
            PruningWarning,
            stacklevel=5,
        )


def _check_varied(calibration: Samples) -> None:
    """Raises on constant data: no ranges can be learnt from them, and the file would pass on the same data."""
    values = [array.reshape(-1)[0] for array in calibration.inputs]
    if all((array == value).all() for array, value in zip(calibration.inputs, values, strict=True)):
        raise ValueError(
            "representative_data must vary, as the ranges of all activations are measured on it: pass samples as the "
            f"model sees them in use. Received: {len(calibration)} samples that are {values[0]} everywhere"
        )


def _warn_of_no_accuracy(check: Samples, accuracy: float | None) -> None:
    if check.labels is not None and accuracy is None:
        warnings.warn(
            "Accuracies are not measured, as classes are told from a single output of shape (N, classes), with two "
            f"classes or more. Received: {len(check)} labels for a model with other outputs",
            PruningWarning,
            stacklevel=4,
        )


def _reference(model: keras.Model, float32_model: keras.Model, check: Samples) -> dict[str, Array]:
    """Returns the Keras outputs that the file has to match."""
    reference = keras_outputs(float32_model, check.inputs)
    for name, array in reference.items():
        bad = count_bad(array)
        if bad:
            raise ExportError(
                f"The Keras model's own output {name!r} is not finite on the check data: look for "
                "NaN weights or an exploding layer before exporting. "
                f"Received: {bad} of {array.size} values NaN or infinite"
            )
    if float32_model is not model:
        some = tuple(array[:64] for array in check.inputs)
        parity = compare({name: array[:64] for name, array in reference.items()}, keras_outputs(model, some))
        if parity.relative_mean > _COPY_TOLERANCE:
            raise ExportError(
                "The model does not compute in float32, and a float32 copy of it gives other "
                "predictions: rebuild it under the float32 policy, set its weights from this one, "
                f"and export that. Received: a mean difference of {parity.relative_mean:.3g} of "
                "the output range"
            )
    return reference


def _run(content: bytes, recipe: Recipe, inputs: dict[str, Array]) -> tuple[dict[str, Array], str]:
    """Runs the file in the runtime of the recipe."""
    try:
        if recipe.runtime == "tflite":
            return run_tflite(content, inputs)
        return run_micro(content, inputs).outputs, "tflite_micro"
    except (RuntimeError, ValueError, KeyError) as error:
        raise ExportError(
            f"The {recipe.name} file was converted but does not run, so it was not put in place: "
            f"try another recipe. Received: {type(error).__name__}: {error}"
        ) from error


def _explain(model: keras.Model, recipe: Recipe, calibration: Samples | None, content: bytes) -> tuple[str, ...]:
    return explain(model, calibration, content) if recipe.needs_data and calibration is not None else ()
