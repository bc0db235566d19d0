"""`tfmot-swd prune`: a smaller model, with or without training."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from absl import flags
from rich.table import Table

from tfmot_swd.cli.command import Call, Command, UsageError
from tfmot_swd.cli.files import target_of
from tfmot_swd.cli.loading import define_loading_flags, load
from tfmot_swd.cli.methods import (
    check_names,
    define_method_flags,
    define_target_flags,
    goal_of,
    require_known_method,
)
from tfmot_swd.cli.task import Task
from tfmot_swd.cli.training import define_training_flags, read_splits, training_of
from tfmot_swd.io.json_files import write_json
from tfmot_swd.io.tables import ResultTable

if TYPE_CHECKING:
    from tfmot_swd.workflows.goal import Goal
    from tfmot_swd.workflows.training import Trained

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
    define_training_flags(values)
    flags.DEFINE_string(
        "backup_dir", None, "saves the training here after each epoch, to resume it after a crash", flag_values=values
    )
    flags.DEFINE_string("json", None, "also write the results to this .json file", flag_values=values)
    define_loading_flags(values)
    require_known_method(values)


def _run(call: Call) -> int:
    from tfmot_swd.keras3.door import to_keras3
    from tfmot_swd.workflows.model_files import write_model

    path, values = call.operands[0], call.flags
    goal = goal_of(values)
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
    check_names(model, goal.layers)
    measured: list[tuple[str, float, float]] = []
    trained, task = _pruned(call, model, goal, measured)
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
    call: Call, model: Any, goal: Goal, measured: list[tuple[str, float, float]]
) -> tuple[Trained, Task | None]:
    """Returns the pruned model and its task; appends the validation metric, before and after, to `measured`."""
    from tfmot_swd.workflows.data import labelled_data
    from tfmot_swd.workflows.objective import objective_of
    from tfmot_swd.workflows.training import EVALUATION_BATCH, Trained, prune_at_once, prune_in_training

    if not call.flags.data:
        return Trained(prune_at_once(model, goal)), None
    splits = read_splits(call, model)
    train, validation = labelled_data("train", splits.train), labelled_data("validation", splits.validation)
    held = validation.batched(EVALUATION_BATCH)
    objective, before = objective_of(model).settled(model, held)
    training, backup = training_of(call.flags), call.flags.backup_dir
    trained = prune_in_training(model, goal, train, validation, objective, training, call.notes, backup)
    objective.compile(trained.model)
    measured.append((f"validation {splits.task.metric}", before, objective.measured(trained.model, held)))
    return trained, splits.task


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
