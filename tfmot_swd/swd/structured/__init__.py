"""Selective Weight Decay of whole channels, to a budget."""

from tfmot_swd.channels.scores import channel_scores
from tfmot_swd.swd.structured.schedule import StructuredDecay
from tfmot_swd.swd.structured.wrapper import PruneStructuredDecay

__all__ = ["PruneStructuredDecay", "StructuredDecay", "channel_scores"]
