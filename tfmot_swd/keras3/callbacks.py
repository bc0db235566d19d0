"""Callbacks of Keras 3 as callbacks of tf_keras."""

from __future__ import annotations

from typing import Any

from tfmot_swd.keras2.compat import keras as tf_keras
from tfmot_swd.keras3.inner_objects import full_class_name
from tfmot_swd.keras3.metrics import direction_of

# What to write for callbacks that work on the inside of a Keras 3 model or optimizer.
_REFUSED = {
    "SwapEMAWeights": "leave it out, and give the optimizer ema_overwrite_frequency, by which the weights become their "
    "average while the model trains and at the end of fit",
    "OrbaxCheckpoint": "write keras.callbacks.ModelCheckpoint, or UpdatePruningStep(backup_dir=...), from which a "
    "training that was interrupted goes on",
    "CallbackList": "pass the callbacks themselves, as a list",
    "TensorBoard": "subclass tf_keras.callbacks.TensorBoard",
    "BackupAndRestore": "subclass tf_keras.callbacks.BackupAndRestore",
    "ProgbarLogger": "subclass tf_keras.callbacks.ProgbarLogger",
}


def tf_keras_callback(callback: Any) -> Any:
    """Returns the tf_keras callback of a Keras 3 callback.

    TensorBoard, BackupAndRestore and ProgbarLogger, which work on the inside of a model, are made of their arguments;
    all others, the user's own included, are called by a `CarriedCallback`, so that what they have found can be read
    from them after `fit`. The files that a `ModelCheckpoint` writes are of the model that trains: whole ones are loaded
    with `tf_keras.models.load_model`.

    Args:
      callback: a `keras.callbacks.Callback`.

    Raises:
      TypeError: it works on the inside of a Keras 3 model.
    """
    import keras

    kinds = {"TensorBoard": _tensorboard, "BackupAndRestore": _backup, "ProgbarLogger": _progress}
    for name, make in kinds.items():
        if type(callback) is getattr(keras.callbacks, name):
            return make(callback)
    for name, advice in _REFUSED.items():
        if isinstance(callback, getattr(keras.callbacks, name, ())):
            raise TypeError(
                f"keras.callbacks.{name} works on the inside of Keras 3 models, and a tf_keras model trains: {advice}. "
                f"Received: {full_class_name(callback)}"
            )
    return CarriedCallback(callback)


def _tensorboard(callback: Any) -> Any:
    from tfmot_swd.keras3.compat import profiled_batches

    names = ["log_dir", "histogram_freq", "write_graph", "write_images", "write_steps_per_second", "update_freq"]
    names += ["embeddings_freq", "embeddings_metadata"]
    first, last = profiled_batches(callback)
    profiled = first if first == last else (first, last)
    return tf_keras.callbacks.TensorBoard(**{each: getattr(callback, each) for each in names}, profile_batch=profiled)


def _backup(callback: Any) -> Any:
    # tf_keras replaces a backup only once the next one is written, so that it needs no second one.
    return tf_keras.callbacks.BackupAndRestore(
        callback.backup_dir, save_freq=callback.save_freq, delete_checkpoint=callback.delete_checkpoint
    )


def _progress(callback: Any) -> Any:
    return tf_keras.callbacks.ProgbarLogger(count_mode="steps")


class CarriedCallback(tf_keras.callbacks.Callback):
    """A tf_keras callback that calls a callback written for Keras 3, with the tf_keras model as its model.

    Args:
      inner: a `keras.callbacks.Callback`.
    """

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        """Returns an attribute of the callback inside, such as `monitor` or `best`."""
        # `inner` itself is missing while a copy is made.
        if name == "inner" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.inner, name)

    def set_params(self, params: dict[str, Any]) -> None:
        super().set_params(params)
        self.inner.set_params(params)

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        self.inner.set_model(model)

    # Keras asks these three whether it must call the hooks of batches, for which it waits for the device.
    def _implements_train_batch_hooks(self) -> bool:
        return self._has_own("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")

    def _implements_test_batch_hooks(self) -> bool:
        return self._has_own("on_test_batch_begin", "on_test_batch_end")

    def _implements_predict_batch_hooks(self) -> bool:
        return self._has_own("on_predict_batch_begin", "on_predict_batch_end")

    def _has_own(self, *hooks: str) -> bool:
        from tfmot_swd.keras3.compat import does_nothing

        return not all(does_nothing(getattr(self.inner, hook)) for hook in hooks)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.inner.on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._choose_mode()
        self.inner.on_epoch_end(epoch, logs)

    def on_train_begin(self, logs: Any = None) -> None:
        self.inner.on_train_begin(logs)

    def on_train_end(self, logs: Any = None) -> None:
        self.inner.on_train_end(logs)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.inner.on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.inner.on_train_batch_end(batch, logs)

    def on_test_begin(self, logs: Any = None) -> None:
        self.inner.on_test_begin(logs)

    def on_test_end(self, logs: Any = None) -> None:
        self.inner.on_test_end(logs)

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.inner.on_test_batch_begin(batch, logs)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self.inner.on_test_batch_end(batch, logs)

    def on_predict_begin(self, logs: Any = None) -> None:
        self.inner.on_predict_begin(logs)

    def on_predict_end(self, logs: Any = None) -> None:
        self.inner.on_predict_end(logs)

    def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.inner.on_predict_batch_begin(batch, logs)

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        self.inner.on_predict_batch_end(batch, logs)

    def _choose_mode(self) -> None:
        """Sets the mode of a callback with mode="auto", which Keras 3 asks the metrics of its own models for."""
        if getattr(self.inner, "mode", None) != "auto" or getattr(self.inner, "monitor_op", "") is not None:
            return
        name = self.inner.monitor.removeprefix("val_")
        found = next((each for each in self.model.metrics if each.name == name), None)
        direction = None if found is None else direction_of(found)
        if direction is not None:
            self.inner.mode = "max" if direction == "up" else "min"
