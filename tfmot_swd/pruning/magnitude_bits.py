"""Bits of magnitudes: unsigned integers in the order of |w|.

Non-negative floats are ordered like their bits, so integers compare them without float arithmetic: ties, zeros and
subnormal numbers are exact, which float comparisons on a CPU are not, as TensorFlow flushes subnormals to zero there.
The integers are unsigned because a GPU compares uint32 in its own memory, while TensorFlow's int32 kernels copy their
operands to the CPU.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

# All bits but the sign: above the bits of every number, NaN included but for the one with all of them set.
ABOVE_ALL = 0x7FFFFFFF
# Eight flags fill one int64, so groups without a flag are skipped at once.
GROUP = 8
# A tensor of this size has vectors of its own; smaller ones are concatenated, which costs a copy and saves operations.
_ALONE = 1 << 16
# The longest vector: what is computed of a vector at a time is this long at most, whatever the size of the model. The
# graph of a vector takes several MB, so shorter ones take more memory than they save.
_LONGEST = 1 << 24


def magnitude_bits(tensor: tf.Tensor) -> tf.Tensor:
    """Returns |tensor| as uint32 in the order of the magnitudes: the float32 bits without the sign.

    float16 and bfloat16 widen to float32 exactly; float64 is rounded to float32 first. NaN orders
    above infinity.

    >>> int(magnitude_bits(tf.constant([-1.0]))[0]) == int(magnitude_bits(tf.constant([1.0]))[0])
    True
    """
    bits = tf.bitcast(tf.cast(tensor, tf.float32), tf.uint32)
    return tf.bitwise.bitwise_and(bits, np.uint32(ABOVE_ALL))


def bits_to_float(bits: tf.Tensor) -> tf.Tensor:
    """Returns the float32 whose bits these uint32 are: the inverse of `magnitude_bits`."""
    return tf.bitcast(bits, tf.float32)


@dataclasses.dataclass(frozen=True)
class Piece:
    """A run of elements of one tensor in a vector.

    Args:
      tensor: index of the tensor.
      start, size: place in the vector, a multiple of 8 each; what the tensor does not fill is `ABOVE_ALL`.
    """

    tensor: int
    start: int
    size: int


@dataclasses.dataclass(frozen=True)
class BitVectors:
    """The magnitude bits of many tensors, in few vectors, which are computed where they are used.

    So a long list of them needs no more memory than the weights and one vector, if they are used one after the other.

    Args:
      values: float32, of a length that is a multiple of 8.
      pieces: of each vector, what it holds, in order and without gaps.
      limits: uint32, one for each tensor: magnitudes that are not below it are `ABOVE_ALL`; None without.
    """

    values: list[tf.Tensor]
    pieces: list[list[Piece]]
    limits: tf.Tensor | None = None

    @classmethod
    def of(cls, tensors: Sequence[tf.Tensor]) -> BitVectors:
        """Returns the vectors of float tensors of known shapes.

        The vectors of a large tensor are slices without a copy, but for less than 8 elements at its end; those and all
        small tensors are concatenated.
        """
        values, pieces = [], []
        rest: list[tuple[int, tf.Tensor]] = []
        for index, tensor in enumerate(tensors):
            flat = tf.reshape(tf.cast(tensor, tf.float32), [-1])
            size = flat.shape[0]
            whole = size // GROUP * GROUP if size >= _ALONE else 0
            for start in range(0, whole, _LONGEST):
                length = min(_LONGEST, whole - start)
                values.append(flat if length == size else flat[start : start + length])
                pieces.append([Piece(index, 0, length)])
            if whole < size:
                rest.append((index, flat[whole:] if whole else flat))
        if rest:
            parts, inside, start = [], [], 0
            for index, flat in rest:
                missing = -flat.shape[0] % GROUP
                parts += [flat, *([tf.constant(_FILLING[:missing])] if missing else [])]
                inside.append(Piece(index, start, flat.shape[0] + missing))
                start += inside[-1].size
            values.append(tf.concat(parts, axis=0))
            pieces.append(inside)
        return cls(values, pieces)

    def bits(self, vector: int) -> tf.Tensor:
        """Returns the bits of one vector, uint32."""
        return bits_below(self.values[vector], self.limit(vector))

    def of_tensor(self, tensor: int) -> BitVectors:
        """Returns the vectors of one tensor, whose number stays."""
        values, pieces = [], []
        for vector, inside in zip(self.values, self.pieces, strict=True):
            for piece in inside:
                if piece.tensor == tensor:
                    values.append(vector[piece.start : piece.start + piece.size] if len(inside) > 1 else vector)
                    pieces.append([dataclasses.replace(piece, start=0)])
        return BitVectors(values, pieces, self.limits)

    def under(self, limits: tf.Tensor) -> BitVectors:
        """Returns the vectors with limits, uint32 `(tensors,)`.

        They are applied at once where a vector holds several tensors, as a limit for each element takes longer to make
        than all else; a vector of one tensor needs no copy.
        """
        values = []
        for vector, inside in zip(self.values, self.pieces, strict=True):
            if len(inside) > 1:
                own = [tf.fill([piece.size], limits[piece.tensor]) for piece in inside]
                vector = bits_to_float(bits_below(vector, tf.concat(own, axis=0)))
            values.append(vector)
        return BitVectors(values, self.pieces, limits)

    def limit(self, vector: int) -> tf.Tensor | None:
        """Returns the limit that the elements of a vector are still to be held to, shape (1,); None without."""
        inside = self.pieces[vector]
        if self.limits is None or len(inside) > 1:
            return None
        return self.limits[inside[0].tensor : inside[0].tensor + 1]


def bits_below(values: tf.Tensor, limit: tf.Tensor | None) -> tf.Tensor:
    """Returns the magnitude bits of values, `ABOVE_ALL` where they are not below a limit, uint32."""
    found = magnitude_bits(values)
    return found if limit is None else tf.where(found >= limit, np.uint32(ABOVE_ALL), found)


def in_turn(results: Sequence[tf.Tensor]) -> Any:
    """Returns a context in which operations wait for these: TensorFlow would work on all vectors at once."""
    return tf.control_dependencies(list(results))


_FILLING = np.full(GROUP - 1, ABOVE_ALL, np.uint32).view(np.float32)
