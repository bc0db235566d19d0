"""Selection of the k-th magnitude by compaction: few passes and dynamic shapes, for CPUs.

A radix selection counts a digit at a time and keeps only the numbers with the selected one. Where the threshold of an
earlier update is known, it selects among the numbers in a bracket around it, and among all where that fails.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfmot_swd.pruning.magnitude_bits import (
    ABOVE_ALL,
    GROUP,
    BitVectors,
    Piece,
    bits_below,
    bits_to_float,
    in_turn,
    magnitude_bits,
)
from tfmot_swd.pruning.selector import Selector

# Highest digit first, as (shift, mask): 11 bits (exponent and three bits of mantissa), then 10 and 10.
_DIGITS = ((20, 0x7FF), (10, 0x3FF), (0, 0x3FF))
_DIGIT_VALUES = 0x800
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

    def kth_and_counts(
        self, k: tf.Tensor, guess: tf.Tensor, *, with_equal: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        near = _Bracket(self.bits, self.tensors, guess)
        within = k - tf.reduce_sum(near.below)
        more = np.uint32(with_equal)

        def hit() -> tuple[tf.Tensor, tf.Tensor]:
            chosen = near.selected(within)
            return chosen, near.below + near.counts_in_bracket(chosen + more)

        def miss() -> tuple[tf.Tensor, tf.Tensor]:
            chosen = _radix(self.bits, k)
            found: list[list[tf.Tensor]] = [[] for _ in range(self.tensors)]
            last: list[tf.Tensor] = []
            for vector, inside in enumerate(self.bits.pieces):
                with in_turn(last):
                    groups = _groups_below(self.bits.values[vector], _limit(self.bits, vector), chosen + more)
                    last = _by_piece(groups, inside, found)
            return chosen, _added(found)

        return tf.cond(near.holds(within), hit, miss)

    def kth_of_each(self, ranks: Sequence[int | None], wanted: tf.Tensor, guesses: tf.Tensor) -> tf.Tensor:
        found = []
        for tensor, rank in enumerate(ranks):
            own = tf.constant(ABOVE_ALL, tf.uint32)
            if rank is not None:
                own = _kth_where(
                    wanted[tensor], self.bits.of_tensor(tensor).values, tf.constant(rank, tf.int32), guesses[tensor]
                )
            found.append(own)
        return tf.stack(found)


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
                limit = bits.limit(vector)
                given = [bits.values[vector], self._low, high]
                under, groups, few, held = _near(*given) if limit is None else _near_of_limited(*given, limit)
                inside.append(held)
                last = [*_by_piece(under, pieces, found), held]
            self._groups.append(groups)
            self._few.append(few)
        self.below = _added(found)
        self._inside = tf.concat(inside, axis=0)

    def holds(self, within: tf.Tensor) -> tf.Tensor:
        return (within >= 0) & (within < tf.size(self._inside))

    def selected(self, within: tf.Tensor) -> tf.Tensor:
        found: tf.Tensor = _radix_of([bits_to_float(self._inside)], [_NO_LIMIT], within)
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
    found: tf.Tensor = _radix_of(bits.values, [_limit(bits, vector) for vector in range(len(bits.values))], rank)
    return found


def _limit(bits: BitVectors, vector: int) -> tf.Tensor:
    """Returns the limit of a vector's elements, above all magnitudes where there is none."""
    found = bits.limit(vector)
    return _NO_LIMIT if found is None else found


# Operations on one vector are functions, traced once in a process: a model has many vectors, a training step selects
# in several places, Keras traces each step twice, and an operation takes Python a millisecond.
_VALUES, _BITS = tf.TensorSpec([None], tf.float32), tf.TensorSpec([None], tf.uint32)
_WORD, _NUMBER = tf.TensorSpec([], tf.uint32), tf.TensorSpec([], tf.int32)
_NO_LIMIT = np.array([ABOVE_ALL + 1], np.uint32)


# Where a bracket holds the threshold none of it runs, so it stays a function in TensorFlow's graph too, which would
# otherwise be optimized with the step.
@tf.function(autograph=False, reduce_retracing=True, experimental_attributes={"_noinline": True})
def _radix_of(values: Sequence[tf.Tensor], limits: Sequence[tf.Tensor], rank: tf.Tensor) -> tf.Tensor:
    left = list(zip(values, limits, strict=True))
    for shift, mask in _DIGITS:
        counts: list[tf.Tensor] = []
        for value, limit in left:
            with in_turn(counts[-1:]):
                counts.append(_digit_counts(value, limit, shift, mask))
        upto = tf.cumsum(tf.add_n(counts))
        chosen = tf.reduce_sum(tf.cast(upto <= rank, tf.int32))
        rank -= tf.where(chosen > 0, upto[tf.maximum(chosen - 1, 0)], 0)
        candidates, left = left, []
        for value, limit in candidates:
            with in_turn([each for each, _ in left[-1:]]):
                left.append((_with_digit(value, limit, shift, mask, chosen), _NO_LIMIT))
    return magnitude_bits(tf.concat([each for each, _ in left], axis=0)[0])


@tf.function(autograph=False, reduce_retracing=True, experimental_attributes={"_noinline": True})
def _kth_where(wanted: tf.Tensor, values: Sequence[tf.Tensor], rank: tf.Tensor, guess: tf.Tensor) -> tf.Tensor:
    """Returns the number of a rank among those of one tensor if it is wanted, else `ABOVE_ALL`."""
    # A selection does not ask how long a piece is.
    bits = BitVectors(list(values), [[Piece(0, 0, 0)]] * len(values))
    return tf.cond(wanted, lambda: Compacting(bits, 1).kth(rank, guess), lambda: tf.constant(ABOVE_ALL, tf.uint32))


@tf.function(autograph=False, input_signature=[_VALUES, _BITS, _NUMBER, _NUMBER])
def _digit_counts(values: tf.Tensor, limit: tf.Tensor, shift: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Returns how many numbers have each value of a digit, int32."""
    digits = _digits(bits_below(values, limit), shift, mask)
    return tf.raw_ops.DenseBincount(input=digits, size=_DIGIT_VALUES, weights=tf.constant([], tf.int32))


@tf.function(autograph=False, input_signature=[_VALUES, _BITS, _NUMBER, _NUMBER, _NUMBER])
def _with_digit(values: tf.Tensor, limit: tf.Tensor, shift: tf.Tensor, mask: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """Returns the values with one value of a digit, `ABOVE_ALL` in place of those that are not below their limit."""
    bits = bits_below(values, limit)
    return bits_to_float(tf.gather(bits, tf.where(tf.equal(_digits(bits, shift, mask), chosen))[:, 0]))


def _digits(bits: tf.Tensor, shift: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    return tf.bitwise.bitwise_and(tf.bitwise.right_shift(tf.cast(bits, tf.int32), shift), mask)


@tf.function(autograph=False, input_signature=[_VALUES, _BITS, _WORD], experimental_attributes={"_noinline": True})
def _groups_below(values: tf.Tensor, limit: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """Returns how many of each eight numbers are below one, int32."""
    return _population(_grouped(bits_below(values, limit) < chosen))


@tf.function(autograph=False, input_signature=[_VALUES, _WORD, _WORD])
def _near(values: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns what is below and in a bracket.

    (How many of each eight numbers are below it, the groups of eight with numbers in it, the numbers of these groups,
    the numbers in it.)
    """
    return _split_at(magnitude_bits(values), low, high)


@tf.function(autograph=False, input_signature=[_VALUES, _WORD, _WORD, _BITS])
def _near_of_limited(
    values: tf.Tensor, low: tf.Tensor, high: tf.Tensor, limit: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns what `_near` does, of the numbers below a limit."""
    return _split_at(bits_below(values, limit), low, high)


def _split_at(numbers: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    under, upto = _grouped(numbers < low), _grouped(numbers < high)
    groups = tf.where(tf.not_equal(under, upto))[:, 0]
    few = tf.gather(tf.reshape(numbers, [-1, GROUP]), groups)
    held = tf.gather_nd(few, tf.where((few >= low) & (few < high)))
    return _population(under), groups, few, held


def _grouped(flags: tf.Tensor) -> tf.Tensor:
    """Returns each eight flags as one int64 with as many bits set."""
    return tf.bitcast(tf.reshape(tf.cast(flags, tf.uint8), [-1, GROUP]), tf.int64)


def _population(groups: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.raw_ops.PopulationCount(x=groups), tf.int32)


def _by_piece(counts: tf.Tensor, inside: Sequence[Piece], found: list[list[tf.Tensor]]) -> list[tf.Tensor]:
    """Adds the sum of the counts of each piece of a vector to those found of its tensor, and returns them."""
    parts = tf.split(counts, [piece.size // GROUP for piece in inside]) if len(inside) > 1 else [counts]
    sums = [tf.reduce_sum(part) for part in parts]
    for piece, number in zip(inside, sums, strict=True):
        found[piece.tensor].append(number)
    return sums


def _added(found: Sequence[Sequence[tf.Tensor]]) -> tf.Tensor:
    return tf.stack([tf.add_n(list(each)) if each else tf.constant(0) for each in found])
