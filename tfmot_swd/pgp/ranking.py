"""Selection of weak filters by their scores, for groups of any model."""

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
      initial: number of filters before any pruning, in units of the present filters.
      scores: float64 `(filters,)`; the smallest are removed first.
      parts: indices of filters that must not all be removed, in addition to those of the whole group, such as the
        filters of one of two concatenated convolutions.
    """

    name: str
    initial: float
    scores: np.ndarray
    parts: tuple[np.ndarray, ...] = ()

    @property
    def size(self) -> int:
        return len(self.scores)

    def removable(self, minimum: int) -> np.ndarray:
        """Returns the filters that may be removed, the weakest first: all but the `minimum` strongest of each part."""
        order = np.argsort(self.scores, kind="stable")
        stays = np.zeros(self.size, bool)
        for part in (np.arange(self.size), *self.parts):
            stays[order[np.isin(order, part)][-max(minimum, 1) :]] = True
        return order[~stays[order]]


@dataclasses.dataclass(frozen=True)
class Selection:
    """The weak filters of one group, as indices into it.

    Args:
      hard: filters to remove.
      soft: the other weak filters, to set to zero and keep; the weakest first.
    """

    hard: np.ndarray
    soft: np.ndarray


def count_weak(initial: float, now: int, share_left: float) -> int:
    """Returns int(now - initial · share_left), the number of filters to prune, between 0 and now - 1.

    >>> count_weak(64, 60, 0.5 ** 0.3)
    8
    """
    # Rounding must not make a whole number one less: 20 - 20·(1 - 0.7) is 13.999...
    return max(min(int(now - initial * share_left + 1e-9), now - 1), 0)


def select_filters(
    groups: Sequence[Ranked],
    share_left: float,
    hard_share: float,
    *,
    scope: str = "layer",
    round_to: int = 1,
    minimum: int = 1,
    final_left: float = 0.0,
) -> dict[str, Selection]:
    """Returns the weak filters of each group, by name.

    With scope "layer" the `count_weak` filters of least score in each group are weak. With "global" as many are weak
    as that is of all groups together, by scores divided by the Euclidean norm of those of their group (Molchanov et
    al., arXiv 1611.06440). The int(hard_share · weak) weakest are hard; fewer where a group, or a part of it, would
    keep less than `minimum`, or the group not a multiple of `round_to`. With "layer" no filter is soft that rounding
    keeps at the end: it would not recover from zero, and so be kept without use.

    Args:
      groups: to select from.
      share_left: share of the initial filters to leave now, in (0, 1].
      hard_share: share of the weak filters to remove, in [0, 1].
      scope: "layer" or "global".
      round_to: the number of filters kept in a group is a multiple of this, if the group has as many.
      minimum: least number of filters that each group and part keeps.
      final_left: share of the initial filters to leave at the end of the schedule.
    """
    removable = {group.name: group.removable(minimum) for group in groups}
    counts = {group.name: count_weak(group.initial, group.size, share_left) for group in groups}
    hard_counts = {name: int(hard_share * count + 1e-9) for name, count in counts.items()}
    stay = {
        group.name: _rounded(group.size - count_weak(group.initial, group.size, final_left), group.size, round_to)
        for group in groups
    }
    if scope == "global":
        # Counted together, so that a group that has lost more than its share makes up for others.
        total = count_weak(sum(group.initial for group in groups), sum(group.size for group in groups), share_left)
        order = _weakest_of_all(groups, removable, total)
        hard = order[: int(hard_share * total + 1e-9)]
        counts = {group.name: order.count(group.name) for group in groups}
        hard_counts = {group.name: hard.count(group.name) for group in groups}
        # The groups of the last weak filters are not known before the end.
        stay = dict.fromkeys(stay, 0)
    selections = {}
    for group in groups:
        weak = removable[group.name][: counts[group.name]]
        kept = group.size - min(hard_counts[group.name], len(weak))
        kept = _rounded(kept, group.size, round_to)
        leaves = group.size - kept
        last = leaves + max(kept - stay[group.name], 0)
        selections[group.name] = Selection(weak[:leaves], weak[leaves:last])
    return selections


def any_leaves(
    groups: Sequence[Ranked], share_left: float, *, scope: str = "layer", round_to: int = 1, minimum: int = 1
) -> bool:
    """Returns whether any filter of unpruned groups could be removed when all weak ones are, for some scores.

    >>> any_leaves([Ranked("a", 8, np.zeros(8))], 0.9)
    False
    """
    total = count_weak(sum(group.initial for group in groups), sum(group.size for group in groups), share_left)
    for group in groups:
        # With a global scope all weak filters may be in this group.
        count = total if scope == "global" else count_weak(group.initial, group.size, share_left)
        kept = group.size - min(count, len(group.removable(minimum)))
        if _rounded(kept, group.size, round_to) < group.size:
            return True
    return False


def _rounded(kept: int, size: int, round_to: int) -> int:
    return min(-(-kept // round_to) * round_to, size)


def _weakest_of_all(groups: Sequence[Ranked], removable: dict[str, np.ndarray], total: int) -> list[str]:
    """Returns the group of each of the `total` weakest filters that may be removed, the weakest first."""
    scores, names = [], []
    for group in groups:
        norm = float(np.linalg.norm(group.scores))
        mine = group.scores[removable[group.name]]
        scores.append(mine / norm if norm > 0 else mine)
        names += [group.name] * len(mine)
    order: np.ndarray = np.argsort(np.concatenate(scores), kind="stable") if scores else np.zeros(0, np.int64)
    return [names[each] for each in order[:total]]
