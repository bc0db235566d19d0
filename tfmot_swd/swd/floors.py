"""Floors: a least number of weights that each kernel keeps under one global threshold, exact in the counts.

The largest weights of each kernel, as many as its floor, are taken out of the ranking, and the threshold is selected
among the others for the same number of targets. So a weight that a floor keeps is replaced by another one, and the
number of targeted weights is exact. A kernel of which more is left than its floor changes nothing of that, so only the
others need a selection of their own: those that a floor held at the last update, and, until there are none, those of
which the selected threshold leaves too few. The selection of a threshold counts that in passing.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.pruning.magnitude_bits import ABOVE_ALL, bits_to_float, magnitude_bits
from tfmot_swd.pruning.selector import Selector
from tfmot_swd.pruning.thresholds import selector


def floors_of(
    minimum_kept: int | float, sparsity: float, sizes: Sequence[int], kernels: Sequence[bool], capped: bool = False
) -> list[int]:
    """Returns the least number of weights that each tensor keeps; 0 for tensors that are not kernels.

    Args:
      minimum_kept: a count (int), or a share (float, up to 1) of what the tensor would keep if each had the same rate.
        A share keeps at least one weight of each kernel, if the rate leaves as many.
      sparsity: final rate.
      sizes: number of weights of each tensor that the rate counts.
      kernels: whether each is a kernel: a layer without its kernel has constant outputs, one without its bias works.
      capped: whether counts that exceed what the rate leaves are lowered in proportion, and not refused.

    Raises:
      ValueError: a count exceeds what the rate leaves, and is not capped.

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
class ThresholdSelection:
    """Selection of a global threshold over several tensors, each of which keeps a least number of weights.

    Args:
      sizes: number of weights of each tensor.
      floors: how many weights each keeps at least.
    """

    sizes: tuple[int, ...]
    floors: tuple[int, ...]

    @property
    def has_floors(self) -> bool:
        """Whether any tensor has a floor, so that thresholds may differ."""
        return any(self.floors)

    def limits(
        self,
        tensors: Sequence[tf.Tensor],
        k: tf.Tensor,
        guess: tf.Tensor,
        last: tf.Tensor | None = None,
        *,
        static: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns (global threshold, threshold of each tensor): a float32 scalar and vector.

        Args:
          tensors: the values whose magnitudes are ranked.
          k: how many are targeted, an integer scalar.
          guess: the last global threshold, float32 scalar.
          last: the last threshold of each tensor, float32 `(tensors,)`, below `guess` where a floor held; saves useless
            selections, and changes nothing that is kept.
          static: whether shapes must not depend on data; see `needs_static_shapes`.
        """
        values = [tf.cast(each, tf.float32) for each in tensors]
        last = tf.fill([len(values)], guess) if last is None else last
        found: tuple[tf.Tensor, tf.Tensor] = _traced(self, static)(values, tf.cast(k, tf.int32), guess, last)
        return found

    def limits_of(
        self, among: Selector, k: tf.Tensor, guess: tf.Tensor, last: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the thresholds as magnitude bits, as which the last ones are given; in graph."""
        if not self.has_floors:
            threshold = among.kth(k, guess)
            return threshold, self._same(threshold)

        def without() -> tuple[tf.Tensor, tf.Tensor]:
            # With those that are equal, as floors count: of ties, what is kept would depend on where the search began.
            threshold, upto = among.kth_and_counts(k, guess, with_equal=True)
            return threshold, self._are_short(upto)

        def with_more(
            held: tf.Tensor, short: tf.Tensor, threshold: tf.Tensor, owns: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
            held |= short
            threshold, owns, upto = self._with_floors(among, k, guess, held, last)
            return held, ~held & self._are_short(upto), threshold, owns

        held = last < guess
        threshold, short = tf.cond(tf.reduce_any(held), lambda: (guess, held), without)
        *_, threshold, owns = tf.while_loop(
            lambda held, short, threshold, owns: tf.reduce_any(short),
            with_more,
            (held, short, threshold, self._same(threshold)),
            parallel_iterations=1,
        )
        return threshold, owns

    def _are_short(self, out: tf.Tensor) -> tf.Tensor:
        """Returns which tensors keep fewer than their floor where so many of each are out, bool `(tensors,)`."""
        floors = np.array(self.floors, np.int32)
        return (floors > 0) & (np.array(self.sizes, np.int32) - out < floors)

    def _with_floors(
        self, among: Selector, k: tf.Tensor, guess: tf.Tensor, held: tf.Tensor, last: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns (global threshold, threshold of each tensor, how many of each are not above the global one).

        The floors of some tensors count; the result is that of all floors where the others have as many weights above
        the threshold as their floors.
        """
        ranks = [size - floor if floor else None for size, floor in zip(self.sizes, self.floors, strict=True)]
        # A weight that is already zero is not kept: it would take the place of a non-zero one of its kernel.
        owns = tf.maximum(among.kth_of_each(ranks, held, last), np.uint32(1))
        free = among.under(owns)
        threshold, upto = free.kth_and_counts(k, guess, with_equal=True)
        # Where only the floors are kept, the threshold is just above the largest of the other weights.
        threshold = tf.cond(
            tf.equal(threshold, np.uint32(ABOVE_ALL)), lambda: free.largest() + np.uint32(1), lambda: threshold
        )
        return threshold, tf.minimum(owns, threshold), upto

    def _same(self, threshold: tf.Tensor) -> tf.Tensor:
        return tf.stack([threshold] * len(self.sizes))


@functools.lru_cache(maxsize=16)
def _traced(selection: ThresholdSelection, static: bool) -> Any:
    """Returns the selection as one graph, traced once: a step selects in two places, and each fit traces it twice."""

    def limits(values: list[tf.Tensor], k: tf.Tensor, guess: tf.Tensor, last: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        among = selector(values, static)
        threshold, own = selection.limits_of(among, k, magnitude_bits(guess), magnitude_bits(last))
        return bits_to_float(threshold), bits_to_float(own)

    # On a GPU, XLA makes one kernel of each counting pass.
    return tf.function(limits, autograph=False, jit_compile=True if static else None)
