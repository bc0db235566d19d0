"""`tfmot-swd check`: whether a TFLite file does what its model does, and what would keep it from running well."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags
from rich.table import Table

from tfmot_swd.cli.command import Call, Command, UsageError
from tfmot_swd.cli.data import read_data
from tfmot_swd.cli.loading import define_loading_flags, load_model
from tfmot_swd.cli.output import target_of, write_json

if TYPE_CHECKING:
    from tfmot_swd.export.parity import Parity

_EXAMPLE = """
# What zeros and removed channels do for this file on a microcontroller, and what they do not; ends with 1 where
# the file does not run there
tfmot-swd check small_int8.tflite --dense=net_int8.tflite --target=microcontroller

# Everywhere; and whether it answers as its model does, which ends with 1 if not
tfmot-swd check small_int8.tflite --model=small.keras --data=test.npz
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
        "target", None, ["phone", "desktop", "microcontroller"], "where it is to run; else all", flag_values=values
    )
    flags.DEFINE_string("model", None, "the model that the file was made of, to run both", flag_values=values)
    flags.DEFINE_string(
        "data", None, "an .npz or .npy file of x, and y for accuracies, to run them on; else random", flag_values=values
    )
    flags.DEFINE_float(
        "tolerance",
        _TOLERANCE,
        "how far the file may be from the model: the mean difference as a share of the range of outputs",
        0.0,
        flag_values=values,
    )
    flags.DEFINE_string("json", None, "also write the findings to this .json file", flag_values=values)
    define_loading_flags(values)


def _run(call: Call) -> int:
    from tfmot_swd.export.advice import FAILS, advise

    path, values = call.operands[0], call.flags
    for each in filter(None, (path, values.dense)):
        if not Path(each).is_file():
            raise UsageError(f"There is no such file. Received: {each!r}")
    if values.data and not values.model:
        raise UsageError("--data is for a comparison: give --model too. Received: --data alone")
    inputs = [path, values.dense, values.model, values.data]
    record = target_of("json", values.json, ".json", inputs) if values.json else None
    content = Path(path).read_bytes()
    found: dict[str, Any] = {}
    far = False
    if values.model:
        parity = _parity(call, content)
        far = parity.relative_mean > values.tolerance
        call.console.print(_table(parity, values.tolerance))
        found["parity"] = dataclasses.asdict(parity)
    advice = advise(path, values.dense, values.target)
    call.console.print(advice)
    found["advice"] = advice.to_dict()
    if record:
        write_json(record, found)
    # Without a target some place is always found where a file does not run.
    failing = [each for each in advice.advice if each.verdict == FAILS] if values.target else []
    if failing:
        raise ValueError(
            f"The file does not run on a {values.target}, or not right: "
            + "; ".join(f"{each.reason} ({each.remedy})" for each in failing)
            + f". Received: {path!r}"
        )
    if far:
        raise ValueError(
            "The file does not do what the model does: it may be of another model, or quantized on data unlike these. "
            f"Received: a mean difference of {parity.relative_mean:.3g} of the range, {values.tolerance:g} allowed"
        )
    return 0


def _parity(call: Call, content: bytes) -> Parity:
    from tfmot_swd.export.parity import compare
    from tfmot_swd.export.samples import random_samples, read_samples
    from tfmot_swd.export.serving import float32_twin, keras_outputs

    model = float32_twin(load_model(call, call.flags.model))
    if call.flags.data:
        samples = read_samples(read_data("data", call.flags.data, model).to_check, model, "--data")
    else:
        samples = random_samples(model)
    try:
        outputs = _outputs(content, dict(zip(model.input_names, samples.inputs, strict=True)))
    except (RuntimeError, ValueError, KeyError) as error:
        raise ValueError(
            "The file does not run on what its model takes: it may be of another model. "
            f"Received: {type(error).__name__}: {error}"
        ) from error
    return compare(keras_outputs(model, samples.inputs), outputs, samples.labels)


def _outputs(content: bytes, inputs: dict[str, Any]) -> dict[str, Any]:
    """Runs the file where it is made for: weights that are kept pruned are known to TFLite Micro alone."""
    from tfmot_swd.export.graph import read_graph
    from tfmot_swd.export.interpreter import run_tflite
    from tfmot_swd.export.micro_operators import DECODE

    if all(operator.name != DECODE for operator in read_graph(content).operators):
        return run_tflite(content, inputs)[0]
    from tfmot_swd.export.micro import run_micro

    return dict(run_micro(content, inputs).outputs)


def _table(parity: Parity, tolerance: float) -> Table:
    table = Table(title="The file against its model")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_row("mean difference, of the range of outputs", f"{parity.relative_mean:.3g} ({tolerance:g} allowed)")
    table.add_row("worst difference, of the range of outputs", f"{parity.relative_worst:.3g}")
    for name, value in (
        ("same class", parity.agreement),
        ("accuracy of the file", parity.accuracy),
        ("accuracy of the model", parity.keras_accuracy),
    ):
        if value is not None:
            table.add_row(name, f"{value:.2%}")
    return table


COMMAND = Command(
    "check",
    "What will and what will not help a TFLite file on a device; and whether it answers as its model does.",
    _EXAMPLE,
    _define_flags,
    _run,
    operands=("FILE.tflite",),
)
