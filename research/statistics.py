"""Paired comparisons over seeds: mean difference, t interval, Holm's correction, and what may be said of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

# Fewer seeds than this get no words, whatever the interval.
LEAST_SEEDS = 5


@dataclasses.dataclass(frozen=True)
class Difference:
    """One method minus another over the same seeds, in the unit of the scores.

    Args:
      mean: of the differences.
      low, high: ends of the interval.
      p: of the two-sided paired t test.
      seeds: how many.
    """

    mean: float
    low: float
    high: float
    p: float
    seeds: int

    def verdict(self, margin: float) -> str:
        """Returns "better", "worse", "as good as" within the margin, or nothing where the data do not say."""
        if self.seeds < LEAST_SEEDS:
            return ""
        if self.low > 0:
            return "better"
        if self.high < 0:
            return "worse"
        return "as good as" if -margin <= self.low and self.high <= margin else ""


def paired(ours: Mapping[int, float], other: Mapping[int, float], level: float = 0.95) -> Difference:
    """Returns the paired difference of scores by seed, over the seeds that both have.

    Raises:
      ValueError: fewer than two seeds in common.

    >>> paired({0: 3.0, 1: 4.0, 2: 5.0}, {0: 1.0, 1: 2.0, 2: 3.0, 3: 9.0}).mean
    2.0
    """
    seeds = sorted(set(ours) & set(other))
    if len(seeds) < 2:
        raise ValueError(f"A paired comparison needs two seeds at least. Received: {len(seeds)} in common")
    differences = np.array([ours[seed] - other[seed] for seed in seeds])
    mean, error = float(differences.mean()), float(differences.std(ddof=1) / np.sqrt(len(seeds)))
    half = float(stats.t.ppf(0.5 + level / 2, len(seeds) - 1)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, len(seeds) - 1)) if error else float(mean == 0)
    return Difference(mean, mean - half, mean + half, p, len(seeds))


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns the levels of confidence at which intervals match Holm's step-down test at 0.05, in the order given.

    The smallest of m p-values is held against 0.05 / m, the next against 0.05 / (m - 1); after the first that fails,
    all others are held against the level of that one.

    >>> [round(level, 4) for level in holm([0.01, 0.2, 0.03])]
    [0.9833, 0.975, 0.975]
    """
    levels, failed = [0.0] * len(p_values), None
    for rank, place in enumerate(np.argsort(p_values)):
        alpha = 0.05 / (len(p_values) - rank) if failed is None else failed
        levels[place] = 1.0 - alpha
        if failed is None and p_values[place] > alpha:
            failed = alpha
    return levels
