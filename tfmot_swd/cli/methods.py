"""The pruning methods by name, with the rate or the budget that the flags ask for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from absl import flags

from tfmot_swd.cli.command import UsageError
from tfmot_swd.cli.words import in_shell_words

if TYPE_CHECKING:
    from tfmot_swd.costs.budget import Budget
    from tfmot_swd.keras2.compat import keras

# Share of the epochs in which filters leave; those that remain fine-tune.
_PRUNING_SHARE = 2 / 3
LayerNames = dict[str, Any]
_LIMITS = ("parameters", "macs", "bytes", "sparsity")


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What a model is to become.

    Args:
      rate: share to remove, of what the method counts; None for a budget.
      budget: what may be left; None for a rate.
      skip: layers that stay whole.
      round_to: the number of channels kept is a multiple of this.
      only: layers that may be pruned; None for all.
    """

    rate: float | None
    budget: Budget | None
    skip: tuple[str, ...] = ()
    round_to: int = 1
    only: tuple[str, ...] | None = None

    @property
    def choice(self) -> LayerNames:
        """The layers by name, as the functions of the package take them."""
        return {"skip": self.skip, "only": self.only}


@dataclasses.dataclass(frozen=True)
class Method:
    """One way to prune.

    Args:
      rate_of: what its rate is a share of.
      takes_budget: whether it can be given a budget.
      plan: model, layers by name → what would be pruned, printable.
      wrap: model, what is wanted, epochs, updates in an epoch → the model to train.
    """

    rate_of: str
    takes_budget: bool
    plan: Callable[[Any, LayerNames], Any]
    wrap: Callable[[Any, Wanted, int, int], keras.Model]


def _plan_weights(model: Any, choice: LayerNames) -> Any:
    from tfmot_swd.pruning.plan import plan_pruning

    return plan_pruning(model, **choice)


def _plan_channels(model: Any, choice: LayerNames) -> Any:
    from tfmot_swd.channels.plan import plan_channels

    return plan_channels(model, layers="all", **choice)


def _selective(model: Any, wanted: Wanted, epochs: int, updates: int) -> keras.Model:
    from tfmot_swd import SelectiveDecay, prune_selective_decay

    if wanted.rate is None:
        raise UsageError("--method=swd takes --rate. Received: a budget")
    return prune_selective_decay(model, SelectiveDecay(wanted.rate, epochs * updates), **wanted.choice)


def _structured(model: Any, wanted: Wanted, epochs: int, updates: int) -> keras.Model:
    from tfmot_swd import StructuredDecay, prune_selective_decay

    schedule = StructuredDecay(budget_of(wanted), epochs * updates, round_to=wanted.round_to)
    return prune_selective_decay(model, schedule, **wanted.choice)


def _progressive(model: Any, wanted: Wanted, epochs: int, updates: int) -> keras.Model:
    from tfmot_swd import ProgressiveRate, prune_progressive_gradient

    target: Any = wanted.rate if wanted.budget is None else wanted.budget
    schedule = ProgressiveRate(target, max(round(_PRUNING_SHARE * epochs), 1), "geometric")
    return prune_progressive_gradient(model, schedule, layers="all", round_to=wanted.round_to, **wanted.choice)


METHODS: dict[str, Method] = {
    "structured": Method("the parameters", True, _plan_channels, _structured),
    "swd": Method("the weights", False, _plan_weights, _selective),
    "pgp": Method("the filters of each layer", True, _plan_channels, _progressive),
}


def define_method_flags(values: flags.FlagValues) -> None:
    """Defines `--method`, `--skip` and `--only`."""
    flags.DEFINE_enum(
        "method",
        "structured",
        list(METHODS),
        "structured: whole channels are decayed until the rest is within a budget; swd: single weights become zero; "
        "pgp: filters leave, by their gradients",
        flag_values=values,
    )
    flags.DEFINE_list("skip", [], "names of layers that stay whole", flag_values=values)
    flags.DEFINE_list("only", None, "names of the layers that may be pruned; all, unless given", flag_values=values)


def check_names(model: keras.Model, names: LayerNames) -> None:
    """Raises a UsageError where `--skip` or `--only` names a layer that the model does not have."""
    from tfmot_swd.keras2.layer_choice import LayerChoice

    try:
        LayerChoice(**names).of(model)
    except ValueError as error:
        raise UsageError(in_shell_words(str(error))) from error


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


def layer_names(values: Any) -> LayerNames:
    """Returns what `--skip` and `--only` name."""
    return {"skip": tuple(values.skip), "only": None if values.only is None else tuple(values.only)}


def wanted_of(values: Any) -> Wanted:
    """Returns what the flags ask for.

    Raises:
      UsageError: nothing, too much, or what the method does not take.
    """
    from tfmot_swd.costs.budget import Budget

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
    names = layer_names(values)
    return Wanted(rate, budget, names["skip"], values.round_to, names["only"])


def budget_of(wanted: Wanted) -> Budget:
    """Returns the budget; a rate is the share of the parameters to remove."""
    from tfmot_swd.costs.budget import Budget

    return Budget(sparsity=wanted.rate) if wanted.budget is None else wanted.budget
