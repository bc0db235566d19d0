"""A floor under what each kernel keeps, below one global threshold: exact in the counts.

The largest weights of each kernel, as many as its floor says, are taken out of the ranking; of all others as many are
targeted as the rate asks for. So what one kernel keeps by its floor is taken elsewhere, no round is repeated, and the
number of targeted weights stays the same to the weight. That takes a threshold of each kernel; it is spared while the
global threshold leaves every kernel more than its floor, which the selection of that threshold tells on the side.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.pruning.thresholds import ABOVE_ALL, select_and_count_near, select_bits, select_bits_near


def floors_of(
    minimum_kept: int | float, sparsity: float, sizes: Sequence[int], kernels: Sequence[bool], capped: bool = False
) -> list[int]:
    """Returns how many weights each tensor keeps at least; 0 for those that are no kernels.

    Args:
      minimum_kept: a count (int), or a share (float, up to 1) of what the tensor would keep if each had the same rate.
        A share keeps at least one weight of each kernel, if the rate leaves as many.
      sparsity: final rate.
      sizes: number of weights of each tensor that the rate counts.
      kernels: whether each is a kernel: without its bias a layer works, without its kernel it answers a constant.
      capped: whether counts that ask for more than the rate leaves are lowered in proportion, and not refused.

    Raises:
      ValueError: a count asks for more than the rate leaves, and is not capped.

    >>> floors_of(0.1, 0.9, [1000, 50, 10], [True, True, False])
    [10, 1, 0]
    """
    total = sum(sizes)
    left = total - int(sparsity * total)
    if isinstance(minimum_kept, int):
        floors = [min(minimum_kept, size) if kernel else 0 for size, kernel in zip(sizes, kernels, strict=True)]
        if sum(floors) > left and capped:
            lowered = [floor * left // sum(floors) for floor in floors]
            least = [max(low, min(floor, 1)) for low, floor in zip(lowered, floors, strict=True)]
            return least if sum(least) <= left else lowered
        if sum(floors) > left:
            raise ValueError(
                f"The rate leaves {left:,} of {total:,} weights, fewer than minimum_kept asks for: lower minimum_kept, "
                "give it as a share (0.1), or lower final_sparsity. "
                f"Received: minimum_kept={minimum_kept}, final_sparsity={sparsity}, {sum(kernels)} kernels"
            )
        return floors
    shares = [
        minimum_kept * (1.0 - sparsity) * size if kernel else 0.0 for size, kernel in zip(sizes, kernels, strict=True)
    ]
    floors = [max(int(share + 1e-9), 1 if share else 0) for share in shares]
    return floors if sum(floors) <= left else [int(share + 1e-9) for share in shares]


@dataclasses.dataclass(frozen=True)
class FloorSelection:
    """The selection of a global threshold over several tensors that keep a number of weights each.

    Args:
      sizes: number of weights of each tensor, in the order in which `concat_magnitude_bits(aligned=True)` has them.
      floors: how many weights each keeps at least.
    """

    sizes: tuple[int, ...]
    floors: tuple[int, ...]

    def limits(
        self, bits: tf.Tensor, k: tf.Tensor, guess: tf.Tensor, is_bound: tf.Tensor | bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the global threshold, and the one below which each tensor is targeted, as magnitude bits.

        Args:
          bits: of all tensors, each filled up to a multiple of 8.
          k: how many are targeted, an integer scalar.
          guess: bits of an earlier global threshold.
          is_bound: whether a floor bound at the last selection; saves a selection in vain, changes no result.
        """

        found: tuple[tf.Tensor, tf.Tensor] = _traced(self)(
            bits, tf.cast(k, tf.int32), guess, tf.cast(is_bound, tf.bool)
        )
        return found

    def limits_in_graph(
        self, bits: tf.Tensor, k: tf.Tensor, guess: tf.Tensor, is_bound: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        def without() -> tuple[tf.Tensor, tf.Tensor]:
            threshold, below = select_and_count_near(bits, k, guess, self.groups())
            return threshold, tf.reduce_any(np.array(self.sizes, np.int32) - below < np.array(self.floors, np.int32))

        threshold, binds = tf.cond(is_bound, lambda: (guess, tf.constant(True)), without)
        return tf.cond(
            binds,
            lambda: self._with_floors(bits, k, guess),
            lambda: (threshold, tf.fill([len(self.sizes)], threshold)),
        )

    def _with_floors(self, bits: tf.Tensor, k: tf.Tensor, guess: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        lengths = np.array(self.groups(), np.int32) * 8
        starts = np.cumsum(lengths) - lengths

        def own(row: tf.Tensor) -> tf.Tensor:
            start, size, floor = tf.unstack(row)
            return tf.cond(
                floor > 0, lambda: select_bits(bits[start : start + size], size - floor), lambda: tf.constant(ABOVE_ALL)
            )

        rows = np.stack([starts, self.sizes, self.floors], axis=1).astype(np.int32)
        # A weight that is zero already is not kept, or the others of its kernel's share would be taken for it.
        owns = tf.maximum(tf.map_fn(own, rows, fn_output_signature=tf.int32), 1)
        free = tf.where(bits >= tf.repeat(owns, lengths), ABOVE_ALL, bits)
        # Where the floors are all that is left, the threshold is just above the largest of the others.
        largest = tf.reduce_max(tf.where(free == ABOVE_ALL, 0, free))
        threshold = tf.minimum(select_bits_near(free, k, guess), largest + 1)
        return threshold, tf.minimum(owns, threshold)

    def groups(self) -> list[int]:
        return [-(-size // 8) for size in self.sizes]


@functools.lru_cache(maxsize=16)
def _traced(selection: FloorSelection) -> Any:
    """Returns the selection as one graph: a step selects in two places, is traced twice, and again by each fit."""
    scalar = tf.TensorSpec([], tf.int32)
    length = 8 * sum(selection.groups())
    signature = [tf.TensorSpec([length], tf.int32), scalar, scalar, tf.TensorSpec([], tf.bool)]
    return tf.function(selection.limits_in_graph, input_signature=signature, autograph=False)
