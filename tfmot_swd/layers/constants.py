"""Rules for channels that are constant whatever the input: what a layer makes of constants in inference mode.

A line has the value of each channel, float64, NaN where a channel is not constant.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from tfmot_swd.keras2.layer_weights import has_bias

Line = np.ndarray


@dataclasses.dataclass(frozen=True)
class Linear:
    """A product of the input's channels with a weight, a bias, and the activation in `layer.activation`.

    Args:
      outputs: (layer, line of the input's channels) → line of the output's channels, before the activation.
      weight: attribute of the weight that reads the input's channels.
      folds: whether a constant that is not zero can be added to the bias instead, where the layer is unpadded
        (`is_unpadded`) and not grouped. The layer's config counts a bias as "use_bias".
    """

    outputs: Callable[[Any, Line], Line]
    weight: str = "kernel"
    folds: bool = False


@dataclasses.dataclass(frozen=True)
class Moves:
    """A layer that gives each input channel back on another place; the channel rule says where.

    Args:
      pads_with_zeros: whether it writes zeros beside the values, so that only a constant zero stays one.
    """

    pads_with_zeros: bool = False


@dataclasses.dataclass(frozen=True)
class PerElement:
    """A layer that acts on each element alone, or on elements at the same place: it is called on the constants.

    Args:
      zero_wins: whether one constant zero makes the result zero, as in a product.
    """

    zero_wins: bool = False


ConstantsRule = Linear | Moves | PerElement


def is_unpadded(layer: Any, kernel: Any) -> bool:
    """Returns whether every output reads real inputs only, so that a constant input is a constant there.

    Args:
      layer: a dense layer or a convolution.
      kernel: its weight `(…, in, out)`, of no further axis for a dense layer.
    """
    return str(getattr(layer, "padding", "")).lower() == "valid" or all(size == 1 for size in kernel.shape[:-2])


def weighted(line: Line, kernel: np.ndarray, unpadded: bool) -> Line:
    """Returns the constants that a kernel `(…, in, out)` makes of constants, without bias."""
    kernel = kernel.reshape(-1, *kernel.shape[-2:]).astype(np.float64)
    used = (kernel != 0.0).any(axis=0)
    total = kernel.sum(axis=0)
    settled = (line == 0.0) | (~np.isnan(line) & unpadded)
    value = np.where(settled, np.nan_to_num(line), 0.0) @ total
    return np.where((used & ~settled[:, None]).any(axis=0), np.nan, value)


def weighted_each(line: Line, kernel: np.ndarray, unpadded: bool) -> Line:
    """Returns the constants that a depthwise kernel `(…, in, multiplier)` makes of constants, without bias."""
    kernel = kernel.reshape(-1, *kernel.shape[-2:]).astype(np.float64)
    settled = ((line == 0.0) | (~np.isnan(line) & unpadded))[:, None]
    value = np.nan_to_num(line)[:, None] * kernel.sum(axis=0)
    return np.where(settled, value, np.where((kernel != 0.0).any(axis=0), np.nan, 0.0)).reshape(-1)


def with_bias(layer: Any, line: Line) -> Line:
    """Returns a line with the layer's bias added, where it has one."""
    return line + layer.bias.numpy().astype(np.float64) if has_bias(layer) else line
