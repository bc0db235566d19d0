"""`tfmot-swd export`: TFLite files, each proven against the model before it is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags
from rich.table import Table

from tfmot_swd.cli.command import Call, Command, UsageError, define_bound_flags
from tfmot_swd.cli.data import read_data
from tfmot_swd.cli.files import RECIPES, check_recipes, target_of
from tfmot_swd.cli.loading import define_loading_flags, import_modules, load_model
from tfmot_swd.io.json_files import write_json
from tfmot_swd.io.tables import ResultTable

if TYPE_CHECKING:
    from tfmot_swd.tflite import ExportResult

_EXAMPLE = """
# Two files in a folder: files/small_float32.tflite and files/small_int8.tflite. int8 needs samples of what the model
# sees, as it is fed, to measure its activations: x in an .npz file, or an .npy file. With y, accuracies are reported
tfmot-swd export small.keras --recipes=float32,int8 --data=train.npz --output=files

# One file
tfmot-swd export small.keras --recipes=float16 --output=small.tflite
"""
_SUFFIX = ".tflite"


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "output",
        None,
        "a folder, or for one recipe a .tflite file; an older file there is replaced",
        flag_values=values,
    )
    flags.DEFINE_list("recipes", ["float32"], f"any of {', '.join(RECIPES)}", flag_values=values)
    flags.DEFINE_string(
        "data",
        None,
        "an .npz or .npy file of samples: x to calibrate on, y for accuracies, x_val and y_val to prove on "
        "instead; without those, a fifth of x is held out from calibration for the proof",
        flag_values=values,
    )
    flags.DEFINE_float(
        "tolerance",
        None,
        "allowed difference from the model, as a share of the output range; each recipe has its own default",
        0.0,
        flag_values=values,
    )
    define_bound_flags(values)
    flags.DEFINE_float(
        "calibration_percentile",
        None,
        "clips the samples that int8 is calibrated on to the range of so many percent of their values, 99.9 for "
        "example, where outliers stretch it",
        0.0,
        100.0,
        flag_values=values,
    )
    flags.DEFINE_string("json", None, "also write the results to this .json file", flag_values=values)
    define_loading_flags(values)


def _run(call: Call) -> int:
    from tfmot_swd.tflite import ExportError, export_tflite
    from tfmot_swd.tflite.recipes import get_recipe

    path, values = call.operands[0], call.flags
    import_modules(values.modules)
    inputs = [path, values.data]
    targets = _targets(path, values.output, list(dict.fromkeys(values.recipes)))
    for recipe in targets:
        if get_recipe(recipe).needs_data and not values.data:
            raise UsageError(
                f"{recipe} measures the ranges of all activations: give --data, 100 samples or more as the model sees "
                "them in use. Received: no --data"
            )
    record = target_of("json", values.json, ".json", inputs) if values.json else None
    for target in targets.values():
        target_of("output", str(target), _SUFFIX, inputs)
    model = load_model(call, path)
    data = read_data("data", values.data, model) if values.data else None
    results, failures = [], {}
    for recipe, target in targets.items():
        call.note(f"{recipe}: converting, and running the file against the model ...")
        seen, check = (None, None) if data is None else (data.to_calibrate, data.to_check)
        if data is not None and data.x_val is None and get_recipe(recipe).needs_data:
            # A part of the samples is left out of the measuring of ranges for the proof.
            check = None
        try:
            result = export_tflite(
                model,
                target,
                recipe,
                seen,
                check,
                values.tolerance,
                min_agreement=values.min_agreement,
                max_accuracy_loss=values.max_accuracy_loss,
                calibration_percentile=values.calibration_percentile if get_recipe(recipe).needs_data else None,
            )
            results.append(result)
        except ExportError as error:
            failures[recipe] = str(error)
    if results:
        call.show(_table(results))
    if record:
        write_json(record, {"results": [each.to_dict() for each in results], "failures": failures})
    if failures:
        said = " ".join(f"{recipe}: {message}" for recipe, message in failures.items())
        raise ExportError(said if len(targets) == 1 else f"{len(failures)} of {len(targets)} files failed. {said}")
    return 0


def _targets(model: str, output: str | None, recipes: list[str]) -> dict[str, Path]:
    """Returns where the file of each recipe goes.

    Raises:
      UsageError: an unknown recipe, with those that there are; one file for several recipes; no output.
    """
    check_recipes(recipes)
    if not output:
        raise UsageError("--output says where the files go: give --output=folder. Received: none")
    if not output.endswith(_SUFFIX):
        stem = Path(model).stem
        return {recipe: Path(output) / f"{stem}_{recipe}{_SUFFIX}" for recipe in recipes}
    if len(recipes) > 1:
        raise UsageError(
            f"Several recipes make several files: give a folder as --output. Received: {output!r} for "
            f"{', '.join(recipes)}"
        )
    return {recipes[0]: Path(output)}


def _table(results: list[ExportResult]) -> Table:
    folder = Path(results[0].path).parent
    table = ResultTable(f"TFLite files in {folder}, checked against Keras")
    for heading in ("file", "bytes", "gzip", "samples", "accuracy", "of Keras", "same class", "worst diff.", "zeros"):
        table.add_column(heading, justify="left" if heading == "file" else "right", overflow="fold")
    for each in results:
        table.add_row(
            Path(each.path).name,
            f"{each.bytes:,}",
            f"{each.gzip_bytes:,}",
            f"{each.samples:,}",
            "" if each.accuracy is None else f"{each.accuracy:.4f}",
            "" if each.keras_accuracy is None else f"{each.keras_accuracy:.4f}",
            "" if each.agreement is None else f"{each.agreement:.2%}",
            f"{each.worst_difference:.3g}",
            f"{each.zeros / each.weights:.1%}" if each.weights else "",
        )
    return table


COMMAND = Command(
    "export",
    "Converts a model to TFLite files; each is compared with the model, and written only if it computes the same.",
    _EXAMPLE,
    _define_flags,
    _run,
)
