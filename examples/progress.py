"""A progress bar for Keras's fit that stays one line: epochs, updates, loss and accuracy."""

from __future__ import annotations

from typing import Any

import tf_keras as keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class ProgressLine(keras.callbacks.Callback):
    """Shows the updates of one fit; where the output is no terminal, one plain line an epoch instead.

    Args:
      title: what is being trained.
      console: where to.
    """

    def __init__(self, title: str, console: Console) -> None:
        super().__init__()
        self._title = title
        self._console = console
        self._progress: Progress | None = None
        self._task: Any = None
        self._epoch = 0

    def on_train_begin(self, logs: Any = None) -> None:
        if not self._console.is_terminal:
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}"),
        )
        self._progress = Progress(*columns, console=self._console)
        total = self.params["epochs"] * (self.params["steps"] or 0)
        self._task = self._progress.add_task(self._title, total=total or None, numbers="")
        self._progress.start()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if self._progress is not None:
            self._progress.update(self._task, advance=1, numbers=self._numbers(logs or {}))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self._progress is None:
            self._console.print(f"{self._title}: epoch {epoch + 1}/{self.params['epochs']} {self._numbers(logs or {})}")
        else:
            self._progress.update(self._task, numbers=self._numbers(logs or {}))

    def on_train_end(self, logs: Any = None) -> None:
        if self._progress is not None:
            self._progress.stop()

    def _numbers(self, logs: dict[str, float]) -> str:
        shown = (("loss", "loss"), ("accuracy", "accuracy"), ("val_accuracy", "validation"))
        return ", ".join(f"{label} {logs[name]:.4f}" for name, label in shown if name in logs)
