"""Device report: printed as tables, written as JSON and as one HTML page."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rich.table import Table

from tfmot_swd.io.atomic import atomic_write, check_target
from tfmot_swd.io.deprecation import warn_deprecated
from tfmot_swd.io.json_files import JsonResult
from tfmot_swd.io.tables import COMPACT, Printable, View
from tfmot_swd.report.data import ReportData
from tfmot_swd.report.page import page
from tfmot_swd.report.table import report_tables


@dataclass(frozen=True)
class DeviceReport(ReportData, Printable, JsonResult):
    """A model before and after pruning, its files, their times and accuracies, and the training that led there.

    Made by `device_report`; the fields are those of `data.ReportData`. `print(report)` shows it in a terminal,
    `write_html` makes a page to forward, `write_json` and `read_json` keep it for a program.
    """

    width: ClassVar[int] = 140

    @classmethod
    def read_json(cls, path: str | os.PathLike[str]) -> DeviceReport:
        """Reads what `write_json` wrote.

        Raises:
            ValueError: a file of something else, or of another format.
            OSError: it cannot be read.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"This is not JSON: pass what write_json wrote. Received: {os.fspath(path)!r}") from error
        return cls.from_dict(content)

    def write_html(self, path: str | os.PathLike[str]) -> Path:
        """Writes the report as one HTML page in one atomic step, and returns its path.

        The page holds everything and loads nothing: it can be mailed, and opened without a network.

        Raises:
            TypeError, ValueError, OSError: nothing can be written at `path`.
        """
        target = check_target(path)
        with atomic_write(target, page(self).encode()):
            pass
        return target

    def tables(self, view: View = COMPACT) -> Sequence[Table]:
        return report_tables(self, view)

    def to_json(self, path: str | os.PathLike[str]) -> Path:
        """Deprecated: `write_json`."""
        warn_deprecated("DeviceReport.to_json(path)", "write_json(path)")
        return self.write_json(path)

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Deprecated: `write_html`."""
        warn_deprecated("DeviceReport.to_html(path)", "write_html(path)")
        return self.write_html(path)

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> DeviceReport:
        """Deprecated: `read_json`."""
        warn_deprecated("DeviceReport.from_json(path)", "read_json(path)")
        return cls.read_json(path)
