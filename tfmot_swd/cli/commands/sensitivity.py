"""`tfmot-swd sensitivity`: what pruning of each layer alone would cost."""

from __future__ import annotations

from absl import flags

from tfmot_swd.cli.command import Call, Command, UsageError, define_full_flag
from tfmot_swd.cli.data import Data, length, read_data
from tfmot_swd.cli.files import target_of
from tfmot_swd.cli.loading import define_loading_flags, load_model
from tfmot_swd.cli.methods import check_names, define_layer_flags, layer_names
from tfmot_swd.cli.task import define_loss_flag, task_of

_EXAMPLE = """
# Each group of channels alone without a quarter, half, three quarters and nine tenths of them. val.npz holds x and y,
# as the model is fed: numpy.savez("val.npz", x=images, y=labels)
tfmot-swd sensitivity net.keras --data=val.npz

# Single weights, with a chart; the same command goes on after a crash
tfmot-swd sensitivity net.keras --data=val.npz --granularity=weights --rates=0.8,0.9,0.95 --journal=rows.jsonl \\
  --output=sensitivity.svg
"""


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "data", None, "an .npz file of x and y, or x_val and y_val, to measure the model on", flag_values=values
    )
    flags.DEFINE_enum(
        "granularity",
        "channels",
        ["channels", "weights"],
        "whether the weakest channels of each group or the smallest weights of each layer are removed",
        flag_values=values,
    )
    flags.DEFINE_list(
        "rates", ["0.25", "0.5", "0.75", "0.9"], "shares to remove, each between 0 and 1", flag_values=values
    )
    define_layer_flags(values)
    define_loss_flag(values)
    flags.DEFINE_integer("batch_size", 256, "samples at once", 1, flag_values=values)
    flags.DEFINE_string("journal", None, "keeps finished rows in this .jsonl file, to go on from", flag_values=values)
    flags.DEFINE_string("output", None, "also draw the result as this .svg file", flag_values=values)
    flags.DEFINE_string("json", None, "also write the numbers to this .json file", flag_values=values)
    define_full_flag(values)
    define_loading_flags(values)


def _run(call: Call) -> int:
    from tfmot_swd.workflows import sensitivity

    path, values = call.operands[0], call.flags
    rates = _rates(values.rates)
    if not values.data:
        raise UsageError("--data says what to measure the model on: give --data=val.npz. Received: none")
    inputs = [path, values.data]
    chart = target_of("output", values.output, ".svg", inputs) if values.output else None
    record = target_of("json", values.json, ".json", inputs) if values.json else None
    journal = target_of("journal", values.journal, ".jsonl", inputs) if values.journal else None
    model = load_model(call, path)
    names = layer_names(values)
    check_names(model, names)
    x, y = read_data("data", values.data, model).labelled()
    task = task_of(model, Data(x, y), values.loss)
    call.note(f"Loss: {task.description}. Measuring the {task.metric} on {length(x):,} samples ...")
    found = sensitivity(
        model,
        (x, y),
        granularity=values.granularity,
        rates=rates,
        metric=task.make_metric(),
        **names,
        batch_size=values.batch_size,
        journal=journal,
        console=call.notes,
    )
    call.show(found)
    if chart:
        found.write_svg(chart)
    if record:
        found.write_json(record)
    return 0


def _rates(given: list[str]) -> list[float]:
    try:
        rates = [float(each) for each in given]
    except ValueError as error:
        raise UsageError(f"--rates takes numbers, as 0.5,0.9. Received: {','.join(given)}") from error
    if not rates or not all(0 < rate < 1 for rate in rates):
        raise UsageError(f"--rates are shares to remove, each between 0 and 1. Received: {','.join(given) or 'none'}")
    return rates


COMMAND = Command(
    "sensitivity",
    "What pruning of each layer alone would cost: channels or weights removed at several rates, nothing trained.",
    _EXAMPLE,
    _define_flags,
    _run,
)
