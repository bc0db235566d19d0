"""Selection of the k-th magnitude by counting: static shapes and scalars alone, for GPUs, TPUs and XLA.

The result is found two bits at a time, by counting the magnitudes below three candidates: sixteen passes that XLA fuses
to one kernel each, without a copy of the weights, a sort, or a tensor whose size depends on data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfmot_swd.pruning.magnitude_bits import ABOVE_ALL
from tfmot_swd.pruning.selector import Selector

_BITS_AT_ONCE = 2
_FIRST_SHIFT = 30


class Counting(Selector):
    """A selector with static shapes."""

    def kth(self, k: tf.Tensor, guess: tf.Tensor | None = None) -> tf.Tensor:
        return _bisected(self._count_below, k)

    def kth_and_counts(
        self, k: tf.Tensor, guess: tf.Tensor, *, with_equal: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        chosen = self.kth(k)
        return chosen, self._counts_below(tf.fill([self.tensors], chosen + np.uint32(with_equal)))

    def kth_of_each(self, ranks: Sequence[int | None], wanted: tf.Tensor, guesses: tf.Tensor) -> tf.Tensor:
        known = np.array([0 if rank is None else rank for rank in ranks], np.int32)
        found = _bisected(self._counts_below, tf.constant(known))
        return tf.where(wanted & np.array([rank is not None for rank in ranks]), found, np.uint32(ABOVE_ALL))

    def _count_below(self, candidate: tf.Tensor) -> tf.Tensor:
        """Returns how many magnitudes of all tensors are below a candidate, int32."""
        return tf.add_n([_count(self.bits.bits(vector) < candidate) for vector in range(len(self.bits.values))])

    def _counts_below(self, candidates: tf.Tensor) -> tf.Tensor:
        """Returns how many magnitudes of each tensor are below its candidate, int32 `(tensors,)`."""
        found = []
        for tensor in range(self.tensors):
            own = self.bits.of_tensor(tensor)
            counts = [_count(own.bits(vector) < candidates[tensor]) for vector in range(len(own.values))]
            found.append(tf.add_n(counts) if counts else tf.constant(0))
        return tf.stack(found)


def _bisected(count_below: Callable[[tf.Tensor], tf.Tensor], rank: tf.Tensor) -> tf.Tensor:
    """Returns the largest numbers that have no more than `rank` magnitudes below them, uint32 of its shape."""

    def narrowed(shift: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        step = tf.bitwise.left_shift(tf.constant(1, tf.uint32), tf.cast(shift, tf.uint32))
        # A candidate with the sign bit is above all, so it never passes.
        passed = [
            tf.cast(count_below(found + step * np.uint32(times)) <= rank, tf.uint32)
            for times in range(1, 1 << _BITS_AT_ONCE)
        ]
        return shift - _BITS_AT_ONCE, found + step * tf.add_n(passed)

    _, found = tf.while_loop(
        lambda shift, found: shift >= 0,
        narrowed,
        (tf.constant(_FIRST_SHIFT), tf.zeros(rank.shape, tf.uint32)),
    )
    return found


def _count(flags: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(flags, tf.int32))
