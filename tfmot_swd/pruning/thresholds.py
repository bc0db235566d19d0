"""Exact k-th magnitude of many tensors, in graph and without sorting.

Non-negative floats are ordered like their bits, so the k-th smallest magnitude is found by a radix
selection on integers: without float arithmetic, ties, zeros and subnormal numbers are exact. A second
form searches a bracket around the threshold of the previous step, which moves little, and falls back
to the radix selection when the bracket misses.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

# Highest digit first: 11 bits (sign excluded: exponent and three bits of mantissa), then 10 and 10.
_DIGITS = ((20, 11), (10, 10), (0, 10))
_MAGNITUDE_MASK = 0x7FFFFFFF
# Magnitude bits above every threshold.
ABOVE_ALL = _MAGNITUDE_MASK
# Half the width of the bracket, in units of the last place: 2**16 of 2**23 is 0.8 to 1.6 % of the value.
_BRACKET = 1 << 16
# Eight flags fill one int64, so groups without a flag are skipped at once.
_GROUP = 8


def magnitude_bits(tensor: tf.Tensor) -> tf.Tensor:
    """Returns |tensor| as int32 in the order of the magnitudes: the float32 bits without the sign.

    float16 and bfloat16 widen to float32 exactly; float64 is rounded to float32 first. NaN orders
    above infinity.

    >>> int(magnitude_bits(tf.constant([-1.0]))[0]) == int(magnitude_bits(tf.constant([1.0]))[0])
    True
    """
    bits = tf.bitcast(tf.cast(tensor, tf.float32), tf.int32)
    return tf.bitwise.bitwise_and(bits, _MAGNITUDE_MASK)


def bits_to_float(bits: tf.Tensor) -> tf.Tensor:
    """Returns the float32 whose bits these int32 are: the inverse of `magnitude_bits`."""
    return tf.bitcast(bits, tf.float32)


def concat_magnitude_bits(tensors: Sequence[tf.Tensor], *, aligned: bool = False) -> tf.Tensor:
    """Returns the magnitude bits of all tensors in one int32 vector, in order.

    The vector is padded to a multiple of 8, or, if `aligned`, each tensor is. The padding is above every magnitude, so
    ranks below the number of elements N are not affected.
    """
    if not tensors:
        raise ValueError("A threshold needs at least one tensor. Received: an empty list.")
    flat = [tf.reshape(tf.cast(tensor, tf.float32), [-1]) for tensor in tensors]
    if aligned:
        return magnitude_bits(tf.concat([each for part in flat for each in (part, *_filling(part.shape[0]))], axis=0))
    return magnitude_bits(tf.concat([*flat, *_filling(sum(part.shape[0] for part in flat))], axis=0))


def select_bits(bits: tf.Tensor, k: tf.Tensor | int) -> tf.Tensor:
    """Returns sorted(bits)[k], an int32 scalar, by three histogram passes.

    Each pass counts one digit and keeps only the numbers with the selected one, so the second and the third pass
    process a few per cent of the first.

    Args:
      bits: non-negative int32 (N,).
      k: integer scalar, 0 <= k < N.
    """
    return _select(bits, tf.cast(k, tf.int32))


# Traced once in a process: a training step uses it in several places, and Keras traces each step twice.
@tf.function(
    input_signature=[tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int32)],
    autograph=False,
)
def _select(bits: tf.Tensor, rank: tf.Tensor) -> tf.Tensor:
    candidates = bits
    for shift, width in _DIGITS:
        size = 1 << width
        digit = tf.bitwise.bitwise_and(tf.bitwise.right_shift(candidates, shift), size - 1)
        upto = tf.cumsum(tf.math.bincount(digit, minlength=size, maxlength=size))
        chosen = tf.reduce_sum(tf.cast(upto <= rank, tf.int32))
        rank -= tf.where(chosen > 0, upto[tf.maximum(chosen - 1, 0)], 0)
        candidates = tf.boolean_mask(candidates, digit == chosen)
    return candidates[0]


def select_bits_near(bits: tf.Tensor, k: tf.Tensor | int, guess: tf.Tensor) -> tf.Tensor:
    """Returns exactly `select_bits(bits, k)`, faster if the result is near `guess`.

    Args:
      bits: non-negative int32 (N,); not copied if N is a static multiple of 8.
      k: integer scalar, 0 <= k < N.
      guess: int32 scalar, magnitude bits of an earlier threshold; any value is correct. If the result is within about
        1 % of it, only the numbers in that bracket are sorted.
    """
    if bits.shape[0] is None or bits.shape[0] % _GROUP:
        bits = tf.pad(bits, [[0, -tf.size(bits) % _GROUP]], constant_values=_MAGNITUDE_MASK)
    found: tf.Tensor = _select_near(bits, tf.cast(k, tf.int32), guess)
    return found


@tf.function(autograph=False)
def _select_near(bits: tf.Tensor, rank: tf.Tensor, guess: tf.Tensor) -> tf.Tensor:
    near = _Bracket(bits, rank, guess)
    within = near.rank - tf.reduce_sum(tf.cast(near.below, tf.int32))
    return tf.cond(near.holds(within), lambda: near.selected(within), lambda: select_bits(bits, near.rank))


def select_and_count_near(
    bits: tf.Tensor, k: tf.Tensor | int, guess: tf.Tensor, groups: Sequence[int]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns `select_bits_near(bits, k, guess)`, and the number of elements of each part below it, int32 (parts,).

    The counts are a by-product of the selection at almost no cost.

    Args:
      bits, k, guess: as `select_bits_near`; N is a multiple of 8.
      groups: length of each part of `bits`, divided by 8.
    """
    near = _Bracket(bits, tf.cast(k, tf.int32), guess)
    ends = np.cumsum(groups)

    def counted(by_group: tf.Tensor) -> tf.Tensor:
        return tf.stack([tf.reduce_sum(part) for part in tf.split(tf.cast(by_group, tf.int32), list(groups))])

    def hit() -> tuple[tf.Tensor, tf.Tensor]:
        chosen = near.selected(within)
        # The few numbers in the bracket are counted one by one.
        between = tf.reduce_sum(tf.cast((near.few >= 0) & (near.few < chosen - near.low), tf.int32), axis=1)
        part = tf.searchsorted(ends, near.groups, side="right")
        return chosen, below + tf.math.unsorted_segment_sum(between, part, len(groups))

    def miss() -> tuple[tf.Tensor, tf.Tensor]:
        chosen = select_bits(bits, near.rank)
        return chosen, counted(tf.raw_ops.PopulationCount(x=_grouped(bits < chosen)))

    below = counted(near.below)
    within = near.rank - tf.reduce_sum(below)
    return tf.cond(near.holds(within), hit, miss)


class _Bracket:
    """Numbers in a bracket around a guess, and the count below it, by groups of eight."""

    def __init__(self, bits: tf.Tensor, rank: tf.Tensor, guess: tf.Tensor) -> None:
        self.rank = rank
        self.low = tf.maximum(guess, _BRACKET) - _BRACKET
        above_low = bits - self.low
        self.groups = tf.where(_grouped(_in_bracket(above_low)) != 0)[:, 0]
        self.few = tf.gather(tf.reshape(above_low, [-1, _GROUP]), self.groups)
        few = tf.reshape(self.few, [-1])
        self.inside = tf.boolean_mask(few, _in_bracket(few))
        self.below = tf.raw_ops.PopulationCount(x=_grouped(above_low < 0))

    def holds(self, within: tf.Tensor) -> tf.Tensor:
        return (within >= 0) & (within < tf.size(self.inside))

    def selected(self, within: tf.Tensor) -> tf.Tensor:
        return self.low + tf.sort(self.inside)[within]


def _filling(size: int) -> list[tf.Tensor]:
    """Returns the padding of a vector of this size to a multiple of 8, as floats."""
    missing = -size % _GROUP
    return [tf.bitcast(tf.constant([_MAGNITUDE_MASK] * missing, tf.int32), tf.float32)] if missing else []


def _in_bracket(above_low: tf.Tensor) -> tf.Tensor:
    # As unsigned, numbers below the bracket are larger than any in it, so one comparison suffices.
    return tf.bitcast(above_low, tf.uint32) < 2 * _BRACKET


def _grouped(flags: tf.Tensor) -> tf.Tensor:
    """Returns each eight flags as one int64 with as many bits set."""
    return tf.bitcast(tf.reshape(tf.cast(flags, tf.uint8), [-1, _GROUP]), tf.int64)


def kth_magnitude(tensors: Sequence[tf.Tensor], k: tf.Tensor | int) -> tf.Tensor:
    """Returns the k-th smallest magnitude of all elements of all tensors, exactly.

    The threshold of Selective Weight Decay is `kth_magnitude(weights, int(rate * N))`: weights with
    |w| >= threshold are kept, ties included.

    Args:
      tensors: float32, float16 or bfloat16 tensors of any shapes, N elements in all.
      k: integer scalar, 0 <= k < N.

    Returns:
      float32 scalar tensor, bitwise equal to `numpy.partition(magnitudes, k)[k]`.

    Raises:
      ValueError: no tensor is given, or a Python k is outside 0 .. N-1.

    >>> float(kth_magnitude([tf.constant([0.5, -2.0]), tf.constant([[-1.0]])], 1))
    1.0
    """
    bits = concat_magnitude_bits(tensors)
    count = sum(tensor.shape.num_elements() for tensor in tensors)
    if isinstance(k, int) and not 0 <= k < count:
        raise ValueError(f"k must be at least 0 and below the {count} weights. Received: k={k}")
    return bits_to_float(select_bits(bits, k))
