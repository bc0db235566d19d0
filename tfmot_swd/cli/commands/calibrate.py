"""`tfmot-swd calibrate`: a table of operator times of this machine, for budgets of latency."""

from __future__ import annotations

from absl import flags

from tfmot_swd.cli.command import Call, Command, UsageError
from tfmot_swd.cli.files import target_of

_RECIPES = ("float32", "int8")
_EXAMPLE = """
# On the device that the network is for, or on one like it
tfmot-swd calibrate --output=device.json

# Then, wherever the network is trained: half of its latency on that device
tfmot-swd prune net.keras --latency=0.5 --latency_table=device.json --data=train.npz --output=small.keras
"""


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("output", None, "the .json file to write", flag_values=values)
    flags.DEFINE_list("recipes", list(_RECIPES), f"of the files, any of {', '.join(_RECIPES)}", flag_values=values)
    flags.DEFINE_float("seconds", 60.0, "how long to measure; three rounds are made at least", 0.1, flag_values=values)


def _run(call: Call) -> int:
    from tfmot_swd.workflows import calibrate

    values = call.flags
    target = target_of("output", values.output, ".json", [])
    if not values.recipes or not set(values.recipes) <= set(_RECIPES):
        raise UsageError(
            f"--recipes takes any of {', '.join(_RECIPES)}. Received: {','.join(values.recipes) or 'none'}"
        )
    call.note(f"Measuring operators for about {values.seconds:g} seconds; leave the machine alone ...")
    table = calibrate(recipes=values.recipes, seconds=values.seconds, console=call.notes)
    table.write_json(target)
    call.show(table)
    return 0


COMMAND = Command(
    "calibrate",
    "Measures how long operators take on this machine, for budgets of latency.",
    _EXAMPLE,
    _define_flags,
    _run,
    operands=(),
)
