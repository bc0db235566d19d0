"""Rich tables as plain text, for `print`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table


def as_text(table: Table, width: int = 110) -> str:
    """Returns the table as a terminal of `width` columns would show it, without colours."""
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return capture.get()
