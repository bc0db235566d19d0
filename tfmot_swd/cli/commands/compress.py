"""`tfmot-swd compress`: from a model to a smaller one, its TFLite files and a report, in one call."""

from __future__ import annotations

from absl import flags

from tfmot_swd.cli.command import Call, Command, UsageError
from tfmot_swd.cli.files import RECIPES, check_recipes
from tfmot_swd.cli.loading import define_loading_flags, load
from tfmot_swd.cli.methods import (
    check_goal,
    define_method_flags,
    define_search_flags,
    define_target_flags,
    goal_of,
    require_known_method,
)
from tfmot_swd.cli.training import define_training_flags, read_splits, training_of
from tfmot_swd.cli.words import in_shell_words

_EXAMPLE = """
# Half of the multiply-accumulates, as float32 and int8 files, with a report. train.npz holds x and y, as the model is
# fed: numpy.savez("train.npz", x=images, y=labels). After a crash, the same command goes on
tfmot-swd compress net.keras --macs=0.5 --data=train.npz --epochs=20 --output=small

# As small as it can be for one percentage point of validation accuracy, found in some five trainings
tfmot-swd compress net.keras --max_drop=1.0 --data=train.npz --recipes=int8 --output=small

# As small as it can be for a validation accuracy of 90 %
tfmot-swd compress net.keras --floor=0.9 --data=train.npz --recipes=int8 --output=small

# With a project for a microcontroller, which says on the device whether it computes there what it does here
tfmot-swd compress net.keras --macs=0.5 --data=train.npz --recipes=int8 --firmware --output=small
"""


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "output",
        None,
        "a new or empty folder for all files; or that of the same command, unfinished",
        flag_values=values,
    )
    define_target_flags(values)
    define_search_flags(values)
    define_method_flags(values)
    define_training_flags(values)
    flags.DEFINE_list("recipes", ["float32", "int8"], f"any of {', '.join(RECIPES)}", flag_values=values)
    flags.DEFINE_integer(
        "quantize_aware_epochs",
        2,
        "epochs of quantization-aware training for int8 files that lose more than half a point of accuracy; 0: none",
        0,
        flag_values=values,
    )
    flags.DEFINE_bool("measure", True, "time the files on this machine, some seconds for each", flag_values=values)
    flags.DEFINE_bool(
        "firmware",
        False,
        "also write a firmware project around the int8 file, or another that TFLite Micro runs: C and C++ that run "
        "samples on a device and say PASS or FAIL",
        flag_values=values,
    )
    define_loading_flags(values)
    require_known_method(values)


def _run(call: Call) -> int:
    from tfmot_swd.tflite import ExportError
    from tfmot_swd.workflows.compress import compress_job
    from tfmot_swd.workflows.firmware import firmware_recipe
    from tfmot_swd.workflows.job import job_of
    from tfmot_swd.workflows.output_folder import check_output

    path, values = call.operands[0], call.flags
    goal = goal_of(values)
    recipes = tuple(dict.fromkeys(values.recipes))
    check_recipes(recipes)
    if not values.data:
        raise UsageError("--data says what to train on: give --data=train.npz. Received: none")
    if not values.output:
        raise UsageError("--output says where the files go: give --output=folder. Received: none")
    try:
        firmware_of = firmware_recipe(recipes) if values.firmware else None
        folder = check_output(values.output, "--output")
    except (ImportError, OSError, TypeError, ValueError) as error:
        raise UsageError(in_shell_words(str(error))) from error
    loaded = load(call, path)
    check_goal(loaded.model, goal)
    splits = read_splits(call, loaded.model)
    job = job_of(
        loaded.model,
        splits.train,
        splits.validation,
        training_of(values),
        console=call.notes,
        is_keras3=loaded.is_keras3,
    )
    found = compress_job(
        job,
        goal,
        folder,
        recipes,
        values.max_drop,
        values.floor,
        values.by,
        values.quantize_aware_epochs,
        values.max_trials,
        values.measure,
        firmware_of,
    )
    call.show(found)
    call.say(f"{folder / 'trials'} is there to go on after a crash, and can be removed.")
    failures = {each.recipe: each.failure for each in found.files if each.failure}
    if found.firmware_failure:
        failures["firmware"] = found.firmware_failure
    if failures:
        raise ExportError(" ".join(f"{recipe}: {failure}" for recipe, failure in failures.items()))
    return 0 if found.met else 1


COMMAND = Command(
    "compress",
    "All of it in one call: prunes a model in training, exports it to TFLite files, measures them and writes a report.",
    _EXAMPLE,
    _define_flags,
    _run,
)
