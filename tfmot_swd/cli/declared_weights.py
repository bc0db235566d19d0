"""A limit on the weights that a model makes while it is loaded: no more than its file can fill."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

# Layers make small weights that no file has, random generators for example.
_SLACK_BYTES, _SLACK_TIMES = 2**26, 8


@contextlib.contextmanager
def limited_weights(stored: int) -> Iterator[None]:
    """Has the block raise where variables are made that take far more than `stored` bytes, before they are.

    Weights that are stored in a smaller dtype, or compressed, may take eight times as much.

    Raises:
      ValueError: a model declares more weights than its file has.
    """
    limit, made = _SLACK_BYTES + _SLACK_TIMES * stored, 0

    def create(make: Callable[..., Any], **options: Any) -> Any:
        nonlocal made
        shape = tf.TensorShape(options.get("shape"))
        count = shape.num_elements()
        # Whatever the dtype: eight bytes are the most that weights have.
        made += 8 * (count or 0)
        if made > limit:
            raise ValueError(
                "This model declares more weights than its file can hold: it is damaged, or made to fill the memory. "
                f"Received: a weight of shape {tuple(shape.as_list())}, and a model of {stored:,} bytes"
            )
        return make(**options)

    with tf.variable_creator_scope(create):
        yield
