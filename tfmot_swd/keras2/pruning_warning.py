"""The warning category of pruned trainings."""

from __future__ import annotations


class PruningWarning(UserWarning):
    """A pruned training that diverges, removes nothing, empties a layer, skips updates or ends early or with a jump."""
