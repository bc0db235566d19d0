"""`tfmot-swd report`: one page on a pruned model and its files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from tfmot_swd.cli.command import Call, Command, UsageError, define_full_flag
from tfmot_swd.cli.data import Data, length, read_data
from tfmot_swd.cli.files import require_tflite, target_of
from tfmot_swd.cli.loading import define_loading_flags, load_model
from tfmot_swd.cli.task import define_loss_flag, task_of

if TYPE_CHECKING:
    from tfmot_swd.tflite import ExportResult
    from tfmot_swd.tflite.advice import FileAdvice

_EXAMPLE = """
# A page to forward, with both models by layer and the files measured on this machine, compared with that of the model
# before it was pruned
tfmot-swd report small.keras --dense=net.keras --dense_file=files/net_int8.tflite --files=files/small_int8.tflite \\
  --output=report.html

# Also with the accuracy of both models and all files on the same samples: x and y in an .npz file
tfmot-swd report small.keras --dense=net.keras --dense_file=files/net_int8.tflite --files=files/small_int8.tflite \\
  --data=test.npz --output=report.html

# With training curves and the accuracies of the files, from the records of prune and export
tfmot-swd prune net.keras --macs=0.5 --data=train.npz --output=small.keras --json=prune.json
tfmot-swd export small.keras --recipes=float32,int8 --data=train.npz --output=files --json=export.json
tfmot-swd report small.keras --dense=net.keras --training=prune.json --exports=export.json --output=report.html
"""
# From this share of the dense model's weights on, rounding in a file hides which of the two models it is of.
_ALIKE = 0.8


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("dense", None, "the model before it was pruned", flag_values=values)
    flags.DEFINE_string("output", None, "the .html file to write", flag_values=values)
    flags.DEFINE_list(
        "files",
        [],
        ".tflite files of the small model to measure; by default those of --exports",
        flag_values=values,
    )
    flags.DEFINE_list(
        "dense_file",
        None,
        "the .tflite file of the dense model, which the others are compared with; several where there is one of each "
        "form, and empty if there is none. By default those of --files whose weights show that they are of that model",
        flag_values=values,
    )
    flags.DEFINE_string("training", None, "the .json file that prune wrote", flag_values=values)
    flags.DEFINE_string("exports", None, "the .json file that export wrote", flag_values=values)
    flags.DEFINE_string(
        "data",
        None,
        "an .npz file of x and y, or x_val and y_val, to measure the accuracy of both models and all files on; else "
        "that of the files is as in --exports, and that of the dense model unknown",
        flag_values=values,
    )
    define_loss_flag(values)
    flags.DEFINE_bool("measure", True, "time the files on this machine, some seconds for each", flag_values=values)
    flags.DEFINE_string("title", None, "of the page; the name of the model by default", flag_values=values)
    flags.DEFINE_string("json", None, "also write the report to this .json file", flag_values=values)
    define_full_flag(values)
    define_loading_flags(values)


def _run(call: Call) -> int:
    from tfmot_swd.report import device_report
    from tfmot_swd.tflite.measure import describe_file, measure_files

    path, values = call.operands[0], call.flags
    if not values.dense:
        raise UsageError("--dense names the model before it was pruned. Received: none")
    given = values.dense_file
    inputs = [path, values.dense, values.training, values.exports, values.data, *values.files, *(given or ())]
    target = target_of("output", values.output, ".html", inputs)
    record = target_of("json", values.json, ".json", inputs) if values.json else None
    training = _read("training", values.training)
    exports = [_export(each) for each in _read("exports", values.exports).get("results", [])]
    exported = [each.path for each in exports]
    for each in given or ():
        if _is_among(each, exported):
            raise UsageError(
                "--dense_file is the file of the model before it was pruned, and --exports has this one of the small "
                f"one. Received: {each!r}"
            )
    files = _named(given or [], values.files or exported)
    dense, small = load_model(call, values.dense), load_model(call, path)
    references = _references(files, _dense_of(files, given, exported, dense, small))
    data, metric = _scored_on(call, dense)
    measures: Any = [describe_file(name, file) for name, file in files.items()]
    if files and values.measure:
        call.note(f"Measuring {', '.join(files)} ...")
        measures = measure_files(files, dense=references)
    report = device_report(
        dense,
        small,
        exports,
        measures,
        _history(training),
        training.get("statuses", ()),
        data=data,
        metric=metric,
        advice=_advice(files, references, _lost_channels(dense, small)),
        title=values.title,
        seed=training.get("seed"),
    )
    report.write_html(target)
    if record:
        report.write_json(record)
    call.show(report)
    call.say(f"The page: {values.output}")
    return 0


def _scored_on(call: Call, dense: Any) -> tuple[Any, Any]:
    """Returns x and y to measure accuracies on, and the metric that goes with them; None where there are none.

    Raises:
      UsageError: --data without y.
    """
    if not call.flags.data:
        return None, None
    x, y = read_data("data", call.flags.data, dense).labelled()
    task = task_of(dense, Data(x, y), call.flags.loss)
    call.note(f"Measuring the {task.metric} of both models and all files on {length(x):,} samples ...")
    return (x, y), task.make_metric()


def _history(training: dict[str, Any]) -> Any:
    """Returns the epoch logs that prune wrote; older versions called the metric "metric" there."""
    history = training.get("history")
    name = (training.get("loss") or {}).get("metric")
    if not isinstance(history, dict) or not isinstance(name, str):
        return history
    named = {"metric": name, "val_metric": f"val_{name}"}
    return {named.get(each, each): values for each, values in history.items()}


def _lost_channels(dense: Any, small: Any) -> bool:
    """Returns whether channels were removed: a kernel is smaller than it was, or gone."""
    from tfmot_swd.pruning.sparsity import sparsity_report

    before, after = ({row.layer: row.kernels for row in sparsity_report(each).layers} for each in (dense, small))
    return any(after.get(name, 0) < kernels for name, kernels in before.items())


def _is_among(path: str, others: list[str]) -> bool:
    return Path(path).resolve() in {Path(each).resolve() for each in others}


def _named(first: list[str], others: list[str]) -> dict[str, str]:
    """Returns the files, each once, by the shortest names that tell them apart.

    Raises:
      UsageError: one is not there.
      ValueError: one is not a TFLite file.
    """
    paths = list(dict.fromkeys(first)) + [path for path in dict.fromkeys(others) if not _is_among(path, first)]
    for path in paths:
        require_tflite("--dense_file" if path in first else "--files", path)
    stems = [Path(path).stem for path in paths]
    return dict(zip(stems if len(set(stems)) == len(stems) else paths, paths, strict=True))


def _dense_of(
    files: dict[str, str], given: list[str] | None, exported: list[str], dense: Any, small: Any
) -> tuple[str, ...]:
    """Returns the names of the dense model's files; empty where there is none.

    Those are the ones that were given; else of several files the first of each form that is of the dense model,
    wherever it stands. Of which model a file is, the weights tell that are not zero in it.

    Raises:
      UsageError: the two models do not differ enough for that.
    """
    from tfmot_swd.pruning.sparsity import sparsity_report
    from tfmot_swd.tflite.file_bytes import read_file
    from tfmot_swd.tflite.file_facts import read_facts

    names = tuple(files)
    if given is not None or len(files) < 2 or _is_among(files[names[0]], exported):
        return names[: len(given or ())]
    before, after = (sparsity_report(each).nonzero_prunable_weights for each in (dense, small))
    if after > _ALIKE * before:
        raise UsageError(
            "Which of the files is that of the dense model? The two models have about as many weights that are not "
            "zero: name it as --dense_file, or give --dense_file= where there is none. "
            f"Received: --files={','.join(files.values())}, {before:,} such weights before and {after:,} after"
        )
    facts = {name: read_facts(read_file(path)) for name, path in files.items()}
    # Half way between the two on a scale of ratios; rounding makes some more of them zero.
    found = [name for name, each in facts.items() if (each.weights - each.zeros) ** 2 > before * after]
    first_of_form = {facts[name].form: name for name in reversed(found)}
    return tuple(name for name in found if name in first_of_form.values())


def _references(files: dict[str, str], dense: tuple[str, ...]) -> dict[str, str]:
    """Returns for each file the dense one that it is compared with: that of its own form, else the first."""
    from tfmot_swd.tflite.file_bytes import read_file
    from tfmot_swd.tflite.file_facts import form_of
    from tfmot_swd.tflite.graph import read_graph

    if not dense:
        return {}
    forms = {name: form_of(read_graph(read_file(path))) for name, path in files.items()}
    return {
        name: name if name in dense else next((each for each in dense if forms[each] == form), dense[0])
        for name, form in forms.items()
    }


def _advice(files: dict[str, str], references: dict[str, str], channels_removed: bool) -> list[FileAdvice]:
    """Returns the advice on each pruned file, compared with the dense file of the same form where there is one."""
    from tfmot_swd.tflite.advice import advise

    found = {name: advise(path, channels_removed=channels_removed) for name, path in files.items()}
    advice = []
    for name, each in found.items():
        dense = references.get(name)
        if dense == name:
            continue
        is_alike = dense is not None and found[dense].form == each.form
        advice.append(advise(files[name], files[dense]) if dense is not None and is_alike else each)
    return advice


def _read(flag: str, path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    if not Path(path).is_file():
        raise UsageError(f"--{flag} names no file. Received: {path!r}")
    try:
        content = json.loads(Path(path).read_text())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--{flag} must be what --json of another command wrote. Received: {path!r}") from error
    if not isinstance(content, dict):
        raise UsageError(f"--{flag} must be what --json of another command wrote. Received: {path!r}")
    return content


def _export(row: dict[str, Any]) -> ExportResult:
    from tfmot_swd.tflite import ExportResult

    names = {field.name for field in dataclasses.fields(ExportResult)}
    try:
        return ExportResult(**{name: value for name, value in row.items() if name in names})
    except TypeError as error:
        raise UsageError(f"--exports must be what export wrote, of this version. Received: {error}") from error


COMMAND = Command(
    "report",
    "One HTML page on a pruned model: both models by layer, its files by size, time and accuracy, its training.",
    _EXAMPLE,
    _define_flags,
    _run,
)
