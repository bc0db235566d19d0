"""Watching a gradient go by: identities whose backward pass calls a function, and a layer that computes through one.

The gradient is that of the loss with regard to a weight as its layer uses it: before momentum, clipping and weight
decay, without the regularizers that read the variable directly, whoever takes the gradient and whatever becomes of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import AutoCastVariable, master_variable
from tfmot_swd.keras2.layer_weights import part_of

# In a graph it returns the operation that must run, if any.
Watch = Callable[[tf.Tensor], Any]


def watched(value: tf.Tensor, watch: Watch) -> tf.Tensor:
    """Returns `value`; a backward pass through it calls `watch` with the gradient.

    >>> import tensorflow as tf
    >>> seen, x = [], tf.Variable(3.0)
    >>> with tf.GradientTape() as tape:
    ...     y = watched(x.read_value(), seen.append) ** 2
    >>> float(tape.gradient(y, x)), float(seen[0])
    (6.0, 6.0)
    """

    @tf.custom_gradient
    def identity(value: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        def backward(gradient: tf.Tensor) -> tf.Tensor:
            done = watch(gradient)
            if done is None or tf.executing_eagerly():
                return gradient
            # What no output depends on does not run, in the backward half of a tf.function that is differentiated.
            with tf.control_dependencies([done]):
                return tf.identity(gradient)

        return tf.identity(value), backward

    return identity(value)


@contextlib.contextmanager
def weight_watched(layer: Any, path: str, watch: Watch) -> Iterator[None]:
    """Within it the layer computes with its weight through `watched`, in the precision of the layer.

    Raises:
      TypeError: the class of the layer does not keep this weight as a plain attribute.
    """
    owner, name = part_of(layer, path)
    attributes = vars(owner)
    if name not in attributes:
        raise TypeError(
            "The gradient of this weight cannot be watched, as its class computes the attribute: choose a criterion "
            "that needs no gradient, such as 'weight_change', or leave the layer out with skip. "
            f"Received: {type(owner).__name__}.{name} of layer {layer.name!r}"
        )
    variable = attributes[name]
    value = watched(tf.convert_to_tensor(master_variable(variable)), watch)
    if isinstance(variable, AutoCastVariable) and owner.compute_dtype != value.dtype.name:
        value = tf.cast(value, owner.compute_dtype)
    # Past Keras's tracking, which would take the tensor for state of the layer.
    attributes[name] = value
    try:
        yield
    finally:
        attributes[name] = variable
