"""Training and validation data: arrays or batches that `fit` and `evaluate` take, checked before any training."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras3.datasets import readable
from tfmot_swd.keras3.door import is_keras3

_WANTED = "arrays (x, y) or (x, y, sample_weight), or a tf.data.Dataset or PyDataset of such batches"


@dataclasses.dataclass(frozen=True)
class LabelledData:
    """Inputs and targets, as arrays or as batches.

    Args:
      name: of the argument, for messages.
      arrays: (x, y) or (x, y, sample_weight), each an array or a structure of arrays; None for batches.
      batches: a `tf.data.Dataset`, `keras.utils.PyDataset` or `keras.utils.Sequence`; None for arrays.
    """

    name: str
    arrays: tuple[Any, ...] | None
    batches: Any

    @property
    def samples(self) -> int | None:
        """Number of samples; None of batches, whose sizes are not known without reading them."""
        return None if self.arrays is None else len(tf.nest.flatten(self.arrays)[0])

    @property
    def is_weighted(self) -> bool:
        """Whether the samples have weights."""
        if self.arrays is not None:
            return len(self.arrays) > 2
        batches = readable(self.batches)
        return len(batches.element_spec if isinstance(batches, tf.data.Dataset) else batches[0]) > 2

    def arguments(self, batch_size: int) -> dict[str, Any]:
        """Returns the data as keyword arguments of `fit` and `evaluate`.

        Args:
          batch_size: samples at once; batches have their own.
        """
        if self.arrays is None:
            return {"x": self.batches}
        return {**dict(zip(("x", "y", "sample_weight"), self.arrays, strict=False)), "batch_size": batch_size}

    def batched(self, batch_size: int) -> LabelledData:
        """Returns the data as batches that are ready to be read many times; Keras would prepare arrays each time."""
        if self.arrays is None:
            return self
        dataset = tf.data.Dataset.from_tensor_slices(_as_tuples(self.arrays))
        return LabelledData(self.name, None, dataset.batch(batch_size))

    def as_validation(self) -> Any:
        """Returns the data as `fit` takes validation_data."""
        return self.batches if self.arrays is None else self.arrays

    def pairs(self) -> Any:
        """Returns (x, y), or a dataset of such batches, without sample weights."""
        if self.arrays is not None:
            return self.arrays[:2]
        batches = readable(self.batches)
        if not isinstance(batches, tf.data.Dataset):
            batches = _dataset_of(batches)
        return batches.map(lambda x, y, *_: (x, y))

    def steps(self, batch_size: int) -> int:
        """Returns the number of batches; where a dataset does not know it, by reading it once."""
        if self.samples is not None:
            return math.ceil(self.samples / batch_size)
        count = int(self.batches.cardinality()) if isinstance(self.batches, tf.data.Dataset) else len(self.batches)
        return sum(1 for _ in self.batches) if count == tf.data.UNKNOWN_CARDINALITY else count

    def digest(self) -> str:
        """Returns what tells these data from others, in hexadecimal.

        That of batches does not depend on the order of samples, nor on how they are batched.
        """
        if self.arrays is not None:
            found = hashlib.sha256(str(tf.nest.map_structure(lambda each: None, self.arrays)).encode())
            for array in tf.nest.flatten(self.arrays):
                found.update(f"{array.dtype.str}{array.shape}".encode())
                found.update(np.ascontiguousarray(array).data)
            return found.hexdigest()
        total = 0
        for batch in self._read():
            leaves = [np.ascontiguousarray(each) for each in tf.nest.flatten(batch)]
            for row in zip(*leaves, strict=True):
                total += int.from_bytes(hashlib.sha256(b"".join(each.tobytes() for each in row)).digest(), "big")
        return f"{total % 2**256:064x}"

    def _read(self) -> Iterator[Any]:
        batches = readable(self.batches)
        if isinstance(batches, tf.data.Dataset):
            return iter(batches.as_numpy_iterator())
        return (batches[index] for index in range(len(batches)))


def labelled_data(name: str, given: Any) -> LabelledData:
    """Returns data once they are known to be inputs and targets that can be read more than once.

    Args:
      name: of the argument, for messages.
      given: (x, y) or (x, y, sample_weight) of arrays, or structures of arrays for several inputs or outputs; or a
        `tf.data.Dataset`, `keras.utils.PyDataset` or `tf_keras.utils.Sequence` of such batches.

    Raises:
      TypeError: something else, a generator for example.
      ValueError: there are no samples, no targets, arrays of different lengths, or the dataset never ends.

    >>> labelled_data("validation", (np.zeros((8, 3)), np.zeros(8))).steps(batch_size=5)
    2
    """
    if isinstance(given, tuple):
        return LabelledData(name, _arrays(name, given), None)
    if isinstance(given, tf.data.Dataset):
        _check_dataset(name, given)
    elif is_keras3(given, "PyDataset"):
        _check_count(name, given.num_batches, "a PyDataset")
    elif isinstance(given, keras.utils.Sequence):
        _check_count(name, len(given), "a Sequence")
    else:
        once = "; a generator can be read only once" if isinstance(given, Iterable) else ""
        raise TypeError(f"{name} must be {_WANTED}{once}. Received: {name} of type {type(given).__name__}")
    return LabelledData(name, None, given)


def _arrays(name: str, given: tuple[Any, ...]) -> tuple[Any, ...]:
    if not 2 <= len(given) <= 3 or any(each is None for each in given[:2]):
        shown = ", ".join("None" if each is None else type(each).__name__ for each in given)
        raise ValueError(f"{name} must have inputs and targets: {_WANTED}. Received: {name} of ({shown})")
    arrays = tuple(_as_arrays(readable(each)) for each in given if each is not None)
    leaves = tf.nest.flatten(arrays)
    shapes = [each.shape for each in leaves]
    if not all(shapes) or len({shape[0] for shape in shapes}) > 1:
        raise ValueError(
            f"All arrays of {name} must have the same number of samples on their first axis. "
            f"Received: arrays of shapes {', '.join(map(str, shapes))}"
        )
    if not shapes or not shapes[0][0]:
        raise ValueError(f"{name} holds no samples. Received: arrays of shapes {', '.join(map(str, shapes))}")
    return arrays


def _as_arrays(part: Any) -> Any:
    """Returns arrays in place of tensors and of lists of numbers; the structure of several arrays stays."""
    if isinstance(part, dict):
        return {key: _as_arrays(each) for key, each in part.items()}
    if isinstance(part, list | tuple) and part and all(hasattr(each, "shape") for each in part):
        return [np.asarray(each) for each in part]
    return np.asarray(part)


def _as_tuples(parts: Iterable[Any]) -> tuple[Any, ...]:
    """Returns inputs, targets and weights as a dataset takes them, which would stack a list into one tensor."""
    return tuple(tuple(each) if isinstance(each, list) else each for each in parts)


def _dataset_of(batches: Any) -> tf.data.Dataset:
    """Returns the batches of a `Sequence` of tf_keras as a dataset, read when they are needed."""

    def made(index: int) -> Any:
        return _as_tuples(map(_as_arrays, batches[index]))

    def specification(part: Any) -> tf.TensorSpec:
        # The last batch may be smaller.
        return tf.TensorSpec((None, *part.shape[1:]), part.dtype)

    count = len(batches)
    dataset = tf.data.Dataset.from_generator(
        lambda: map(made, range(count)), output_signature=tf.nest.map_structure(specification, made(0))
    )
    return dataset.apply(tf.data.experimental.assert_cardinality(count))


def _check_dataset(name: str, dataset: tf.data.Dataset) -> None:
    count = int(dataset.cardinality())
    if count == tf.data.INFINITE_CARDINALITY:
        raise ValueError(f"{name} never ends: pass dataset.take(n). Received: an endless tf.data.Dataset")
    spec = dataset.element_spec
    if not isinstance(spec, tuple) or not 2 <= len(spec) <= 3:
        raise ValueError(f"{name} must be {_WANTED}. Received: a tf.data.Dataset of {spec}")
    if count == 0 or (count == tf.data.UNKNOWN_CARDINALITY and next(iter(dataset), None) is None):
        raise ValueError(f"{name} holds no samples. Received: an empty tf.data.Dataset")


def _check_count(name: str, count: int | None, kind: str) -> None:
    if count is None:
        raise ValueError(f"{name} must end: give it a number of batches. Received: {kind} without one")
    if not count:
        raise ValueError(f"{name} holds no samples. Received: {kind} of 0 batches")
