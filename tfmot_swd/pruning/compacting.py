"""Selection of the k-th magnitude by compaction: few passes and dynamic shapes, for CPUs.

A radix selection counts a digit at a time and keeps only the numbers with the selected one. Where the threshold of an
earlier update is known, only the numbers in a bracket around it are sorted, and the radix selection is the fallback.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfmot_swd.pruning.magnitude_bits import ABOVE_ALL, GROUP, BitVectors

# Highest digit first: 11 bits (exponent and three bits of mantissa), then 10 and 10.
_DIGITS = ((20, 11), (10, 10), (0, 10))
# Half the width of the bracket, in units of the last place: 2**16 of 2**23 is 0.8 to 1.6 % of the value.
BRACKET = 1 << 16


@dataclasses.dataclass(frozen=True)
class Compacting:
    """Selects among the magnitudes of many tensors; see `thresholds.Selector`.

    Args:
      bits: of the tensors.
      tensors: how many they are.
    """

    bits: BitVectors
    tensors: int

    @classmethod
    def of(cls, tensors: Sequence[tf.Tensor]) -> Compacting:
        return cls(BitVectors.of(tensors), len(tensors))

    def kth(self, k: tf.Tensor, guess: tf.Tensor | None = None) -> tf.Tensor:
        if guess is None:
            return _radix(self.bits.vectors, k)
        near = _Bracket(self.bits.vectors, guess)
        within = k - near.count_below()
        return tf.cond(near.holds(within), lambda: near.selected(within), lambda: _radix(self.bits.vectors, k))

    def kth_and_counts(self, k: tf.Tensor, guess: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        near = _Bracket(self.bits.vectors, guess)
        below = self._by_tensor(near.below)
        within = k - tf.reduce_sum(below)

        def hit() -> tuple[tf.Tensor, tf.Tensor]:
            chosen = near.selected(within)
            # The few numbers in the bracket are counted one by one.
            between = [tf.reduce_sum(tf.cast((few >= near.low) & (few < chosen), tf.int32), axis=1) for few in near.few]
            counts = below
            for groups, found, inside in zip(near.groups, between, self.bits.pieces, strict=True):
                ends = np.cumsum([piece.size // GROUP for piece in inside])
                piece = tf.searchsorted(ends, groups, side="right")
                owner = tf.gather(np.array([each.tensor for each in inside], np.int32), piece)
                counts += tf.math.unsorted_segment_sum(found, owner, self.tensors)
            return chosen, counts

        def miss() -> tuple[tf.Tensor, tf.Tensor]:
            chosen = _radix(self.bits.vectors, k)
            return chosen, self._by_tensor([_counted(_grouped(vector < chosen)) for vector in self.bits.vectors])

        return tf.cond(near.holds(within), hit, miss)

    def kth_of_each(self, ranks: Sequence[int | None]) -> tf.Tensor:
        own = [
            tf.constant(ABOVE_ALL, tf.uint32)
            if rank is None
            else _radix(self.bits.of_tensor(tensor), tf.constant(rank, tf.int32))
            for tensor, rank in enumerate(ranks)
        ]
        return tf.stack(own)

    def below(self, limits: tf.Tensor) -> Compacting:
        spread = self.bits.spread(limits)
        vectors = [
            tf.where(vector >= limit, np.uint32(ABOVE_ALL), vector)
            for vector, limit in zip(self.bits.vectors, spread, strict=True)
        ]
        return Compacting(BitVectors(vectors, self.bits.pieces), self.tensors)

    def largest(self) -> tf.Tensor:
        found = [
            tf.reduce_max(tf.cast(tf.where(vector == ABOVE_ALL, np.uint32(0), vector), tf.int32))
            for vector in self.bits.vectors
        ]
        return tf.cast(tf.reduce_max(tf.stack(found)), tf.uint32)

    def _by_tensor(self, counts: Sequence[tf.Tensor]) -> tf.Tensor:
        """Returns the sum of the counts of each tensor, int32 `(tensors,)`, from those of groups of each vector."""
        found: list[list[tf.Tensor]] = [[] for _ in range(self.tensors)]
        for count, inside in zip(counts, self.bits.pieces, strict=True):
            sizes = [piece.size // GROUP for piece in inside]
            for piece, part in zip(inside, tf.split(count, sizes), strict=True):
                found[piece.tensor].append(_sum(part))
        return tf.stack([tf.add_n(each) if each else tf.constant(0) for each in found])


class _Bracket:
    """The numbers in a bracket around a guess, and the count below it, by groups of eight."""

    def __init__(self, vectors: Sequence[tf.Tensor], guess: tf.Tensor) -> None:
        width = np.uint32(BRACKET)
        self.low = tf.maximum(guess, width) - width
        high = self.low + np.uint32(2 * BRACKET)
        self.below: list[tf.Tensor] = []
        self.groups: list[tf.Tensor] = []
        self.few: list[tf.Tensor] = []
        inside = []
        for vector in vectors:
            under, upto = _grouped(vector < self.low), _grouped(vector < high)
            self.below.append(_counted(under))
            self.groups.append(tf.where(tf.not_equal(under, upto))[:, 0])
            self.few.append(tf.gather(tf.reshape(vector, [-1, GROUP]), self.groups[-1]))
            inside.append(tf.boolean_mask(self.few[-1], (self.few[-1] >= self.low) & (self.few[-1] < high)))
        self._inside = tf.concat(inside, axis=0)

    def count_below(self) -> tf.Tensor:
        return tf.add_n([_sum(count) for count in self.below])

    def holds(self, within: tf.Tensor) -> tf.Tensor:
        return (within >= 0) & (within < tf.size(self._inside))

    def selected(self, within: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.sort(tf.cast(self._inside, tf.int32))[within], tf.uint32)


# Traced a few times in a process, as the lengths are open: a training step uses it in several places, and Keras traces
# each step twice.
@tf.function(autograph=False, reduce_retracing=True)
def _radix(vectors: Sequence[tf.Tensor], rank: tf.Tensor) -> tf.Tensor:
    candidates = [tf.cast(vector, tf.int32) for vector in vectors]
    for shift, width in _DIGITS:
        size = 1 << width
        digits = [tf.bitwise.bitwise_and(tf.bitwise.right_shift(each, shift), size - 1) for each in candidates]
        counts = [tf.math.bincount(digit, minlength=size, maxlength=size) for digit in digits]
        upto = tf.cumsum(tf.add_n(counts))
        chosen = tf.reduce_sum(tf.cast(upto <= rank, tf.int32))
        rank -= tf.where(chosen > 0, upto[tf.maximum(chosen - 1, 0)], 0)
        candidates = [tf.boolean_mask(each, digit == chosen) for each, digit in zip(candidates, digits, strict=True)]
    return tf.cast(tf.concat(candidates, axis=0)[0], tf.uint32)


def _grouped(flags: tf.Tensor) -> tf.Tensor:
    """Returns each eight flags as one int64 with as many bits set."""
    return tf.bitcast(tf.reshape(tf.cast(flags, tf.uint8), [-1, GROUP]), tf.int64)


def _counted(groups: tf.Tensor) -> tf.Tensor:
    """Returns how many flags each group has, uint8."""
    return tf.raw_ops.PopulationCount(x=groups)


def _sum(counts: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(counts, tf.int32))
