"""Selection among the magnitudes of many tensors: the base of its two forms."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Self

import numpy as np
import tensorflow as tf

from tfmot_swd.pruning.magnitude_bits import ABOVE_ALL, BitVectors, in_turn


@dataclasses.dataclass(frozen=True)
class Selector(abc.ABC):
    """Selects among the magnitudes of many tensors, as uint32 bits (`magnitude_bits`); in graph.

    Args:
      bits: of the tensors, N elements in all.
      tensors: how many they are.
    """

    bits: BitVectors
    tensors: int

    @classmethod
    def of(cls, tensors: Sequence[tf.Tensor]) -> Self:
        """Returns the selector of float tensors of known shapes."""
        return cls(BitVectors.of(tensors), len(tensors))

    @abc.abstractmethod
    def kth(self, k: tf.Tensor, guess: tf.Tensor | None = None) -> tf.Tensor:
        """Returns sorted(magnitudes of all tensors)[k], a uint32 scalar.

        Args:
          k: int32 scalar, 0 <= k < N.
          guess: an earlier result, near which this one may be found sooner; it changes no result.
        """

    @abc.abstractmethod
    def kth_and_counts(
        self, k: tf.Tensor, guess: tf.Tensor, *, with_equal: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns `kth`, and the number of elements of each tensor below it, int32 `(tensors,)`.

        `with_equal` counts those that are equal to it too.
        """

    @abc.abstractmethod
    def kth_of_each(self, ranks: Sequence[int | None], wanted: tf.Tensor, guesses: tf.Tensor) -> tf.Tensor:
        """Returns sorted(magnitudes)[rank] of each tensor that is wanted, uint32 `(tensors,)`.

        Args:
          ranks: by tensor; None where it is not known.
          wanted: bool `(tensors,)`. The others, and those of unknown rank, have `ABOVE_ALL`.
          guesses: uint32 `(tensors,)`, as that of `kth`.
        """

    def under(self, limits: tf.Tensor) -> Self:
        """Returns a selector in which magnitudes that are not below the limit of their tensor are `ABOVE_ALL`."""
        return dataclasses.replace(self, bits=self.bits.under(limits))

    def largest(self) -> tf.Tensor:
        """Returns the largest magnitude below `ABOVE_ALL`, a uint32 scalar; 0 without any."""
        found: list[tf.Tensor] = []
        for vector in range(len(self.bits.values)):
            with in_turn(found[-1:]):
                bits = self.bits.bits(vector)
                free = tf.where(tf.equal(bits, np.uint32(ABOVE_ALL)), np.uint32(0), bits)
                found.append(tf.reduce_max(tf.cast(free, tf.int32)))
        return tf.cast(tf.reduce_max(tf.stack(found)), tf.uint32)
