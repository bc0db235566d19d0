"""The exact k-th magnitude of many tensors at once, in graph, without sorting them.

A non-negative float orders like its bits, so the k-th smallest magnitude is found by counting digits
of integers (a radix selection): no float arithmetic takes part, hence ties, zeros and subnormal
numbers come out to the bit. A second form starts from a bracket around the threshold of the step
before, which moves little, and falls back to the digits when the bracket misses.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

# Highest digit first: 11 bits (sign excluded: exponent and three bits of mantissa), then 10 and 10.
_DIGITS = ((20, 11), (10, 10), (0, 10))
_MAGNITUDE_MASK = 0x7FFFFFFF
# Half the width of the bracket, in units of the last place: 2**19 of 2**23 is 4 to 12 % of the value.
_BRACKET = 1 << 19


def magnitude_bits(tensor: tf.Tensor) -> tf.Tensor:
    """Returns |tensor| as int32 that order like the magnitudes: the float32 bits without the sign.

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


def concat_magnitude_bits(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns the magnitude bits of all tensors in one int32 vector of shape (N,)."""
    if not tensors:
        raise ValueError("A threshold needs at least one tensor. Received: an empty list.")
    flat = [tf.reshape(magnitude_bits(tensor), [-1]) for tensor in tensors]
    return flat[0] if len(flat) == 1 else tf.concat(flat, axis=0)


def select_bits(bits: tf.Tensor, k: tf.Tensor | int) -> tf.Tensor:
    """Returns sorted(bits)[k] of non-negative int32 `bits` of shape (N,), by three histogram passes.

    k: 0 <= k < N, any integer scalar. Each pass counts one digit and keeps only the numbers that
    share it, so the second and the third pass see a few per cent of the first.
    """
    rank = tf.cast(k, tf.int32)
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
    """Returns exactly `select_bits(bits, k)`, sooner when the answer is near `guess`.

    guess: int32 scalar, magnitude bits of an earlier threshold; any value is correct. Where the
    answer is within about 4 to 12 % of it, only the numbers in that bracket are looked at twice.
    """
    rank = tf.cast(k, tf.int32)
    low = tf.maximum(guess, _BRACKET) - _BRACKET
    high = low + 2 * _BRACKET
    at_least = bits >= low
    below = tf.size(bits) - tf.math.count_nonzero(at_least, dtype=tf.int32)
    inside = tf.boolean_mask(bits, at_least & (bits < high))
    within = rank - below

    def from_bracket() -> tf.Tensor:
        return select_bits(inside, within)

    hit = (within >= 0) & (within < tf.size(inside))
    return tf.cond(hit, from_bracket, lambda: select_bits(bits, rank))


def kth_magnitude(tensors: Sequence[tf.Tensor], k: tf.Tensor | int) -> tf.Tensor:
    """Returns the k-th smallest magnitude of all elements of all tensors, exactly.

    The threshold of Selective Weight Decay is `kth_magnitude(weights, int(rate * N))`: a weight is
    kept where |w| >= threshold, so ties stay.

    Args:
      tensors: float32, float16 or bfloat16 tensors of any shapes, N elements in all.
      k: integer scalar, 0 <= k < N.

    Returns:
      float32 scalar tensor, equal to the bit to `numpy.partition(magnitudes, k)[k]`.

    Raises:
      ValueError: no tensor was given, or a Python k is outside 0 .. N-1.

    >>> float(kth_magnitude([tf.constant([0.5, -2.0]), tf.constant([[-1.0]])], 1))
    1.0
    """
    bits = concat_magnitude_bits(tensors)
    count = bits.shape[0]
    if isinstance(k, int) and count is not None and not 0 <= k < count:
        raise ValueError(f"k must be at least 0 and below the {count} weights. Received: k={k}")
    return bits_to_float(select_bits(bits, k))
