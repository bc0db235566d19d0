"""Which filters are weak, which of them leave now: arithmetic on scores, nothing of models."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

SCOPES = ("layer", "global")


@dataclasses.dataclass(frozen=True)
class Ranked:
    """One group of filters to be ranked.

    Args:
      name: of the group.
      initial: how many filters it had before any pruning.
      scores: one of each filter that it has now, float64; the smallest go first.
    """

    name: str
    initial: int
    scores: np.ndarray

    @property
    def size(self) -> int:
        return len(self.scores)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What becomes of the filters of one group, as indices into it.

    Args:
      hard: those that leave.
      soft: the other weak ones, to be silenced; the weakest first.
    """

    hard: np.ndarray
    soft: np.ndarray


def count_weak(initial: int, now: int, share_left: float) -> int:
    """Returns int(now - initial · share_left): the filters beyond what the schedule leaves; at least one stays.

    >>> count_weak(64, 60, 0.5 ** 0.3)
    7
    """
    # A whole number of filters must not fall short of itself by rounding: 20 - 20·(1 - 0.7) is 13.999...
    return max(min(int(now - initial * share_left + 1e-9), now - 1), 0)


def judge(
    groups: Sequence[Ranked],
    share_left: float,
    hard_share: float,
    *,
    scope: str = "layer",
    round_to: int = 1,
    minimum: int = 1,
) -> dict[str, Verdict]:
    """Returns the verdict on each group, by name.

    Per layer, the `count_weak` filters of least score in each group are weak. Global, as many as that is in all, of
    all groups: scores are divided by the Euclidean norm of their group's first (Molchanov et al., arXiv 1611.06440).
    Of the weak, the int(hard_share · weak) weakest are hard; fewer where a group would keep less than `minimum`, or
    not a multiple of `round_to`.
    """
    counts = {group.name: count_weak(group.initial, group.size, share_left) for group in groups}
    hard_counts = {name: int(hard_share * count + 1e-9) for name, count in counts.items()}
    if scope == "global":
        total = sum(counts.values())
        order = _weakest_of_all(groups, total, minimum)
        hard = order[: int(hard_share * total + 1e-9)]
        counts = {group.name: sum(name == group.name for name in order) for group in groups}
        hard_counts = {group.name: sum(name == group.name for name in hard) for group in groups}
    verdicts = {}
    for group in groups:
        order_here = np.argsort(group.scores, kind="stable")
        least = min(max(minimum, 1), group.size)
        weak = min(counts[group.name], group.size - least)
        kept = max(group.size - hard_counts[group.name], least)
        kept = min(-(-kept // round_to) * round_to, group.size)
        leaves = group.size - kept
        verdicts[group.name] = Verdict(order_here[:leaves], order_here[leaves:weak])
    return verdicts


def _weakest_of_all(groups: Sequence[Ranked], total: int, minimum: int) -> list[str]:
    """Returns the group of each of the `total` weakest filters, the weakest first; each group keeps its minimum."""
    scores, names = [], []
    for group in groups:
        norm = float(np.linalg.norm(group.scores))
        # The strongest of each group are out of the contest.
        able = np.sort(group.scores)[: max(group.size - max(minimum, 1), 0)]
        scores.append(able / norm if norm > 0 else able)
        names += [group.name] * len(able)
    order: np.ndarray = np.argsort(np.concatenate(scores), kind="stable") if scores else np.zeros(0, np.int64)
    return [names[each] for each in order[:total]]
