"""The warning category of pruned trainings."""

from __future__ import annotations


class PruningWarning(UserWarning):
    """A pruned training that will diverge, remove nothing or end with a visible cut, or ended before its schedule."""
