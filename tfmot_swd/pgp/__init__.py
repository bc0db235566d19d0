"""Progressive Gradient Pruning: filters leave during training."""

from tfmot_swd.pgp import channel_rule as _channel_rule  # noqa: F401  (registers the rule)
from tfmot_swd.pgp.criteria import CRITERIA, ChannelCriterion
from tfmot_swd.pgp.entry import prune_progressive_gradient
from tfmot_swd.pgp.schedule import CURVES, ProgressiveRate
from tfmot_swd.pgp.settings import ProgressiveSettings
from tfmot_swd.pgp.wrapper import PruneProgressiveGradient

__all__ = [
    "CRITERIA",
    "CURVES",
    "ChannelCriterion",
    "ProgressiveRate",
    "ProgressiveSettings",
    "PruneProgressiveGradient",
    "prune_progressive_gradient",
]
