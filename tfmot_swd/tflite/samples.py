"""Data for calibration and proof, from arrays, batches, datasets or functions."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.graph import inputs_of_calls, layer_behind
from tfmot_swd.keras2.validation import PruningWarning

Array = np.ndarray[Any, Any]

# One sample in so many is kept for the proof.
HELD_OUT = 5
_TOO_FEW_TO_SPLIT = 10


@dataclass(frozen=True)
class Samples:
    """Checked data of one model.

    Attributes:
        inputs: one array (N, ...) for each model input, in the order of `model.inputs` and in
            the dtype of the input.
        labels: integer classes (N,), or None when there are none.
    """

    inputs: tuple[Array, ...]
    labels: Array | None = None

    def __len__(self) -> int:
        return len(self.inputs[0])

    def take(self, rows: Array) -> Samples:
        """Returns the samples of these numbers."""
        labels = None if self.labels is None else self.labels[rows]
        return Samples(tuple(array[rows] for array in self.inputs), labels)

    def held_out(self) -> tuple[Samples, Samples]:
        """Splits the samples for calibration and proof: every fifth is held out for the latter.

        Fewer than 10 samples are not split: both results are all of them.
        """
        if len(self) < _TOO_FEW_TO_SPLIT:
            return self, self
        rows = np.arange(len(self))
        is_held = rows % HELD_OUT == HELD_OUT - 1
        return self.take(rows[~is_held]), self.take(rows[is_held])

    def clipped(self, percentile: float) -> Samples:
        """Returns the samples with each float input clipped to where this percentage of its values lies.

        As much is cut off at either end: of 99.8 %, one thousandth.
        """
        tail = (100 - percentile) / 2
        inputs = []
        for array in self.inputs:
            is_float = array.dtype.kind == "f"
            limits = np.percentile(array, (tail, 100 - tail), method="nearest") if is_float else ()
            inputs.append(np.clip(array, *limits) if is_float else array)
        return Samples(tuple(inputs), self.labels)


def chunks(inputs: tuple[Array, ...], size: int) -> Iterator[tuple[tuple[Array, ...], int]]:
    """Yields `(arrays of exactly size rows, how many of them are real)`.

    The last chunk is filled up with copies of its last row, for graphs with a fixed batch.
    """
    count = len(inputs[0])
    for start in range(0, count, size):
        rows = np.minimum(np.arange(start, start + size), count - 1)
        yield tuple(array[rows] for array in inputs), min(size, count - start)


def random_samples(model: keras.Model, count: int = 64, seed: int = 0) -> Samples:
    """Returns standard normal inputs, the same at every call.

    Raises:
        ValueError: an input is not floating point, goes into an embedding, or has an open dimension besides the batch.
    """
    generator = np.random.default_rng(seed)
    arrays = []
    for name, tensor in zip(model.input_names, model.inputs, strict=True):
        shape = tuple(tensor.shape[1:])
        if not tensor.dtype.is_floating or None in shape or takes_ids(model, tensor):
            raise ValueError(
                f"There is no obvious random data for input {name!r}: pass check_data. "
                f"Received: an input of shape {tuple(tensor.shape)} and dtype {tensor.dtype.name}"
            )
        arrays.append(generator.standard_normal((count, *shape)).astype(tensor.dtype.name))
    return Samples(tuple(arrays))


def read_samples(data: Any, model: keras.Model, argument: str, limit: int | None = None) -> Samples:
    """Reads arrays, an iterable of batches, or a function that returns one.

    Args:
        data: an array (N, ...), for several inputs a list or dict of arrays, a tuple `(x, y)`
            with x one of these; or an iterable (list, generator, `tf.data.Dataset`) of batches,
            each of the same forms; or a function without arguments that returns the iterable.
        model: gives names, shapes and dtypes of the inputs.
        argument: name of the argument `data` came in, for the messages.
        limit: take at most so many samples: evenly spaced ones of arrays, the first ones of an
            iterable, which is not read further. None takes all.

    Raises:
        TypeError: data of a kind or dtype the model does not take.
        ValueError: no samples, a wrong shape, a non-finite value, inputs of different lengths.
    """
    if callable(data) and not isinstance(data, Mapping):
        data = data()
    if _is_one_batch(data, len(model.inputs)):
        inputs, labels = _split(data, model, argument)
        _check_lengths(inputs, labels, argument)
        if limit is not None and len(inputs[0]) > limit:
            rows = np.linspace(0, len(inputs[0]) - 1, limit).round().astype(int)
            inputs = [array[rows] for array in inputs]
            labels = None if labels is None else labels[rows]
    elif isinstance(data, Iterable) and not isinstance(data, str | bytes):
        inputs, labels = _read_batches(data, model, argument, limit)
    else:
        raise TypeError(
            f"{argument} must be an array, a list or dict of arrays, or an iterable of batches. "
            f"Received: {argument} of type {type(data).__name__}"
        )
    if not len(inputs[0]):
        raise ValueError(f"{argument} holds no samples. Received: {argument} of shape {inputs[0].shape}")
    checked = tuple(
        _checked(array, name, tensor, argument, takes_ids(model, tensor))
        for array, name, tensor in zip(inputs, model.input_names, model.inputs, strict=True)
    )
    return Samples(checked, _classes(labels, argument))


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or tf.is_tensor(value)


def _is_one_batch(data: Any, input_count: int) -> bool:
    """Returns whether data are one batch of arrays rather than an iterable of batches.

    Keras reads a tuple as `(x, y)`. A list of arrays is the inputs of a model with several, where
    an array alone cannot be a batch; for a model with one input it is a list of batches.
    """
    if _is_array(data) or isinstance(data, Mapping | tuple):
        return True
    return isinstance(data, list) and input_count > 1 and bool(data) and all(map(_is_array, data))


def _split(batch: Any, model: keras.Model, argument: str) -> tuple[list[Array], Array | None]:
    """Returns the input arrays in the model's order, and the labels if there are any."""
    several = len(model.inputs) > 1
    labels = None
    if isinstance(batch, tuple) and batch and not (several and _is_array(batch[0])):
        labels = batch[1] if len(batch) > 1 else None
        batch = batch[0]
    names = list(model.input_names)
    arrays: list[Any]
    if isinstance(batch, Mapping):
        # A model built on a dict of inputs is called with the dict's keys, not the layers' names.
        keys = sorted(model.input) if isinstance(model.input, Mapping) else names
        order = names if set(batch) == set(names) else keys
        if set(batch) != set(order):
            raise ValueError(
                f"{argument} must have one array for each input, named {names}. "
                f"Received: {argument} with {sorted(map(str, batch))}"
            )
        arrays = [batch[key] for key in order]
    elif isinstance(batch, list | tuple):
        arrays = list(batch)
    else:
        arrays = [batch]
    if len(arrays) != len(names):
        raise ValueError(
            f"{argument} must have one array for each of the inputs {names}. "
            f"Received: {argument} with {len(arrays)} arrays"
        )
    if isinstance(labels, Mapping) or (isinstance(labels, list | tuple) and any(map(_is_array, labels))):
        labels = None  # of several outputs, which have no single accuracy
    return [np.asarray(array) for array in arrays], None if labels is None else np.asarray(labels)


def _read_batches(
    batches: Iterable[Any], model: keras.Model, argument: str, limit: int | None
) -> tuple[list[Array], Array | None]:
    endless = isinstance(batches, tf.data.Dataset) and batches.cardinality() == tf.data.INFINITE_CARDINALITY
    if limit is None and endless:
        raise ValueError(f"{argument} never ends: pass dataset.take(n). Received: an endless tf.data.Dataset")
    parts: list[list[Array]] = []
    labels: list[Array | None] = []
    count = 0
    for batch in batches:
        inputs, label = _split(batch, model, argument)
        _check_lengths(inputs, label, argument)
        for array, name, tensor in zip(inputs, model.input_names, model.inputs, strict=True):
            _check_shape(array, name, tensor, argument)
        parts.append(inputs)
        labels.append(label)
        count += len(inputs[0])
        if limit is not None and count >= limit:
            break
    if not parts:
        raise ValueError(
            f"{argument} holds no samples; a generator can be read only once, so make a new one "
            f"for each export. Received: {argument} of type {type(batches).__name__}, empty"
        )
    joined = []
    for name, arrays in zip(model.input_names, zip(*parts, strict=True), strict=True):
        if len({array.shape[1:] for array in arrays}) > 1:
            raise ValueError(
                f"All batches of {argument} must have one shape, pad or crop them for {name!r}. "
                f"Received: {sorted({array.shape[1:] for array in arrays})}"
            )
        joined.append(np.concatenate(arrays)[:limit])
    known = [label for label in labels if label is not None]
    return joined, np.concatenate(known)[:limit] if len(known) == len(labels) else None


def _check_lengths(inputs: list[Array], labels: Array | None, argument: str) -> None:
    shapes = [array.shape for array in inputs] + ([] if labels is None else [labels.shape])
    if any(not shape for shape in shapes) or len({shape[0] for shape in shapes}) > 1:
        raise ValueError(
            f"All arrays of {argument} must have the same number of samples on their first axis. "
            f"Received: arrays of shapes {shapes}"
        )


def _check_shape(array: Array, name: str, tensor: Any, argument: str) -> None:
    wanted = tuple(tensor.shape[1:])
    fits = array.ndim == len(wanted) + 1 and all(
        size in (None, got) for size, got in zip(wanted, array.shape[1:], strict=True)
    )
    if fits:
        return
    alone = " Add a batch axis in front: x[None]." if array.ndim == len(wanted) else ""
    raise ValueError(
        f"{argument} for input {name!r} must have shape {('N', *wanted)}.{alone} "
        f"Received: an array of shape {array.shape}"
    )


def _checked(array: Array, name: str, tensor: Any, argument: str, is_ids: bool) -> Array:
    """Returns `array` in the dtype of the input, if that changes no value."""
    _check_shape(array, name, tensor, argument)
    wanted = np.dtype(tensor.dtype.name)
    if wanted.kind == "f" and array.dtype.kind in "iub" and not is_ids:
        raise TypeError(
            f"{argument} for input {name!r} is integer-only, but the model takes {wanted}. Cast it as the model sees "
            "it in use: pixels scaled as in training (x.astype('float32') / 255, for instance), counts and indices as "
            f"they are (x.astype('float32')), or all scales come out wrong. Received: dtype {array.dtype}"
        )
    kinds = {"f": "fiu" if is_ids else "f", "i": "iu", "u": "iu", "b": "b"}.get(wanted.kind, wanted.kind)
    if array.dtype.kind not in kinds:
        raise TypeError(f"{argument} for input {name!r} must be of dtype {wanted}. Received: dtype {array.dtype}")
    with np.errstate(over="ignore"):
        cast = array.astype(wanted, copy=False)
    if wanted.kind == "f" and not np.isfinite(cast).all():
        bad = int(cast.size - np.isfinite(cast).sum())
        raise ValueError(
            f"{argument} for input {name!r} must be finite: clean it first. "
            f"Received: {bad} of {cast.size} values NaN or infinite"
        )
    if wanted.kind in "iu" and not np.array_equal(cast, array):
        raise ValueError(
            f"{argument} for input {name!r} has values that do not fit {wanted}. "
            f"Received: values from {array.min()} to {array.max()}"
        )
    return cast


def _classes(labels: Array | None, argument: str) -> Array | None:
    """Returns integer labels (N,) from (N,), (N, 1) or one-hot (N, classes); other targets give no accuracy."""
    if labels is None or not len(labels):
        return None
    if labels.dtype.kind in "USO":
        warnings.warn(
            f"The labels of {argument} are no numbers, so that accuracies are not measured: pass integers, as "
            "numpy.unique(labels, return_inverse=True)[1] makes them in the order of the names. "
            f"Received: labels of dtype {labels.dtype}",
            PruningWarning,
            stacklevel=6,
        )
        return None
    if labels.dtype.kind in "iub" and labels.size == len(labels):
        return labels.reshape(-1).astype(np.int64)
    is_one_hot = labels.ndim == 2 and labels.shape[1] > 1 and ((labels == 0) | (labels == 1)).all()
    if is_one_hot and (labels.sum(axis=1) == 1).all():
        classes: Array = labels.argmax(axis=1)
        return classes
    return None


def takes_ids(model: keras.Model, tensor: Any) -> bool:
    """Returns whether an input of the model goes into an embedding, and so holds whole numbers, whatever its dtype."""
    source = layer_behind(tensor)
    return any(
        layer_behind(each) is source
        for layer in model.layers
        if isinstance(layer, keras.layers.Embedding)
        for each in inputs_of_calls(layer)
    )
