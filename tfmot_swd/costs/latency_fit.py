"""Least-squares fit of the time of operators: a + b·MACs + c·bytes + d·positions, coefficients not negative."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

# Kinds of operators in families: where a table lacks a kind, the closest is another one of its family.
_FAMILIES = (
    ("conv", "pointwise", "input_conv", "mono_conv", "dense", "depthwise"),
    ("max_pool", "average_pool", "mean"),
    ("elementwise", "add", "activation", "softmax"),
    ("copy", "pad"),
)
KINDS = {
    "conv": "convolutions, also transposed ones",
    "pointwise": "convolutions with kernels of 1x1",
    "input_conv": "convolutions of two to four input channels, as of colour images",
    "mono_conv": "convolutions of one input channel",
    "depthwise": "depthwise convolutions",
    "dense": "dense layers and other products of matrices",
    "max_pool": "max pooling",
    "average_pool": "average pooling",
    "mean": "means, as of global pooling",
    "add": "sums of two tensors",
    "elementwise": "products, ReLU by itself, and what else moves each element once",
    "activation": "sigmoid, tanh and other functions of each element",
    "softmax": "softmax",
    "copy": "concatenation, resizing, slicing",
    "pad": "padding",
}


def convolution_kind(inputs: int, is_pointwise: bool = False) -> str:
    """Returns the kind of a convolution of so many input channels.

    Kernels that take several at once leave their lanes empty where there are few.

    >>> convolution_kind(1), convolution_kind(3), convolution_kind(16), convolution_kind(16, is_pointwise=True)
    ('mono_conv', 'input_conv', 'conv', 'pointwise')
    """
    if inputs > 4:
        return "pointwise" if is_pointwise else "conv"
    return "input_conv" if inputs > 1 else "mono_conv"


def closest_kinds(kind: str) -> tuple[str, ...]:
    """Returns all kinds by how well they stand for `kind`, itself first.

    >>> closest_kinds("pad")[:4]
    ('pad', 'copy', 'elementwise', 'add')
    """
    family = next((each for each in _FAMILIES if kind in each), ())
    # What moves bytes is closer to other such operators than to products of matrices.
    others = [each for family in (*_FAMILIES[2:], _FAMILIES[1], _FAMILIES[0]) for each in family]
    return tuple(dict.fromkeys((kind, *family, *others)))


@dataclasses.dataclass(frozen=True)
class OperatorRun:
    """The measured time of one operator.

    Args:
      kind: of the operator: "conv", "pointwise" (a convolution of 1x1), "input_conv" (of two to four input channels),
        "mono_conv" (of one), "depthwise", "dense", "max_pool", "average_pool", "mean", "add", "elementwise",
        "activation", "softmax", "copy" or "pad".
      macs: multiply-accumulates of one run.
      bytes: of the activations that it reads and writes, and of its weights.
      milliseconds: of one run.
      recipe: of the file, "int8" or "float32".
      positions: how often its kernel is applied at how many elements: height · width of the output times height · width
        of the kernel or pool. Kernels work on several channels at once, so that few channels take as long as these; 0
        where it is not known.
    """

    kind: str
    macs: float
    bytes: float
    milliseconds: float
    recipe: str = "int8"
    positions: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}. Received: {self.kind!r}")
        if self.recipe not in ("int8", "float32"):
            raise ValueError(f"recipe must be int8 or float32. Received: {self.recipe!r}")
        for name, least in (("macs", 0.0), ("bytes", 0.0), ("positions", 0.0), ("milliseconds", 1e-9)):
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not is_number or value < least:
                sign = "above 0" if least else "0 or more"
                raise ValueError(f"{name} of an operator must be a number, {sign}. Received: {name}={value!r}")

    @classmethod
    def from_row(cls, row: Mapping[str, Any], recipe: str = "int8") -> OperatorRun:
        """Returns the run in a row of a JSON or CSV file, with columns kind, macs, bytes, milliseconds and, where
        they are known, positions and recipe.

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
            positions = float(row.get("positions") or 0.0)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"macs, bytes, milliseconds and positions of an operator are numbers. Received: {dict(row)}"
            ) from error
        return cls(str(row["kind"]), macs, nbytes, milliseconds, str(row.get("recipe") or recipe), positions)


@dataclasses.dataclass(frozen=True)
class OperatorTime:
    """The time of operators of one kind in files of one recipe, a line in their MACs, bytes and positions.

    Microseconds are start_us + us_per_mac·MACs + us_per_byte·bytes + us_per_position·positions.

    Args:
      recipe: "int8" or "float32".
      kind: of the operators, of `KINDS`.
      start_us, us_per_mac, us_per_byte, us_per_position: the coefficients, none negative.
      runs: number of measured operators that they were fitted to.
      median_error, high_error: the median and the 90th percentile of |fitted - measured| / measured over those.

    >>> OperatorTime("int8", "conv", 2.0, 1e-4, 1e-3, 0.01).us(macs=10_000, nbytes=1000, positions=50)
    4.5
    """

    recipe: str
    kind: str
    start_us: float
    us_per_mac: float
    us_per_byte: float
    us_per_position: float = 0.0
    runs: int = 0
    median_error: float = 0.0
    high_error: float = 0.0

    def us(self, macs: float, nbytes: float, positions: float = 0.0) -> float:
        """Returns the microseconds of one operator."""
        moved = self.us_per_byte * nbytes + self.us_per_position * positions
        return self.start_us + self.us_per_mac * macs + moved


def fit_times(runs: Iterable[OperatorRun]) -> tuple[OperatorTime, ...]:
    """Returns the fitted times, one for each recipe and kind in the order of `KINDS`.

    The sum of squared relative errors Σ ((a + b·MACs + c·bytes + d·positions - t) / t)² is minimized over coefficients
    of 0 or more, so that small operators count as much as large ones.

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
    columns = np.array([(1.0, run.macs, run.bytes, run.positions) for run in runs])
    times = 1000 * np.array([run.milliseconds for run in runs])
    coefficients = nonnegative_least_squares(columns / times[:, None], np.ones(len(runs)))
    errors = np.abs(columns @ coefficients / times - 1)
    median, high = np.quantile(errors, (0.5, 0.9)).tolist()
    start, by_macs, by_bytes, by_positions = coefficients.tolist()
    return OperatorTime(recipe, kind, start, by_macs, by_bytes, by_positions, len(runs), median, high)


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
