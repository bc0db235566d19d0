"""Result of the search for the smallest model: every try, and whether the floor was met."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from tfmot_swd.channels.groups import layer_names
from tfmot_swd.io.json_files import JsonResult, plain
from tfmot_swd.io.tables import COMPACT, Printable, ResultTable, View
from tfmot_swd.workflows.floor import points_of

# Of the cost: a model with so much left that misses the floor misses it for another reason than its size.
_NEARLY_WHOLE = 0.9


@dataclasses.dataclass(frozen=True)
class Trial:
    """One training of the search.

    Args:
      share: of the cost, that was asked for.
      cost: of the model that came out.
      reached: that cost as a share of the whole model's.
      metric: of the model, on the validation data.
      drop: by how much that is worse than the metric of the whole model; below 0 where it is better.
      holds: whether it is within the floor.
      seconds: that the training took, in an earlier start too; where it was resumed, since then.
    """

    share: float
    cost: float
    reached: float
    metric: float
    drop: float
    holds: bool
    seconds: float


@dataclasses.dataclass(frozen=True)
class Smallest(Printable, JsonResult):
    """The smallest model whose metric stays within a floor; made by `smallest`. Prints as a table of every try.

    Args:
      met: whether a model within the floor was found; if not, `model` is the best of those that were tried.
      model: stripped, not compiled, of the Keras that went in.
      metric: its name.
      mode: "max" or "min", whether more or less of it is better.
      baseline: the metric of the whole model.
      floor: the worst value that was accepted.
      by: name of the cost that was made small.
      whole: that cost of the whole model.
      trials: in the order in which they were made.
      best: number of the one that `model` is of, from 0.
      tolerance: the search ended where the next larger share that missed the floor was at most so much below.
      ended_early: whether `max_trials` ended it before that.
      samples: of the validation data; None where they came in batches.
      folder: where journal and models are; None where they were kept in memory.
      least: the least share of the cost that could be asked for.
      frozen: names of the layers that kept it from being less, as they were frozen.
    """

    met: bool
    model: Any
    metric: str
    mode: str
    baseline: float
    floor: float
    by: str
    whole: float
    trials: tuple[Trial, ...]
    best: int
    tolerance: float
    ended_early: bool
    samples: int | None
    folder: str | None
    least: float = 0.0
    frozen: tuple[str, ...] = ()

    @property
    def trial(self) -> Trial:
        """The try that `model` is of."""
        return self.trials[self.best]

    def words(self) -> str:
        """Returns the answer in words: what was found, and how far it can be trusted."""
        found, count = self.trial, len(self.trials)
        tries = f"{count} training{'s' if count > 1 else ''}"
        bound = f"{self.metric} {_number(self.floor)} or {'more' if self.mode == 'max' else 'less'}"
        what = f"{found.reached:.1%} of the {self.by} ({_amount(found.cost)} of {_amount(self.whole)})"
        if not self.met:
            widest = max(self.trials, key=lambda each: each.reached)
            if widest.reached >= _NEARLY_WHOLE:
                return (
                    f"The floor was not met: no model with {bound} was found in {tries}. The best has "
                    f"{_number(found.metric)}, at {what}. Even with {widest.reached:.1%} of the {self.by} it has "
                    f"{_number(widest.metric)}, where the whole model, as it was given, has {_number(self.baseline)}: "
                    "it is the training that costs the metric, and not the size. Try another learning_rate, more "
                    "epochs or more data."
                )
            return (
                f"The floor was not met: no model with {bound} was found in {tries}. The best has "
                f"{_number(found.metric)}, at {what}. Train for more epochs{', allow more trials' * self.ended_early}, "
                "or accept a larger drop."
            )
        said = f"The smallest model found with {bound} has {what} and {self.metric} {_number(found.metric)}; {tries}."
        near = min(found.share, found.reached) <= self.least * (1 + self.tolerance) * (1 + 1e-9)
        # A smaller one that missed says that the metric does.
        if self.frozen and near and all(each.holds or each.reached >= found.reached for each in self.trials):
            return (
                f"{said} Frozen layers bound it, and not the metric: with all channels of "
                f"{layer_names(self.frozen, COMPACT)} {self.least:.1%} of the {self.by} is the least in reach. "
                "Set layer.trainable = True on some of them for less."
            )
        if self.ended_early:
            return f"{said} The search ended before it was as narrow as asked: more trials may find a smaller one."
        return said

    def noise(self) -> str:
        """Returns in words how well an accuracy is known on so many samples; empty for other metrics."""
        if not self.samples or "acc" not in self.metric.lower() or not 0 <= self.trial.metric <= 1:
            return ""
        error = 100 * math.sqrt(self.trial.metric * (1 - self.trial.metric) / self.samples)
        return f"Of {self.samples:,} samples an accuracy is known to ±{error:.1f} points (one standard error)."

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain types, ready for JSON, without the model."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "model"}
        return {**plain(fields | {"trials": [dataclasses.asdict(each) for each in self.trials]})}

    def tables(self, view: View = COMPACT) -> Sequence[Table]:
        scale = points_of(self.mode, self.baseline)
        table = ResultTable(view.words(self.words()))
        table.add_column("try")
        points = "drop, points" if scale == 100 else "drop"
        for heading in ("asked for", self.by, "of the whole", f"validation {self.metric}", points, "", "seconds"):
            table.add_column(heading, justify="right")
        table.add_row("whole", "", _amount(self.whole), "", _number(self.baseline), "", "", "", style="dim")
        for number, each in enumerate(self.trials):
            said = "within" if each.holds else "missed"
            table.add_row(
                str(number + 1),
                f"{each.share:.1%}",
                _amount(each.cost),
                f"{each.reached:.1%}",
                _number(each.metric),
                f"{each.drop * scale:.2f}",
                f"{said}, taken" if number == self.best else said,
                f"{each.seconds:,.0f}",
            )
        table.explain(
            self.noise(),
            f"A try is one training, from the whole model; the {self.metric} is that of the validation data, which "
            "have decided and so flatter it a little: measure the result on data that no one has seen.",
            f"Tries are kept in {self.folder}: another floor begins with them." if self.folder else "",
        )
        return (table,)


def _number(value: float) -> str:
    return f"{value:.4f}" if not abs(value) >= 100 else f"{value:.4g}"


def _amount(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"
