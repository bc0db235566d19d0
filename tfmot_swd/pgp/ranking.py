"""Selection of weak filters by their scores: arithmetic, nothing of models."""

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
      initial: how many filters it had before any pruning, of the size that they have now.
      scores: one of each filter that it has now, float64; the smallest go first.
      parts: indices of filters of which some must stay beside the group as a whole, such as those that one of two
        concatenated convolutions makes.
    """

    name: str
    initial: float
    scores: np.ndarray
    parts: tuple[np.ndarray, ...] = ()

    @property
    def size(self) -> int:
        return len(self.scores)

    def removable(self, minimum: int) -> np.ndarray:
        """Returns the filters that may leave, the weakest first: all but the `minimum` strongest of each part."""
        order = np.argsort(self.scores, kind="stable")
        stays = np.zeros(self.size, bool)
        for part in (np.arange(self.size), *self.parts):
            stays[order[np.isin(order, part)][-max(minimum, 1) :]] = True
        return order[~stays[order]]


@dataclasses.dataclass(frozen=True)
class Selection:
    """The weak filters of one group, as indices into it.

    Args:
      hard: those that leave.
      soft: the other weak ones, set to zero and kept; the weakest first.
    """

    hard: np.ndarray
    soft: np.ndarray


def count_weak(initial: float, now: int, share_left: float) -> int:
    """Returns int(now - initial · share_left): the filters beyond what the schedule leaves; at least one stays.

    >>> count_weak(64, 60, 0.5 ** 0.3)
    8
    """
    # A whole number of filters must not fall short of itself by rounding: 20 - 20·(1 - 0.7) is 13.999...
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

    Per layer, the `count_weak` filters of least score in each group are weak. Global, as many as that is of all
    groups together: scores are divided by the Euclidean norm of their group's first (Molchanov et al., arXiv
    1611.06440). Of the weak, the int(hard_share · weak) weakest are hard; fewer where a group, or a part of it, would
    keep less than `minimum`, or the group not a multiple of `round_to`. Per layer, none is soft that rounding still
    keeps when `final_left` is left: a filter that was set to zero does not come back, and would stay for nothing.
    """
    removable = {group.name: group.removable(minimum) for group in groups}
    counts = {group.name: count_weak(group.initial, group.size, share_left) for group in groups}
    hard_counts = {name: int(hard_share * count + 1e-9) for name, count in counts.items()}
    stay = {
        group.name: _rounded(group.size - count_weak(group.initial, group.size, final_left), group.size, round_to)
        for group in groups
    }
    if scope == "global":
        # A group that has lost more than its share makes up for others: counted one by one it would not.
        total = count_weak(sum(group.initial for group in groups), sum(group.size for group in groups), share_left)
        order = _weakest_of_all(groups, removable, total)
        hard = order[: int(hard_share * total + 1e-9)]
        counts = {group.name: order.count(group.name) for group in groups}
        hard_counts = {group.name: hard.count(group.name) for group in groups}
        # Which group the last ones leave is known when they do.
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
    """Returns whether any filter of groups that are whole could leave when all weak ones do, whatever the scores.

    >>> any_leaves([Ranked("a", 8, np.zeros(8))], 0.9)
    False
    """
    total = count_weak(sum(group.initial for group in groups), sum(group.size for group in groups), share_left)
    for group in groups:
        # Compared over all, the weak ones may all be of this group.
        count = total if scope == "global" else count_weak(group.initial, group.size, share_left)
        kept = group.size - min(count, len(group.removable(minimum)))
        if _rounded(kept, group.size, round_to) < group.size:
            return True
    return False


def _rounded(kept: int, size: int, round_to: int) -> int:
    return min(-(-kept // round_to) * round_to, size)


def _weakest_of_all(groups: Sequence[Ranked], removable: dict[str, np.ndarray], total: int) -> list[str]:
    """Returns the group of each of the `total` weakest filters that may leave, the weakest first."""
    scores, names = [], []
    for group in groups:
        norm = float(np.linalg.norm(group.scores))
        mine = group.scores[removable[group.name]]
        scores.append(mine / norm if norm > 0 else mine)
        names += [group.name] * len(mine)
    order: np.ndarray = np.argsort(np.concatenate(scores), kind="stable") if scores else np.zeros(0, np.int64)
    return [names[each] for each in order[:total]]
