"""Selective Weight Decay (arXiv 2011.10520) of single weights; `structured` has that of whole channels."""

from tfmot_swd.swd.entry import CHANNELS, WEIGHTS, prune_selective_decay
from tfmot_swd.swd.monitor import PruningStatus
from tfmot_swd.swd.schedules import DecaySchedule, SelectiveDecay
from tfmot_swd.swd.structured import PruneStructuredDecay, StructuredDecay
from tfmot_swd.swd.wrapper import PruneSelectiveDecay

__all__ = [
    "CHANNELS",
    "WEIGHTS",
    "DecaySchedule",
    "PruneSelectiveDecay",
    "PruneStructuredDecay",
    "PruningStatus",
    "SelectiveDecay",
    "StructuredDecay",
    "prune_selective_decay",
]
