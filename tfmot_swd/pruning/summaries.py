"""Keras callback that writes TensorBoard summaries of a pruned training."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import keras
from tfmot_swd.pruning.run import PruningRun, check_update_freq
from tfmot_swd.pruning.wrapped_models import check_trains_in_tf_keras, collect_wrappers
from tfmot_swd.pruning.wrapper import PruningWrapper


class PruningSummaries(keras.callbacks.Callback):
    """Writes the status of a pruned training for TensorBoard.

    Scalars of Selective Weight Decay: strength (a, or shrink X), threshold, target and targeted share, numbers of
    weights that entered and left the targeted set, the penalty, and the sparsity of each layer. Of Progressive Gradient
    Pruning: rate, channels, parameters, soft-pruned channels, and the channels of each group. Use it together with
    `UpdatePruningStep`, in any order.

    Args:
      log_dir: directory of the event files.
      update_freq: "epoch", or a number of batches between two summaries.

    Raises:
      ImportError: the tensorboard package is missing.
      ValueError: an argument is malformed, or the model is not being pruned.
    """

    def __init__(self, log_dir: str, update_freq: str | int = "epoch") -> None:
        super().__init__()
        if not log_dir:
            raise ValueError(f"log_dir must be a directory name. Received: {log_dir!r}")
        check_update_freq(update_freq)
        try:
            import tensorboard  # noqa: F401
        except ImportError as error:
            raise ImportError(
                "TensorBoard summaries need the tensorboard package, which TensorFlow no longer "
                "installs: pip install 'tfmot_swd[tensorboard]'. Received: no module tensorboard"
            ) from error
        self._log_dir = log_dir
        self._update_freq = update_freq
        self._writer: Any = None
        self._batches = 0

    def set_model(self, model: Any) -> None:
        check_trains_in_tf_keras(model, self)
        super().set_model(model)

    def on_train_begin(self, logs: Any = None) -> None:
        self._writer = tf.summary.create_file_writer(self._log_dir)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._batches += 1
        if self._update_freq != "epoch" and self._batches % int(self._update_freq) == 0:
            self._write()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._update_freq == "epoch":
            self._write()

    def on_train_end(self, logs: Any = None) -> None:
        self._writer.close()

    def _write(self) -> None:
        step, scalars = self._find_run().scalars()
        with self._writer.as_default():
            for name, value in scalars.items():
                tf.summary.scalar(name, value, step=step)
        self._writer.flush()

    def _find_run(self) -> PruningRun:
        wrappers: list[PruningWrapper] = collect_wrappers(self.model, PruningWrapper)
        run = next((found.run for found in wrappers if found.run is not None), None)
        if run is None:
            raise ValueError(
                "PruningSummaries needs UpdatePruningStep in the same callbacks, and a model wrapped for pruning. "
                f"Received: {len(wrappers)} wrapped layers, none linked"
            )
        return run
