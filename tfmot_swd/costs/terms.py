"""Cost terms: sums of products of axis sizes, which give a cost for any choice of channels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class CostTerms:
    """A count as a sum of products, Σ_t c_t Π_a size(a): coefficients times kept sizes of axes of weights.

    They can be added to each other and to numbers, and multiplied by a number: `2 + 0.5 * call.macs`.

    Args:
      coefficients: float64 `(terms,)`.
      axes: int64 `(terms, factors)`, numbers of axes of `ChannelCosts`, padded with 0, an axis of size 1.
      integral: whether counts are whole numbers; fractions are rounded up.

    >>> two, one = (CostTerms.of([(factor, [1])]) for factor in (2.0, 1.0))
    >>> (two + 3 * one + 7).count(np.array([1.0, 10.0]))
    57.0
    """

    coefficients: np.ndarray
    axes: np.ndarray
    integral: bool = True

    @classmethod
    def of(cls, products: Iterable[tuple[float, Sequence[int]]]) -> CostTerms:
        """Returns the sum of (coefficient, axes) products, with those of the same axes added up."""
        merged: dict[tuple[int, ...], float] = {}
        for coefficient, axes in products:
            merged[tuple(sorted(axes))] = merged.get(tuple(sorted(axes)), 0.0) + coefficient
        most = max((len(axes) for axes in merged), default=0) or 1
        padded = [list(axes) + [0] * (most - len(axes)) for axes in merged]
        return cls(np.array(list(merged.values()), np.float64), np.array(padded, np.int64).reshape(-1, most))

    def merged(self) -> CostTerms:
        """Returns the same sum with the terms of the same axes added up."""
        found = CostTerms.of(self._products())
        return dataclasses.replace(found, integral=self.integral)

    def scaled(self, scale: float, offset: float) -> CostTerms:
        """Returns the sum times `scale`, plus `offset`."""
        return self * scale + offset

    def count(self, sizes: np.ndarray) -> float:
        """Returns the count for these sizes of the axes, `(axes,)`."""
        return float((self.coefficients * sizes[self.axes].prod(axis=1)).sum())

    def __add__(self, other: CostTerms | float) -> CostTerms:
        if not isinstance(other, CostTerms):
            other = CostTerms(np.array([other], np.float64), np.zeros((1, 1), np.int64), self.integral)
        most = max(self.axes.shape[1], other.axes.shape[1])
        padded = [np.pad(each.axes, ((0, 0), (0, most - each.axes.shape[1]))) for each in (self, other)]
        return CostTerms(
            np.concatenate([self.coefficients, other.coefficients]),
            np.concatenate(padded),
            self.integral and other.integral,
        )

    def __mul__(self, factor: float) -> CostTerms:
        return dataclasses.replace(self, coefficients=self.coefficients * factor)

    __radd__ = __add__
    __rmul__ = __mul__

    def _products(self) -> list[tuple[float, list[int]]]:
        return [
            (float(coefficient), [int(axis) for axis in axes if axis])
            for coefficient, axes in zip(self.coefficients, self.axes, strict=True)
        ]
