"""Families of Keras's layers and of TensorFlow's operators, a file each; importing registers them."""

from tfmot_swd.layers import (
    attention,
    convolution,
    dense,
    elementwise,
    merging,
    normalization,
    operators,
    recurrent,
    slicing,
    spatial,
    structure,
    wrapping,
)

__all__ = [
    "attention",
    "convolution",
    "dense",
    "elementwise",
    "merging",
    "normalization",
    "operators",
    "recurrent",
    "slicing",
    "spatial",
    "structure",
    "wrapping",
]
