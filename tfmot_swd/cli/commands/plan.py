"""`tfmot-swd plan`: the layers and channels that pruning would affect, without pruning."""

from __future__ import annotations

from absl import flags

from tfmot_swd.cli.command import Call, Command, define_full_flag
from tfmot_swd.cli.loading import define_loading_flags, load_model
from tfmot_swd.cli.methods import (
    check_goal,
    check_names,
    define_method_flags,
    define_target_flags,
    goal_of,
    has_target,
    layer_names,
    method_of,
    require_known_method,
)

_EXAMPLE = """
# Channels that can be removed, those that stay and why, and dead ones
tfmot-swd plan net.keras

# Layers whose weights can become zero, without the last one
tfmot-swd plan net.keras --method=swd --skip=head

# Can half of the time on a device be met, and how little can be reached? Exits with 2 where it cannot
tfmot-swd plan net.keras --latency=0.5 --latency_table=device.json
"""


def _define_flags(values: flags.FlagValues) -> None:
    define_method_flags(values)
    define_target_flags(values)
    define_full_flag(values)
    define_loading_flags(values)
    require_known_method(values)


def _run(call: Call) -> int:
    from tfmot_swd.channels import plan_dead_removal

    goal = goal_of(call.flags) if has_target(call.flags) else None
    model = load_model(call, call.operands[0])
    names = layer_names(call.flags)
    check_names(model, names)
    call.show(method_of(call.flags).plan(model, **names))
    reach = None if goal is None else check_goal(model, goal)
    if reach is not None:
        call.show(reach)
    dead = plan_dead_removal(model)
    rows = ", ".join(
        f"{row.channels - row.remaining_channels} of {row.group}"
        for row in dead.rows
        if row.remaining_channels < row.channels
    )
    call.say(
        f"{dead.removed_channels:,} channels contribute nothing and leave without a change: {rows}."
        if dead.removed_channels
        else "No channel is dead: each contributes something."
    )
    return 0


COMMAND = Command(
    "plan",
    "Layers and channels that pruning would affect, those that would stay and why, dead channels, and whether a budget "
    "can be met.",
    _EXAMPLE,
    _define_flags,
    _run,
)
