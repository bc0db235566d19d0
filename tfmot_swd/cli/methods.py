"""The pruning methods by name, with the rate or the budget that the flags ask for."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any

from absl import flags

from tfmot_swd.cli.command import UsageError
from tfmot_swd.cli.words import in_shell_words

if TYPE_CHECKING:
    from tfmot_swd._compat import keras
    from tfmot_swd.budget import Budget

# Share of the epochs in which filters leave; those that remain fine-tune.
_PRUNING_SHARE = 2 / 3
_LIMITS = ("parameters", "macs", "bytes", "sparsity")


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What a model is to become.

    Args:
      rate: share to remove, of what the method counts; None for a budget.
      budget: what may be left; None for a rate.
      skip: layers that stay whole.
      round_to: the number of channels kept is a multiple of this.
    """

    rate: float | None
    budget: Budget | None
    skip: tuple[str, ...] = ()
    round_to: int = 1


@dataclasses.dataclass(frozen=True)
class Method:
    """One way to prune.

    Args:
      rate_of: what its rate is a share of.
      takes_budget: whether it can be given a budget.
      plan: model, names of layers to skip → what would be pruned, printable.
      wrap: model, what is wanted, epochs, updates in an epoch → the model to train.
    """

    rate_of: str
    takes_budget: bool
    plan: Callable[[Any, Collection[str]], Any]
    wrap: Callable[[Any, Wanted, int, int], keras.Model]


def _plan_weights(model: Any, skip: Collection[str]) -> Any:
    from tfmot_swd.plan import plan_pruning

    return plan_pruning(model, skip=skip)


def _plan_channels(model: Any, skip: Collection[str]) -> Any:
    from tfmot_swd.channel_plan import plan_channels

    return plan_channels(model, layers="all", skip=skip)


def _selective(model: Any, wanted: Wanted, epochs: int, updates: int) -> keras.Model:
    from tfmot_swd import SelectiveDecay, prune_selective_decay

    if wanted.rate is None:
        raise UsageError("--method=swd takes --rate. Received: a budget")
    return prune_selective_decay(model, SelectiveDecay(wanted.rate, epochs * updates), skip=wanted.skip)


def _structured(model: Any, wanted: Wanted, epochs: int, updates: int) -> keras.Model:
    from tfmot_swd import StructuredDecay, prune_selective_decay

    schedule = StructuredDecay(budget_of(wanted), epochs * updates, round_to=wanted.round_to)
    return prune_selective_decay(model, schedule, skip=wanted.skip)


def _progressive(model: Any, wanted: Wanted, epochs: int, updates: int) -> keras.Model:
    from tfmot_swd import ProgressiveRate, prune_progressive_gradient

    target: Any = wanted.rate if wanted.budget is None else wanted.budget
    schedule = ProgressiveRate(target, max(round(_PRUNING_SHARE * epochs), 1), "geometric")
    return prune_progressive_gradient(model, schedule, layers="all", skip=wanted.skip, round_to=wanted.round_to)


METHODS: dict[str, Method] = {
    "structured": Method("the parameters", True, _plan_channels, _structured),
    "swd": Method("the weights", False, _plan_weights, _selective),
    "pgp": Method("the filters of each layer", True, _plan_channels, _progressive),
}


def define_method_flags(values: flags.FlagValues) -> None:
    """Defines `--method` and `--skip`."""
    flags.DEFINE_enum(
        "method",
        "structured",
        list(METHODS),
        "structured: whole channels are decayed until the rest is within a budget; swd: single weights become zero; "
        "pgp: filters leave, by their gradients",
        flag_values=values,
    )
    flags.DEFINE_list("skip", [], "names of layers that stay whole", flag_values=values)


def check_skip(model: keras.Model, skip: Collection[str]) -> None:
    """Raises a UsageError where `--skip` names a layer that the model does not have; nested ones are outer/inner."""
    known = set(_layer_names(model))
    unknown = [name for name in skip if name not in known]
    if unknown:
        close = difflib.get_close_matches(unknown[0], sorted(known), 1)
        advice = f": did you mean {close[0]}?" if close else "."
        raise UsageError(f"--skip names layers that the model does not have{advice} Received: {', '.join(unknown)}")


def _layer_names(model: keras.Model, prefix: str = "") -> Iterator[str]:
    for layer in model.layers:
        yield layer.name
        yield prefix + layer.name
        if hasattr(layer, "layers"):
            yield from _layer_names(layer, f"{prefix}{layer.name}/")


def define_target_flags(values: flags.FlagValues) -> None:
    """Defines what may be left: a rate, or the limits of a budget."""
    shares = ", ".join(f"of {method.rate_of} ({name})" for name, method in METHODS.items())
    flags.DEFINE_float("rate", None, f"share to remove, between 0 and 1: {shares}", flag_values=values)
    for name, what in (
        ("macs", "multiply-accumulates that may be left"),
        ("parameters", "parameters that may be left"),
        ("bytes", "bytes that the int8 TFLite file may have"),
    ):
        flags.DEFINE_float(name, None, f"{what}: a count, or a share of the whole up to 1", flag_values=values)
    flags.DEFINE_float(
        "sparsity", None, "share of the parameters to remove: 0.9 is --parameters=0.1", flag_values=values
    )
    flags.DEFINE_integer(
        "round_to", 1, "channels are kept in multiples of this: 8 suits most kernels", 1, flag_values=values
    )


def wanted_of(values: Any) -> Wanted:
    """Returns what the flags ask for.

    Raises:
      UsageError: nothing, too much, or what the method does not take.
    """
    from tfmot_swd.budget import Budget

    limits = {name: values[name].value for name in _LIMITS if values[name].value is not None}
    method, rate = METHODS[values.method], values.rate
    given = ", ".join(f"--{name}={value:g}" for name, value in {"rate": rate, **limits}.items() if value is not None)
    if not given:
        raise UsageError(
            "Say how small: --macs=0.5 (half of the multiply-accumulates), --parameters, --bytes, --sparsity, or "
            "--rate. Received: none of them"
        )
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
        budget = Budget(**limits) if limits else None
    except ValueError as error:
        raise UsageError(in_shell_words(str(error))) from error
    return Wanted(rate, budget, tuple(values.skip), values.round_to)


def budget_of(wanted: Wanted) -> Budget:
    """Returns the budget; a rate is the share of the parameters to remove."""
    from tfmot_swd.budget import Budget

    return Budget(sparsity=wanted.rate) if wanted.budget is None else wanted.budget
