"""Constant propagation through layers in inference mode, for channels with the same value for all inputs.

A `Line` holds the value of each channel, float64 `(channels,)`, NaN where it is not constant.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tfmot_swd.keras2.layer_weights import has_bias
from tfmot_swd.keras2.weight_values import PIECE

Line = np.ndarray


@dataclasses.dataclass(frozen=True)
class Linear:
    """A layer that multiplies its input with a weight and adds a bias, followed by `layer.activation`.

    Args:
      outputs: (layer, line of the input's channels) → line of the output's channels, before the activation.
      weight: attribute of the weight that reads the input's channels.
      folds: whether a nonzero constant input can be folded into the bias, where the layer is unpadded (`is_unpadded`)
        and not grouped. The layer's config has an entry "use_bias".
    """

    outputs: Callable[[Any, Line], Line]
    weight: str = "kernel"
    folds: bool = False


@dataclasses.dataclass(frozen=True)
class Moves:
    """A layer that moves its input values to other positions, as its channel rule says, without changing them.

    Args:
      pads_with_zeros: whether it also writes zeros, so that no other constant stays constant.
    """

    pads_with_zeros: bool = False


@dataclasses.dataclass(frozen=True)
class PerElement:
    """A layer that acts on each element alone, or on elements at the same position of several inputs.

    Its outputs for constant inputs are found by calling it on them.

    Args:
      zero_wins: whether the result is zero where one input is a constant zero, as in a product.
      function: what it computes with, where that may be any function; the constants stay unknown unless it acts on each
        element alone.
    """

    zero_wins: bool = False
    function: Any = None


ConstantsRule = Linear | Moves | PerElement


def is_unpadded(layer: Any, kernel: Any) -> bool:
    """Returns whether no output reads padding, so that a constant input contributes a constant to every output.

    Args:
      layer: a dense layer or a convolution.
      kernel: its weight, `(spatial axes…, in, out)`.
    """
    return str(getattr(layer, "padding", "")).lower() == "valid" or all(size == 1 for size in kernel.shape[:-2])


def weighted(line: Line, kernel: np.ndarray, unpadded: bool) -> Line:
    """Returns the constant outputs Σ_k,i W[k, i, o] · x_i of a kernel `(…, in, out)`, without bias.

    An output is NaN where it reads an input that is not constant, or a nonzero constant next to padding.
    """
    kernel = kernel.reshape(-1, *kernel.shape[-2:])
    settled = (line == 0.0) | (~np.isnan(line) & unpadded)
    value = folded(np.where(settled, np.nan_to_num(line), 0.0), kernel)
    is_open = np.zeros(kernel.shape[-1], bool)
    for part in _pieces(kernel, np.flatnonzero(~settled)):
        is_open |= (kernel[:, part] != 0.0).any(axis=(0, 1))
    return np.where(is_open, np.nan, value)


def folded(line: Line, kernel: np.ndarray) -> Line:
    """Returns what a kernel `(positions, inputs, outputs)` makes of constant inputs, summed over its positions."""
    total = np.zeros(kernel.shape[-1])
    for part in _pieces(kernel, np.arange(line.size)):
        total += line[part] @ kernel[:, part].sum(axis=0, dtype=np.float64)
    return total


def _pieces(kernel: np.ndarray, inputs: np.ndarray) -> Iterator[np.ndarray]:
    """Yields inputs of a kernel, so many at a time that their part of it is a piece; in float64 it takes twice."""
    step = max(PIECE // (kernel.shape[0] * kernel.shape[-1]), 1)
    for start in range(0, inputs.size, step):
        yield inputs[start : start + step]


def weighted_each(line: Line, kernel: np.ndarray, unpadded: bool) -> Line:
    """Returns the constant outputs Σ_k W[k, i, m] · x_i of a depthwise kernel `(…, in, multiplier)`, without bias."""
    kernel = kernel.reshape(-1, *kernel.shape[-2:]).astype(np.float64)
    settled = ((line == 0.0) | (~np.isnan(line) & unpadded))[:, None]
    value = np.nan_to_num(line)[:, None] * kernel.sum(axis=0)
    return np.where(settled, value, np.where((kernel != 0.0).any(axis=0), np.nan, 0.0)).reshape(-1)


def with_bias(layer: Any, line: Line) -> Line:
    """Returns a line with the layer's bias added, where it has one."""
    return line + layer.bias.numpy().astype(np.float64) if has_bias(layer) else line
