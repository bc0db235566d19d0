"""Numbers formatted for readers, and as HTML that names the entry of the data they show."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

UNITS = ("", "k", "M", "G", "T")


def short(value: float) -> str:
    """Returns three digits of a number, such as 41.4k; 0.00123 and 1.2e-05 below 1."""
    # The exponent after rounding, so that 999,999 is 1M and not 1000k.
    exponent = int(f"{value:.2e}".partition("e")[2]) if value else 0
    unit = min(max(exponent // 3, 0), len(UNITS) - 1)
    return f"{value / 1000**unit:.3g}{UNITS[unit]}"


# How a value is written, by the name of its style.
STYLES: Mapping[str, Callable[[Any], str]] = {
    "count": lambda value: f"{value:,.0f}",
    "short": short,
    "bytes": lambda value: re.sub(r"[kMGT]?$", r" \g<0>B", short(value), count=1),
    "share": lambda value: f"{100 * value:.2f} %",
    "round": lambda value: f"{100 * value:.0f} %",
    "milliseconds": lambda value: f"{value:.3g} ms",
    "ratio": lambda value: f"{value:.2f}x",
    "number": lambda value: f"{value:.3g}",
    # Enough digits to give a float32 back.
    "exact": lambda value: f"{value:.9g}",
}
NOTHING = '<span class="none">&ndash;</span>'


def escape(text: Any) -> str:
    """Returns text that means itself in HTML, inside of quotes too."""
    return html.escape(str(text), quote=True)


def embed(data: Any) -> str:
    """Returns JSON that cannot end the script element around it."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def look_up(data: Any, key: str) -> Any:
    """Returns an entry by its path, "files/0/bytes"; two with a colon between are divided, None where that fails."""
    if ":" in key:
        above, below = (look_up(data, part) for part in key.split(":"))
        return above / below if above is not None and below else None
    for part in key.split("/"):
        data = data[int(part)] if isinstance(data, list) else data[part]
    return data


class Numbers:
    """Writes entries of the data so that a reader of the page, or a test, can trace them back."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data

    def get(self, key: str) -> Any:
        """Returns the entry itself."""
        return look_up(self.data, key)

    def show(self, key: str, style: str = "count") -> str:
        """Returns the entry as HTML, a dash where it is None."""
        value = self.get(key)
        if value is None:
            return NOTHING
        return f'<data value="{value!r}" data-key="{escape(key)}" data-style="{style}">{STYLES[style](value)}</data>'


# From so many columns on, a table is shown on a telephone as a list of its rows.
_MANY_COLUMNS = 3


def table(
    caption: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: int = 1,
    wide: Sequence[int] = (),
    foot: Sequence[str] = (),
) -> str:
    """Returns a table of HTML cells that scrolls by itself where it is too wide, below its caption.

    Args:
        caption: text.
        headings: text, the first one that of the rows' names.
        rows: HTML. Columns in which no row has anything are left out.
        left: how many columns are aligned to the left.
        wide: further ones, of sentences.
        foot: HTML of the last row, if there is one.
    """
    cells = [list(row) for row in rows]
    used = [column for column in range(len(headings)) if not column or any(_is_told(row[column]) for row in cells)]
    kinds = {column: "wide" if column in wide else "left" if column < left else "" for column in used}

    def cell(column: int, content: str) -> str:
        if not column:
            return f'<th scope="row">{content}</th>'
        kind = f" class={kinds[column]}" if kinds[column] else ""
        # What the cell is called where rows are lists, and there are no headings above it.
        return f'<td{kind} data-label="{escape(headings[column])}">{content}</td>'

    def line(row: Sequence[str]) -> str:
        return f"<tr>{''.join(cell(column, row[column]) for column in used)}</tr>"

    head = "".join(
        f'<th scope="col"{f" class={kinds[column]}" if kinds[column] else ""}>{escape(headings[column])}</th>'
        for column in used
    )
    last = f"<tfoot>{line(foot)}</tfoot>" if foot else ""
    kind = " class=stack" if len(used) >= _MANY_COLUMNS else ""
    return (
        f'<p class="caption">{escape(caption)}</p>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f'<table{kind} aria-label="{escape(caption)}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(map(line, cells))}</tbody>{last}</table></div>"
    )


def _is_told(content: str) -> bool:
    return content not in ("", NOTHING)


def key(*entries: tuple[str, str]) -> str:
    """Returns what the colours mean: CSS classes and text."""
    shown = "".join(f'<span><span class="swatch {kind}"></span>{escape(text)}</span>' for kind, text in entries)
    return f'<div class="key">{shown}</div>'


def described(facts: Iterable[tuple[str, str]]) -> str:
    """Returns facts as a list of terms and HTML."""
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{told}</dd>" for name, told in facts) + "</dl>"
