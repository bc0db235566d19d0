"""Measured table of operator times of one device, from which the latency of a network is counted."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from tfmot_swd.costs.latency_fit import KINDS, OperatorRun, OperatorTime, closest_kinds, fit_times
from tfmot_swd.io.json_files import JsonResult
from tfmot_swd.io.tables import COMPACT, Printable, ResultTable, View

_FORMAT = "tfmot_swd latency table"
# From these errors of the fit on, a prediction of that kind is a rough one, and the table says so.
MOST_ERROR = 0.25


@dataclasses.dataclass(frozen=True)
class LatencyTable(Printable, JsonResult):
    """Times of operators on one device, as functions of their multiply-accumulates and bytes.

    The time of an operator of a kind, such as a convolution, is a + b·MACs + c·bytes + d·positions, where bytes are the
    activations that it reads and writes, and its weights, and positions are elements of the output's height and width
    times those of the kernel. `tfmot_swd.workflows.calibrate` measures the machine that it runs on;
    rows that were measured elsewhere, as with the per-operator profile of TFLite's benchmark_model on a phone, are
    fitted the same way (`from_runs`, `read`). `LatencyCost` limits a network by it.

    Args:
      times: for each recipe and kind of operator.
      inference_us: by recipe, microseconds that one inference takes besides its operators.
      device: what was measured, as text.
      kernels: library and version, threads, delegate, as text.
      date: of the measurement, as 2027-01-31.
      notes: what to know of it, as where it was noisy.

    >>> runs = [OperatorRun("conv", macs, 100, 1e-3 * (2 + 0.01 * macs)) for macs in (100, 200)]
    >>> table = LatencyTable.from_runs(runs, device="a phone")
    >>> round(table.time("int8", "conv").us(macs=1000, nbytes=100), 6)
    12.0
    >>> LatencyTable.from_dict(table.to_dict()) == table
    True
    """

    times: tuple[OperatorTime, ...]
    inference_us: Mapping[str, float] = dataclasses.field(default_factory=dict)
    device: str = ""
    kernels: str = ""
    date: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.times:
            raise ValueError("A table of latencies needs the time of one kind of operators at least. Received: none")

    def __hash__(self) -> int:
        return hash((self.times, tuple(sorted(self.inference_us.items())), self.device, self.kernels, self.date))

    @property
    def recipes(self) -> tuple[str, ...]:
        """The recipes of files that the table is for."""
        return tuple(dict.fromkeys(each.recipe for each in self.times))

    def find(self, recipe: str, kind: str) -> OperatorTime | None:
        """Returns the time of a kind of operators, or None where it was not measured."""
        return next((each for each in self.times if (each.recipe, each.kind) == (recipe, kind)), None)

    def time(self, recipe: str, kind: str) -> OperatorTime:
        """Returns the time of a kind of operators, or that of the closest kind where it was not measured.

        Raises:
          ValueError: the table has no such recipe.
        """
        self.check_recipe(recipe)
        found = (self.find(recipe, each) for each in closest_kinds(kind))
        return next(each for each in found if each is not None)

    def check_recipe(self, recipe: str) -> None:
        """Raises a ValueError where the table has no times for files of a recipe."""
        if recipe not in self.recipes:
            raise ValueError(
                f"The table of latencies has no times of {recipe} files: measure them (tfmot-swd calibrate "
                f"--recipes={recipe}), or limit the latency of a file that it knows, Budget(latency=..., "
                f"recipe={self.recipes[0]!r}). Received: a table of {', '.join(self.recipes)} files"
            )

    @classmethod
    def from_runs(
        cls,
        runs: Iterable[OperatorRun],
        *,
        inference_us: Mapping[str, float] | None = None,
        device: str = "",
        kernels: str = "",
        date: str = "",
        notes: Iterable[str] = (),
    ) -> LatencyTable:
        """Returns the table fitted to measured operators (`latency_fit.fit_times`).

        Raises:
          ValueError: there are none.
        """
        times = fit_times(runs)
        rough = [
            f"{each.recipe} {each.kind}: half of the fitted times are off by {each.median_error:.0%} or more"
            for each in times
            if each.median_error > MOST_ERROR
        ]
        day = date or datetime.datetime.now(datetime.UTC).date().isoformat()
        return cls(times, dict(inference_us or {}), device, kernels, day, (*notes, *rough))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> LatencyTable:
        """Returns the table in a file.

        Args:
          path: a .json file as `write_json` and `tfmot-swd calibrate` write; or rows to fit, of columns kind, macs,
            bytes, milliseconds and, where they are known, positions and recipe ("int8" by default), as `OperatorRun`
            explains: a .csv file, or a .json file with a list of objects.

        Raises:
          OSError: the file cannot be read.
          ValueError: it is neither; a row lacks a column, or has an unknown kind.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
            if path.suffix.lower() == ".csv":
                return cls._of_rows(list(csv.DictReader(text.splitlines())), path)
            content = json.loads(text)
            return cls._of_rows(content, path) if isinstance(content, list) else cls.from_dict(content)
        except (UnicodeDecodeError, csv.Error, ValueError) as error:
            raise ValueError(
                "This is no table of latencies: make one with tfmot-swd calibrate --output=device.json, or give rows "
                f"of kind, macs, bytes, milliseconds as .csv or .json. Received: {str(path)!r}, and {error}"
            ) from error

    @classmethod
    def _of_rows(cls, rows: list[Any], path: Path) -> LatencyTable:
        if not all(isinstance(row, Mapping) for row in rows):
            raise ValueError("Rows are objects of kind, macs, bytes, milliseconds. Received: a list of something else")
        runs = [OperatorRun.from_row(row) for row in rows]
        return cls.from_runs(runs, notes=(f"fitted to {len(runs)} rows of {path.name}",))

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain types, ready for JSON."""
        return {
            "format": _FORMAT,
            "device": self.device,
            "kernels": self.kernels,
            "date": self.date,
            "inference_us": dict(self.inference_us),
            "times": [dataclasses.asdict(each) for each in self.times],
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> LatencyTable:
        """Returns the table of `to_dict`.

        Raises:
          ValueError: it is something else, or a coefficient is negative.
        """
        if not isinstance(content, Mapping) or content.get("format") != _FORMAT:
            keys = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else type(content).__name__
            raise ValueError(f"A table of latencies says format={_FORMAT!r}. Received: {keys or 'nothing'}")
        try:
            times = tuple(OperatorTime(**each) for each in content["times"])
            inference = {str(name): float(each) for name, each in content["inference_us"].items()}
            parts = ((each.start_us, each.us_per_mac, each.us_per_byte, each.us_per_position) for each in times)
            least = min([*inference.values(), *(min(map(float, each)) for each in parts)])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"The table of latencies is damaged: make it again. Received: {type(error).__name__}: {error}"
            ) from error
        unknown = [each for each in times if each.kind not in KINDS]
        if unknown or not least >= 0:
            raise ValueError(
                f"A table of latencies has kinds of {', '.join(KINDS)}, and no negative times. "
                f"Received: {unknown[0].kind if unknown else least}"
            )
        device, kernels, date = (str(content.get(name, "")) for name in ("device", "kernels", "date"))
        return cls(times, inference, device, kernels, date, tuple(map(str, content.get("notes", ()))))

    def tables(self, view: View = COMPACT) -> tuple[Table, ...]:
        title = ", ".join(filter(None, ("Microseconds of an operator", self.device, self.kernels, self.date)))
        table = ResultTable(title)
        headings = (
            "operators",
            "start, µs",
            "per million MACs",
            "per kB",
            "per 1000 positions",
            "runs",
            "error",
            "90 %",
        )
        for heading in headings:
            table.add_column(heading, justify="left" if heading == "operators" else "right")
        for each in self.times:
            table.add_row(
                f"{each.recipe} {each.kind}",
                f"{each.start_us:.3g}",
                f"{1e6 * each.us_per_mac:.3g}",
                f"{1e3 * each.us_per_byte:.3g}",
                f"{1e3 * each.us_per_position:.3g}",
                str(each.runs),
                f"{each.median_error:.1%}",
                f"{each.high_error:.1%}",
            )
        for recipe, start in self.inference_us.items():
            table.add_row(f"{recipe} inference", f"{start:.3g}")
        table.explain(*self.notes)
        return (table,)
