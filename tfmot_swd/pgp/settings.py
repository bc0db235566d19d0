"""Settings of Progressive Gradient Pruning other than its schedule."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tfmot_swd.channels.criteria import ChannelCriterion, resolve_criterion
from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.serialization import as_entry, from_entry
from tfmot_swd.keras2.validation import whole_number
from tfmot_swd.pgp.ranking import SCOPES

REDUCTIONS = ("leader", "sum", "mean")
SOFT_RESETS = ("all", "kernel")


@keras.utils.register_keras_serializable("tfmot_swd")
@dataclasses.dataclass(frozen=True)
class ProgressiveSettings:
    """Checked arguments of `prune_progressive_gradient` other than the schedule, shared by all wrappers of a model.

    Raises:
      ValueError: an argument is outside its range.
      TypeError: `criterion` is neither a name nor a ChannelCriterion.
    """

    criterion: ChannelCriterion
    hard_share: float = 0.5
    reduction: str = "leader"
    scope: str = "layer"
    soft_reset: str = "all"
    reset_slots: bool = True
    round_to: int = 1
    minimum: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "criterion", resolve_criterion(self.criterion))
        share = self.hard_share
        if isinstance(share, bool) or not isinstance(share, int | float | np.number) or not 0 <= share <= 1:
            raise ValueError(
                f"hard_share must be in [0, 1], the share of the weak filters to remove at once. Received: {share!r}"
            )
        object.__setattr__(self, "hard_share", float(share))
        for name, known in (("reduction", REDUCTIONS), ("scope", SCOPES), ("soft_reset", SOFT_RESETS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}. Received: {getattr(self, name)!r}")
        for name, least in (("round_to", 1), ("minimum", 1), ("seed", 0)):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), least))

    def get_config(self) -> dict[str, Any]:
        config = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**config, "criterion": as_entry(self.criterion)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ProgressiveSettings:
        criterion = from_entry(config["criterion"])
        return cls(**{**config, "criterion": criterion})
