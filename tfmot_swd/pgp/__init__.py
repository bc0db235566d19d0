"""Progressive Gradient Pruning (arXiv 1906.08746): filters are removed during training."""

from tfmot_swd.channels.criteria import CRITERIA, ChannelCriterion
from tfmot_swd.pgp import criteria as _criteria  # noqa: F401  (registers the names)
from tfmot_swd.pgp.entry import METHOD, prune_progressive_gradient
from tfmot_swd.pgp.schedule import CURVES, ProgressiveRate
from tfmot_swd.pgp.settings import ProgressiveSettings
from tfmot_swd.pgp.wrapper import PruneProgressiveGradient

__all__ = [
    "CRITERIA",
    "CURVES",
    "METHOD",
    "ChannelCriterion",
    "ProgressiveRate",
    "ProgressiveSettings",
    "PruneProgressiveGradient",
    "prune_progressive_gradient",
]
