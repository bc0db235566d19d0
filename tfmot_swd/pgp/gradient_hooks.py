"""Gradient hooks: identity functions whose backward pass hands the gradient to a function.

The gradient is that of the loss with respect to a weight as its layer uses it: before momentum, clipping and weight
decay, and without the regularizers that read the variable directly. A hook works in any training loop, for any use of
the gradient.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import AutoCastVariable, master_variable
from tfmot_swd.keras2.gradients import identity_with_gradient
from tfmot_swd.keras2.layer_weights import part_of

# In a graph it returns the operation that must run, if any.
Hook = Callable[[tf.Tensor], Any]


def gradient_hook(value: tf.Tensor, hook: Hook) -> tf.Tensor:
    """Returns `value`; a backward pass through it calls `hook` with the gradient.

    Args:
      value: a float tensor.
      hook: gradient, of the shape and dtype of `value` → the operation that must run in a graph, or None.

    >>> import tensorflow as tf
    >>> seen, x = [], tf.Variable(3.0)
    >>> with tf.GradientTape() as tape:
    ...     y = gradient_hook(x.read_value(), seen.append) ** 2
    >>> float(tape.gradient(y, x)), float(seen[0])
    (6.0, 6.0)
    """

    def backward(gradient: tf.Tensor) -> tf.Tensor:
        done = hook(gradient)
        if done is None or tf.executing_eagerly():
            return gradient
        # In the backward half of a differentiated tf.function an operation runs only if an output depends on it.
        with tf.control_dependencies([done]):
            return tf.identity(gradient)

    return identity_with_gradient(value, backward)


@contextlib.contextmanager
def weight_gradient_hook(layer: Any, path: str, hook: Hook) -> Iterator[None]:
    """Has a layer compute with one of its weights through a `gradient_hook`, within the block.

    Args:
      layer: a built layer; it uses the weight in its compute dtype, as without the hook.
      path: of the weight in the layer, dots for parts.
      hook: called with the gradient of the full-precision weight.

    Raises:
      TypeError: the class of the layer does not keep this weight as a plain attribute.
    """
    owner, name = part_of(layer, path)
    attributes = vars(owner)
    if name not in attributes:
        raise TypeError(
            "The gradient of this weight cannot be observed, as its class computes the attribute: choose a criterion "
            "that needs no gradient, such as 'weight_change', or leave the layer out with skip. "
            f"Received: {type(owner).__name__}.{name} of layer {layer.name!r}"
        )
    variable = attributes[name]
    value = gradient_hook(tf.convert_to_tensor(master_variable(variable)), hook)
    if isinstance(variable, AutoCastVariable) and owner.compute_dtype != value.dtype.name:
        value = tf.cast(value, owner.compute_dtype)
    # Keras would track an assigned attribute as state of the layer, so its dictionary is written directly.
    attributes[name] = value
    try:
        yield
    finally:
        attributes[name] = variable
