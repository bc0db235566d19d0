"""Layer families: the prunable weights, channels, multiply-accumulates and constants of each layer class.

A family has a file, which registers it when it is imported.
"""

from tfmot_swd.layers import (  # noqa: F401
    attention,
    channelwise,
    convolution,
    dense,
    functions,
    merging,
    normalization,
    operators,
    products,
    recurrent,
    slicing,
    structure,
    wrapping,
)
from tfmot_swd.layers.activations import register_function
from tfmot_swd.layers.registry import LayerFamily, register_layer

__all__ = ["LayerFamily", "register_function", "register_layer"]
