"""`tfmot-swd profile`: the costs of a model."""

from __future__ import annotations

from absl import flags

from tfmot_swd.cli.command import Call, Command, UsageError, define_full_flag
from tfmot_swd.cli.files import target_of
from tfmot_swd.cli.loading import define_loading_flags, load_model, named
from tfmot_swd.io.json_files import write_json

_EXAMPLE = """
# Costs, layer by layer
tfmot-swd profile net.keras

# A model that leaves the size of its images open
tfmot-swd profile net.keras --input_shape=224,224,3

# Before and after pruning
tfmot-swd profile small.keras --against=net.keras --json=costs.json
"""


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("against", None, "the model before pruning; both are shown side by side", flag_values=values)
    flags.DEFINE_integer(
        "batch_size", 1, "samples in the batch that activation memory is counted for", 1, flag_values=values
    )
    flags.DEFINE_list(
        "input_shape", None, "sizes of the input where the model leaves some open: 224,224,3", flag_values=values
    )
    flags.DEFINE_string("json", None, "also write the numbers to this .json file", flag_values=values)
    define_full_flag(values)
    define_loading_flags(values)


def _numbers(given: list[str]) -> list[int]:
    try:
        return [int(each) for each in given]
    except ValueError as error:
        raise UsageError(f"--input_shape takes whole numbers, as 224,224,3. Received: {','.join(given)}") from error


def _run(call: Call) -> int:
    from tfmot_swd.costs.profile import Profile, ProfileComparison, profile

    path, against = call.operands[0], call.flags.against
    sizes = call.flags.input_shape and _numbers(call.flags.input_shape)
    target = target_of("json", call.flags.json, ".json", [path, against]) if call.flags.json else None

    def costs_of(path: str) -> Profile:
        model = load_model(call, path)
        with named(path):
            return profile(model, call.flags.batch_size, sizes)

    costs = costs_of(path)
    found: Profile | ProfileComparison = costs_of(against).against(costs) if against else costs
    call.show(found)
    if target:
        write_json(target, found.to_json())
    return 0


COMMAND = Command(
    "profile",
    "Parameters, multiply-accumulates and activation memory of a model, layer by layer.",
    _EXAMPLE,
    _define_flags,
    _run,
)
