"""Data of Keras 3 and of its other backends as data that tf_keras reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import keras as tf_keras
from tfmot_swd.keras3.door import is_keras3
from tfmot_swd.keras3.inner_objects import full_class_name

_OTHER_BACKENDS = frozenset({"torch", "jax", "jaxlib"})


def readable(data: Any) -> Any:
    """Returns data for tf_keras: arrays of JAX and PyTorch as numpy, a `keras.utils.PyDataset` as `tf.data.Dataset`.

    Everything else is returned as it is.

    Args:
      data: whatever was given to `fit`, `evaluate` or `predict` as x, y, sample_weight or validation_data.

    Raises:
      TypeError: a data loader of PyTorch or grain, which tf_keras cannot read.
    """
    if data is None or isinstance(data, np.ndarray | tf.Tensor | tf.data.Dataset):
        return data
    if is_keras3(data, "PyDataset"):
        return PyDatasetReader(data).dataset()
    if isinstance(data, list | tuple | dict):
        # Nearly always numbers that are already readable: look once at each type.
        return _as_numpy(data) if any(map(_is_foreign, {type(each) for each in _leaves(data)})) else data
    if _is_foreign(type(data)):
        return _as_numpy(data)
    _check_readable(data)
    return data


class PyDatasetReader:
    """Reads a `keras.utils.PyDataset` as Keras 3 does: with its workers, and with the shapes of its first batches.

    tf_keras's own `Sequence` forgets the shapes, so that it would take "accuracy" of labels (batch, 1) for that of
    one-hot labels, and ends an epoch twice where several workers read.

    Args:
      inner: the dataset.
      shuffle: whether its batches come in random order.
    """

    def __init__(self, inner: Any, shuffle: bool = False) -> None:
        from tfmot_swd.keras3.compat import PyDatasetAdapter

        self._adapter = PyDatasetAdapter(_numpy_batches(inner), shuffle=shuffle)

    def dataset(self, steps: int | None = None) -> tf.data.Dataset:
        """Returns its batches.

        Args:
          steps: of an epoch; None for all batches. Where that is another number, an epoch goes on where the last ended.
        """
        batches = self._adapter.num_batches
        dataset = self._adapter.get_tf_dataset()
        if batches is None:
            return dataset.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(batches))
        return dataset if steps in (None, batches) else dataset.repeat()

    def begin_epoch(self) -> None:
        """Calls `on_epoch_begin` of the dataset."""
        self._adapter.on_epoch_begin()

    def end_epoch(self) -> None:
        """Calls `on_epoch_end` of the dataset."""
        self._adapter.on_epoch_end()


class EpochHooks(tf_keras.callbacks.Callback):
    """Tells datasets where their epochs begin and end, which tf_keras does not do for a `tf.data.Dataset`.

    Args:
      trained: the reader of the data of `fit`; None if they are no `PyDataset`.
      tested: that of its validation data, or of `evaluate`.
      predicted: that of `predict`.
    """

    def __init__(
        self,
        trained: PyDatasetReader | None = None,
        tested: PyDatasetReader | None = None,
        predicted: PyDatasetReader | None = None,
    ) -> None:
        super().__init__()
        self._trained, self._tested, self._predicted = trained, tested, predicted

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self._trained:
            self._trained.begin_epoch()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._trained:
            self._trained.end_epoch()

    def on_test_begin(self, logs: Any = None) -> None:
        if self._tested:
            self._tested.begin_epoch()

    def on_test_end(self, logs: Any = None) -> None:
        if self._tested:
            self._tested.end_epoch()

    def on_predict_begin(self, logs: Any = None) -> None:
        if self._predicted:
            self._predicted.begin_epoch()

    def on_predict_end(self, logs: Any = None) -> None:
        if self._predicted:
            self._predicted.end_epoch()


def _numpy_batches(inner: Any) -> Any:
    """Returns a `PyDataset` with the batches of another, arrays of JAX and PyTorch as numpy."""
    import keras

    class NumpyBatches(keras.utils.PyDataset):
        def __getitem__(self, index: int) -> Any:
            return _as_numpy(inner[index])

        @property
        def num_batches(self) -> int | None:
            return inner.num_batches

        def on_epoch_begin(self) -> None:
            inner.on_epoch_begin()

        def on_epoch_end(self) -> None:
            inner.on_epoch_end()

    return NumpyBatches(inner.workers, inner.use_multiprocessing, inner.max_queue_size)


def _leaves(data: Any) -> Iterator[Any]:
    if isinstance(data, list | tuple | dict):
        for each in data.values() if isinstance(data, dict) else data:
            yield from _leaves(each)
    else:
        yield data


def _as_numpy(batch: Any) -> Any:
    return tf.nest.map_structure(lambda each: _array(each) if _is_foreign(type(each)) else each, batch)


def _array(leaf: Any) -> np.ndarray:
    # A tensor of PyTorch may be on a GPU, and of a graph.
    return leaf.detach().cpu().numpy() if hasattr(leaf, "detach") else np.asarray(leaf)


def _is_foreign(kind: type) -> bool:
    """Returns whether a type is that of the arrays of JAX or PyTorch."""
    return kind.__module__.partition(".")[0] in _OTHER_BACKENDS and hasattr(kind, "__array__")


def _check_readable(data: Any) -> None:
    roots = {base.__module__.partition(".")[0] for base in type(data).__mro__}
    if roots & {"torch", "grain"}:
        raise TypeError(
            "tf_keras, which trains the model, does not read the data loaders of PyTorch and grain: pass a "
            "keras.utils.PyDataset whose __getitem__(index) returns a batch, or a tf.data.Dataset. "
            f"Received: {full_class_name(data)}"
        )
