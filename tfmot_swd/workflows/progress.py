"""Progress of long jobs: a bar in a terminal, one line an epoch of training elsewhere."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tfmot_swd.io.tables import print_plain
from tfmot_swd.keras2.compat import keras


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


@contextlib.contextmanager
def without_retracing_logs() -> Iterator[None]:
    """Drops TensorFlow's warning of retracing in the block, which takes functions of many models for one function."""
    logger = logging.getLogger("tensorflow")

    def is_other(record: logging.LogRecord) -> bool:
        return "triggered tf.function retracing" not in record.getMessage()

    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


class FitProgress(keras.callbacks.Callback):
    """Shows the updates of one fit, and the numbers of each epoch.

    Args:
      metric: its name in the logs; None shows the losses alone.
      console: where to.
      updates: in an epoch.
    """

    def __init__(self, metric: str | None, console: Console, updates: int) -> None:
        super().__init__()
        self._console, self._updates = console, updates
        self._bar = bar_on(console)
        self._task: Any = None
        self._shown = {"loss": "loss", "val_loss": "validation loss", f"val_{metric}": f"validation {metric}"}

    def on_train_begin(self, logs: Any = None) -> None:
        self._task = self._bar.add_task("updates", total=self.params["epochs"] * self._updates)
        self._bar.start()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        # A training that was resumed begins behind the first epoch.
        self._bar.update(self._task, completed=epoch * self._updates)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._bar.update(self._task, advance=1)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        found = logs or {}
        numbers = ", ".join(f"{label} {found[name]:.4f}" for name, label in self._shown.items() if name in found)
        print_plain(self._console, f"epoch {epoch + 1} of {self.params['epochs']}: {numbers}")

    def on_train_end(self, logs: Any = None) -> None:
        self._bar.stop()
