"""`tfmot-swd export`: TFLite files, each proven against the model before it is written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags
from rich.table import Table

from tfmot_swd.cli.command import Call, Command, UsageError, define_bound_flags
from tfmot_swd.cli.data import Data, read_data
from tfmot_swd.cli.files import RECIPES, check_recipes, target_of
from tfmot_swd.cli.loading import define_loading_flags, import_modules, load_model
from tfmot_swd.cli.words import in_shell_words
from tfmot_swd.io.json_files import write_json
from tfmot_swd.io.tables import ResultTable

if TYPE_CHECKING:
    from tfmot_swd.tflite import ExportResult
    from tfmot_swd.tflite.micro import FirmwareProject

_EXAMPLE = """
# Two files in a folder: files/small_float32.tflite and files/small_int8.tflite. int8 needs samples of what the model
# sees, as it is fed, to measure its activations: x in an .npz file, or an .npy file. With y, accuracies are reported
tfmot-swd export small.keras --recipes=float32,int8 --data=train.npz --output=files

# One file
tfmot-swd export small.keras --recipes=float16 --output=small.tflite

# An int8 file with two layers in float, such as those that check --quantization_error names
tfmot-swd export small.keras --recipes=int8 --data=train.npz --float_layers=wide,head --output=small.tflite

# One file, and a folder of C++ that runs it on a microcontroller and compares with what it computes here
tfmot-swd export small.keras --recipes=int8 --data=train.npz --output=small.tflite --firmware=firmware
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
    flags.DEFINE_list(
        "float_layers",
        [],
        "names of layers that stay in float in files of int8, such as the one that check --quantization_error names, "
        "and those that read it",
        flag_values=values,
    )
    flags.DEFINE_list(
        "int16_layers",
        [],
        "names of layers whose activations have 16 bits in files of int8; needs the extra 'quantizer'",
        flag_values=values,
    )
    flags.DEFINE_string(
        "firmware",
        None,
        "for one recipe that TFLite Micro runs: also write a firmware project into this folder, C and C++ that run "
        "samples of --data on a device and say PASS or FAIL; a new folder, or one of an earlier export",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "firmware_samples",
        None,
        "how many samples it has; by default 4, or as many as fit into 32 KiB of flash",
        1,
        flag_values=values,
    )
    flags.DEFINE_string("json", None, "also write the results to this .json file", flag_values=values)
    define_loading_flags(values)


def _run(call: Call) -> int:
    from tfmot_swd.tflite import ExportError, export_tflite
    from tfmot_swd.tflite.layer_types import takes_layers
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
    named = {each: values[each].value for each in ("float_layers", "int16_layers") if values[each].value}
    in_part = [recipe for recipe in targets if named and takes_layers(get_recipe(recipe))]
    for flag, names in named.items():
        if not in_part:
            raise UsageError(
                f"--{flag} is for files of int8: give --recipes=int8 too. "
                f"Received: --{flag}={','.join(names)} with --recipes={','.join(targets)}"
            )
    firmware = _firmware_folder(values, targets)
    record = target_of("json", values.json, ".json", inputs) if values.json else None
    for target in targets.values():
        target_of("output", str(target), _SUFFIX, inputs)
    model = load_model(call, path)
    _check_names(named, model, in_part)
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
                **(named if recipe in in_part else {}),
            )
            results.append(result)
        except ExportError as error:
            failures[recipe] = str(error)
    if results:
        call.show(_table(results))
    project = None
    if firmware and results and data:
        try:
            project = _write_firmware(call, firmware, results[0], model, data)
        except (ExportError, OSError, ValueError) as error:
            failures["firmware"] = str(error)
    if record:
        more = {} if project is None else {"firmware": project.to_dict()}
        write_json(record, {"results": [each.to_dict() for each in results], "failures": failures, **more})
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


def _check_names(named: dict[str, list[str]], model: Any, recipes: list[str]) -> None:
    """Raises a UsageError where a flag names a layer that the model does not have, or needs a package."""
    from tfmot_swd.tflite.layer_types import check_layers
    from tfmot_swd.tflite.recipes import get_recipe

    for recipe in recipes:
        try:
            check_layers(named.get("float_layers", ()), named.get("int16_layers", ()), model, get_recipe(recipe))
        except (ImportError, ValueError) as error:
            raise UsageError(in_shell_words(str(error))) from error


def _firmware_folder(values: flags.FlagValues, targets: dict[str, Path]) -> Path | None:
    """Returns where the firmware project goes, None where none is asked for; checked before anything is converted.

    Raises:
      UsageError: several recipes, one that TFLite Micro does not run, no data, the package tflite-micro is missing, or
        another file of this command would lie in the folder.
      OSError: the folder holds other files.
    """
    from tfmot_swd.tflite.micro.firmware import MICRO_RECIPES, check_folder
    from tfmot_swd.tflite.micro.interpreter import has_micro

    if values.firmware is None:
        if values.firmware_samples is not None:
            raise UsageError("--firmware_samples is for a project: give --firmware too. Received: no --firmware")
        return None
    if list(targets)[1:] or not set(targets) <= set(MICRO_RECIPES):
        raise UsageError(
            f"--firmware is for one recipe that TFLite Micro runs: one of {', '.join(MICRO_RECIPES)}. "
            f"Received: --recipes={','.join(targets)}"
        )
    if not values.data:
        raise UsageError("--firmware runs samples on the device: give --data. Received: no --data")
    if not has_micro():
        raise UsageError(
            "--firmware runs the samples in TFLite Micro here: pip install 'tfmot_swd[micro]'. "
            "Received: no package tflite_micro"
        )
    folder = check_folder(values.firmware)
    others = {"output": str(*targets.values()), "json": values.json}
    for flag, path in others.items():
        if path and _is_within(Path(os.path.realpath(path)), folder):
            raise UsageError(
                f"--firmware is for a folder that holds the project alone, without the file of --{flag}: choose "
                f"another one. Received: --firmware={values.firmware!r} and {path!r}"
            )
    return folder


def _is_within(path: Path, folder: Path) -> bool:
    """Returns whether a file is in a folder at any depth, or in place of it or of one above it."""
    return path == folder or folder in path.parents or path in folder.parents


def _write_firmware(call: Call, folder: Path, result: ExportResult, model: Any, data: Data) -> FirmwareProject:
    from tfmot_swd.workflows.firmware import model_firmware

    call.note("firmware: running samples in TFLite Micro ...")
    project = model_firmware(model, result.path, folder, data.to_check, "--data", call.flags.firmware_samples)
    call.show(project)
    return project


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
