"""Compression of a trained model in one call: pruned in training, exported, measured and reported."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from tfmot_swd.costs.budget import Budget, as_budget
from tfmot_swd.costs.cost import find_cost
from tfmot_swd.io.tables import print_plain
from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.compile_arguments import weighted_metric_names
from tfmot_swd.keras2.validation import whole_number
from tfmot_swd.pruning.methods import method_named
from tfmot_swd.report.build import device_report
from tfmot_swd.report.result import DeviceReport
from tfmot_swd.tflite.advice import advise
from tfmot_swd.tflite.measure import describe_file, measure_files
from tfmot_swd.workflows.budget_check import file_over_budget, over_budget
from tfmot_swd.workflows.comparison import costs_compared
from tfmot_swd.workflows.compress_result import Compressed, CompressedFile
from tfmot_swd.workflows.digests import cost_digests
from tfmot_swd.workflows.file_exports import Exporter, FileExport, check_model_for, check_recipes
from tfmot_swd.workflows.firmware import firmware_recipe, job_firmware
from tfmot_swd.workflows.floor import check_one_floor, floor_of
from tfmot_swd.workflows.goal import Goal
from tfmot_swd.workflows.job import Job, job_of
from tfmot_swd.workflows.model_files import write_model
from tfmot_swd.workflows.output_folder import FILES, FIRMWARE, MODEL, RESULT, TRIALS, check_output, remove_stale
from tfmot_swd.workflows.reach import check_reach
from tfmot_swd.workflows.smallest import MAX_TRIALS, TOLERANCE, Search, cost_name
from tfmot_swd.workflows.smallest_result import Smallest
from tfmot_swd.workflows.training import Training
from tfmot_swd.workflows.trials import TrialRecord, Trials

RECIPES = ("float32", "int8")
# Names of the share of samples of which the largest output is that of their class.
_ACCURACIES = frozenset({"acc", "accuracy", "categorical_accuracy", "sparse_categorical_accuracy"})
# The name in the report of accuracies that were measured without the weights of samples.
_UNWEIGHTED = "accuracy without sample weights"


def compress(
    model: Any,
    train: Any,
    validation: Any,
    *,
    output: str | os.PathLike[str],
    budget: Budget | float | None = None,
    max_drop: float | None = None,
    floor: float | None = None,
    by: str | None = None,
    recipes: Sequence[str] = RECIPES,
    method: str = "structured",
    epochs: int = 10,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    optimizer: Callable[[int], Any] | None = None,
    quantize_aware_epochs: int = 2,
    max_trials: int = MAX_TRIALS,
    metric: Any = None,
    mode: str = "auto",
    skip: Collection[str] = (),
    only: Collection[str] | None = None,
    round_to: int = 1,
    measure: bool = True,
    firmware: bool = False,
    seed: int = 0,
    verbose: int = 1,
    console: Console | None = None,
) -> Compressed:
    """Prunes a trained model in training, exports it in each recipe, measures the files and writes a report.

    Use it to get from a model to files for a device in one call. It is a composition of public functions: copy the body
    of `compress_job`, and change what does not suit you. In turn: `prune_selective_decay`, `fit` with
    `UpdatePruningStep`, `strip_pruning` (`smallest` with `max_drop` or `floor`); `export_tflite`, proven on the
    validation data; for files of int8 that lose more than half a point of accuracy `quantize_aware`, and the better
    file of the two stays; `measure_files`, side by side with the files of the whole model; `advise`; `device_report`;
    `write_firmware_project`.

    The folder `output` gets `model.keras`, `files/model_<recipe>.tflite` and `files/dense_<recipe>.tflite` (the whole
    model's), `report.html`, `report.json`, `result.json`, where asked for `firmware/`, and `trials/`, from which the
    same call goes on after a crash: behind the last training or epoch that was finished. The report's curves then begin
    at that epoch.

    Args:
      model: a built tf_keras or Keras 3 Sequential or Functional model, trained, and compiled with a loss and a metric.
        It stays as it is.
      train: (x, y) or (x, y, sample_weight) of arrays; or a `tf.data.Dataset`, PyDataset or Sequence of such batches.
        Ranges of integer files are measured on it too.
      validation: the same, to decide and to measure on. Keep test data out of both.
      output: a new or empty folder, or that of the same call, unfinished.
      budget: a `Budget`, or the share to remove, in (0, 1): of the parameters; with a method that makes zeros, of the
        weights.
      max_drop: in place of `budget`, by how many points the metric may be worse, as in `smallest`: 1.0 is one
        percentage point of accuracy. The smallest model within that is searched, in some five trainings.
      floor: in place of both, the worst value of the metric, as in `smallest`: 0.92.
      by: with `max_drop` or `floor`, the cost to make small, as in `smallest`.
      recipes: of the files, names of `tflite.RECIPES`.
      method: name of a pruning method: "structured", "pgp", "swd", "magnitude", or a registered one.
      epochs, batch_size, learning_rate, optimizer: of each training, as in `smallest`.
      quantize_aware_epochs: of quantization-aware training, at a tenth of the learning rate; 0 leaves it out.
      max_trials: with `max_drop` or `floor`, trainings at most, those of earlier starts among them, as in `smallest`.
      metric, mode, skip, only, round_to, seed: as in `smallest`.
      measure: whether files are run for their time and memory, some seconds each.
      firmware: whether to write a project for a microcontroller that tests itself, around the file of the first of
        "int8_pruned", "int8", "int8_float_io", "int16x8" and "float32" that is among the recipes.
      verbose: 0 shows nothing.
      console: where progress is shown; standard error by default.

    Returns:
      A `Compressed`. A recipe that cannot be exported is a row with a reason, and does not cost the others; nor does
      firmware that TFLite Micro cannot run.

    Raises:
      TypeError: a model, data, budget or recipes of another kind.
      ValueError: none or several of `budget`, `max_drop` and `floor`; an unknown recipe, method, cost or layer; the
        model is not compiled, subclassed or wrapped; data without targets; a budget that cannot be met, or not by the
        layers that are trained; a recipe that needs fixed sizes of a model whose inputs have open ones; firmware of no
        recipe.
      ImportError: `firmware` without the package tflite-micro.
      FileExistsError: `output` holds other files, or a finished result.

    >>> import numpy as np, tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(2, input_shape=(3,))])
    >>> compress(net, (np.ones((4, 3)), np.ones(4)), (np.ones((4, 3)), np.ones(4)), output="new", budget=0.5,
    ...          recipes=["int4"])
    Traceback (most recent call last):
    ValueError: recipe must be one of 'float32', 'float16', ...
    """
    goal = goal_to(budget, max_drop, floor, by, method, skip, only, round_to)
    recipes, epochs_aware = check_recipes(recipes), whole_number("quantize_aware_epochs", quantize_aware_epochs, 0)
    whole_number("max_trials", max_trials, 1)
    firmware_of = firmware_recipe(recipes) if firmware else None
    folder = check_output(output)
    training = Training(epochs, batch_size, learning_rate, optimizer, seed)
    job = job_of(model, train, validation, training, metric, mode, verbose, console)
    check_reach(job.model, goal)
    return compress_job(job, goal, folder, recipes, max_drop, floor, by, epochs_aware, max_trials, measure, firmware_of)


def compress_job(
    job: Job,
    goal: Goal,
    folder: Path,
    recipes: Sequence[str],
    max_drop: float | None = None,
    floor: float | None = None,
    by: str | None = None,
    quantize_aware_epochs: int = 2,
    max_trials: int = MAX_TRIALS,
    measure: bool = True,
    firmware_of: str | None = None,
) -> Compressed:
    """Returns what `compress` does, for a job; the arguments are known to be right.

    Args:
      firmware_of: recipe of the file that a firmware project is written around; None for no project.

    Raises:
      ValueError: a recipe cannot be made of such a model, before any training.
    """
    check_model_for(recipes, job.model)
    pruned, record, search = _pruned(job, goal, folder / TRIALS, max_drop, floor, by, max_trials)
    small = job.returned(pruned)
    write_model(folder / MODEL, small)

    exporter = Exporter(job, folder / FILES, quantize_aware_epochs)
    exports = exporter.pruned(pruned, recipes)
    dense = exporter.dense([each.recipe for each in exports if each.result])
    report = _report(job, pruned, record, exports, dense, measure)
    report.write_html(folder / "report.html")
    report.write_json(folder / "report.json")
    firmware, failure = (
        (None, "") if firmware_of is None else job_firmware(job, pruned, exports, firmware_of, folder / FIRMWARE)
    )

    over = over_budget(goal.budget, job.model, pruned) or file_over_budget(goal.budget, job.model, pruned, exports)
    result = Compressed(
        met=search.met if search else not over,
        model=small,
        metric=job.metric,
        baseline=job.baseline,
        value=record.metric,
        costs=costs_compared(job.model, pruned),
        files=tuple(
            _file(each, dense.get(each.recipe), report, "" if _is_weighted(job) else job.metric) for each in exports
        ),
        search=search,
        folder=str(folder),
        model_path=str(folder / MODEL),
        report_path=str(folder / "report.html"),
        firmware=firmware,
        firmware_failure=failure,
        budget_failure=over,
        unscored=_unscored(job),
    )
    remove_stale(folder, (each.path for each in result.files), dense.values(), result.firmware is not None)
    result.write_json(folder / RESULT)
    return result


def goal_to(
    budget: Budget | float | None,
    max_drop: float | None,
    floor: float | None,
    by: str | None,
    method: str,
    skip: Collection[str] = (),
    only: Collection[str] | None = None,
    round_to: int = 1,
) -> Goal:
    """Returns the goal of a compression; without a rate or budget where `max_drop` or `floor` is given.

    Raises:
      TypeError, ValueError: none or several of the three; numbers out of range; an unknown method or cost.
    """
    whole = Goal(method, None, None, tuple(skip), None if only is None else tuple(only))
    whole = dataclasses.replace(whole, round_to=whole_number("round_to", round_to, 1))
    given = {"budget": budget, "max_drop": max_drop, "floor": floor}
    said = " and ".join(f"{name}={value!r}" for name, value in given.items() if value is not None)
    if sum(value is not None for value in given.values()) != 1:
        raise ValueError(
            "Say how small or how good the model must be, in one way: budget=Budget(macs=0.5); max_drop=1.0, by how "
            "many points the metric may be worse; or floor=0.9, its worst value. "
            f"Received: {said or 'none of them'}"
        )
    takes_budget = method_named(method).takes_budget
    if budget is None:
        check_one_floor(max_drop, floor)
        cost_name(by, method)
        return whole
    if by is not None:
        raise ValueError(f"by goes with max_drop or floor. Received: by={by!r} and {said}")
    if takes_budget:
        return dataclasses.replace(whole, budget=as_budget(budget))
    if isinstance(budget, Budget):
        raise ValueError(
            f"method={method!r} makes zeros and changes no size: give the share of the weights to remove, budget=0.9, "
            f"or method='structured'. Received: budget={budget!r}"
        )
    # It says what is wrong with a number.
    as_budget(budget)
    return dataclasses.replace(whole, rate=float(budget))


def _pruned(
    job: Job, goal: Goal, folder: Path, max_drop: float | None, floor: float | None, by: str | None, max_trials: int
) -> tuple[keras.Model, TrialRecord, Smallest | None]:
    """Returns the pruned tf_keras model, the record of its training, and the search that led there."""
    if max_drop is not None or floor is not None:
        search = Search(job, goal, cost_name(by, goal.method), folder)
        found = search.within(floor_of(max_drop, floor, job.objective, job.baseline), TOLERANCE, max_trials)
        return search.model(found), search.record(found), found
    asked = repr(goal.budget) if goal.rate is None else f"rate={goal.rate}"
    digests = {} if goal.budget is None else cost_digests(goal.budget.custom_costs)
    subject = {"budget": asked, **goal.subject(), **digests}
    trials = Trials(job, subject, find_cost("parameters").of, folder)
    print_plain(job.console, f"Training to {goal.words()}; the whole model has {job.metric} {job.baseline:.4f}.")
    record = trials.run("pruned", goal)
    return trials.model("pruned"), record, None


def _report(
    job: Job,
    pruned: keras.Model,
    record: TrialRecord,
    exports: Sequence[FileExport],
    dense: dict[str, Path],
    measure: bool,
) -> DeviceReport:
    """Returns the report on the model before and after, with all files measured on the validation data."""
    results = [each.result for each in exports if each.result]
    files = {path.stem: str(path) for path in dense.values()} | {Path(each.path).stem: each.path for each in results}
    pairs = {Path(each.path).stem: dense[each.recipe].stem for each in results if each.recipe in dense}
    if measure and files:
        print_plain(job.console, f"Measuring {', '.join(files)} ...")
        measures = measure_files(files, dense=pairs | {path.stem: path.stem for path in dense.values()})
    else:
        measures = tuple(describe_file(name, path) for name, path in files.items())
    scored_by = next((each for each in job.model.metrics if each.name == job.metric), None)
    is_scored = not _unscored(job)
    # Accuracies of the proofs are shown instead: where the metric is weighted, under another name.
    unscored_by = _UNWEIGHTED if _is_weighted(job) else None
    return device_report(
        job.model,
        pruned,
        results,
        measures,
        # Curves of a training that was resumed begin at that epoch.
        {name: [math.nan] * record.first_epoch + list(values) for name, values in record.history.items()},
        record.statuses,
        data=job.samples.pairs() if is_scored else None,
        metric=scored_by if is_scored else unscored_by,
        advice=[advise(each.path, dense.get(each.recipe)) for each in results],
        seed=job.training.seed,
    )


def _unscored(job: Job) -> str:
    """Returns why files are not measured by the metric of the job; empty where they are.

    Scores are of models of one output, by a metric object, of which the loss is none, and without sample weights.
    """
    if _is_weighted(job):
        return f"Files have no validation {job.metric} here: that of the models is weighted by the samples' weights."
    if job.metric == "loss" or not any(each.name == job.metric for each in job.model.metrics):
        return f"Files are not measured by the {job.metric}: export_tflite has compared them with the model."
    if len(job.model.outputs) != 1:
        return "Files of several outputs have no score here: export_tflite has compared them with the model."
    return ""


def _is_weighted(job: Job) -> bool:
    """Returns whether sample weights count in the metric that is not the loss."""
    return job.samples.is_weighted and job.metric in weighted_metric_names(job.model)


def _file(export: FileExport, dense: Path | None, report: DeviceReport, metric: str) -> CompressedFile:
    result = export.result
    if result is None:
        return CompressedFile(export.recipe, "", None, None, None, None, None, failure=export.failure)
    row = next(each for each in report.files if each.file == Path(result.path).name)
    latency = next((each for each in row.latency if each.threads == 1), None)
    # The proof of an export measures the accuracy, and no other metric.
    proven = result.accuracy if metric in _ACCURACIES else None
    return CompressedFile(
        export.recipe,
        result.path,
        result.bytes,
        None if dense is None else dense.stat().st_size,
        proven if row.score is None else row.score,
        None if latency is None else latency.median_ms,
        None if latency is None else latency.ratio,
        export.is_aware,
    )
