"""Training progress: a bar in a terminal, one line an epoch elsewhere."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tfmot_swd.cli.command import print_plain
from tfmot_swd.keras2.compat import keras

_COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
    TimeRemainingColumn(),
)


class FitProgress(keras.callbacks.Callback):
    """Shows the updates of one fit.

    Args:
      metric: its name in the logs.
      console: where to.
    """

    def __init__(self, metric: str, console: Console) -> None:
        super().__init__()
        self._metric, self._console = metric, console
        # Outside of a terminal it would be as many lines as updates.
        self._bar = Progress(*_COLUMNS, console=console, transient=True, disable=not console.is_terminal)
        self._task: Any = None

    def on_train_begin(self, logs: Any = None) -> None:
        total = self.params["epochs"] * self.params["steps"]
        self._task = self._bar.add_task("updates", total=total)
        self._bar.start()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        # A training that was resumed begins behind the first epoch.
        self._bar.update(self._task, completed=epoch * self.params["steps"])

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._bar.update(self._task, advance=1)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        shown = {"loss": "loss", "val_loss": "validation loss", f"val_{self._metric}": f"validation {self._metric}"}
        numbers = ", ".join(f"{label} {logs[name]:.4f}" for name, label in shown.items() if name in logs)
        print_plain(self._console, f"epoch {epoch + 1} of {self.params['epochs']}: {numbers}")

    def on_train_end(self, logs: Any = None) -> None:
        self._bar.stop()
