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
# A page to forward, with both models by layer and the files measured on this machine, compared with that of the model
# before it was pruned
tfmot-swd report small.keras --dense=net.keras --dense_file=files/net_int8.tflite --files=files/small_int8.tflite \\
  --output=report.html

# With the curves of the training and the accuracies of the files, which prune and export have written down
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
    flags.DEFINE_string(
        "dense_file",
        None,
        "the .tflite file of the dense model, which the others are compared with; empty if there is none. By default "
        "the first of several --files, if its weights tell that it is of that model",
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
    inputs = [path, values.dense, values.dense_file or None, values.training, values.exports, *values.files]
    target = target_of("output", values.output, ".html", inputs)
    record = target_of("json", values.json, ".json", inputs) if values.json else None
    training = _read("training", values.training)
    exports = [_export(each) for each in _read("exports", values.exports).get("results", [])]
    exported = [each.path for each in exports]
    if values.dense_file and _is_among(values.dense_file, exported):
        raise UsageError(
            "--dense_file is the file of the model before it was pruned, and --exports has this one of the small one. "
            f"Received: {values.dense_file!r}"
        )
    files = _named([values.dense_file] if values.dense_file else [], values.files or exported)
    dense, small = load_model(call, values.dense), load_model(call, path)
    dense_file = _dense_of(files, values.dense_file, exported, dense, small)
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


def _is_among(path: str, others: list[str]) -> bool:
    return Path(path).resolve() in {Path(each).resolve() for each in others}


def _named(first: list[str], others: list[str]) -> dict[str, str]:
    """Returns the files, each once, by the shortest names that tell them apart.

    Raises:
      UsageError: one is not there.
    """
    paths = first + [path for path in dict.fromkeys(others) if not _is_among(path, first)]
    missing = [path for path in paths if not Path(path).is_file()]
    if missing:
        raise UsageError(f"There is no such file. Received: {', '.join(map(repr, missing))}")
    stems = [Path(path).stem for path in paths]
    return dict(zip(stems if len(set(stems)) == len(stems) else paths, paths, strict=True))


def _dense_of(files: dict[str, str], given: str | None, exported: list[str], dense: Any, small: Any) -> str | None:
    """Returns the name of the dense model's file, None where there is none.

    That is the one that was given, else the first of several if it is of the dense model. Of which model a file is,
    the weights tell that are not zero in it.

    Raises:
      UsageError: the two models do not differ enough for that.
    """
    from tfmot_swd.export.file_facts import read_facts
    from tfmot_swd.sparsity import sparsity_report

    first = next(iter(files), None)
    if given is not None or first is None or len(files) == 1 or _is_among(files[first], exported):
        return first if given else None
    before, after = (sparsity_report(each).pool_kept for each in (dense, small))
    if after > _ALIKE * before:
        raise UsageError(
            "Which of the files is that of the dense model? The two models have about as many weights that are not "
            "zero: name it as --dense_file, or give --dense_file= where there is none. "
            f"Received: --files={','.join(files.values())}, {before:,} such weights before and {after:,} after"
        )
    facts = read_facts(Path(files[first]).read_bytes())
    # Half way between the two on a scale of ratios; rounding makes some more of them zero.
    return first if (facts.weights - facts.zeros) ** 2 > before * after else None


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
    except (ValueError, RecursionError) as error:
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
