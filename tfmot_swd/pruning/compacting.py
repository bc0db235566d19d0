"""Selection of the k-th magnitude by compaction: few passes and dynamic shapes, for CPUs.

A radix selection counts a digit at a time and keeps only the numbers with the selected one. Where the threshold of an
earlier update is known, it selects among the numbers in a bracket around it, and among all where that fails.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfmot_swd.pruning.magnitude_bits import ABOVE_ALL, GROUP, BitVectors, Piece, bits_below, bits_to_float, in_turn
from tfmot_swd.pruning.selector import Selector

# Highest digit first: 11 bits (exponent and three bits of mantissa), then 10 and 10.
_DIGITS = ((20, 11), (10, 10), (0, 10))
# Half the width of the bracket, in units of the last place: 2**18 of 2**23 is 3 to 6 % of the value. Where decayed
# weights have left a gap below the threshold, it moves by 1 to 3 % in an update.
BRACKET = 1 << 18


class Compacting(Selector):
    """A selector for CPUs."""

    def kth(self, k: tf.Tensor, guess: tf.Tensor | None = None) -> tf.Tensor:
        if guess is None:
            return _radix(self.bits, k)
        near = _Bracket(self.bits, self.tensors, guess)
        within = k - tf.reduce_sum(near.below)
        return tf.cond(near.holds(within), lambda: near.selected(within), lambda: _radix(self.bits, k))

    def kth_and_counts(self, k: tf.Tensor, guess: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        near = _Bracket(self.bits, self.tensors, guess)
        within = k - tf.reduce_sum(near.below)

        def hit() -> tuple[tf.Tensor, tf.Tensor]:
            chosen = near.selected(within)
            return chosen, near.below + near.counts_in_bracket(chosen)

        def miss() -> tuple[tf.Tensor, tf.Tensor]:
            chosen = _radix(self.bits, k)
            found: list[list[tf.Tensor]] = [[] for _ in range(self.tensors)]
            last: list[tf.Tensor] = []
            for vector, inside in enumerate(self.bits.pieces):
                with in_turn(last):
                    last = _by_piece(_grouped(self.bits.bits(vector) < chosen), inside, found)
            return chosen, _added(found)

        return tf.cond(near.holds(within), hit, miss)

    def kth_of_each(self, ranks: Sequence[int | None]) -> tf.Tensor:
        own = [
            tf.constant(ABOVE_ALL, tf.uint32)
            if rank is None
            else _radix(self.bits.of_tensor(tensor), tf.constant(rank, tf.int32))
            for tensor, rank in enumerate(ranks)
        ]
        return tf.stack(own)


class _Bracket:
    """The numbers in a bracket around a guess, and the count of each tensor below it, int32 `(tensors,)`."""

    def __init__(self, bits: BitVectors, tensors: int, guess: tf.Tensor) -> None:
        width = np.uint32(BRACKET)
        self._low = tf.maximum(guess, width) - width
        high = self._low + np.uint32(2 * BRACKET)
        self._pieces, self._tensors = bits.pieces, tensors
        # Of each vector, the groups of eight with a number in the bracket, and their numbers.
        self._groups: list[tf.Tensor] = []
        self._few: list[tf.Tensor] = []
        found: list[list[tf.Tensor]] = [[] for _ in range(tensors)]
        inside: list[tf.Tensor] = []
        last: list[tf.Tensor] = []
        for vector, pieces in enumerate(bits.pieces):
            with in_turn(last):
                numbers = bits.bits(vector)
                under, upto = _grouped(numbers < self._low), _grouped(numbers < high)
                groups = tf.where(tf.not_equal(under, upto))[:, 0]
                few = tf.gather(tf.reshape(numbers, [-1, GROUP]), groups)
                inside.append(tf.boolean_mask(few, (few >= self._low) & (few < high)))
                last = [*_by_piece(under, pieces, found), inside[-1]]
            self._groups.append(groups)
            self._few.append(few)
        self.below = _added(found)
        self._inside = tf.concat(inside, axis=0)

    def holds(self, within: tf.Tensor) -> tf.Tensor:
        return (within >= 0) & (within < tf.size(self._inside))

    def selected(self, within: tf.Tensor) -> tf.Tensor:
        found: tf.Tensor = _radix_of([bits_to_float(self._inside)], [None], within)
        return found

    def counts_in_bracket(self, chosen: tf.Tensor) -> tf.Tensor:
        """Returns how many numbers of each tensor are in the bracket and below a number in it, int32 `(tensors,)`."""
        counts = tf.zeros([self._tensors], tf.int32)
        for groups, few, inside in zip(self._groups, self._few, self._pieces, strict=True):
            below = tf.reduce_sum(tf.cast((few >= self._low) & (few < chosen), tf.int32), axis=1)
            ends = np.cumsum([piece.size // GROUP for piece in inside])
            piece = tf.searchsorted(ends, groups, side="right")
            owner = tf.gather(np.array([each.tensor for each in inside], np.int32), piece)
            counts += tf.math.unsorted_segment_sum(below, owner, self._tensors)
        return counts


def _radix(bits: BitVectors, rank: tf.Tensor) -> tf.Tensor:
    """Returns the number of a rank among all."""
    found: tf.Tensor = _radix_of(bits.values, [bits.limit(vector) for vector in range(len(bits.values))], rank)
    return found


# Traced a few times in a process, as the lengths are open: a training step uses it in several places, and Keras traces
# each step twice.
@tf.function(autograph=False, reduce_retracing=True)
def _radix_of(values: Sequence[tf.Tensor], limits: Sequence[tf.Tensor | None], rank: tf.Tensor) -> tf.Tensor:
    left: list[tf.Tensor] = []

    def numbers(vector: int, candidates: Sequence[tf.Tensor]) -> tf.Tensor:
        """Returns what is left of a vector; all of it at first."""
        return candidates[vector] if candidates else tf.cast(bits_below(values[vector], limits[vector]), tf.int32)

    for shift, width in _DIGITS:
        size = 1 << width

        def digit(number: tf.Tensor, shift: int = shift, size: int = size) -> tf.Tensor:
            return tf.bitwise.bitwise_and(tf.bitwise.right_shift(number, shift), size - 1)

        counts: list[tf.Tensor] = []
        for vector in range(len(values)):
            with in_turn(counts[-1:]):
                counts.append(tf.math.bincount(digit(numbers(vector, left)), minlength=size, maxlength=size))
        upto = tf.cumsum(tf.add_n(counts))
        chosen = tf.reduce_sum(tf.cast(upto <= rank, tf.int32))
        rank -= tf.where(chosen > 0, upto[tf.maximum(chosen - 1, 0)], 0)
        candidates, left = left, []
        for vector in range(len(values)):
            with in_turn(left[-1:]):
                number = numbers(vector, candidates)
                left.append(tf.boolean_mask(number, tf.equal(digit(number), chosen)))
    return tf.cast(tf.concat(left, axis=0)[0], tf.uint32)


def _grouped(flags: tf.Tensor) -> tf.Tensor:
    """Returns each eight flags as one int64 with as many bits set."""
    return tf.bitcast(tf.reshape(tf.cast(flags, tf.uint8), [-1, GROUP]), tf.int64)


def _by_piece(groups: tf.Tensor, inside: Sequence[Piece], found: list[list[tf.Tensor]]) -> list[tf.Tensor]:
    """Adds the number of flags of each piece of a vector to those found of its tensor, and returns them."""
    counts = tf.cast(tf.raw_ops.PopulationCount(x=groups), tf.int32)
    parts = tf.split(counts, [piece.size // GROUP for piece in inside]) if len(inside) > 1 else [counts]
    sums = [tf.reduce_sum(part) for part in parts]
    for piece, number in zip(inside, sums, strict=True):
        found[piece.tensor].append(number)
    return sums


def _added(found: Sequence[Sequence[tf.Tensor]]) -> tf.Tensor:
    return tf.stack([tf.add_n(list(each)) if each else tf.constant(0) for each in found])
