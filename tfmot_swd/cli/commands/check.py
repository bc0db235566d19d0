"""`tfmot-swd check`: comparison of a TFLite file with its model, and deployment advice."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from absl import flags
from rich.table import Table

from tfmot_swd.cli.command import Call, Command, UsageError, define_bound_flags, define_full_flag
from tfmot_swd.cli.data import Data, read_data
from tfmot_swd.cli.devices import (
    MICROCONTROLLER,
    as_json,
    define_device_flags,
    estimate_on_npu,
    fit_on_board,
    target_device,
)
from tfmot_swd.cli.files import require_tflite, target_of
from tfmot_swd.cli.loading import define_loading_flags, load_model
from tfmot_swd.cli.words import in_shell_words
from tfmot_swd.io.json_files import write_json

if TYPE_CHECKING:
    from tfmot_swd.tflite.advice import Target
    from tfmot_swd.tflite.parity import Parity
    from tfmot_swd.tflite.samples import Samples

_EXAMPLE = """
# Gains of this file from zeros and removed channels on a microcontroller; exits with 1 where the file does not run
# there
tfmot-swd check small_int8.tflite --dense=net_int8.tflite --target=microcontroller

# Does it fit on this board, or into so much memory? Exits with 1 where it does not
tfmot-swd check small_int8.tflite --board=arduino-nano-33-ble-sense
tfmot-swd check small_int8.tflite --flash=256k --ram=64k

# Advice for all devices, and a comparison with the model; exits with 1 if the outputs differ
tfmot-swd check small_int8.tflite --model=small.keras --data=test.npz

# Where an int8 file strays from its model: layer by layer, with the ranges and what to do about the first that strays
tfmot-swd check small_int8.tflite --model=small.keras --data=test.npz --quantization_error
"""
# What export_tflite allows files in 8 bits; one that has nothing to do with its model is near 1.
_TOLERANCE = 0.1


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "dense",
        None,
        "the .tflite file of the model before it was pruned, in the same form: tells removed channels from zeros",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "target", None, ["phone", "desktop", "microcontroller"], "the device; by default all", flag_values=values
    )
    define_device_flags(values)
    flags.DEFINE_string("model", None, "the model of the file, to compare the outputs of both", flag_values=values)
    flags.DEFINE_string(
        "data",
        None,
        "an .npz or .npy file of x, and y for accuracies, to compare them on; by default random",
        flag_values=values,
    )
    flags.DEFINE_float(
        "tolerance",
        _TOLERANCE,
        "allowed mean difference from the model, as a share of the output range",
        0.0,
        flag_values=values,
    )
    define_bound_flags(values)
    flags.DEFINE_bool(
        "quantization_error",
        False,
        "with --model and --data, also compare the layers of a file with integer activations with those of its model",
        flag_values=values,
    )
    define_full_flag(values)
    flags.DEFINE_string("json", None, "also write the findings to this .json file", flag_values=values)
    define_loading_flags(values)


def _run(call: Call) -> int:
    from tfmot_swd.tflite.advice import FAILS, advise
    from tfmot_swd.tflite.quantization_error import quantization_error

    path, values = call.operands[0], call.flags
    target = target_device(values)
    if values.data and not values.model:
        raise UsageError("--data is for a comparison: give --model too. Received: --data alone")
    if values.quantization_error and not (values.model and values.data):
        raise UsageError(
            "--quantization_error compares the layers of a file with those of its model on samples: give --model and "
            "--data too. Received: --quantization_error without "
            + " and ".join(f"--{name}" for name in ("model", "data") if not values[name].value)
        )
    inputs = [path, values.dense, values.model, values.data]
    content = require_tflite("FILE.tflite", path)
    if values.dense:
        require_tflite("--dense", values.dense)
    record = target_of("json", values.json, ".json", inputs) if values.json else None
    fit = fit_on_board(call, path)
    npu = estimate_on_npu(call, content)
    found = as_json(fit, npu)
    failures: list[str] = []
    if values.model:
        model = load_model(call, values.model)
        parities, dense_accuracy, data = _parities(call, content, target, model)
        for runtime, parity in parities.items():
            call.show(_table(runtime, parity, values.tolerance, dense_accuracy))
            failures += _judged(call, content, runtime, parity)
        found["dense_accuracy"] = dense_accuracy
        found["parity"] = dataclasses.asdict(next(iter(parities.values())))
        found["parity_by_runtime"] = {runtime: dataclasses.asdict(each) for runtime, each in parities.items()}
        if values.quantization_error and data is not None:
            by_layer = quantization_error(model, path, data.to_check)
            call.show(by_layer)
            found["quantization_error"] = by_layer.to_dict()
    advice = advise(path, values.dense, target)
    call.show(advice)
    found["advice"] = advice.to_dict()
    if record:
        write_json(record, found)
    # Without a target some place is always found where a file does not run.
    failing = [each for each in advice.advice if each.verdict == FAILS] if target else []
    if failing:
        raise ValueError(
            f"The file does not run on a {target}, or not right: "
            + "; ".join(f"{each.reason} ({each.remedy})" for each in failing)
            + f". Received: {path!r}"
        )
    if fit is not None and fit.fits is False:
        raise ValueError(f"The file does not fit: {fit.reason}. Received: {path!r}")
    if target == MICROCONTROLLER and not values.model:
        _prove_in_micro(call, content)
    if failures:
        raise ValueError(
            "The file does not do what the model does: it may be of another model, or quantized on data unlike these. "
            f"Received: {'; '.join(failures)}"
        )
    return 0


def _parities(
    call: Call, content: bytes, target: Target | None, model: Any
) -> tuple[dict[str, Parity], float | None, Data | None]:
    """Returns how far the file is from its model, by where it was run; the accuracy of the dense file; the data.

    The last two are None where there are none.
    """
    from tfmot_swd.tflite.parity import compare
    from tfmot_swd.tflite.samples import read_samples
    from tfmot_swd.tflite.serving import float32_copy, keras_outputs

    model = float32_copy(model)
    data = None
    try:
        if call.flags.data:
            data = read_data("data", call.flags.data, model)
            samples = read_samples(data.to_check, model, "--data")
        else:
            samples = _random_samples(content, model)
        outputs = _outputs(call, content, dict(zip(model.input_names, samples.inputs, strict=True)), target)
    except UsageError:
        raise
    except (RuntimeError, ValueError, KeyError) as error:
        raise ValueError(
            "The file does not run on what its model takes: it may be of another model. "
            f"Received: {type(error).__name__}: {error}"
        ) from error
    reference = keras_outputs(model, samples.inputs)
    parities = {runtime: compare(reference, each, samples.labels) for runtime, each in outputs.items()}
    return parities, _dense_accuracy(call, model, samples), data


def _dense_accuracy(call: Call, model: Any, samples: Samples) -> float | None:
    """Returns the accuracy of the dense file on the same samples; None without labels, or without such a file.

    Raises:
      ValueError: it does not run on them.
    """
    from tfmot_swd.tflite.file_run import run_file
    from tfmot_swd.tflite.parity import classes_of
    from tfmot_swd.tflite.result import ExportError

    path, labels = call.flags.dense, samples.labels
    if path is None or labels is None:
        return None
    try:
        classes = classes_of(run_file(path, model.input_names, samples.inputs))
    except (ExportError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"--dense does not run on what --model takes: it may be of another model. Received: {path!r}, and {error}"
        ) from error
    return None if classes is None else float((classes == labels).mean())


def _random_samples(content: bytes, model: Any) -> Samples:
    """Returns random inputs in the ranges that the file was calibrated on, and standard normal ones where it has none.

    Raises:
      UsageError: an input of integers or of open size, for which random values say nothing.
      KeyError: the file has no input of that name.
    """
    from tfmot_swd.tflite.inputs import random_inputs
    from tfmot_swd.tflite.layout import read_layout
    from tfmot_swd.tflite.samples import Samples, random_samples

    try:
        samples = random_samples(model)
    except ValueError as error:
        raise UsageError(
            f"--data names samples to run both on, which this model needs: {in_shell_words(str(error))}"
        ) from error
    ports = [port for port in read_layout(content).inputs if port.limits is not None]
    ranged = random_inputs(ports, len(samples))
    inputs = zip(model.input_names, samples.inputs, strict=True)
    return Samples(tuple(ranged.get(name, array) for name, array in inputs), None)


def _outputs(call: Call, content: bytes, inputs: dict[str, Any], target: Target | None) -> dict[str, dict[str, Any]]:
    """Runs the file where it is made for, by runtime: weights that are kept pruned are known to TFLite Micro alone."""
    from tfmot_swd.tflite.file_run import try_out
    from tfmot_swd.tflite.graph import read_graph
    from tfmot_swd.tflite.interpreter import run_tflite
    from tfmot_swd.tflite.micro import run_micro
    from tfmot_swd.tflite.micro.interpreter import has_micro
    from tfmot_swd.tflite.micro.operators import is_encoded, micro_problems

    graph = read_graph(content)
    found = {}
    for_micro_alone = is_encoded(graph)
    if not for_micro_alone:
        try_out(call.operands[0], graph)
        found["LiteRT"] = run_tflite(content, inputs)[0]
    for_micro = target == MICROCONTROLLER and has_micro() and not micro_problems(graph)
    if for_micro_alone or for_micro:
        found["TFLite Micro"] = dict(run_micro(content, inputs).outputs)
    return found


def _judged(call: Call, content: bytes, runtime: str, parity: Parity) -> list[str]:
    """Returns in which respects the file is too far from its model; says what is worth a warning, or not known."""
    from tfmot_swd.tflite.file_facts import form_of
    from tfmot_swd.tflite.graph import read_graph
    from tfmot_swd.tflite.proof import Bounds, shortfalls

    values = call.flags
    bounds = Bounds(values.tolerance, values.min_agreement, values.max_accuracy_loss)
    found = shortfalls(parity, "mean", bounds)
    if found and not values.data and form_of(read_graph(content)) in ("int8", "int16x8"):
        # Activations of random inputs leave the ranges that those of real ones were measured to have.
        said = "; ".join(each.said for each in found)
        call.say(f"Unknown whether the file does what the model does, as inputs are random: give --data ({said}).")
        return []
    for each in found:
        if not each.fails:
            call.say(f"Not close to the model in {runtime}: {each.said}.")
    return [f"in {runtime} {each.said}" for each in found if each.fails]


def _prove_in_micro(call: Call, content: bytes) -> None:
    """Runs the file in both runtimes, on random inputs."""
    from tfmot_swd.tflite.layout import read_layout
    from tfmot_swd.tflite.micro.agreement import SAMPLES, proven_run
    from tfmot_swd.tflite.micro.interpreter import has_micro

    if not has_micro():
        call.say("Not run in TFLite Micro, which is missing: pip install 'tfmot_swd[micro]'.")
        return
    arena = proven_run(content, read_layout(content)).arena_bytes
    call.say(f"TFLite Micro runs it on {SAMPLES} random samples as LiteRT does, in an arena of {arena:,} bytes.")


def _table(runtime: str, parity: Parity, tolerance: float, dense_accuracy: float | None) -> Table:
    table = Table(title=f"The file in {runtime} against its model, {parity.samples:,} samples")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_row("mean difference, of the range of outputs", f"{parity.relative_mean:.3g} ({tolerance:g} allowed)")
    table.add_row("worst difference, of the range of outputs", f"{parity.relative_worst:.3g}")
    for name, value in (
        ("same class", parity.agreement),
        ("accuracy of the file", parity.accuracy),
        ("accuracy of the model", parity.keras_accuracy),
        ("accuracy of the dense file", dense_accuracy),
    ):
        if value is not None:
            table.add_row(name, f"{value:.2%}")
    return table


COMMAND = Command(
    "check",
    "Deployment advice for a TFLite file, and a comparison of its outputs with those of its model.",
    _EXAMPLE,
    _define_flags,
    _run,
    operands=("FILE.tflite",),
)
