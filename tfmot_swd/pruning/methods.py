"""Registry of pruning methods."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from tfmot_swd.costs.budget import Budget
from tfmot_swd.layers.registry import register_layer
from tfmot_swd.pruning.channel_rule import pruning_wrapper
from tfmot_swd.pruning.run import PruningRun
from tfmot_swd.pruning.status import Status
from tfmot_swd.pruning.wrapped_models import collect_wrappers
from tfmot_swd.pruning.wrapper import PruningWrapper


@dataclasses.dataclass(frozen=True)
class Target:
    """Target of a training, independent of the method: a rate or a budget, and its length.

    Args:
      rate: share to remove, in (0, 1), of the `rate_of` the method; None for a budget.
      budget: limits of the costs; None for a rate.
      epochs: of the training.
      steps_per_epoch: updates in an epoch.
      round_to: the number of channels kept is a multiple of this.
    """

    rate: float | None
    budget: Budget | None
    epochs: int
    steps_per_epoch: int
    round_to: int = 1

    def as_budget(self) -> Budget:
        """Returns the budget; a rate is the share of the parameters to remove."""
        return Budget(sparsity=self.rate) if self.budget is None else self.budget

    @property
    def steps(self) -> int:
        """Number of updates of the training."""
        return self.epochs * self.steps_per_epoch


@dataclasses.dataclass(frozen=True)
class PruningMethod:
    """Description of a pruning method, by which callback, stripping, backup, report and command line find its parts.

    A method has a wrapper, which keeps its state in the model; a run, which is one training; schedules; and a status,
    which reports the progress. Register it with `register_method`.

    Args:
      name: on the command line (`--method`), and in messages.
      title: its full name, for messages and reports.
      wrapper: class of the wrapper layers.
      run: class of one training.
      status: class of the entries of `UpdatePruningStep.history`.
      schedules: classes of the schedules that select this method in `prune_low_magnitude`.
      wrap: (model, schedule, keyword arguments of the method) → the model to train.
      wrap_layer: (layer, schedule, keyword arguments) → a wrapped layer, to build a model of; None if the method needs
        the whole model.
      wrap_to: (model, `Target`, skip=, only=) → the model to train, for the command line.
      plan: (model, skip=, only=) → the plan of the pruning; prints as a table.
      rate_of: the quantity of which its rate is a share.
      takes_budget: whether its target may be a `Budget`.
      summary: half a sentence for the help of the command line.
      rate_is_budget: whether a rate is the `Target.as_budget` of it, which the channels that are trained may not reach.
    """

    name: str
    title: str
    wrapper: type[PruningWrapper]
    run: type[PruningRun]
    status: type[Status]
    schedules: tuple[type, ...]
    wrap: Callable[..., Any]
    wrap_layer: Callable[..., Any] | None
    wrap_to: Callable[..., Any]
    plan: Callable[..., Any]
    rate_of: str
    takes_budget: bool
    summary: str
    rate_is_budget: bool = False


_METHODS: dict[str, PruningMethod] = {}


def register_method(method: PruningMethod) -> PruningMethod:
    """Registers a pruning method with all parts of the package that work for any method.

    Args:
      method: its `name`, `wrapper` and `schedules` must not be those of another one.

    Returns:
      The method.

    Raises:
      TypeError: `method` is not a `PruningMethod`.
      ValueError: another method has the same name, wrapper class or schedule class.
    """
    if not isinstance(method, PruningMethod):
        raise TypeError(f"method must be a PruningMethod. Received: {type(method).__name__}")
    for other in _METHODS.values():
        if other is method:
            continue
        shared = [method.name] if other.name == method.name else []
        shared += [method.wrapper.__name__] if other.wrapper is method.wrapper else []
        shared += [each.__name__ for each in method.schedules if each in other.schedules]
        if shared:
            raise ValueError(
                "The name, the wrapper class and the schedule classes of a method must be unique: choose others. "
                f"Received: {', '.join(shared)}, as {other.title} has"
            )
    _METHODS[method.name] = method
    # By its exact class: a rule does not apply to subclasses that override methods, as wrappers do.
    register_layer(method.wrapper, channels=pruning_wrapper)
    return method


def registered_methods() -> tuple[PruningMethod, ...]:
    """Returns the registered methods, in the order of their registration."""
    return tuple(_METHODS.values())


def method_named(name: str) -> PruningMethod:
    """Returns a method by its name.

    Raises:
      ValueError: there is no such method.
    """
    if name not in _METHODS:
        raise ValueError(
            f"method must be one of {', '.join(_METHODS)}, or registered with register_method. Received: {name!r}"
        )
    return _METHODS[name]


def method_of(model: Any) -> PruningMethod | None:
    """Returns the method that a model is wrapped for; None for a model without wrappers.

    Raises:
      ValueError: its layers are wrapped for several methods, or for one that was not registered.
    """
    found = {each.name: each for each in map(method_of_wrapper, collect_wrappers(model, PruningWrapper))}
    if len(found) > 1:
        raise ValueError(
            "All layers of a model are pruned by one method: wrap them with schedules of one class. "
            f"Received: layers wrapped for {' and '.join(each.title for each in found.values())}"
        )
    return next(iter(found.values()), None)


def method_of_wrapper(wrapper: PruningWrapper) -> PruningMethod:
    """Returns the method that a wrapper belongs to.

    Raises:
      ValueError: its class was not registered.
    """
    found = next((each for each in _METHODS.values() if isinstance(wrapper, each.wrapper)), None)
    if found is None:
        raise ValueError(
            "The pruning method of this wrapper is not registered: call tfmot_swd.pruning.register_method. "
            f"Received: {type(wrapper).__name__}"
        )
    return found


def method_for(schedule: Any) -> PruningMethod:
    """Returns the method of a schedule, by the nearest registered class among its base classes.

    Raises:
      TypeError: no method has schedules of this class.
    """
    for kind in type(schedule).__mro__:
        for method in _METHODS.values():
            if kind in method.schedules:
                return method
    known = ", ".join(each.__name__ for method in _METHODS.values() for each in method.schedules)
    raise TypeError(
        f"pruning_schedule must be an object of one of these classes, or derived from one: {known}. "
        f"Received: {schedule!r}"
    )
