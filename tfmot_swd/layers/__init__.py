"""Layer families: the prunable weights, channels, multiply-accumulates and constants of each layer class."""

from tfmot_swd.layers import families as _families  # noqa: F401  (registers them)
from tfmot_swd.layers.registry import LayerFamily, register_layer

__all__ = ["LayerFamily", "register_layer"]
