"""Block sparsity: magnitudes pooled over the blocks of a kernel, as TFMOT pools them.

A kernel of shape (inputs, outputs) is divided into blocks from its first row and column on. Each weight is ranked by
the mean, or the maximum, of |w| over its block. So all weights of a block are below a threshold or none, and a block
counts as many weights as it has.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import master_variable

POOLINGS = ("AVG", "MAX")


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Blocks of weights that are pruned together, by TFMOT's arguments.

    Blocks at the far edges are smaller where the size does not divide the shape. TFMOT pads on both sides there, so
    that it measures one block and prunes another; here they are the same.

    Args:
      size: (height, width) of a block, in inputs and outputs of a dense kernel; (1, 1) for single weights.
      pooling: "AVG" or "MAX".

    Raises:
      ValueError: `size` is not two whole numbers of 1 or more, or `pooling` is neither "AVG" nor "MAX".

    >>> Blocks((2, 1)).magnitudes(tf.constant([[1.0, -4.0], [-3.0, 0.0], [7.0, 1.0]])).numpy().tolist()
    [[2.0, 2.0], [2.0, 2.0], [7.0, 1.0]]
    """

    size: tuple[int, int] = (1, 1)
    pooling: str = "AVG"

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", _checked_size(self.size))
        if self.pooling not in POOLINGS:
            raise ValueError(
                f"block_pooling_type must be one of {POOLINGS}: the mean or the maximum of a block's magnitudes. "
                f"Received: block_pooling_type={self.pooling!r}"
            )

    def tie(self, shape: Sequence[int]) -> bool:
        """Returns whether weights of this shape have blocks: matrices do, also behind axes of length 1."""
        return self.size != (1, 1) and len(shape) >= 2 and all(side == 1 for side in shape[:-2])

    def axes_of(self, weights: Iterable[Any]) -> list[tuple[Any, int]]:
        """Returns (weight, axis) of each axis along which blocks extend.

        No channel may be removed along these: the next block would have weights of two.
        """
        return [
            (master_variable(weight), len(weight.shape) - 2 + axis)
            for weight in weights
            for axis, side in enumerate(self.size)
            if side > 1 and self.tie(weight.shape)
        ]

    def magnitudes(self, weight: Any) -> tf.Tensor:
        """Returns for each entry of a weight with blocks the pooled |w| of its block, float32, of the same shape."""
        shape = [int(side) for side in weight.shape]
        pooled = tf.abs(tf.cast(tf.reshape(weight, shape[-2:]), tf.float32))
        for axis, side in enumerate(self.size):
            pooled = _pooled(pooled, axis, side, tf.reduce_sum if self.pooling == "AVG" else tf.reduce_max)
        if self.pooling == "AVG":
            heights, widths = (_lengths(shape[axis - 2], side) for axis, side in enumerate(self.size))
            pooled /= np.outer(heights, widths).astype(np.float32)
        for axis, side in enumerate(self.size):
            pooled = tf.repeat(pooled, side, axis) if side > 1 else pooled
        return tf.reshape(pooled[: shape[-2], : shape[-1]], shape)


def _pooled(matrix: tf.Tensor, axis: int, side: int, reduce: Callable[..., tf.Tensor]) -> tf.Tensor:
    """Returns `matrix` with each `side` rows (axis 0) or columns (axis 1) reduced to one; the last may be fewer."""
    if side == 1:
        return matrix
    shape = list(matrix.shape)
    # Zeros change neither a sum nor a maximum of magnitudes.
    paddings = [[0, 0], [0, 0]]
    paddings[axis][1] = -shape[axis] % side
    tiles = [*shape[:axis], -1, side, *shape[axis + 1 :]]
    return reduce(tf.reshape(tf.pad(matrix, paddings), tiles), axis=axis + 1)


def _lengths(length: int, side: int) -> list[int]:
    """Returns the number of rows of each block of `side` among `length` rows; the last may be smaller."""
    return [min(side, length - start) for start in range(0, length, side)]


def _checked_size(size: Any) -> tuple[int, int]:
    sides = tuple(size) if isinstance(size, Sequence) and not isinstance(size, str) else ()
    if len(sides) != 2 or not all(
        isinstance(side, int | np.integer) and not isinstance(side, bool) and side >= 1 for side in sides
    ):
        raise ValueError(
            "block_size must be two whole numbers of 1 or more, height and width: (4, 1) is a block of 4 inputs of one "
            f"output of a dense layer. Received: block_size={size!r}"
        )
    return int(sides[0]), int(sides[1])
