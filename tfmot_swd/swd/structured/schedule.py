"""Schedule of structured Selective Weight Decay: cost limits by step."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from tfmot_swd.channels.criteria import ChannelCriterion, resolve_criterion
from tfmot_swd.costs.budget import Budget, as_budget
from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.serialization import as_entry, from_entry
from tfmot_swd.keras2.validation import whole_number
from tfmot_swd.pruning.schedules import check_not_in_tfmots_wrapper
from tfmot_swd.swd.schedules import PAPER_A_MAX, PAPER_A_MIN, DecaySchedule

MODES = ("filter", "scale")
SCOPES = ("global", "layer")
LAYERS = ("all", "convolutions")


@keras.utils.register_keras_serializable("tfmot_swd")
@dataclasses.dataclass(frozen=True)
class StructuredDecay(DecaySchedule):
    """Schedule of Selective Weight Decay that removes whole channels, until the network meets a budget.

    At step k of K = end_step - begin_step, with t = k/K, a cost may be at most

        limit(t) = final + (whole - final) · (1 - t/ramp)^power  for t < ramp, then final

    and the weakest channels of the model are targeted, the fewest whose removal brings the network within every limit:
    their weights are decayed with the strength of `SelectiveDecay`. At `end_step`, the final pruning step, these become
    zero and stay so, and `strip_pruning` removes the channels. One threshold holds for all groups of channels; channels
    that an addition joins are one.

    Source: Tessier et al., "Rethinking Weight Decay For Efficient Neural Network Pruning", arXiv 2011.10520.

    Args:
      budget: a `Budget`, or the share of the parameters to remove, in (0, 1).
      end_step: optimizer update after which the final pruning step is made, counted from wrapping on.
      criterion: how channels are ranked. "scale", as published: by |gamma| of the batch norms behind them (the mean of
        several), and without a batch norm by the L2 norm of the filter: each is the factor that scales an input of
        variance 1. "auto": "scale" divided by the mean over the group, which keeps wide layers, whose scales are
        larger, from surviving all others (docs/results/channels.md). "magnitude": by the L2 norm of all weights of a channel,
        divided by the mean over its group. "filter_norm": the same of the filters and biases that make a channel.
        "l1", "l2": by the norm of the filter, "geometric_median": by its distance to the others, all over the mean. Or
        a `ChannelCriterion` of weights alone; those that need gradients are for `prune_progressive_gradient`.
      mode: the weights of a targeted channel that are decayed. "filter": all of them, the slices that make the channel
        and those that read it. "scale": gamma and beta alone, and without a batch norm the filter and its bias. In
        both, all of them become zero at the final pruning step.
      scope: "global" compares all channels; "layer" removes the same share of every group.
      layers: "all" ranks every group of channels that can be removed, units of dense layers too; "convolutions" those
        that a convolution makes.
      minimum: least number of channels that each group keeps.
      round_to: the number of channels kept in a group is a multiple of this, if the group has as many.
      epochs, begin_step, ramp, power, mu, a_min, a_max, shrink_min, shrink_max, penalty, frequency: as
        `SelectiveDecay`.

    Raises:
      TypeError: `budget` is neither a Budget nor a number.
      ValueError: an argument is outside its range.

    >>> schedule = StructuredDecay(Budget(macs=0.5), end_step=300)
    >>> schedule.budget.limits({"macs": 1000})
    {'macs': 500}
    """

    budget: Budget | float
    end_step: int = 0
    criterion: str | ChannelCriterion = dataclasses.field(default="auto", kw_only=True)
    mode: str = dataclasses.field(default="filter", kw_only=True)
    scope: str = dataclasses.field(default="global", kw_only=True)
    layers: str = dataclasses.field(default="all", kw_only=True)
    minimum: int = dataclasses.field(default=1, kw_only=True)
    round_to: int = dataclasses.field(default=1, kw_only=True)

    @classmethod
    def paper(
        cls,
        budget: Budget | float,
        end_step: int = 0,
        *,
        epochs: int | None = None,
        mode: str = "filter",
        mu: float | None = None,
        a_min: float = PAPER_A_MIN,
        a_max: float = PAPER_A_MAX,
        penalty: str = "auto",
        frequency: int = 1,
    ) -> StructuredDecay:
        """Returns the schedule as published: the final budget from the start, |gamma|, coupled, a from 0.1 to 1e5.

        On residual networks it differs from the authors' code, which ranks the batch norms of each block separately:
        here, channels that additions join across the blocks of a stage are one group, ranked by the mean |gamma|.

        >>> StructuredDecay.paper(0.9, end_step=600).ramp
        0.0
        """
        return cls(
            budget,
            end_step,
            epochs=epochs,
            criterion="scale",
            mode=mode,
            ramp=0.0,
            mu=mu,
            a_min=a_min,
            a_max=a_max,
            penalty=penalty,
            frequency=frequency,
        )

    def __post_init__(self) -> None:
        budget = as_budget(self.budget)
        budget.check_can_be_saved()
        object.__setattr__(self, "budget", budget)
        resolve_criterion(self.criterion, of_weights=True)
        for name, known in (("mode", MODES), ("scope", SCOPES), ("layers", LAYERS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}. Received: {getattr(self, name)!r}")
        for name in ("minimum", "round_to"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), 1))
        super().__post_init__()
        if self.is_forward:
            raise ValueError(
                "The forward form exists for single weights (SelectiveDecay): use penalty='implicit', 'coupled' or "
                f"'auto' for channels. Received: penalty={self.penalty!r}"
            )

    def __call__(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the pair of a TFMOT schedule: whether targets are computed at `step`, and the share of the way made.

        Args:
          step: integer scalar.

        Returns:
          (bool scalar, float32 scalar).

        Raises:
          ValueError: TFMOT's own wrapper calls it, which cannot follow this schedule.
        """
        check_not_in_tfmots_wrapper(self, "prune_selective_decay")
        return self.is_due(step), tf.cast(1.0 - self.way_left(step), tf.float32)

    def get_config(self) -> dict[str, Any]:
        config = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        config["budget"] = as_budget(self.budget).get_config()
        if not isinstance(self.criterion, str):
            config["criterion"] = as_entry(self.criterion)
        return {"class_name": "tfmot_swd>StructuredDecay", "config": config}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> StructuredDecay:
        criterion = config["criterion"]
        if isinstance(criterion, dict):
            criterion = from_entry(criterion)
        return cls(**{**config, "budget": Budget.from_config(config["budget"]), "criterion": criterion})
