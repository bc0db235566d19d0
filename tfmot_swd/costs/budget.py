"""Budgets: limits on the costs of a pruned model, in place of a pruning rate."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfmot_swd.costs.cost import BUILT_IN, Cost, check_cost_name, find_cost
from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.serialization import as_entry, check_registered, config_key, from_entry
from tfmot_swd.layers.sample import InputShape

RECIPES = ("int8", "float32")

# A share of a count that comes out a rounding error below the next one is that one.
_SLACK = 1 + 1e-12


@keras.utils.register_keras_serializable("tfmot_swd")
@dataclasses.dataclass(frozen=True, init=False, repr=False, eq=False)
class Budget:
    """Upper limits on the costs of a pruned model; all limits that are given hold.

    A float up to 1 is a share of the cost of the unpruned model, any other number an amount. Other costs than those
    below are limited by name, once they are registered (`register_cost`) or passed in `custom_costs`:
    Budget(latency=0.5).

    Args:
      parameters: number of parameters, moving statistics included.
      macs: multiply-accumulates for one sample (`tfmot_swd.layers.macs`).
      bytes: size of the TFLite file. While training it is estimated, from two files made beforehand, and may be a few
        per cent off; `export_tflite` returns the real number. `fit_budget` makes the file, and holds the limit.
      sparsity: share of the parameters to remove, in [0, 1): Budget(sparsity=0.9) is Budget(parameters=0.1).
      recipe: of the file that `bytes` refers to, "int8" (default) or "float32".
      custom_costs: costs by name, for limits of costs that are not registered.
      input_shape: the shape of the model's input without the batch axis, as (224, 224, 3), for which costs are counted
        where the model leaves sizes open; for several inputs a list of shapes, in the order of model.inputs.
      limits: limits of other costs by name. Choose a unit in which a model costs more than 1, such as microseconds, as
        smaller floats are shares.

    Raises:
      TypeError: an entry of `custom_costs` is not a `Cost`.
      ValueError: there is no limit, a limit is out of range, or a cost is unknown.

    >>> Budget(macs=0.5).limits({"parameters": 1000, "macs": 80_000})
    {'macs': 40000}
    """

    parameters: float | int | None
    macs: float | int | None
    bytes: float | int | None
    sparsity: float | None
    recipe: str
    custom_costs: Mapping[str, Cost]
    input_shape: InputShape | None
    other_limits: Mapping[str, float | int]

    def __init__(
        self,
        parameters: float | int | None = None,
        macs: float | int | None = None,
        bytes: float | int | None = None,
        sparsity: float | None = None,
        recipe: str = "int8",
        *,
        custom_costs: Mapping[str, Cost] | None = None,
        input_shape: InputShape | None = None,
        **limits: float | int | None,
    ) -> None:
        others = {name: _plain(value) for name, value in limits.items() if value is not None}
        # What each name stands for now: a file of a model that trains under this budget keeps it.
        custom = _custom_costs(others, custom_costs or {})
        own = {"parameters": parameters, "macs": macs, "bytes": bytes, "sparsity": sparsity}
        fields = {name: _plain(value) for name, value in own.items()}
        fields |= {"recipe": recipe, "custom_costs": custom, "other_limits": others}
        fields["input_shape"] = None if input_shape is None else as_tuples(input_shape)
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        for name in BUILT_IN:
            _check_limit(name, getattr(self, name), is_integral=True)
        for name, value in others.items():
            _check_limit(name, value, custom[name].integral)
        is_number = isinstance(self.sparsity, int | float) and not isinstance(self.sparsity, bool)
        if self.sparsity is not None and not (is_number and 0 <= self.sparsity < 1):
            raise ValueError(
                f"sparsity must be in [0, 1), the share of the parameters to remove. Received: {self.sparsity!r}"
            )
        if self.sparsity is not None and self.parameters is not None:
            raise ValueError(
                "sparsity and parameters say the same: give one of them. "
                f"Received: sparsity={self.sparsity}, parameters={self.parameters}"
            )
        if not self.costs:
            raise ValueError(
                "A budget needs a limit: parameters, macs, bytes or sparsity, for example Budget(macs=0.5). "
                "Received: none"
            )
        if recipe not in RECIPES:
            raise ValueError(f"recipe must be one of {', '.join(RECIPES)}. Received: {recipe!r}")

    @property
    def costs(self) -> tuple[str, ...]:
        """The names of the limited costs."""
        return tuple(self._limits())

    def cost(self, name: str) -> Cost:
        """Returns the cost with one of the names in `costs`."""
        return (self.custom_costs[name] if name in self.custom_costs else find_cost(name)).for_recipe(self.recipe)

    def limits(self, whole: Mapping[str, float]) -> dict[str, Any]:
        """Returns the limits as amounts; ints for integral costs.

        Args:
          whole: the costs of the unpruned model, by name.
        """
        found: dict[str, Any] = {}
        for name, value in self._limits().items():
            is_integral = name not in self.custom_costs or self.custom_costs[name].integral
            amount = value * whole[name] if _is_share(value) else value
            if not is_integral:
                found[name] = float(amount) * _SLACK
            else:
                found[name] = int(amount * _SLACK) if _is_share(value) else int(amount)
        return found

    def check_can_be_saved(self) -> None:
        """Raises a ValueError if the class of a cost is not registered with Keras, as a model in training needs."""
        for cost in self.custom_costs.values():
            check_registered(cost, "cost", "wrapped layers are made from their configs where a model is loaded")

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, with custom costs by their registered classes and configs."""
        config = {name: getattr(self, name) for name in (*BUILT_IN, "sparsity", "recipe")}
        if self.input_shape is not None:
            config["input_shape"] = self.input_shape
        # Where there is none, the config is that of the versions that knew no other costs.
        if self.other_limits:
            config |= self.other_limits
            config["custom_costs"] = {name: as_entry(cost) for name, cost in self.custom_costs.items()}
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Budget:
        entries = config.get("custom_costs", {})
        return cls(**{**config, "custom_costs": {name: from_entry(entry) for name, entry in entries.items()}})

    def __repr__(self) -> str:
        given = {name: getattr(self, name) for name in (*BUILT_IN, "sparsity")} | dict(self.other_limits)
        given["input_shape"] = self.input_shape
        said = [f"{name}={value!r}" for name, value in given.items() if value is not None]
        return f"Budget({', '.join(said)}, recipe={self.recipe!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Budget) and config_key(self) == config_key(other)

    def __hash__(self) -> int:
        return hash(config_key(self))

    def _limits(self) -> dict[str, float | int]:
        """Returns the limits by cost name, `sparsity` as parameters."""
        parameters = self.parameters if self.sparsity is None else 1.0 - self.sparsity
        found = {"parameters": parameters, "macs": self.macs, "bytes": self.bytes, **self.other_limits}
        return {name: value for name, value in found.items() if value is not None}


def _custom_costs(limits: Mapping[str, Any], given: Mapping[str, Cost]) -> dict[str, Cost]:
    """Returns the cost of each limit."""
    for name, cost in given.items():
        check_cost_name(name)
        if not isinstance(cost, Cost):
            raise TypeError(f"custom_costs must hold instances of tfmot_swd.costs.cost.Cost. Received: {name}={cost!r}")
        if name not in limits:
            raise ValueError(
                f"A cost in custom_costs has no limit: also pass {name}=0.5, for example. Received: {sorted(limits)}"
            )
    return {name: given[name] if name in given else find_cost(name) for name in limits}


def _check_limit(name: str, value: Any, is_integral: bool) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_known = is_number and (_is_share(value) or not is_integral or float(value).is_integer())
    if value is not None and not (is_known and value > 0):
        kind = "a count" if is_integral else "an amount"
        raise ValueError(
            f"{name} must be {kind}, or a share of the whole model's, a float in (0, 1]. Received: {name}={value!r}"
        )


def as_tuples(shape: Any) -> Any:
    """Returns an input shape, or a list of them, with tuples in place of lists, as JSON has them."""
    return tuple(map(as_tuples, shape)) if isinstance(shape, list | tuple) else _plain(shape)


def _is_share(value: float | int) -> bool:
    return isinstance(value, float) and value <= 1


def _plain(value: Any) -> Any:
    """Returns a NumPy number as a Python one, anything else as is."""
    return value.item() if isinstance(value, np.number) else value


def as_budget(given: Budget | float) -> Budget:
    """Returns a `Budget` as is, and a number as the budget that removes this share of the parameters.

    Raises:
      TypeError: `given` is neither a `Budget` nor a number.
      ValueError: the share is not in (0, 1).

    >>> as_budget(0.9)
    Budget(sparsity=0.9, recipe='int8')
    """
    if isinstance(given, Budget):
        return given
    given = _plain(given)
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise TypeError(
            "A target is a tfmot_swd.Budget, or the share of the parameters to remove, as 0.9. "
            f"Received: {type(given).__name__}"
        )
    if not 0 < given < 1:
        raise ValueError(f"The share of the parameters to remove must be in (0, 1). Received: {given!r}")
    return Budget(sparsity=float(given))
