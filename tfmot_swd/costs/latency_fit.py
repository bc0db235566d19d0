"""Least-squares fit of the time of operators: a + b·MACs + c·bytes with coefficients that are not negative."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

# Kinds of operators, and for each the kinds to count it by where a table lacks it, the closest first.
KINDS: dict[str, tuple[str, ...]] = {
    "conv": ("dense", "depthwise"),
    "depthwise": ("conv", "dense"),
    "dense": ("conv", "depthwise"),
    "pool": ("elementwise", "copy", "activation", "depthwise"),
    "elementwise": ("copy", "pool", "activation", "depthwise"),
    "activation": ("elementwise", "copy", "pool", "depthwise"),
    "copy": ("elementwise", "pool", "activation", "depthwise"),
}


@dataclasses.dataclass(frozen=True)
class OperatorRun:
    """The measured time of one operator.

    Args:
      kind: of the operator, of `KINDS`: "conv", "depthwise", "dense", "pool" (poolings and means), "elementwise"
        (additions, products, ReLU by itself), "activation" (sigmoid, softmax and others) or "copy" (concatenation,
        padding, resizing).
      macs: multiply-accumulates of one run.
      bytes: of the activations that it reads and writes, and of its weights.
      milliseconds: of one run.
      recipe: of the file, "int8" or "float32".
    """

    kind: str
    macs: float
    bytes: float
    milliseconds: float
    recipe: str = "int8"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}. Received: {self.kind!r}")
        if self.recipe not in ("int8", "float32"):
            raise ValueError(f"recipe must be int8 or float32. Received: {self.recipe!r}")
        for name, least in (("macs", 0.0), ("bytes", 0.0), ("milliseconds", 1e-9)):
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not is_number or value < least:
                sign = "above 0" if least else "0 or more"
                raise ValueError(f"{name} of an operator must be a number, {sign}. Received: {name}={value!r}")

    @classmethod
    def from_row(cls, row: Mapping[str, Any], recipe: str = "int8") -> OperatorRun:
        """Returns the run in a row of a JSON or CSV file, with columns kind, macs, bytes, milliseconds and, where a
        file has several, recipe.

        Raises:
          ValueError: a column is missing, or is no number.
        """
        missing = [name for name in ("kind", "macs", "bytes", "milliseconds") if row.get(name) in (None, "")]
        if missing:
            raise ValueError(
                "A row of measured operators needs kind, macs, bytes and milliseconds. "
                f"Received: no {', '.join(missing)} in {dict(row)}"
            )
        try:
            macs, nbytes, milliseconds = (float(row[name]) for name in ("macs", "bytes", "milliseconds"))
        except (TypeError, ValueError) as error:
            raise ValueError(f"macs, bytes and milliseconds of an operator are numbers. Received: {dict(row)}") from error
        return cls(str(row["kind"]), macs, nbytes, milliseconds, str(row.get("recipe") or recipe))


@dataclasses.dataclass(frozen=True)
class OperatorTime:
    """The time of operators of one kind in files of one recipe: start + per_mac·MACs + per_byte·bytes, microseconds.

    Args:
      recipe: "int8" or "float32".
      kind: of the operators, of `KINDS`.
      start_us, us_per_mac, us_per_byte: the coefficients, none negative.
      runs: number of measured operators that they were fitted to.
      median_error, high_error: the median and the 90th percentile of |fitted - measured| / measured over those.

    >>> OperatorTime("int8", "conv", 2.0, 1e-4, 1e-3, 40, 0.05, 0.2).us(macs=10_000, nbytes=1000)
    4.0
    """

    recipe: str
    kind: str
    start_us: float
    us_per_mac: float
    us_per_byte: float
    runs: int
    median_error: float
    high_error: float

    def us(self, macs: Any, nbytes: Any) -> Any:
        """Returns the microseconds of one operator; of numbers, arrays or `CostTerms`."""
        return self.start_us + self.us_per_mac * macs + self.us_per_byte * nbytes


def fit_times(runs: Iterable[OperatorRun]) -> tuple[OperatorTime, ...]:
    """Returns the fitted times, one for each recipe and kind in the order of `KINDS`.

    The sum of squared relative errors Σ ((a + b·MACs + c·bytes - t) / t)² is minimized over a, b, c ≥ 0, so that small
    operators count as much as large ones.

    Args:
      runs: measured operators. Coefficients that those of a kind do not tell apart are 0: with all MACs and bytes
        equal, only a start is found.

    Raises:
      ValueError: there are none.

    >>> runs = [OperatorRun("conv", macs, size, 1e-3 * (2 + 0.01 * macs + 0.1 * size))
    ...         for macs, size in ((100, 10), (200, 10), (100, 40), (700, 90))]
    >>> (found,) = fit_times(runs)
    >>> round(found.start_us, 6), round(found.us_per_mac, 6), round(found.us_per_byte, 6)
    (2.0, 0.01, 0.1)
    """
    by_kind: dict[tuple[str, str], list[OperatorRun]] = {}
    for run in runs:
        by_kind.setdefault((run.recipe, run.kind), []).append(run)
    if not by_kind:
        raise ValueError("A fit needs the measured time of one operator at least. Received: none")
    return tuple(
        _fitted(recipe, kind, by_kind[recipe, kind])
        for recipe in dict.fromkeys(recipe for recipe, _ in by_kind)
        for kind in KINDS
        if (recipe, kind) in by_kind
    )


def _fitted(recipe: str, kind: str, runs: Sequence[OperatorRun]) -> OperatorTime:
    columns = np.array([(1.0, run.macs, run.bytes) for run in runs])
    times = 1000 * np.array([run.milliseconds for run in runs])
    coefficients = nonnegative_least_squares(columns / times[:, None], np.ones(len(runs)))
    errors = np.abs(columns @ coefficients / times - 1)
    median, high = np.quantile(errors, (0.5, 0.9)).tolist()
    return OperatorTime(recipe, kind, *coefficients.tolist(), len(runs), median, high)


def nonnegative_least_squares(columns: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Returns x ≥ 0 that minimizes ‖columns·x - target‖, exactly, for a few columns.

    The minimum is the unconstrained one of some subset of the columns, with the others at 0: all subsets are tried, of
    which there are 7 for three columns. Of equally good ones the one with fewer columns is taken.

    Args:
      columns: float64 `(rows, columns)`.
      target: float64 `(rows,)`.

    >>> nonnegative_least_squares(np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]), np.array([2.0, 2.0, 1.0])).round(6)
    array([1.666667, 0.      ])
    """
    count = columns.shape[1]
    scale = np.linalg.norm(columns, axis=0)
    best, least = np.zeros(count), float(np.linalg.norm(target))
    tolerance = 1e-9 * least
    for size in range(1, count + 1):
        for chosen in map(list, itertools.combinations(range(count), size)):
            if not scale[chosen].all():
                continue
            scaled = columns[:, chosen] / scale[chosen]
            found, _, rank, _ = np.linalg.lstsq(scaled, target, rcond=1e-10)
            if rank < size or (found < 0).any():
                continue
            residual = float(np.linalg.norm(scaled @ found - target))
            if residual < least - tolerance:
                best, least = np.zeros(count), residual
                best[chosen] = found / scale[chosen]
    return best
