"""Result of a sensitivity analysis: rows, tables, a chart, and which layers matter in words."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from tfmot_swd.io.atomic import atomic_write, check_target
from tfmot_swd.io.json_files import JsonResult, plain
from tfmot_swd.io.tables import COMPACT, Printable, ResultTable, View
from tfmot_swd.report.line_picture import Line, line_picture
from tfmot_swd.report.scoring import metric_unit

# How many layers are named in words, and have colours in the chart.
_NAMED = 3
# Of the metric of the whole model: a layer that loses less at every rate is called insensitive.
_LITTLE = 0.01


@dataclasses.dataclass(frozen=True)
class SensitivityRow:
    """One layer, or group of coupled channels, pruned at one rate while all others are whole.

    Args:
      layer: its name; a group is named after the first layer that makes its channels.
      rate: the share that was asked for.
      removed: channels or weights removed; the rate rounded down, and fewer where some must stay.
      size: channels or weights that it has.
      metric: of the model then; nan where its outputs are not finite.
      drop: by how much that is worse than the metric of the whole model; below 0 where it is better.
    """

    layer: str
    rate: float
    removed: int
    size: int
    metric: float
    drop: float


@dataclasses.dataclass(frozen=True)
class Sensitivity(Printable, JsonResult):
    """What pruning of each layer alone costs; made by `sensitivity`. Prints as a table.

    Args:
      granularity: "channels" or "weights".
      metric: its name.
      mode: "max" or "min", whether more or less of it is better.
      baseline: the metric of the whole model.
      samples: validation samples; None where they came in batches.
      rows: layer by layer in the order of the graph, from the lowest rate to the highest.
    """

    granularity: str
    metric: str
    mode: str
    baseline: float
    samples: int | None
    rows: tuple[SensitivityRow, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers or groups, in the order of the graph."""
        return tuple(dict.fromkeys(row.layer for row in self.rows))

    @property
    def rates(self) -> tuple[float, ...]:
        """The rates, ascending."""
        return tuple(sorted({row.rate for row in self.rows}))

    def of(self, layer: str) -> tuple[SensitivityRow, ...]:
        """Returns the rows of one layer or group, ascending by rate."""
        return tuple(row for row in self.rows if row.layer == layer)

    def mean_drop(self, layer: str) -> float:
        """Returns the mean drop of one layer or group over the rates; nan where one is."""
        return float(np.mean([row.drop for row in self.of(layer)]))

    def ranking(self) -> tuple[str, ...]:
        """Returns the names of the layers, the one that loses most first; one without finite outputs before all."""
        drops = {layer: self.mean_drop(layer) for layer in self.layers}
        return tuple(sorted(drops, key=lambda layer: (not np.isnan(drops[layer]), -drops[layer])))

    def words(self) -> str:
        """Returns in words which layers carry the metric, and which hardly matter.

        A layer hardly matters where it loses at most a hundredth of the metric of the whole model at every rate.
        """
        little = _LITTLE * abs(self.baseline)
        calm = [name for name in self.layers if max(row.drop for row in self.of(name)) <= little]
        tense = [name for name in self.ranking() if name not in calm]
        said = []
        if tense:
            drops = [_number(self.mean_drop(name)) for name in tense[:_NAMED]]
            said.append(
                f"The {self.metric} of {_number(self.baseline)} depends most on {_listed(tense[:_NAMED])}: pruned "
                f"alone, a drop of {_listed(drops)}, the mean over the rates."
            )
        if calm:
            shown = calm[:_NAMED] + ([f"{len(calm) - _NAMED} more"] if len(calm) > _NAMED else [])
            said.append(
                f"Hardly sensitive: {_listed(shown)}; without {max(self.rates):.0%} of one of them the {self.metric} "
                f"is at most {_number(little)} worse."
            )
        return " ".join(said)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain types, ready for JSON; numbers that are not finite as None."""
        found: dict[str, Any] = plain(dataclasses.asdict(self))
        return found

    def svg(self) -> str:
        """Returns the chart as SVG: the metric over the share removed, a line for each layer or group.

        The most sensitive ones have colours and names, the others are grey and named where the mouse rests on them.
        """
        named = self.ranking()[: _NAMED + 1]
        lines = [
            Line(name, [0.0, *self.rates], [self.baseline, *(row.metric for row in self.of(name))], name in named)
            for name in (*(name for name in self.layers if name not in named), *named)
        ]
        title = f"{self.metric} without a share of the {self.granularity} of one layer"
        return line_picture(title, f"share of the {self.granularity} removed", lines, metric_unit(self.metric))

    def write_svg(self, path: str | os.PathLike[str]) -> Path:
        """Writes the chart as an SVG file in one atomic step, and returns its path.

        Raises:
            TypeError, ValueError, OSError: nothing can be written at `path`.
        """
        target = check_target(path)
        with atomic_write(target, self.svg().encode()):
            pass
        return target

    def tables(self, view: View = COMPACT) -> Sequence[Table]:
        samples = "" if self.samples is None else f" on {self.samples:,} samples"
        table = ResultTable(
            f"{self.metric} {_number(self.baseline)}{samples}; by how much it is worse without a share of the "
            f"{self.granularity} of one layer, all others whole"
        )
        table.add_column("layer" if self.granularity == "weights" else "group of channels", overflow="fold")
        for heading in (self.granularity, *(f"{rate:.4g}" for rate in self.rates), "mean"):
            table.add_column(heading, justify="right")
        weights = {name: place for place, name in enumerate(reversed(self.ranking()))}
        shown, rest = view.split(self.layers, lambda name: weights[name])
        for name in shown:
            rows = self.of(name)
            drops = [_number(row.drop) if row.removed else "" for row in rows]
            table.add_row(name, f"{rows[0].size:,}", *drops, _number(self.mean_drop(name)))
        if rest:
            worst = [max(row.drop for name in rest for row in self.of(name) if row.rate == rate) for rate in self.rates]
            size = sum(self.of(name)[0].size for name in rest)
            means = max(self.mean_drop(name) for name in rest)
            table.add_row(f"at most, of {len(rest)} more", f"{size:,}", *map(_number, worst), _number(means))
        table.explain(
            self.words(),
            "An empty cell: so few channels that the rate removes none."
            if any(not row.removed for row in self.rows)
            else "",
            view.note(shown, rest, "layers, those that lose most"),
        )
        return (table,)

    def _repr_html_(self) -> str:
        return f"{super()._repr_html_()}\n{self.svg()}"


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 100 or np.isnan(value) else f"{value:.4g}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
