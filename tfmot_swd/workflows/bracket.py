"""Search for the smallest share of a cost at which a floor holds: a bracket, bisected in the logarithm."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Tried:
    """One share that was tried.

    Args:
      share: the share of the cost that was asked for, in (0, 1].
      reached: the share that the model has.
      holds: whether the floor holds there.
    """

    share: float
    reached: float
    holds: bool


def next_share(
    tried: Sequence[Tried], first: float, *, least: float = 0.0, tolerance: float = 0.1, whole_holds: bool = True
) -> float | None:
    """Returns the share to try next; None where the answer is known.

    Everything that was tried counts, in any order. The upper end of the bracket is the smallest share whose floor
    holds, the whole model before there is one; the lower end is the largest below it whose floor does not hold. Between
    them the next share is their geometric mean; where there is no lower end, half of the upper one.

    What is asked for and what comes out differ, on both sides: channels are whole, and the bytes of a file are an
    estimate until it is made. So whether the bracket is narrow is told by what the models have.

    Args:
      tried: what is known, of this search and of earlier ones.
      first: where to begin, by an estimate.
      least: the smallest share that there is.
      tolerance: the search ends where the upper end is at most so much above the lower one, 0.1 for 10 %.
      whole_holds: whether the floor holds for the whole model; else the search begins at the top, and ends there if
        the floor does not hold.

    >>> next_share([], 0.2)
    0.2
    >>> next_share([Tried(0.2, 0.2, True)], 0.2)
    0.1
    >>> round(next_share([Tried(0.2, 0.2, True), Tried(0.1, 0.1, False)], 0.2), 4)
    0.1414
    >>> next_share([Tried(0.2, 0.2, True), Tried(0.19, 0.19, False)], 0.2) is None
    True
    """
    top = 1 / (1 + tolerance)
    held = [each for each in tried if each.holds]
    if not held and not whole_holds:
        return None if any(each.share >= top * (1 - 1e-9) for each in tried) else top
    # Nothing above it need be asked for; the model of the smallest may have more.
    upper = min((min(each.share, each.reached) for each in held), default=1.0)
    smallest = min((each.reached for each in held), default=1.0)
    below = [each for each in tried if not each.holds and each.share < upper]
    lower = max((each.share for each in below), default=None)
    # A model that missed with less than was asked for: nothing lies between the two.
    missed = max((max(each.share, each.reached) for each in below), default=0.0)
    # Ends may be equal but for rounding.
    narrow = (1 + tolerance) * (1 + 1e-9)
    if smallest <= max(least, missed) * narrow or upper <= least * narrow:
        return None
    if lower is not None:
        return math.sqrt(upper * lower)
    # Half of the whole is no better a guess than the estimate.
    return max(upper / 2 if held else min(first, top), least)
