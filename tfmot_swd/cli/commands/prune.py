"""`tfmot-swd prune`: a smaller model, with or without training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from tfmot_swd.cli.command import Call, Command, UsageError
from tfmot_swd.cli.files import target_of
from tfmot_swd.cli.loading import define_loading_flags, load
from tfmot_swd.cli.methods import (
    check_goal,
    define_method_flags,
    define_search_flags,
    define_target_flags,
    floor_flags,
    goal_of,
    is_search,
    require_known_method,
)
from tfmot_swd.cli.task import Task
from tfmot_swd.cli.training import define_training_flags, read_splits, training_of
from tfmot_swd.io.json_files import write_json

if TYPE_CHECKING:
    from tfmot_swd.workflows.goal import Goal
    from tfmot_swd.workflows.job import Job
    from tfmot_swd.workflows.smallest import Search
    from tfmot_swd.workflows.smallest_result import Smallest

_EXAMPLE = """
# Half of the multiply-accumulates, pruned in training. train.npz holds x and y, as the model is fed:
#   numpy.savez("train.npz", x=images, y=labels)
tfmot-swd prune net.keras --macs=0.5 --data=train.npz --epochs=20 --output=small.keras

# A file of at most 100 kB; after a crash, the same command resumes the training
tfmot-swd prune net.keras --bytes=100_000 --data=train.npz --backup_dir=backup --output=small.keras

# The smallest model whose validation accuracy is at most one percentage point lower, found in some five trainings
tfmot-swd prune net.keras --max_drop=1.0 --data=train.npz --output=small.keras

# The smallest model whose validation accuracy is 90 % or more
tfmot-swd prune net.keras --floor=0.9 --data=train.npz --output=small.keras

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
    define_search_flags(values)
    define_method_flags(values)
    define_training_flags(values)
    flags.DEFINE_string(
        "backup_dir",
        None,
        "saves the training here after each epoch, to resume it after a crash; with --max_drop or --floor all tries, "
        "by default in a folder beside the output",
        flag_values=values,
    )
    flags.DEFINE_string("json", None, "also write the results to this .json file", flag_values=values)
    define_loading_flags(values)
    require_known_method(values)


@dataclasses.dataclass(frozen=True)
class _Pruned:
    """What a pruning ended with.

    Args:
      model: the smaller one, of tf_keras.
      metrics: (before, after) on the validation data, by name.
      task: the loss; None where nothing was trained.
      record: of the training, for `--json`.
      search: of `--max_drop` or `--floor`.
    """

    model: Any
    metrics: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    task: Task | None = None
    record: dict[str, Any] = dataclasses.field(default_factory=dict)
    search: Smallest | None = None


def _run(call: Call) -> int:
    from tfmot_swd.keras3.door import to_keras3
    from tfmot_swd.workflows.budget_check import over_budget
    from tfmot_swd.workflows.comparison import comparison_table, costs_compared
    from tfmot_swd.workflows.model_files import write_model

    path, values = call.operands[0], call.flags
    goal = goal_of(values)
    if not values.data and (values.method != "structured" or is_search(values)):
        asked = floor_flags(values) or f"--method={values.method}"
        raise UsageError(
            f"{asked} prunes while it trains: give --data=train.npz, or --macs=0.5 and no --method to cut off channels "
            "at once. Received: no --data"
        )
    inputs = [path, values.data]
    target = target_of("output", values.output, (".keras", ".h5"), inputs)
    record = target_of("json", values.json, ".json", inputs) if values.json else None
    loaded = load(call, path)
    check_goal(loaded.model, goal)
    pruned = _pruned(call, loaded.model, goal)
    costs = costs_compared(loaded.model, pruned.model)
    over = over_budget(goal.budget, loaded.model, pruned.model)
    write_model(target, to_keras3(pruned.model) if loaded.is_keras3 and not values.keras2 else pruned.model)
    if pruned.search is not None:
        call.show(pruned.search)
    if over:
        call.say(over)
    call.show(comparison_table("before → after", pruned.metrics, costs))
    if not values.data:
        call.say(
            "Nothing was trained: the accuracy has suffered, by how much only data can tell. Fine-tune the model, or "
            "give --data=train.npz to this command."
        )
    if record:
        compared = {name: {"before": first, "after": last} for name, (first, last) in (pruned.metrics | costs).items()}
        write_json(record, _record(call, compared, pruned))
    return 1 if over or (pruned.search is not None and not pruned.search.met) else 0


def _pruned(call: Call, model: Any, goal: Goal) -> _Pruned:
    from tfmot_swd.workflows.job import job_of
    from tfmot_swd.workflows.training import Trained, prune_at_once

    if not call.flags.data:
        return _Pruned(prune_at_once(model, goal), record=Trained(model).record())
    splits = read_splits(call, model)
    job = job_of(model, splits.train, splits.validation, training_of(call.flags), console=call.notes)
    name = f"validation {splits.task.metric}"
    if is_search(call.flags):
        search, model = _searched(call, job, goal)
        found = search.record(model)
        names = ("history", "final_step", "statuses", "first_epoch")
        record = {name: getattr(found, name) for name in names}
        return _Pruned(search.model(model), {name: (job.baseline, found.metric)}, splits.task, record, model)
    trained = job.trained_to(goal, call.flags.backup_dir)
    metrics = {name: (job.baseline, job.measured(trained.model))}
    return _Pruned(trained.model, metrics, splits.task, trained.record())


def _searched(call: Call, job: Job, goal: Goal) -> tuple[Search, Smallest]:
    """Returns the search of `--max_drop` or `--floor`, and its result; tries are kept beside the output."""
    from tfmot_swd.workflows.floor import floor_of
    from tfmot_swd.workflows.smallest import TOLERANCE, Search, cost_name
    from tfmot_swd.workflows.trials import check_folder

    values = call.flags
    folder = check_folder("--backup_dir", values.backup_dir or Path(values.output).with_suffix(".trials"))
    call.note(f"Every try is kept in {folder}: the same command goes on there. Remove it when you are done.")
    search = Search(job, goal, cost_name(values.by, values.method), folder)
    floor = floor_of(values.max_drop, values.floor, job.objective, job.baseline)
    return search, search.within(floor, TOLERANCE, values.max_trials)


def _record(call: Call, compared: dict[str, Any], pruned: _Pruned) -> dict[str, Any]:
    values = call.flags
    return {
        "model": call.operands[0],
        "flags": {name: values[name].value for name in values if values[name].value != values[name].default},
        "loss": None if pruned.task is None else dataclasses.asdict(pruned.task),
        "seed": values.seed,
        "compared": compared,
        "search": None if pruned.search is None else pruned.search.to_dict(),
        **pruned.record,
    }


COMMAND = Command(
    "prune",
    "Prunes a model to a budget of multiply-accumulates, parameters or bytes, at a rate, or as far as its accuracy "
    "allows: in training where --data is given, at a small cost in accuracy, or at once, at a large one.",
    _EXAMPLE,
    _define_flags,
    _run,
)
