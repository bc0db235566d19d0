"""Tables of results for the terminal and for README, and the plots beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter
from rich.table import Table

Points = Sequence[tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class ResultTable:
    """Text in rows; prints as a table, and is Markdown on request.

    Args:
      title: above it.
      heading: of the columns.
      rows: as many texts each as there are columns.
      left: the columns that hold words and not numbers.
      notes: paragraphs between title and table, in Markdown alone.
    """

    title: str
    heading: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: Collection[str] = ()
    notes: tuple[str, ...] = ()

    def __rich__(self) -> Table:
        table = Table(title=self.title)
        for column in self.heading:
            table.add_column(column, justify="left" if column in self.left else "right", overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """Returns title, notes and table as Markdown."""
        lines = [f"**{self.title}**", ""]
        for note in self.notes:
            lines += [note, ""]
        lines += ["| " + " | ".join(self.heading) + " |", "|---" * len(self.heading) + "|"]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        return "\n".join([*lines, ""])


def write_markdown(path: Path, tables: Sequence[ResultTable], end: str = "") -> Path:
    """Writes the tables one after the other, then `end`, and returns the path."""
    path.write_text("\n".join([table.markdown() for table in tables] + ([end, ""] if end else [])))
    return path


@dataclasses.dataclass(frozen=True)
class Panel:
    """A score against a cost, a line a method.

    Args:
      title: above it.
      xlabel: of the cost, in the units that `lines` come in.
      lines: label of a method → (cost, score in %), by cost.
      level: (label, score in %) of a horizontal line, the dense net's.
      bold: the labels that the eye should find first.
      falling: whether cost falls from left to right.
      ylabel: of the score.
    """

    title: str
    xlabel: str
    lines: Mapping[str, Points]
    level: tuple[str, float] | None = None
    bold: Collection[str] = ()
    falling: bool = False
    ylabel: str = "test accuracy (%)"


def draw_panels(path: Path, panels: Sequence[Panel]) -> Path:
    """Draws the panels side by side, on logarithmic axes of cost, and returns the path."""
    columns = max(len(panels), 1)
    figure, axes = plt.subplots(1, columns, figsize=(6.5 * columns, 4.6), squeeze=False)
    # A method has one colour, whatever else stands in its panel.
    labels = list(dict.fromkeys(label for panel in panels for label in panel.lines))
    colors = {label: plt.get_cmap("tab20")(2 * place % 20 + place // 10) for place, label in enumerate(labels)}
    for axis, panel in zip(axes[0][: len(panels)], panels, strict=True):
        if panel.level is not None:
            axis.axhline(panel.level[1], color="black", linestyle=":", label=panel.level[0])
        for label, points in panel.lines.items():
            bold = label in panel.bold
            width, marker = (2.5, "o") if bold else (1.2, ".")
            xs, ys = zip(*points, strict=True)
            axis.plot(xs, ys, label=label, color=colors[label], linewidth=width, marker=marker)
        axis.set_xscale("log")
        for formatter in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
            formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.tick_params(axis="x", which="both", labelsize=7)
        if panel.falling:
            axis.invert_xaxis()
        axis.set_xlabel(panel.xlabel)
        axis.set_ylabel(panel.ylabel)
        axis.set_title(panel.title)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    return save_figure(figure, path)


def save_figure(figure: plt.Figure, path: Path) -> Path:
    """Writes a figure as all of them are written, and lets go of it."""
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path
