"""Registry of pruning methods: one record for each, by which the shared parts of the package find it."""

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
    """What a model is to become by the end of a training, whatever the method.

    Args:
      rate: share to remove, in (0, 1), of what the method counts; None for a budget.
      budget: what may be left; None for a rate.
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
        """The number of updates of the training."""
        return self.epochs * self.steps_per_epoch


@dataclasses.dataclass(frozen=True)
class PruningMethod:
    """One pruning method, as callback, stripping, backup, report and command line ask for it.

    A method is a wrapper, which keeps its state in the model; a run, which is one training; a schedule, which says when
    and how much; and a status, which says how far it is. `register_method` makes it known.

    Args:
      name: on the command line (`--method`), and in messages.
      title: as people call it.
      wrapper: class of the wrapper layers.
      run: class of one training.
      status: class of what `UpdatePruningStep.history` holds.
      schedules: classes of the schedules that ask for this method, in `prune_low_magnitude`.
      wrap: (model, schedule, keyword arguments of the method) → the model to train.
      wrap_layer: (layer, schedule, keyword arguments) → a wrapped layer, to build a model of; None where a layer on its
        own means nothing.
      wrap_to: (model, `Target`, skip=, only=) → the model to train, for the command line.
      plan: (model, skip=, only=) → what would be pruned; prints as a table.
      rate_of: what its rate is a share of.
      takes_budget: whether its target may be a `Budget`.
      summary: what it does, in half a sentence, for the help of the command line.
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


_METHODS: dict[str, PruningMethod] = {}


def register_method(method: PruningMethod) -> PruningMethod:
    """Makes a pruning method known to everything that is not of one method.

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
        shared = {each.__name__ for each in method.schedules} & {each.__name__ for each in other.schedules}
        same = [method.name] if other.name == method.name else []
        same += [method.wrapper.__name__] if other.wrapper is method.wrapper else []
        if same or any(each in other.schedules for each in method.schedules):
            raise ValueError(
                "A method has a name, a wrapper class and schedule classes of its own: choose others. "
                f"Received: {', '.join([*same, *sorted(shared)])}, as {other.title} has"
            )
    _METHODS[method.name] = method
    # By its very class: a rule does not hold for subclasses that override methods, and wrappers do.
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
            f"method must be one of {', '.join(_METHODS)}, or one that register_method made known. Received: {name!r}"
        )
    return _METHODS[name]


def method_of(model: Any) -> PruningMethod | None:
    """Returns the method that a model is wrapped for; None where it is not wrapped.

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
            "The pruning method of this wrapper is not known: call tfmot_swd.pruning.register_method with its class. "
            f"Received: {type(wrapper).__name__}"
        )
    return found


def method_for(schedule: Any) -> PruningMethod:
    """Returns the method that a schedule asks for, by the nearest class of its ancestry.

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
