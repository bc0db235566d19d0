"""Progressive Gradient Pruning: filters leave during training."""

from tfmot_swd.progressive import channel_rule as _channel_rule  # noqa: F401  (registers the rule)
from tfmot_swd.progressive.criteria import CRITERIA, ChannelCriterion
from tfmot_swd.progressive.entry import prune_progressive_gradient
from tfmot_swd.progressive.rate import CURVES, ProgressiveRate
from tfmot_swd.progressive.settings import ProgressiveSettings
from tfmot_swd.progressive.wrapper import PruneProgressiveGradient

__all__ = [
    "CRITERIA",
    "CURVES",
    "ChannelCriterion",
    "ProgressiveRate",
    "ProgressiveSettings",
    "PruneProgressiveGradient",
    "prune_progressive_gradient",
]
