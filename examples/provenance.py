"""Where a result comes from: the command that made it and the versions of what ran, in the words of the reports."""

from __future__ import annotations

from tfmot_swd.report.provenance import command, versions

__all__ = ["command", "versions"]
