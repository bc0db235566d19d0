"""Bits of magnitudes: unsigned integers in the order of |w|.

Non-negative floats are ordered like their bits, so integers compare them without float arithmetic: ties, zeros and
subnormal numbers are exact, which float comparisons on a CPU are not, as TensorFlow flushes subnormals to zero there.
The integers are unsigned because a GPU compares uint32 in its own memory, while TensorFlow's int32 kernels copy their
operands to the CPU.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

_SIGN = 0x80000000
# Above the bits of every number, NaN included but for the one with all bits set.
ABOVE_ALL = _SIGN - 1
# Eight flags fill one int64, so groups without a flag are skipped at once.
GROUP = 8
# A tensor of this size is a vector by itself; smaller ones are concatenated, which costs a copy and saves operations.
_ALONE = 1 << 16


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
    """The magnitude bits of many tensors, in few vectors.

    Args:
      vectors: uint32, of a length that is a multiple of 8.
      pieces: of each vector, what it holds, in order and without gaps.
    """

    vectors: list[tf.Tensor]
    pieces: list[list[Piece]]

    @classmethod
    def of(cls, tensors: Sequence[tf.Tensor]) -> BitVectors:
        """Returns the vectors of float tensors of known shapes.

        A large tensor is a vector without a copy of its values, but for less than 8 elements at its end; those and all
        small tensors are concatenated.
        """
        vectors, pieces = [], []
        rest: list[tuple[int, tf.Tensor]] = []
        for index, tensor in enumerate(tensors):
            flat = tf.reshape(tf.cast(tensor, tf.float32), [-1])
            whole = flat.shape[0] // GROUP * GROUP if flat.shape[0] >= _ALONE else 0
            if whole:
                # A slice from the beginning shares the memory.
                vectors.append(magnitude_bits(flat[:whole] if whole < flat.shape[0] else flat))
                pieces.append([Piece(index, 0, whole)])
            if whole < flat.shape[0]:
                rest.append((index, flat[whole:] if whole else flat))
        if rest:
            parts, inside, start = [], [], 0
            for index, flat in rest:
                missing = -flat.shape[0] % GROUP
                parts += [flat, *([tf.constant(_FILLING[:missing])] if missing else [])]
                inside.append(Piece(index, start, flat.shape[0] + missing))
                start += inside[-1].size
            vectors.append(magnitude_bits(tf.concat(parts, axis=0)))
            pieces.append(inside)
        return cls(vectors, pieces)

    def of_tensor(self, tensor: int) -> list[tf.Tensor]:
        """Returns the parts of the vectors that hold one tensor."""
        return [
            vector[piece.start : piece.start + piece.size]
            for vector, inside in zip(self.vectors, self.pieces, strict=True)
            for piece in inside
            if piece.tensor == tensor
        ]

    def spread(self, values: tf.Tensor) -> list[tf.Tensor]:
        """Returns for each vector the value of the tensor that each element belongs to, or one that broadcasts.

        Args:
          values: one for each tensor.
        """
        return [
            values[inside[0].tensor]
            if len(inside) == 1
            else tf.repeat(tf.gather(values, [each.tensor for each in inside]), [each.size for each in inside])
            for inside in self.pieces
        ]


_FILLING = np.full(GROUP - 1, ABOVE_ALL, np.uint32).view(np.float32)
