"""Goal of a pruning: by which method, to which rate or budget, in which layers."""

from __future__ import annotations

import dataclasses
from typing import Any

from tfmot_swd.costs.budget import Budget
from tfmot_swd.pruning.methods import Target


@dataclasses.dataclass(frozen=True)
class Goal:
    """What a model is to become.

    Args:
      method: name of a registered pruning method.
      rate: share to remove, of what the method counts; None for a budget.
      budget: what may be left; None for a rate.
      skip: layers that stay whole.
      only: layers that may be pruned; None for all.
      round_to: the number of channels kept is a multiple of this.
    """

    method: str
    rate: float | None = None
    budget: Budget | None = None
    skip: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    round_to: int = 1

    def target(self, epochs: int = 1, steps_per_epoch: int = 1) -> Target:
        """Returns what the model is to become by the end of a training of so many epochs."""
        return Target(self.rate, self.budget, epochs, steps_per_epoch, self.round_to)

    def words(self) -> str:
        """Returns the rate or the limits, as they were given."""
        if self.budget is None:
            return f"rate={self.rate:g}"
        given = self.budget.get_config()
        return ", ".join(f"{name}={given[name]}" for name in (*self.budget.costs, "sparsity") if given.get(name))

    def subject(self) -> dict[str, Any]:
        """Returns what tells this goal from others beside its rate or budget, for a journal."""
        return {"method": self.method, **self.layers, "round_to": self.round_to}

    @property
    def layers(self) -> dict[str, Any]:
        """The layers by name, as the functions of the package take them."""
        return {"skip": self.skip, "only": self.only}
