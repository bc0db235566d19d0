"""Numbers as people read them, and as HTML that also says which entry of the data they show."""

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


def table(
    caption: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: int = 1,
    wide: Sequence[int] = (),
    foot: Sequence[str] = (),
) -> str:
    """Returns a table of HTML cells that scrolls by itself where it is too wide.

    Args:
        caption: text.
        headings: text, the first one that of the rows' names.
        rows: HTML.
        left: how many columns are aligned to the left.
        wide: further ones, of sentences.
        foot: HTML of the last row, if there is one.
    """
    kinds = [
        " class=wide" if column in wide else " class=left" if column < left else "" for column in range(len(headings))
    ]

    def cell(column: int, content: str) -> str:
        return f'<th scope="row">{content}</th>' if not column else f"<td{kinds[column]}>{content}</td>"

    head = "".join(f'<th scope="col"{kind}>{escape(text)}</th>' for kind, text in zip(kinds, headings, strict=True))
    body = "".join(f"<tr>{''.join(cell(*pair) for pair in enumerate(row))}</tr>" for row in rows)
    last = f"<tfoot><tr>{''.join(cell(*pair) for pair in enumerate(foot))}</tr></tfoot>" if foot else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody>{last}</table></div>"
    )


def key(*entries: tuple[str, str]) -> str:
    """Returns what the colours mean: CSS classes and text."""
    shown = "".join(f'<span><span class="swatch {kind}"></span>{escape(text)}</span>' for kind, text in entries)
    return f'<div class="key">{shown}</div>'
