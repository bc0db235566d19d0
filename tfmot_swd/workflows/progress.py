"""Progress of long jobs: a bar in a terminal, one line an epoch of training elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def console_of(verbose: int, console: Console | None) -> Console:
    """Returns where progress is shown: `console`, or standard error; one that shows nothing where `verbose` is 0."""
    if not verbose:
        return Console(quiet=True)
    return Console(stderr=True) if console is None else console


def bar_on(console: Console) -> Progress:
    """Returns a progress bar of rich, which shows nothing outside of a terminal, as each update would be a line."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal or console.quiet)


@contextlib.contextmanager
def progress_bar(console: Console, what: str, total: int) -> Iterator[Callable[[], None]]:
    """Shows a bar for the block, which receives a function to call after each step.

    Args:
      console: where to.
      what: is counted.
      total: number of steps.
    """
    with bar_on(console) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.update(task, advance=1)
