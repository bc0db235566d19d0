"""Layer graphs of functions, recorded by calling them on symbolic tensors as the operators of a functional model."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import Functional, backend, eager_context, keras


class NotTraced(Exception):
    """A function that cannot be recorded; the message says why."""


def graph_of(function: Callable[..., Any], inputs: Any, arguments: Mapping[str, Any]) -> Functional:
    """Returns a functional model of what a function computes, with a layer for each operation.

    Its inputs and outputs are the flattened ones of the function. Names that Keras gives to layers made later stay as
    they would be without it.

    Args:
      function: of one tensor, or of a structure of tensors, as those of `Activation` and `Lambda`.
      inputs: a `tf.TensorSpec` in place of each tensor.
      arguments: its other arguments by name.

    Raises:
      NotTraced: calling it fails, or it returns something else than tensors that depend on its inputs.

    >>> graph = graph_of(lambda x: x * tf.nn.sigmoid(x), tf.TensorSpec((None, 4)), {})
    >>> [layer.name for layer in graph.layers[1:]]
    ['tf.math.sigmoid', 'tf.math.multiply']
    """
    # What a tf.function wraps takes symbolic tensors; the tf.function itself would make them constants.
    called = getattr(function, "python_function", function)
    if any(spec.shape.rank in (None, 0) for spec in tf.nest.flatten(inputs)):
        raise NotTraced("it is called on a tensor without a batch axis")
    with names_and_seeds_kept(), _no_warning():
        given = tf.nest.map_structure(
            lambda spec: keras.Input(spec.shape[1:], batch_size=spec.shape[0], dtype=spec.dtype), inputs
        )
        try:
            found = tf.nest.flatten(called(given, **arguments))
        except Exception as error:  # Anything may be in a user's function.
            said = str(error).partition("\n")[0]
            raise NotTraced(f"it cannot be called on symbolic tensors, {type(error).__name__}: {said}") from error
        if not found or not all(keras.backend.is_keras_tensor(each) for each in found):
            raise NotTraced("it returns something else than tensors that depend on its inputs")
        return Functional(tf.nest.flatten(given), found)


@contextlib.contextmanager
def names_and_seeds_kept() -> Iterator[None]:
    """Has Keras number layers from the start in the block, and afterwards as if nothing had been made in it.

    So it is with the seeds that it draws for layers and initializers.
    """
    # Keras draws from Python's own generator where it has none.
    generator = getattr(backend._SEED_GENERATOR, "generator", None) or random
    state = generator.getstate()
    numbers, observed = backend.PER_GRAPH_OBJECT_NAME_UIDS, set(backend.OBSERVED_NAMES)
    before = dict(numbers)
    numbers.clear()
    backend.OBSERVED_NAMES.clear()
    try:
        yield
    finally:
        numbers.clear()
        numbers.update(before)
        backend.OBSERVED_NAMES.clear()
        backend.OBSERVED_NAMES.update(observed)
        generator.setstate(state)


@contextlib.contextmanager
def _no_warning() -> Iterator[None]:
    """Silences what Keras says of inputs with different first axes, which need not be batches."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def random_stream_kept() -> Iterator[None]:
    """Has random operations that run in the block draw apart from TensorFlow's stream of random numbers."""
    eager = eager_context()
    held = eager._seed
    # Without a seed no operation asks the stream for one.
    eager._seed = None
    try:
        yield
    finally:
        eager._seed = held
