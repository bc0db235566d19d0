"""Limits on what a model makes while it loads."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

# Layers make small weights that no file has, random generators for example.
_SLACK_BYTES, _SLACK_TIMES = 2**26, 8
# Symbolic tensors that layers make inside, and how often a call may come before what it reads.
_SLACK_TENSORS, _MOST_TRIES = 20_000, 1000
# Numbers that all calls on two samples make. Nets of keras.applications make 1 to 11 for each byte of weights, a
# MobileNet on images of 1024 by 1024 a hundred; small files may do with few weights what they want. The most of all,
# EfficientNetB7 on images of 600 by 600, makes 2.1e9.
_SLACK_NUMBERS, _NUMBERS_OF_BYTE, _MOST_NUMBERS = 2**25, 1024, 2**32


@contextlib.contextmanager
def limited_weights(stored: int) -> Iterator[None]:
    """Limits the weights that a model makes while it loads: no more than its file of `stored` bytes can fill.

    The block raises before variables are made that take far more. Weights that are stored in a smaller dtype, or
    compressed, may take eight times as much.

    Raises:
      ValueError: a model declares more weights than its file has.
    """
    limit, made = _SLACK_BYTES + _SLACK_TIMES * stored, 0
    refused: ValueError | None = None

    def count(shape: tuple[int, ...]) -> None:
        nonlocal made, refused
        # Whatever the dtype: eight bytes are the most that weights have.
        made += 8 * math.prod(shape)
        if made > limit:
            refused = ValueError(
                "This model declares more weights than its file can hold: it is damaged, or made to fill the memory. "
                f"Received: a weight of shape {shape}, and a model of {stored:,} bytes"
            )
            raise refused

    def create(make: Callable[..., Any], **options: Any) -> Any:
        shape = tf.TensorShape(options.get("shape"))
        if shape.is_fully_defined():
            count(tuple(shape.as_list()))
        return make(**options)

    try:
        with tf.variable_creator_scope(create), _keras3_weights_counted(count):
            yield
    except Exception as error:
        # Layers that make others put such an error into one of their own.
        if refused is not None and error is not refused:
            raise refused from error
        raise


@contextlib.contextmanager
def limited_calls(described: int) -> Iterator[None]:
    """Limits how often Keras 3 tries to call the layers of a model while it loads.

    Up to Keras 3.14 a call that fails by an IndexError is tried again for ever.

    Args:
      described: how many tensors the file describes as arguments of calls.

    Raises:
      ValueError: many times more symbolic tensors are made than a whole file needs.
    """
    import keras

    left = _SLACK_TENSORS + _MOST_TRIES * described

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError(
                "The layers of this model cannot be called: Keras still tries after many times as many calls as the "
                f"file describes, which is damaged. Received: {described:,} tensors that are arguments of calls"
            )

    with _watched(keras.KerasTensor, count):
        yield


def check_outputs(model: Any, stored: int) -> None:
    """Raises if a Keras 3 model makes far more numbers than a net of its size, before `from_keras3` runs it.

    The shapes of all calls, in nested models too, are inferred for a batch of two: nothing is computed.

    Args:
      model: a Keras 3 model; one that `from_keras3` refuses is left to it.
      stored: bytes of its file.

    Raises:
      ValueError: running it would fill the memory.
    """
    import keras

    from tfmot_swd.keras3.compat import Functional, functional_of, input_structure
    from tfmot_swd.keras3.proof import OPEN_SIZES

    graph = functional_of(model) if isinstance(model, keras.Sequential | Functional) else None
    if graph is None:
        return
    limit = min(_SLACK_NUMBERS + _NUMBERS_OF_BYTE * stored, _MOST_NUMBERS)
    is_open = any(None in tensor.shape[1:] for tensor in graph.inputs)
    for size in OPEN_SIZES if is_open else OPEN_SIZES[:1]:
        made, refused = 0, None

        def sized(shape: Any, size: int = size) -> tuple[int, ...]:
            return tuple((size if at else 2) if each is None else int(each) for at, each in enumerate(shape))

        def count(shape: Any, *_: Any) -> None:
            nonlocal made, refused
            made += math.prod(sized(shape))
            if made > limit:
                refused = ValueError(
                    "To run this model would take far more memory than its size tells: it is damaged, or made to fill "
                    "the memory. If you trust its author, add --unsafe. "
                    f"Received: a model of {stored:,} bytes whose layers make {made:,} numbers of two samples"
                )
                raise refused

        inputs = keras.tree.map_structure(
            lambda tensor: keras.KerasTensor(sized(tensor.shape), tensor.dtype), input_structure(model)
        )
        try:
            with _watched(keras.KerasTensor, count):
                graph.compute_output_spec(inputs)
            return
        except Exception:  # Too small for the layers, which raise whatever they like, or refused.
            if refused is not None:
                raise refused from None


@contextlib.contextmanager
def _keras3_weights_counted(count: Callable[[tuple[int, ...]], None]) -> Iterator[None]:
    """Tells `count` the shape of each weight that Keras 3 is about to make in the block.

    Keras 3 offers no scope for that, and tells TensorFlow's of no shape. A file of tf_keras may have layers of it too.
    """
    import keras

    def shape_of(initializer: Any, shape: Any = None, *_: Any) -> None:
        # Without a shape it is that of a value, which is there already.
        if shape is not None:
            count(tuple(int(size) for size in np.atleast_1d(np.asarray(shape, object)) if size is not None))

    with _watched(keras.Variable, shape_of):
        yield


@contextlib.contextmanager
def _watched(kind: Any, before: Callable[..., None]) -> Iterator[None]:
    """Has `before` called with the first arguments of each constructor call of a class in the block."""
    make, is_own = kind.__init__, "__init__" in vars(kind)
    names = list(inspect.signature(make).parameters)[1:3]

    def made(self: Any, *args: Any, **options: Any) -> None:
        before(*args[:2], *(options.get(name) for name in names[len(args) :]))
        make(self, *args, **options)

    kind.__init__ = made
    try:
        yield
    finally:
        if is_own:
            kind.__init__ = make
        else:
            del kind.__init__
