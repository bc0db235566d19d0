"""`tfmot-swd prune`: a smaller model, with or without training."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from absl import flags
from rich.table import Table

from tfmot_swd.cli.command import Call, Command, UsageError
from tfmot_swd.cli.data import Data, length, read_data
from tfmot_swd.cli.files import target_of, write_model
from tfmot_swd.cli.loading import define_loading_flags, load
from tfmot_swd.cli.methods import (
    Wanted,
    check_names,
    define_method_flags,
    define_target_flags,
    require_known_method,
    wanted_of,
)
from tfmot_swd.cli.task import LOSSES, Task, task_of
from tfmot_swd.io.json_files import write_json
from tfmot_swd.io.tables import ResultTable

if TYPE_CHECKING:
    from tfmot_swd.cli.training import Trained

_EXAMPLE = """
# Half of the multiply-accumulates, pruned in training. train.npz holds x and y, as the model is fed:
#   numpy.savez("train.npz", x=images, y=labels)
tfmot-swd prune net.keras --macs=0.5 --data=train.npz --epochs=20 --output=small.keras

# A file of at most 100 kB; after a crash, the same command resumes the training
tfmot-swd prune net.keras --bytes=100_000 --data=train.npz --backup_dir=backup --output=small.keras

# 95 % of the weights zero
tfmot-swd prune net.keras --method=swd --rate=0.95 --data=train.npz --output=sparse.keras

# Without data: the weakest channels are removed at once, and the accuracy suffers
tfmot-swd prune net.keras --macs=0.5 --output=small.keras
"""


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "output", None, "the .keras or .h5 file to write, of the Keras that MODEL is of", flag_values=values
    )
    flags.DEFINE_bool("keras2", False, "write for tf_keras, where MODEL is of Keras 3", flag_values=values)
    define_target_flags(values)
    define_method_flags(values)
    flags.DEFINE_string(
        "data",
        None,
        "an .npz file with arrays x and y to train on, and x_val and y_val to validate on; without those a "
        "random tenth is held out",
        flag_values=values,
    )
    flags.DEFINE_integer("epochs", 10, "epochs of training; the last ones fine-tune", 1, flag_values=values)
    flags.DEFINE_integer("batch_size", 64, "samples per update", 1, flag_values=values)
    flags.DEFINE_float(
        "learning_rate", 1e-3, "initial learning rate of Adam; decays to 0 along a cosine", 0.0, flag_values=values
    )
    flags.DEFINE_enum(
        "loss", None, LOSSES, "training loss; by default guessed from y and the outputs", flag_values=values
    )
    flags.DEFINE_integer(
        "seed", 0, "random seed of the order of samples and of the validation split", flag_values=values
    )
    flags.DEFINE_string(
        "backup_dir", None, "saves the training here after each epoch, to resume it after a crash", flag_values=values
    )
    flags.DEFINE_string("json", None, "also write the results to this .json file", flag_values=values)
    define_loading_flags(values)
    require_known_method(values)


def _run(call: Call) -> int:
    from tfmot_swd.keras3.door import to_keras3

    path, values = call.operands[0], call.flags
    wanted = wanted_of(values)
    if not values.data and values.method != "structured":
        raise UsageError(
            f"--method={values.method} prunes while it trains: give --data=train.npz, or leave --method out to cut "
            "off channels at once. Received: no --data"
        )
    inputs = [path, values.data]
    target = target_of("output", values.output, (".keras", ".h5"), inputs)
    record = target_of("json", values.json, ".json", inputs) if values.json else None
    loaded = load(call, path)
    model = loaded.model
    check_names(model, wanted.choice)
    measured: list[tuple[str, float, float]] = []
    trained, task = _pruned(call, model, wanted, measured)
    table, costs = _compared(model, trained.model, measured)
    write_model(target, to_keras3(trained.model) if loaded.is_keras3 and not values.keras2 else trained.model)
    call.show(table)
    if not values.data:
        call.say(
            "Nothing was trained: the accuracy has suffered, by how much only data can tell. Fine-tune the model, or "
            "give --data=train.npz to this command."
        )
    if record:
        write_json(record, _record(call, task, costs, trained))
    return 0


def _pruned(
    call: Call, model: Any, wanted: Wanted, measured: list[tuple[str, float, float]]
) -> tuple[Trained, Task | None]:
    """Returns the pruned model and its task; appends the validation metric, before and after, to `measured`."""
    from tfmot_swd.cli.training import Trained, Training, prune_at_once, prune_in_training

    values = call.flags
    if not values.data:
        return Trained(prune_at_once(model, wanted)), None
    data = read_data("data", values.data, model)
    task = task_of(model, data, values.loss)
    data = data.with_validation(values.seed)
    x, y = _validation(data)
    call.note(f"Loss: {task.description}. {length(data.x):,} samples to train on, {len(y):,} to validate on.")
    before = task.measure(model, x, y)
    training = Training(values.epochs, values.batch_size, values.learning_rate, values.seed, values.backup_dir)
    trained = prune_in_training(model, values.method, wanted, data, task, training, call.notes)
    measured.append((f"validation {task.metric}", before, task.measure(trained.model, x, y)))
    return trained, task


def _validation(data: Data) -> tuple[Any, Any]:
    if data.x_val is None or data.y_val is None:
        raise ValueError("Validation needs y as well as x: put both into --data. Received: x alone")
    return data.x_val, data.y_val


def _compared(before: Any, after: Any, measured: list[tuple[str, float, float]]) -> tuple[Table, dict[str, Any]]:
    """Returns the table of both models, and its numbers by name."""
    from tfmot_swd.costs.profile import profile
    from tfmot_swd.pruning.sparsity import sparsity_report

    table = ResultTable("before → after")
    for heading in ("", "before", "after", "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, *pair in measured:
        table.add_row(name, *(f"{value:.4f}" for value in pair), "")
    costs = [profile(each) for each in (before, after)]
    kept = [sparsity_report(each) for each in (before, after)]
    counts = {
        "parameters": [each.parameters for each in costs],
        "parameters that are not zero": [each.nonzero_parameters for each in kept],
        "kernel weights that are not zero": [each.nonzero_kernels for each in kept],
        "MACs": [each.macs for each in costs],
        "activation bytes at once": [each.peak_activation_bytes for each in costs],
    }
    for name, (first, last) in counts.items():
        table.add_row(name, f"{first:,}", f"{last:,}", f"{last / first:.3f}" if first else "")
    rows = {name: tuple(pair) for name, *pair in measured} | counts
    return table, {name: {"before": first, "after": last} for name, (first, last) in rows.items()}


def _record(call: Call, task: Task | None, costs: dict[str, Any], trained: Trained) -> dict[str, Any]:
    values = call.flags
    return {
        "model": call.operands[0],
        "flags": {name: values[name].value for name in values if values[name].value != values[name].default},
        "loss": None if task is None else dataclasses.asdict(task),
        "seed": values.seed,
        "compared": costs,
        "history": trained.history,
        "final_step": None if trained.final_step is None else dataclasses.asdict(trained.final_step),
        "statuses": [dataclasses.asdict(status) for status in trained.statuses],
    }


COMMAND = Command(
    "prune",
    "Prunes a model to a budget of multiply-accumulates, parameters or bytes, or at a rate: in training where --data "
    "is given, at a small cost in accuracy, or at once, at a large one.",
    _EXAMPLE,
    _define_flags,
    _run,
)
