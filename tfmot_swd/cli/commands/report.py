"""`tfmot-swd report`: one page that tells what became of a model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from tfmot_swd.cli.command import Call, Command, UsageError
from tfmot_swd.cli.loading import define_loading_flags, load_model
from tfmot_swd.cli.output import target_of

if TYPE_CHECKING:
    from tfmot_swd.export import ExportResult
    from tfmot_swd.export.advice import FileAdvice

_EXAMPLE = """
# A page to forward, with both models by layer and the files measured on this machine; the first of several files is
# that of the dense model, which the others are compared with
tfmot-swd report small.keras --dense=net.keras --files=files/net_int8.tflite,files/small_int8.tflite \\
  --output=report.html

# With the curves of the training and the accuracies of the files, which prune and export have written down
tfmot-swd prune net.keras --macs=0.5 --data=train.npz --output=small.keras --json=prune.json
tfmot-swd export small.keras --recipes=float32,int8 --data=train.npz --output=files --json=export.json
tfmot-swd report small.keras --dense=net.keras --training=prune.json --exports=export.json --output=report.html
"""


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("dense", None, "the model before it was pruned", flag_values=values)
    flags.DEFINE_string("output", None, "the .html file to write", flag_values=values)
    flags.DEFINE_list(
        "files",
        [],
        ".tflite files to measure, first that of the dense model if there are several; by default those of --exports",
        flag_values=values,
    )
    flags.DEFINE_string("training", None, "the .json file that prune wrote", flag_values=values)
    flags.DEFINE_string("exports", None, "the .json file that export wrote", flag_values=values)
    flags.DEFINE_bool("measure", True, "time the files on this machine, some seconds for each", flag_values=values)
    flags.DEFINE_string("title", None, "of the page; the name of the model by default", flag_values=values)
    flags.DEFINE_string("json", None, "also write the report to this .json file", flag_values=values)
    define_loading_flags(values)


def _run(call: Call) -> int:
    from tfmot_swd.export.measure import measure_files
    from tfmot_swd.report import device_report

    path, values = call.operands[0], call.flags
    if not values.dense:
        raise UsageError("--dense names the model before it was pruned. Received: none")
    inputs = [path, values.dense, values.training, values.exports, *values.files]
    target = target_of("output", values.output, ".html", inputs)
    record = target_of("json", values.json, ".json", inputs) if values.json else None
    training = _read("training", values.training)
    exports = [_export(each) for each in _read("exports", values.exports).get("results", [])]
    files = _named(values.files or [each.path for each in exports])
    dense_file = _dense_of(files, [each.path for each in exports])
    dense, small = load_model(call, values.dense), load_model(call, path)
    measures: Any = ()
    if files and values.measure:
        call.note(f"Measuring {', '.join(files)} ...")
        measures = measure_files(files, dense=dense_file)
    report = device_report(
        dense,
        small,
        exports,
        measures,
        training.get("history"),
        training.get("statuses", ()),
        advice=_advice(files, dense_file),
        title=values.title,
        seed=training.get("seed"),
    )
    report.to_html(target)
    if record:
        report.to_json(record)
    call.console.print(report)
    call.say(f"The page: {values.output}")
    return 0


def _named(paths: list[str]) -> dict[str, str]:
    """Returns the files by the shortest names that tell them apart.

    Raises:
      UsageError: one is not there.
    """
    missing = [path for path in paths if not Path(path).is_file()]
    if missing:
        raise UsageError(f"There is no such file. Received: {', '.join(map(repr, missing))}")
    paths = list(dict.fromkeys(paths))
    stems = [Path(path).stem for path in paths]
    return dict(zip(stems if len(set(stems)) == len(stems) else paths, paths, strict=True))


def _dense_of(files: dict[str, str], exported: list[str]) -> str | None:
    """Returns the name of the dense file: the first of several, unless the small model was exported to it."""
    first = next(iter(files), None)
    if first is None or len(files) == 1 or Path(files[first]).resolve() in {Path(each).resolve() for each in exported}:
        return None
    return first


def _advice(files: dict[str, str], dense: str | None) -> list[FileAdvice]:
    """Returns what is to be said of each file; beside the dense one, where both are of the same form."""
    from tfmot_swd.export.advice import advise

    found = {name: advise(file) for name, file in files.items()}
    return [
        each if dense in (None, name) or each.form != found[dense].form else advise(files[name], files[dense])
        for name, each in found.items()
    ]


def _read(flag: str, path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    if not Path(path).is_file():
        raise UsageError(f"--{flag} names no file. Received: {path!r}")
    try:
        content = json.loads(Path(path).read_text())
    except ValueError as error:
        raise UsageError(f"--{flag} must be what --json of another command wrote. Received: {path!r}") from error
    if not isinstance(content, dict):
        raise UsageError(f"--{flag} must be what --json of another command wrote. Received: {path!r}")
    return content


def _export(row: dict[str, Any]) -> ExportResult:
    from tfmot_swd.export import ExportResult

    names = {field.name for field in dataclasses.fields(ExportResult)}
    try:
        return ExportResult(**{name: value for name, value in row.items() if name in names})
    except TypeError as error:
        raise UsageError(f"--exports must be what export wrote, of this version. Received: {error}") from error


COMMAND = Command(
    "report",
    "One page on what became of a model: both models by layer, its files by size, time and accuracy, its training.",
    _EXAMPLE,
    _define_flags,
    _run,
)
