"""Selective Weight Decay (arXiv 2011.10520), of single weights; of whole channels in `structured`."""

from tfmot_swd.swd.entry import prune_selective_decay
from tfmot_swd.swd.method import CHANNELS, WEIGHTS
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
