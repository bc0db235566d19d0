"""Result tables: plain text for `print`, HTML for notebooks, colours in a terminal where asked for."""

from __future__ import annotations

import collections
import dataclasses
import html
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, TypeVar

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

MOST_ROWS = 20
# Columns of a cell besides its text: a space on each side, and the line on its right.
_FRAME = 3
_Row = TypeVar("_Row")


@dataclasses.dataclass(frozen=True)
class View:
    """Extent and wording of a printed result.

    Args:
      most: rows of a table; None shows all.
      hint: how to see the others, the end of a sentence.
      words: turns texts of the library, which name Python arguments, into those of the reader.
    """

    most: int | None = MOST_ROWS
    hint: str = ".full() shows all"
    words: Callable[[str], str] = str

    def split(self, rows: Sequence[_Row], weight: Callable[[_Row], Any]) -> tuple[list[_Row], list[_Row]]:
        """Returns the rows of the largest weights, in the order given, and the others."""
        if self.most is None or len(rows) <= self.most:
            return list(rows), []
        ranked = sorted(range(len(rows)), key=lambda index: weight(rows[index]), reverse=True)
        first = set(ranked[: self.most])
        shown = [row for index, row in enumerate(rows) if index in first]
        return shown, [row for index, row in enumerate(rows) if index not in first]

    def note(self, shown: Sequence[Any], rest: Sequence[Any], rows: str) -> str:
        """Returns the note below a table of some rows, described by `rows`; empty where none is left out."""
        return f"{len(shown)} of {len(shown) + len(rest)} {rows}; {self.hint}" if rest else ""


COMPACT, FULL = View(), View(most=None)


class ResultTable(Table):
    """A table whose cells are text as it is: no markup, no colours and no control characters of a user's names."""

    def __init__(self, title: str | None = None, **options: Any) -> None:
        super().__init__(title=None if title is None else Text(visible(title), "italic"), **options)

    def add_column(self, header: RenderableType = "", *args: Any, **options: Any) -> None:
        super().add_column(Text(visible(header)) if isinstance(header, str) else header, *args, **options)

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        super().add_row(*(Text(visible(each)) if isinstance(each, str) else each for each in cells), **options)

    def explain(self, *notes: str) -> None:
        """Puts notes below the table, a line each; empty ones are left out."""
        said = [visible(each) for each in notes if each]
        self.caption = Text("\n".join(said), "dim") if said else None


class Printable:
    """Base of results that print as tables.

    `print(result)` shows the totals and the rows that matter most, `print(result.full())` all of them. Both are plain
    text, without colours, wherever they are printed. A notebook shows HTML tables, IPython in a terminal the plain
    text, and `rich.print` colours.
    """

    # Columns of a terminal that its tables are made for.
    width: ClassVar[int] = 110

    def tables(self, view: View = COMPACT) -> Sequence[Table]:
        """Returns the result as tables of rich; `view` says how much of it."""
        raise NotImplementedError

    def full(self) -> FullTables:
        """Returns all rows, to be printed or shown in a notebook.

        >>> import tf_keras as keras, tfmot_swd
        >>> net = keras.Sequential([keras.layers.Dense(2, input_shape=(3,), name="head")])
        >>> "head" in str(tfmot_swd.sparsity_report(net).full())
        True
        """
        return FullTables(self)

    def __rich__(self) -> Group:
        return Group(*self.tables())

    def __str__(self) -> str:
        return as_text(*self.tables(), width=self.width)

    def _repr_html_(self) -> str:
        return as_html(*self.tables())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        # IPython would prefer the `__repr__` of a dataclass to a `_repr_pretty_` of its base.
        return {"text/plain": str(self), "text/html": self._repr_html_()}


class FullTables(Printable):
    """All rows of a result; prints as tables."""

    def __init__(self, result: Printable) -> None:
        self._result = result

    def __str__(self) -> str:
        return as_text(*self.tables(), width=self._result.width)

    def tables(self, view: View = FULL) -> Sequence[Table]:
        return self._result.tables(view)

    def full(self) -> FullTables:
        return self

    def __repr__(self) -> str:
        return str(self)


def as_text(*tables: Table, width: int = 110) -> str:
    """Returns tables as plain text of `width` columns, or more where a word would not fit."""
    stream = io.StringIO()
    # All said here: a terminal, a notebook and variables such as FORCE_COLOR decide otherwise.
    console = Console(
        file=stream, width=width, color_system=None, force_terminal=False, force_jupyter=False, legacy_windows=False
    )
    print_tables(console, *tables)
    return "\n".join(line.rstrip() for line in stream.getvalue().rstrip("\n").split("\n"))


def print_tables(console: Console, *tables: Table) -> None:
    """Prints tables with a line between them, wider than the console rather than with a word that is folded."""
    for number, table in enumerate(tables):
        if number:
            console.print()
        _fit(console, table)
        console.print(table, crop=False)


def print_plain(console: Console, text: str) -> None:
    """Prints text as it is, without colours or folds, to be searched and copied; control characters are written out."""
    console.print(visible(text), markup=False, highlight=False, soft_wrap=True)


def _fit(console: Console, table: Table) -> None:
    """Sets the widths of a table's columns; rich itself would break a long word, the end of a line at any place."""
    unbounded = console.options.update(width=10_000)

    def measure(*texts: RenderableType | None) -> tuple[int, int]:
        """Returns how long the longest word is, and the longest line."""
        sizes = [Measurement.get(console, unbounded, each) for each in texts if each]
        return max((each.minimum for each in sizes), default=0), max((each.maximum for each in sizes), default=0)

    least, widths = [], []
    for index, column in enumerate(table.columns):
        word, line = measure(column.header, *column.cells)
        # The first column has the names, and spaces in some; other text may go on below itself between two words.
        least.append(line if index == 0 and column.max_width is None else word)
        widths.append(max(min(line, column.max_width or line), least[-1]))
    frame = _FRAME * len(widths) + 1
    while sum(widths) + frame > console.width and widths != least:
        widest = max(
            (index for index, width in enumerate(widths) if width > least[index]), key=lambda index: widths[index]
        )
        widths[widest] -= 1
    for column, width in zip(table.columns, widths, strict=True):
        column.width = width
    # What stands above and below is as wide as the table.
    table.width = max(sum(widths) + frame, measure(table.title, table.caption)[0])


def as_html(*tables: Table) -> str:
    """Returns tables as HTML for notebooks; whatever a name holds is shown and never interpreted."""
    return "\n".join(map(_html_table, tables))


def _html_table(table: Table) -> str:
    aligned = [f' style="text-align: {"right" if each.justify == "right" else "left"}"' for each in table.columns]
    # The names, which a browser would break at a hyphen.
    aligned[0] = aligned[0].replace('"text', '"white-space: nowrap; text')
    heads = "".join(f"<th{style}>{_html(each.header)}</th>" for style, each in zip(aligned, table.columns, strict=True))
    lines = []
    for row, cells in zip(table.rows, zip(*(column.cells for column in table.columns), strict=True), strict=True):
        dim = ' style="opacity: 0.6"' if row.style == "dim" else ""
        inside = "".join(f"<td{style}>{_html(cell)}</td>" for style, cell in zip(aligned, cells, strict=True))
        lines.append(f"<tr{dim}>{inside}</tr>")
    title = f"<caption>{_html(table.title)}</caption>" if table.title else ""
    notes = f"<p>{_html(table.caption)}</p>" if table.caption else ""
    return f"<table>{title}<thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table>{notes}"


def _html(cell: RenderableType) -> str:
    text = cell.plain if isinstance(cell, Text) else Text.from_markup(str(cell)).plain
    return html.escape(visible(text)).replace("\n", "<br>")


def visible(text: str) -> str:
    """Returns text with control characters written out, which would move a terminal's cursor or change its colours."""
    return "".join(each if each == "\n" or each.isprintable() else repr(each)[1:-1] for each in text)


def counted(reasons: Iterable[str]) -> str:
    """Returns the different reasons, and how often each is given."""
    return "; ".join(f"{reason} ({count})" for reason, count in collections.Counter(filter(None, reasons)).items())
