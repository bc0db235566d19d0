"""Limit on the weights that a model makes while it loads."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

# Layers make small weights that no file has, random generators for example.
_SLACK_BYTES, _SLACK_TIMES = 2**26, 8


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
def _keras3_weights_counted(count: Callable[[tuple[int, ...]], None]) -> Iterator[None]:
    """Tells `count` the shape of each weight that Keras 3 is about to make in the block.

    Keras 3 offers no scope for that, and tells TensorFlow's of no shape. A file of tf_keras may have layers of it too.
    """
    import keras

    class_: Any = keras.Variable
    make, is_own = class_.__init__, "__init__" in vars(class_)

    def made(self: Any, initializer: Any, shape: Any = None, *others: Any, **options: Any) -> None:
        # Without a shape it is that of a value, which is there already.
        if shape is not None:
            count(tuple(int(size) for size in np.atleast_1d(np.asarray(shape, object)) if size is not None))
        make(self, initializer, shape, *others, **options)

    class_.__init__ = made
    try:
        yield
    finally:
        if is_own:
            class_.__init__ = make
        else:
            del class_.__init__
