"""Result of a compression: the pruned model, its files, and what they cost and are worth."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from tfmot_swd.io.json_files import JsonResult, plain
from tfmot_swd.io.tables import COMPACT, Printable, ResultTable, View
from tfmot_swd.tflite.micro.firmware import FirmwareProject
from tfmot_swd.workflows.comparison import comparison_table
from tfmot_swd.workflows.smallest_result import Smallest


@dataclasses.dataclass(frozen=True)
class CompressedFile:
    """One TFLite file.

    Args:
      recipe: its name.
      path: of the file; empty where there is none.
      bytes: its size; None where there is none.
      dense_bytes: that of the file of the model before pruning; None where that could not be made.
      metric: on the validation data; None where that could not be measured, or is another one than the models'.
      milliseconds: median time of a run on this machine, one thread; None where it was not measured.
      dense_ratio: that time as a share of the dense file's; None where it is not known.
      is_quantization_aware: whether it is of a model that was trained with the rounding.
      failure: why there is no file, empty where there is one.
    """

    recipe: str
    path: str
    bytes: int | None
    dense_bytes: int | None
    metric: float | None
    milliseconds: float | None
    dense_ratio: float | None
    is_quantization_aware: bool = False
    failure: str = ""


@dataclasses.dataclass(frozen=True)
class Compressed(Printable, JsonResult):
    """A pruned model with its files and its report; made by `compress`. Prints as tables.

    Args:
      met: whether the metric of `model` is within the floor, or the model within the budget.
      model: stripped, not compiled, of the Keras that went in.
      metric: its name.
      baseline: of the model before, on the validation data.
      value: of `model`, on the same.
      costs: (before, after) by name: parameters, MACs and others.
      files: a row for each recipe.
      search: of `max_drop` or `floor`; None with a budget.
      folder: where all files are.
      model_path, report_path: of the model and of the HTML page.
      firmware: the firmware project; None where there is none.
      firmware_failure: why it was asked for and is not there; else empty.
      budget_failure: which limit of the budget the model exceeds, or a file that of bytes; else empty.
      unscored: why the files have no metric; empty where they have.
    """

    met: bool
    model: Any
    metric: str
    baseline: float
    value: float
    costs: Mapping[str, tuple[int, int]]
    files: tuple[CompressedFile, ...]
    search: Smallest | None
    folder: str
    model_path: str
    report_path: str
    firmware: FirmwareProject | None = None
    firmware_failure: str = ""
    budget_failure: str = ""
    unscored: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain types, ready for JSON, without the model."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "model"}
        search = None if self.search is None else self.search.to_dict()
        files = [dataclasses.asdict(each) for each in self.files]
        firmware = None if self.firmware is None else self.firmware.to_dict()
        found: dict[str, Any] = plain(fields | {"search": search, "files": files, "firmware": firmware})
        return found

    def tables(self, view: View = COMPACT) -> Sequence[Table]:
        metrics = {f"validation {self.metric}": (self.baseline, self.value)}
        title = f"{self.model_path}: before → after"
        if self.budget_failure:
            title = f"{view.words(self.budget_failure)}\n\n{title}"
        compared = comparison_table(title, metrics, self.costs)
        searched = [] if self.search is None else self.search.tables(view)
        firmware = [] if self.firmware is None else self.firmware.tables(view)
        return (*searched, compared, self._files(), *firmware)

    def _files(self) -> Table:
        table = ResultTable("TFLite files, each compared with that of the whole model")
        table.add_column("file", overflow="fold")
        headings = ("bytes", "ratio", f"validation {self.metric}", "ms here", "ratio")
        for heading in headings:
            table.add_column(heading, justify="right")
        for each in self.files:
            name = each.path or each.recipe
            if each.bytes is None:
                table.add_row(name, "none", "", "", "", "")
                continue
            table.add_row(
                name,
                f"{each.bytes:,}",
                f"{each.bytes / each.dense_bytes:.3f}" if each.dense_bytes else "",
                "" if each.metric is None else f"{each.metric:.4f}",
                "" if each.milliseconds is None else f"{each.milliseconds:.3g}",
                "" if each.dense_ratio is None else f"{each.dense_ratio:.2f}",
            )
        aware = [each.recipe for each in self.files if each.is_quantization_aware]
        table.explain(
            f"Quantization-aware, as plain rounding cost more than half a point of accuracy: {', '.join(aware)}."
            if aware
            else "",
            self.unscored,
            *(f"No {each.recipe} file: {each.failure}" for each in self.files if each.failure),
            f"No firmware: {self.firmware_failure}" if self.firmware_failure else "",
            f"The page with all figures: {self.report_path}. The model: {self.model_path}.",
        )
        return table
