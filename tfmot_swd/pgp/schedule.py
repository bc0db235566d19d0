"""Schedules of progressive and soft filter pruning: the share of filters left after each epoch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.costs.budget import Budget
from tfmot_swd.keras2.compat import PruningSchedule, keras
from tfmot_swd.keras2.validation import whole_number
from tfmot_swd.pruning.schedules import check_not_in_tfmots_wrapper

# Base of PSFP's curve and steepness of ASFP's, which reach a quarter and three quarters of the rate after an eighth of
# the epochs.
_PSFP_REST = 0.147
_ASFP_STEEPNESS = 8 * math.log(4)

Curve = Callable[[float, int, int], float]

# (rate, epochs finished, epochs in all) → share of the filters to leave.
CURVES: dict[str, Curve] = {
    "exponential": lambda rate, epoch, epochs: (1 - rate) ** ((epoch + 1) / epochs),
    "geometric": lambda rate, epoch, epochs: (1 - rate) ** (epoch / epochs),
    "linear": lambda rate, epoch, epochs: 1 - rate * epoch / epochs,
    "psfp": lambda rate, epoch, epochs: 1 - rate * (1 - _PSFP_REST ** (epoch / epochs)) / (1 - _PSFP_REST),
    "asfp": lambda rate, epoch, epochs: (
        1 - rate * math.expm1(-_ASFP_STEEPNESS * epoch / epochs) / math.expm1(-_ASFP_STEEPNESS)
    ),
    "constant": lambda rate, epoch, epochs: 1 - rate,
    "once": lambda rate, epoch, epochs: 1.0 if epoch < epochs else 1 - rate,
}


@keras.utils.register_keras_serializable("tfmot_swd")
@dataclasses.dataclass(frozen=True)
class ProgressiveRate(PruningSchedule):
    """Schedule of progressive filter pruning: the share of filters that is left after each epoch.

    With P the final rate, e epochs finished of E, the share that is left of a layer's filters:

        "exponential"  (1 - P)^((e + 1) / E)                       as published; ends slightly below 1 - P
        "geometric"    (1 - P)^(e / E)                             the same shape, ends at 1 - P
        "linear"       1 - P·e/E
        "psfp"         1 - P·(1 - .147^(e/E)) / (1 - .147)         a quarter of P at E/8
        "asfp"         1 - P·(1 - exp(-k·e/E)) / (1 - exp(-k))     three quarters of P at E/8, k = 11.09
        "constant"     1 - P                                       soft filter pruning (SFP)
        "once"         1 before E, then 1 - P                      prune once, then fine-tune

    Of the N filters that a layer has then, int(N - N0·share) are weak, with N0 its initial number. Epochs of a fit
    beyond E fine-tune.

    Source: Nguyen-Meidine et al., arXiv 1906.08746; PSFP and ASFP: He et al., arXiv 1808.07471; SFP: arXiv 1808.06866.

    Args:
      final_rate: P, the share of filters to remove, in (0, 1); or a `Budget`, for which
        `prune_progressive_gradient` finds the least rate that meets it.
      epochs: E, the epochs in which filters are pruned.
      curve: a key of the table above.
      removal_frequency: epochs between two removals of filters, which are also removed after the last epoch; in
        between the weak ones are only set to zero. After each removal Keras traces the training step again.
      updates_per_epoch: length of an epoch of this schedule in optimizer updates; None for the epochs of fit. With
        `steps_per_execution` filters are ranked after the call in which such an epoch has ended, once for all of them.

    Raises:
      ValueError: an argument is outside its range.

    >>> rate = ProgressiveRate(final_rate=0.5, epochs=10)
    >>> [round(64 * rate.share_left(epoch), 1) for epoch in (1, 5, 10)]
    [55.7, 42.2, 29.9]
    """

    final_rate: float | Budget
    epochs: int
    curve: str = "exponential"
    removal_frequency: int = 1
    updates_per_epoch: int | None = None

    def __post_init__(self) -> None:
        rate = self.final_rate
        is_number = isinstance(rate, int | float | np.number) and not isinstance(rate, bool)
        if not isinstance(rate, Budget) and not (is_number and 0 < rate < 1):
            raise ValueError(f"final_rate must be in (0, 1), the share of filters to remove. Received: {rate!r}")
        for name in ("epochs", "removal_frequency", "updates_per_epoch"):
            if getattr(self, name) is not None or name != "updates_per_epoch":
                object.__setattr__(self, name, whole_number(name, getattr(self, name), 1))
        if not isinstance(rate, Budget):
            object.__setattr__(self, "final_rate", float(rate))
        if not isinstance(self.curve, str) or self.curve not in CURVES:
            raise ValueError(f"curve must be one of {', '.join(CURVES)}. Received: {self.curve!r}")

    def share_left(self, epoch: int) -> float:
        """Returns the share of the filters to leave after `epoch` epochs; 1 before the first has ended.

        Raises:
          ValueError: the final rate is a budget that has not been resolved for a model.
        """
        if isinstance(self.final_rate, Budget):
            raise ValueError(
                "The rate that meets a budget depends on the model: prune_progressive_gradient finds it, for the "
                f"pruning_schedule of the wrapped layers. Received: final_rate={self.final_rate}"
            )
        epoch = min(epoch, self.epochs)
        return 1.0 if epoch < 1 else CURVES[self.curve](self.final_rate, epoch, self.epochs)

    def removes_after(self, epoch: int) -> bool:
        """Returns whether filters are removed after this epoch, and not only set to zero."""
        return epoch == self.epochs or (epoch < self.epochs and epoch % self.removal_frequency == 0)

    def __call__(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the pair of a TFMOT schedule: whether filters are ranked at `step`, and the rate then.

        Args:
          step: integer scalar, in epochs of this schedule.

        Returns:
          (bool scalar, float32 scalar).

        Raises:
          ValueError: TFMOT's own wrapper calls it, which cannot follow this schedule; the final rate is a budget.
        """
        check_not_in_tfmots_wrapper(self, "prune_progressive_gradient")
        epoch = tf.cast(step, tf.int64)
        rates = [1 - self.share_left(each) for each in range(self.epochs + 1)]
        rate = tf.gather(tf.constant(rates, tf.float32), tf.clip_by_value(epoch, 0, self.epochs))
        return (epoch >= 1) & (epoch <= self.epochs), rate

    def get_config(self) -> dict[str, Any]:
        config = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if isinstance(self.final_rate, Budget):
            config["final_rate"] = self.final_rate.get_config()
        return {"class_name": "tfmot_swd>ProgressiveRate", "config": config}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ProgressiveRate:
        rate = config["final_rate"]
        return cls(**{**config, "final_rate": Budget.from_config(rate) if isinstance(rate, dict) else rate})
