"""Sets of the entries of many weights, a bit an entry."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from tfmot_swd.keras2.weight_values import view_of

# Number of bits of each byte; NumPy before 2 does not count them.
_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)


@dataclasses.dataclass(frozen=True)
class BitSets:
    """A set of entries of each of several weights, packed.

    Args:
      packed: uint8 `(ceil(entries / 8),)` of each weight; bits beyond its last entry are zero.
    """

    packed: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, masks: Iterable[Any]) -> BitSets:
        """Returns the sets of the entries where bool masks, tensors or arrays, are true.

        >>> BitSets.of([np.array([True, False, True])]).counts()
        [2]
        """
        return cls(tuple(np.packbits(view_of(mask)) for mask in masks))

    def counts(self) -> list[int]:
        """Returns the number of entries of each set."""
        return [_count(each) for each in self.packed]

    def count_without(self, other: BitSets) -> int:
        """Returns the number of entries that are not in `other`, of all sets together."""
        return sum(_count(own & ~theirs) for own, theirs in zip(self.packed, other.packed, strict=True))


def _count(packed: np.ndarray) -> int:
    return int(_BITS[packed].sum(dtype=np.int64))
