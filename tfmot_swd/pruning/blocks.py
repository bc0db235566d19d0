"""Block sparsity: magnitudes pooled over the blocks of a kernel, as TFMOT pools them.

A kernel of shape (inputs, outputs) is cut into tiles from its first row and column on; each weight of a tile has the
mean, or the maximum, of the tile's |w|. So a tile is below a threshold whole or not at all, and counts as many times as
it has weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

POOLINGS = ("AVG", "MAX")


@dataclasses.dataclass(frozen=True)
class Blocks:
    """How weights are tied together, by TFMOT's arguments.

    Tiles at the far edges are smaller where the size does not divide the shape. TFMOT pads on both sides there, so that
    the block whose magnitude it takes is not the one that it cuts; these are the same.

    Args:
      size: (height, width) of a tile, in inputs and outputs of a dense kernel; (1, 1) ties nothing.
      pooling: "AVG" or "MAX".

    Raises:
      ValueError: `size` is not two whole numbers of 1 or more, or `pooling` none of the two.

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
        """Returns whether a weight of this shape is in blocks: a matrix is, also behind axes of length 1."""
        return self.size != (1, 1) and len(shape) >= 2 and all(side == 1 for side in shape[:-2])

    def magnitudes(self, weight: Any) -> tf.Tensor:
        """Returns for each entry of a weight that is in blocks the pooled |w| of its block, float32, in its shape."""
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
    """Returns how many of `length` rows each block of `side` has: all the same but perhaps the last."""
    return [min(side, length - start) for start in range(0, length, side)]


def _checked_size(size: Any) -> tuple[int, int]:
    sides = tuple(size) if isinstance(size, Sequence) and not isinstance(size, str) else ()
    if len(sides) != 2 or not all(
        isinstance(side, int | np.integer) and not isinstance(side, bool) and side >= 1 for side in sides
    ):
        raise ValueError(
            "block_size must be two whole numbers of 1 or more, height and width: (4, 1) ties 4 inputs of one output "
            f"of a dense layer. Received: block_size={size!r}"
        )
    return int(sides[0]), int(sides[1])
