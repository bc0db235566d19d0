"""Keras callback that restricts another callback to pruned models."""

from __future__ import annotations

import warnings
from typing import Any

from tfmot_swd.keras2.compat import follows_train_batches, keras
from tfmot_swd.keras2.validation import PruningWarning
from tfmot_swd.keras3.training_objects import training_object
from tfmot_swd.pruning.strip import is_pruned
from tfmot_swd.pruning.wrapped_models import check_trains_in_tf_keras, collect_wrappers
from tfmot_swd.pruning.wrapper import PruningWrapper


class AfterPruning(keras.callbacks.Callback):
    """Calls a callback only once the model is pruned, so that it compares pruned models with each other.

    `ModelCheckpoint(save_best_only=True)` and `EarlyStopping(restore_best_weights=True)` keep the best epoch, usually
    one before the final pruning step, when the model is better and not pruned, so that `strip_pruning` refuses it.
    Wrapped in `AfterPruning` they begin with the first epoch whose metrics are those of the pruned model: for a `val_`
    metric the epoch in which the model is pruned, for a training metric, a mean over the epoch, the one after it.
    Put it after `UpdatePruningStep` in the list of callbacks.

    Args:
      callback: any callback of tf_keras or Keras 3. Its `on_epoch_end` and `on_train_batch_end` are called only then,
        all others as usual. Whole models that a checkpoint of Keras 3 writes are of tf_keras too, as the model is.

    Raises:
      TypeError: `callback` is not a callback, or works on the inside of Keras 3 models.

    >>> import tf_keras as keras
    >>> best = AfterPruning(keras.callbacks.ModelCheckpoint("best.keras", save_best_only=True))
    >>> best.callback.monitor
    'val_loss'
    """

    def __init__(self, callback: Any) -> None:
        super().__init__()
        given, callback = callback, training_object(callback)
        if not isinstance(callback, keras.callbacks.Callback):
            raise TypeError(
                "AfterPruning takes a callback of tf_keras or Keras 3, such as "
                f"keras.callbacks.EarlyStopping(patience=3). Received: {given!r}"
            )
        self.callback = callback
        self._name = type(given).__name__
        self._is_pruned = self._epoch_began_pruned = self._was_pruned_for_test = self._has_called = False

    def set_params(self, params: dict[str, Any]) -> None:
        super().set_params(params)
        self.callback.set_params(params)

    def set_model(self, model: Any) -> None:
        check_trains_in_tf_keras(model, self)
        super().set_model(model)
        self.callback.set_model(model)

    def on_train_begin(self, logs: Any = None) -> None:
        if not collect_wrappers(self.model, PruningWrapper):
            raise ValueError(
                "AfterPruning waits for the final pruning step of a wrapped model: wrap it with "
                "tfmot_swd.prune_selective_decay or prune_progressive_gradient first, or pass the callback alone. "
                f"Received: {self.model.name!r} without wrappers"
            )
        self._is_pruned = self._has_called = False
        self.callback.on_train_begin(logs)

    def on_train_end(self, logs: Any = None) -> None:
        if not self._has_called:
            warnings.warn(
                f"{self._name} was not called for any epoch of the pruned model: let the schedule "
                "end earlier, train for longer, or monitor a metric of validation data. "
                f"Received: {'no epoch after' if self._looks_pruned() else 'a training that ended before'} the final "
                "pruning step",
                PruningWarning,
                stacklevel=2,
            )
        self.callback.on_train_end(logs)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch_began_pruned, self._was_pruned_for_test = self._looks_pruned(), False
        self.callback.on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        validates = str(getattr(self.callback, "monitor", "val_")).startswith("val_")
        if self._epoch_began_pruned or (validates and self._was_pruned_for_test):
            self._has_called = True
            self.callback.on_epoch_end(epoch, logs)
        # A custom loop may not call on_epoch_begin.
        self._epoch_began_pruned = self._looks_pruned()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.callback.on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        # Asking costs a read of each wrapper.
        if follows_train_batches(self.callback) and self._looks_pruned():
            self.callback.on_train_batch_end(batch, logs)

    def on_test_begin(self, logs: Any = None) -> None:
        self._was_pruned_for_test = self._looks_pruned()
        self.callback.on_test_begin(logs)

    def on_test_end(self, logs: Any = None) -> None:
        self.callback.on_test_end(logs)

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.callback.on_test_batch_begin(batch, logs)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self.callback.on_test_batch_end(batch, logs)

    def on_predict_begin(self, logs: Any = None) -> None:
        self.callback.on_predict_begin(logs)

    def on_predict_end(self, logs: Any = None) -> None:
        self.callback.on_predict_end(logs)

    def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.callback.on_predict_batch_begin(batch, logs)

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        self.callback.on_predict_batch_end(batch, logs)

    def _looks_pruned(self) -> bool:
        # A pruned model stays pruned; the check reads from the device.
        self._is_pruned = self._is_pruned or is_pruned(self.model)
        return self._is_pruned
