"""Costs of a model that a budget can limit, and their registry."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from tfmot_swd.channels.groups import channel_groups
from tfmot_swd.costs.counts import ChannelCosts
from tfmot_swd.costs.profile import profile
from tfmot_swd.costs.terms import CostTerms
from tfmot_swd.keras2.layer_weights import distinct, elements, layers_with_weights, weights_inside
from tfmot_swd.keras2.serialization import config_key
from tfmot_swd.keras3.door import opened
from tfmot_swd.layers.sample import InputShape

# Arguments of a budget that are not costs.
_TAKEN = ("sparsity", "recipe", "custom_costs", "input_shape")


class Cost(abc.ABC):
    """A cost of a model, counted for any choice of its channels without building the smaller model.

    To add one, subclass it and return from `terms` a sum over the calls or the weights of a model; then pass an
    instance to a `Budget`, or register it under a name. To train under it, register the class with
    `keras.utils.register_keras_serializable`; its config holds the arguments of its constructor, by default its
    attributes.

    Class attributes:
      integral: whether it is a whole number; fractions are rounded up.
      estimated: whether the built model may cost something else than was counted; see `corrected`.

    >>> class Latency(Cost):
    ...     def terms(self, model):
    ...         return sum(20 + 0.01 * call.macs + 0.1 * call.parameters for call in model.calls)
    >>> import tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(100, input_shape=(99,)), keras.layers.Dense(2)])
    >>> Latency().of(net)
    1181.2
    """

    integral: ClassVar[bool] = False
    estimated: ClassVar[bool] = False

    @abc.abstractmethod
    def terms(self, model: ChannelCosts) -> CostTerms:
        """Returns the cost as a sum of terms of `model.calls` or `model.weights`.

        Factors must not be negative, as a cost must not fall where channels are added.
        """

    def of(self, model: Any, input_shape: InputShape | None = None) -> float:
        """Returns the cost of a built tf_keras or Keras 3 Sequential or Functional model as it is.

        Args:
          model: the model.
          input_shape: the sizes of its inputs where it leaves some open, as for `profile`.
        """
        costs = ChannelCosts(channel_groups(model), input_shape)
        return count_terms(self, costs).count(costs.sizes())

    def for_recipe(self, recipe: str) -> Cost:
        """Returns the cost for a TFLite file of this recipe; itself if it does not depend on it."""
        return self

    def calibrated(self, costs: ChannelCosts, smallest: Mapping[str, np.ndarray]) -> Cost:
        """Returns the cost calibrated for one model; itself if its terms are exact.

        Args:
          costs: weights and calls of the model.
          smallest: keep-masks by group of the smallest model allowed.
        """
        return self

    def corrected(self, model: Any, counted: float, limit: float) -> Cost:
        """Returns the cost with its estimate corrected for a built model that costs more than `limit`; otherwise
        itself.

        Args:
          model: the built model.
          counted: its estimated cost.
          limit: the limit of the budget.
        """
        return self

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor: the fields of a dataclass, or all attributes."""
        return dataclasses.asdict(self) if dataclasses.is_dataclass(self) else dict(vars(self))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and config_key(self) == config_key(other)

    def __hash__(self) -> int:
        return hash(config_key(self))


class Parameters(Cost):
    """The number of parameters, moving statistics included."""

    integral = True

    def terms(self, model: ChannelCosts) -> CostTerms:
        return model.elements(*model.weights)

    def of(self, model: Any, input_shape: InputShape | None = None) -> int:
        layers = layers_with_weights(opened(model))
        return elements(distinct(each for _, layer in layers for each in weights_inside(layer)))


class Macs(Cost):
    """The multiply-accumulates for one sample (`tfmot_swd.layers.macs`), for inputs of known sizes."""

    integral = True

    def terms(self, model: ChannelCosts) -> CostTerms:
        return sum((call.macs for call in model.calls), start=CostTerms.of([]))

    def of(self, model: Any, input_shape: InputShape | None = None) -> int:
        return profile(model, input_shape=input_shape).macs


_COSTS: dict[str, Cost] = {}


def register_cost(name: str, cost: Cost) -> Cost:
    """Registers a cost under a name, so that `Budget(name=0.5)` limits it; replaces an earlier one.

    A budget keeps the cost that its name referred to when it was made, also in the files of models in training.

    Args:
      name: a Python identifier, not that of a built-in cost.
      cost: the cost.

    Returns:
      The cost.

    Raises:
      TypeError: `cost` is not a `Cost`.
      ValueError: the name is taken by an argument of `Budget`, or not an identifier.

    >>> class Calls(Cost):
    ...     def terms(self, model):
    ...         return sum(0 * call.macs + 1 for call in model.calls)
    >>> cost = register_cost("calls", Calls())
    """
    if not isinstance(cost, Cost):
        raise TypeError(f"A cost is an instance of tfmot_swd.costs.cost.Cost. Received: {cost!r}")
    check_cost_name(name)
    _COSTS[name] = cost
    return cost


def check_cost_name(name: str) -> None:
    """Raises a ValueError for a name that a custom cost cannot have: a built-in one, or not an identifier."""
    if not isinstance(name, str) or not name.isidentifier() or name in _TAKEN or name in _COSTS.keys() & BUILT_IN:
        raise ValueError(
            "A cost needs a name that an argument of Budget can have, and that of no other: choose one such as "
            f"'latency'. Received: {name!r}"
        )


# The costs that a budget has named arguments for, in their order.
BUILT_IN = ("parameters", "macs", "bytes")


def find_cost(name: str) -> Cost:
    """Returns the cost registered under a name.

    Raises:
      ValueError: there is none.
    """
    if name == "latency" and name not in _COSTS:
        raise ValueError(
            "A budget of latency needs the operator times of a device: measure them with tfmot-swd calibrate "
            '--output=device.json, then register_cost("latency", LatencyCost.read("device.json")) of tfmot_swd.costs, '
            "or give the cost to the budget as custom_costs={'latency': cost}. Received: latency, and no table"
        )
    if name not in _COSTS:
        raise ValueError(
            f"There is no cost of this name: choose one of {', '.join((*_COSTS, 'sparsity'))}, register yours with "
            "tfmot_swd.costs.cost.register_cost(name, cost), or give it to the budget as custom_costs={name: cost}. "
            f"Received: {name!r}"
        )
    return _COSTS[name]


def count_terms(cost: Cost, costs: ChannelCosts) -> CostTerms:
    """Returns the terms of a cost for one model.

    Raises:
      TypeError: `Cost.terms` does not return `CostTerms`.
      ValueError: a factor is negative or not finite, so that the search, which needs a monotone cost, would fail.
    """
    kind, terms = type(cost).__name__, cost.terms(costs)
    if not isinstance(terms, CostTerms):
        raise TypeError(
            f"{kind}.terms must return a sum of terms, such as sum(0.1 * call.macs for call in model.calls). "
            f"Received: {terms!r}"
        )
    terms = dataclasses.replace(terms.merged(), integral=cost.integral)
    depends = (terms.axes > 0).any(axis=1)
    if not np.isfinite(terms.coefficients).all() or (terms.coefficients[depends] < 0).any():
        raise ValueError(
            f"{kind}.terms must have finite factors, and none that is negative: a cost cannot fall where channels are "
            f"added. Received: {float(terms.coefficients.min()):g} as the least of {len(terms.coefficients)}"
        )
    return terms


register_cost("parameters", Parameters())
register_cost("macs", Macs())
