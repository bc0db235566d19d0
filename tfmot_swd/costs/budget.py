"""What a model may still cost: budgets of parameters, MACs or bytes in the place of a rate."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfmot_swd.keras2.compat import keras

COSTS = ("parameters", "macs", "bytes")
RECIPES = ("int8", "float32")


@keras.utils.register_keras_serializable("tfmot_swd")
@dataclasses.dataclass(frozen=True)
class Budget:
    """What may be left of a model; every limit that is given holds.

    A float up to 1 is a share of what the model costs as a whole, anything else a count.

    Args:
      parameters: of the model that is left, moving statistics included.
      macs: multiply-accumulates for one sample (`tfmot_swd.layers.macs`).
      bytes: of its TFLite file. While training it is estimated, from two files made beforehand, and may come out some
        per cent larger or smaller; `export_tflite` gives the real number. `fit_budget` makes the file, and holds it.
      sparsity: share of the parameters to remove, in [0, 1): Budget(sparsity=0.9) is Budget(parameters=0.1).
      recipe: of the file that `bytes` is about, "int8" or "float32".

    Raises:
      ValueError: no limit, or one that is outside its range.

    >>> Budget(macs=0.5).limits({"parameters": 1000, "macs": 80_000})
    {'macs': 40000}
    """

    parameters: float | int | None = None
    macs: float | int | None = None
    bytes: float | int | None = None
    sparsity: float | None = None
    recipe: str = "int8"

    def __post_init__(self) -> None:
        for name in COSTS:
            value = _plain(getattr(self, name))
            object.__setattr__(self, name, value)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            is_known = is_number and (_is_share(value) or float(value).is_integer())
            if value is not None and not (is_known and value > 0):
                raise ValueError(
                    f"{name} must be a count, or a share of the whole model's, a float in (0, 1]. "
                    f"Received: {name}={value!r}"
                )
        sparsity = _plain(self.sparsity)
        object.__setattr__(self, "sparsity", sparsity)
        is_share = isinstance(sparsity, int | float) and not isinstance(sparsity, bool) and 0 <= sparsity < 1
        if sparsity is not None and not is_share:
            raise ValueError(
                f"sparsity must be in [0, 1), the share of the parameters to remove. Received: {sparsity!r}"
            )
        if sparsity is not None and self.parameters is not None:
            raise ValueError(
                "sparsity and parameters say the same: give one of them. "
                f"Received: sparsity={sparsity}, parameters={self.parameters}"
            )
        if not self.costs:
            raise ValueError(
                "A budget needs a limit: parameters, macs, bytes or sparsity, for example Budget(macs=0.5). "
                "Received: none"
            )
        if self.recipe not in RECIPES:
            raise ValueError(f"recipe must be one of {', '.join(RECIPES)}. Received: {self.recipe!r}")

    @property
    def costs(self) -> tuple[str, ...]:
        """Which of "parameters", "macs" and "bytes" are limited."""
        given = {name for name in COSTS if getattr(self, name) is not None}
        if self.sparsity is not None:
            given.add("parameters")
        return tuple(name for name in COSTS if name in given)

    def limits(self, whole: Mapping[str, int]) -> dict[str, int]:
        """Returns the limits as counts, for a model that costs `whole` as it is."""
        found = {}
        for name in self.costs:
            value = getattr(self, name)
            if value is None and self.sparsity is not None:
                value = 1.0 - self.sparsity
            # A share of a count that comes out a rounding error below the next one is that one.
            found[name] = int(value * whole[name] * (1 + 1e-12)) if _is_share(value) else int(value)
        return found

    def get_config(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Budget:
        return cls(**config)


def _is_share(value: float | int) -> bool:
    return isinstance(value, float) and value <= 1


def _plain(value: Any) -> Any:
    """Returns a number of NumPy as one of Python's, anything else as it is."""
    return value.item() if isinstance(value, np.number) else value


def as_budget(given: Budget | float) -> Budget:
    """Returns a budget as it is, and a number as the share of the parameters to remove.

    Raises:
      TypeError: neither.
      ValueError: the share is not in (0, 1).
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
