"""Flags of the pruning methods: which one, of which layers, to what rate or budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from absl import flags

from tfmot_swd.cli.command import UsageError
from tfmot_swd.cli.loading import import_modules
from tfmot_swd.cli.words import in_shell_words

if TYPE_CHECKING:
    from tfmot_swd.keras2.compat import keras
    from tfmot_swd.pruning.methods import PruningMethod
    from tfmot_swd.workflows.goal import Goal
    from tfmot_swd.workflows.reach import Reach

LayerNames = dict[str, Any]
_LIMITS = ("parameters", "macs", "bytes", "sparsity")
_FLOORS = ("max_drop", "floor")


# As they are registered, where the library is not loaded yet.
BUILT_IN = {
    "structured": "whole channels are decayed until the rest is within a budget",
    "swd": "single weights become zero",
    "pgp": "filters are removed, by their gradients",
    "magnitude": "the smallest weights of each layer become zero, as in TFMOT",
}


def method_of(values: Any) -> PruningMethod:
    """Returns the pruning method that `--method` names; one of your own is registered by a module of `--modules`.

    Raises:
      UsageError: there is no such method, or a module cannot be imported.
    """
    from tfmot_swd.pruning.methods import method_named

    import_modules(values.modules)
    try:
        return method_named(values.method)
    except ValueError as error:
        raise UsageError(in_shell_words(str(error))) from error


def define_method_flags(values: flags.FlagValues) -> None:
    """Defines `--method`, `--skip` and `--only`."""
    known = "; ".join(f"{name}: {summary}" for name, summary in BUILT_IN.items())
    flags.DEFINE_string(
        "method", "structured", f"{known}; or one that a module in --modules registers", flag_values=values
    )
    define_layer_flags(values)


def define_layer_flags(values: flags.FlagValues) -> None:
    """Defines `--skip` and `--only`."""
    flags.DEFINE_list("skip", [], "names of layers that stay whole", flag_values=values)
    flags.DEFINE_list("only", None, "names of the layers that may be pruned; all, unless given", flag_values=values)


def require_known_method(values: flags.FlagValues) -> None:
    """Registers the check of `--method`, once `--modules` is defined too: other methods come from those."""
    flags.register_multi_flags_validator(
        ["method", "modules"],
        lambda given: given["method"] in BUILT_IN or bool(given["modules"]),
        f"it is one of <{'|'.join(BUILT_IN)}>, or one that a module in --modules registers",
        flag_values=values,
    )


def check_names(model: keras.Model, names: LayerNames) -> None:
    """Raises a UsageError where `--skip` or `--only` names a layer that the model does not have."""
    from tfmot_swd.keras2.layer_choice import LayerChoice

    try:
        LayerChoice(**names).of(model)
    except ValueError as error:
        raise UsageError(in_shell_words(str(error))) from error


def check_goal(model: keras.Model, goal: Goal) -> Reach | None:
    """Returns what `check_reach` does; both are known from the file and the flags, before any work.

    Raises:
      UsageError: the model does not have a layer that is named, or cannot become what is asked for.
    """
    from tfmot_swd.workflows.reach import check_reach

    check_names(model, goal.layers)
    try:
        return check_reach(model, goal)
    except ValueError as error:
        raise UsageError(in_shell_words(str(error))) from error


def define_target_flags(values: flags.FlagValues) -> None:
    """Defines what may be left: a rate, or the limits of a budget."""
    flags.DEFINE_float(
        "rate",
        None,
        "share to remove, between 0 and 1: of the parameters (structured), of the weights (swd), of each "
        "layer's filters (pgp) or weights (magnitude)",
        flag_values=values,
    )
    for name, what in (
        ("macs", "multiply-accumulates that may be left"),
        ("parameters", "parameters that may be left"),
        ("bytes", "bytes that the int8 TFLite file may have"),
    ):
        flags.DEFINE_float(name, None, f"{what}: a count, or a share of the whole up to 1", flag_values=values)
    define_latency_flags(values)
    flags.DEFINE_float(
        "sparsity", None, "share of the parameters to remove: 0.9 is --parameters=0.1", flag_values=values
    )
    flags.DEFINE_integer(
        "round_to", 1, "channels are kept in multiples of this: 8 suits most kernels", 1, flag_values=values
    )


def define_latency_flags(values: flags.FlagValues) -> None:
    """Defines `--latency` and `--latency_table`."""
    flags.DEFINE_string(
        "latency",
        None,
        "time of one inference that may be left, counted from --latency_table: a share of the whole up to 1, as 0.5, "
        "or a time, as 3ms or 800us",
        flag_values=values,
    )
    flags.DEFINE_string(
        "latency_table",
        None,
        "times of operators on the device: the .json file of tfmot-swd calibrate, or rows of kind, macs, bytes, "
        "milliseconds as .csv; of its int8 times where it has some",
        flag_values=values,
    )


def define_search_flags(values: flags.FlagValues) -> None:
    """Defines what the metric may lose, in place of how small the model is to be."""
    flags.DEFINE_float(
        "max_drop",
        None,
        "by how many points the validation metric may be worse, in place of a rate or budget: 1.0 is one percentage "
        "point of accuracy, or one unit of an error; the smallest model within that is searched, in several trainings",
        flag_values=values,
    )
    flags.DEFINE_float(
        "floor",
        None,
        "the worst value that the validation metric may have, in place of --max_drop: 0.9 for an accuracy of 90 %",
        flag_values=values,
    )
    flags.DEFINE_string(
        "by",
        None,
        "with --max_drop or --floor, the cost to make small: parameters (default), macs, bytes of the int8 file, "
        "latency (with --latency_table), or one that a module in --modules registers",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "max_trials",
        8,
        "with --max_drop or --floor, trainings at most, those of earlier starts among them; a larger number goes on",
        1,
        flag_values=values,
    )


def layer_names(values: Any) -> LayerNames:
    """Returns what `--skip` and `--only` name."""
    return {"skip": tuple(values.skip), "only": None if values.only is None else tuple(values.only)}


def has_target(values: Any) -> bool:
    """Returns whether any flag of `define_target_flags` says how small the model is to be."""
    return any(values[name].value is not None for name in ("rate", *_LIMITS, "latency", "latency_table"))


def is_search(values: Any) -> bool:
    """Returns whether the flags say how good the model is to be, and not how small."""
    return any(name in values and values[name].value is not None for name in _FLOORS)


def floor_flags(values: Any) -> str:
    """Returns the flags that say how good the model is to be, as they were given; empty where there are none."""
    return _given({name: values[name].value for name in _FLOORS if name in values})


def goal_of(values: Any) -> Goal:
    """Returns what the flags ask for, those of `define_target_flags` and, where they are there, `define_search_flags`.

    Raises:
      UsageError: nothing, too much, or what the method does not take.
    """
    from tfmot_swd.costs.budget import Budget
    from tfmot_swd.workflows.goal import Goal

    limits = {name: values[name].value for name in _LIMITS if values[name].value is not None}
    method, rate = method_of(values), values.rate
    given = _given({"rate": rate, **limits})
    table: dict[str, Any] = {}
    if values.latency is not None:
        given = ", ".join(filter(None, (given, f"--latency={values.latency}")))
        limits["latency"] = latency_limit(values.latency)
    if values.latency is not None or values.latency_table is not None:
        table = _latency_budget(values, limits)
    if is_search(values):
        _check_search(values, given)
    elif not given:
        raise UsageError(
            "Say how small: --macs=0.5 (half of the multiply-accumulates), --parameters, --bytes, --latency, "
            "--sparsity, or --rate; or how good: --max_drop=1.0 (one percentage point), or --floor=0.9 (an accuracy). "
            "Received: none of them"
        )
    elif "by" in values and values.by is not None:
        raise UsageError(f"--by goes with --max_drop or --floor. Received: --by={values.by} and {given}")
    if limits and not method.takes_budget:
        raise UsageError(
            f"--method={values.method} makes zeros and changes no size, so it takes --rate and no budget; "
            f"--method=structured takes one. Received: {given}"
        )
    if rate is not None and limits:
        raise UsageError(f"Give --rate or limits, not both. Received: {given}")
    if rate is not None and not 0 < rate < 1:
        raise UsageError(f"--rate is the share to remove, between 0 and 1. Received: {rate:g}")
    try:
        budget = Budget(**limits, **table) if limits else None
    except ValueError as error:
        raise UsageError(in_shell_words(str(error))) from error
    return Goal(values.method, rate, budget, **layer_names(values), round_to=values.round_to)


def _given(values: dict[str, float | None]) -> str:
    """Returns numbers as flags."""
    return ", ".join(f"--{name}={value:g}" for name, value in values.items() if value is not None)


def latency_limit(text: str) -> float | int:
    """Returns the limit in `--latency`, as `Budget` takes it: a share, or microseconds.

    Raises:
      UsageError: it is neither.

    >>> latency_limit("0.5"), latency_limit("3ms"), latency_limit("800us")
    (0.5, 3000.0, 800.0)
    """
    number, unit = next(
        ((text.removesuffix(end).strip(), scale) for end, scale in _UNITS.items() if text.endswith(end)), (text, 0.0)
    )
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if unit and value * unit > 1 and value * unit < float("inf"):
        return value * unit
    if not unit and 0 < value <= 1:
        return value
    raise UsageError(
        "--latency is a share of the whole up to 1, as 0.5, or a time of more than a microsecond, as 3ms or 800us. "
        f"Received: --latency={text}"
    )


# In microseconds; longer names first, as all end in "s".
_UNITS = {"ms": 1e3, "us": 1.0, "µs": 1.0, "s": 1e6}


def _latency_budget(values: Any, limits: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of `Budget` for a limit of latency, from `--latency_table`."""
    from tfmot_swd.costs.cost import find_cost, register_cost
    from tfmot_swd.costs.latency_cost import LatencyCost

    if values.latency_table is None:
        try:
            # That of a module in --modules.
            find_cost("latency")
        except ValueError as error:
            raise UsageError(
                "--latency needs the times of operators on the device: measure them there with tfmot-swd calibrate "
                "--output=device.json, and give --latency_table=device.json. "
                f"Received: --latency={values.latency}, and no --latency_table"
            ) from error
        return {}
    try:
        cost = LatencyCost.read(values.latency_table)
    except (OSError, ValueError) as error:
        said = f"There is no such file. Received: {values.latency_table!r}" if isinstance(error, OSError) else error
        raise UsageError(f"--latency_table: {said}") from error
    if "by" in values and values.by == "latency":
        register_cost("latency", cost)
        return {}
    if "latency" not in limits:
        raise UsageError(
            "--latency_table goes with --latency=0.5, or with --max_drop or --floor and --by=latency. "
            f"Received: --latency_table={values.latency_table} alone"
        )
    if "bytes" in limits and cost.recipe != "int8":
        raise UsageError(
            "--bytes are of the int8 file, and the table has no times of int8 files: calibrate with --recipes=int8. "
            f"Received: --bytes={limits['bytes']:g} and a table of {', '.join(cost.table.recipes)} files"
        )
    return {"recipe": cost.recipe, "custom_costs": {"latency": cost}}


def _check_search(values: Any, given: str) -> None:
    """Raises a UsageError where `--max_drop` or `--floor` and `--by` cannot be meant."""
    from tfmot_swd.workflows.floor import check_one_floor
    from tfmot_swd.workflows.smallest import cost_name

    floors = floor_flags(values)
    if given:
        raise UsageError(
            f"Give {floors.partition('=')[0]}, for the smallest model that is good enough, or how small the model is "
            f"to be, not both. Received: {floors} and {given}"
        )
    try:
        check_one_floor(values.max_drop, values.floor)
        cost_name(values.by, values.method)
    except (TypeError, ValueError) as error:
        raise UsageError(in_shell_words(str(error))) from error
