"""Magnitude pruning on TFMOT's schedules."""

from tfmot_swd.magnitude.entry import METHOD, prune_magnitude
from tfmot_swd.magnitude.wrapper import PruneMagnitude

__all__ = ["METHOD", "PruneMagnitude", "prune_magnitude"]
