"""Symbolic calls of layers whose output is known beforehand, and weights without initial values.

Keras calls a layer on symbolic tensors by tracing it in a graph that it throws away, only to learn the shape of the
output. When channels are removed, a layer of Keras itself is called where its larger counterpart was, so the output is
known but for its shape, which the layer computes from its config. Its new weights get the values of the larger ones, so
their random initial values are not needed either. Both together are half the time of a removal.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import PruneLowMagnitude, keras
from tfmot_swd.keras2.graph import Shape, layers_inside
from tfmot_swd.keras2.overrides import replaced_on_object

_ROOM = "tf_keras.src.layers."
# Packages and modules of layers that compute one tensor of one or several, and do nothing else when they are called.
_PLAIN = tuple(
    f"{_ROOM}{each}."
    for each in (
        "activation",
        "convolutional",
        "core.activation",
        "core.dense",
        "merging",
        "normalization.batch_normalization",
        "normalization.layer_normalization",
        "pooling",
        "regularization",
        "reshaping",
    )
)
_INITIALIZERS = "tf_keras.src.initializers."


def call_symbolically(
    layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], before: Sequence[Any], shapes: Sequence[Shape]
) -> None:
    """Calls a layer on symbolic tensors, without tracing it where its output is known.

    Args:
      layer: the layer.
      args: positional arguments of the call.
      kwargs: keyword arguments of the call.
      before: outputs of its counterpart in another model of the same topology.
      shapes: of its outputs, as planned; Keras traces the layer where it computes another one from its config.
    """
    if not _is_known(layer, args, kwargs, before, shapes):
        with initial_zeros(layer):
            layer(*args, **kwargs)
        return
    (like,) = before

    def infer(inputs: Any, args: Any, kwargs: Any, masks: Any) -> Any:
        with keras.backend.name_scope(layer._name_scope()):
            layer._maybe_build(inputs)
        layer._set_save_spec(inputs, args, kwargs)
        own = inside(layer)
        if own is not layer:
            given = tf.nest.map_structure(lambda each: tf.TensorSpec(each.shape, _dtype_in(own, each)), inputs)
            own._set_save_spec(given, args, kwargs)
        return type(like)(tf.TensorSpec(shapes[0], like.dtype, like.type_spec.name), name=like.name)

    with initial_zeros(layer), _replaced(layer, "_infer_output_signature", infer):
        layer(*args, **kwargs)


@contextlib.contextmanager
def initial_zeros(layer: Any) -> Iterator[None]:
    """Has a layer of Keras itself, which only stores what its initializers make, start with zeros in the block.

    The global random generator stays where it is.
    """
    if not type(inside(layer)).__module__.startswith(_ROOM):
        yield
        return

    def create(next_creator: Any, **given: Any) -> Any:
        initial = given.get("initial_value")
        maker = type(getattr(initial, "func", None)).__module__
        if (
            isinstance(initial, functools.partial)
            and maker.startswith(_INITIALIZERS)
            and given.get("shape") is not None
        ):
            given["initial_value"] = functools.partial(tf.zeros, given["shape"], given.get("dtype") or tf.float32)
        return next_creator(**given)

    with tf.variable_creator_scope(create):
        yield


def build_for(layer: Any, specs: Any) -> None:
    """Builds a layer for inputs of these specifications, in their structure."""
    layer._maybe_build(specs)


@contextlib.contextmanager
def initial_noise() -> Iterator[None]:
    """Has weights that are made in the block start with noise of a generator of its own, whatever initializes them."""
    rng = np.random.default_rng(0)

    def create(next_creator: Any, **given: Any) -> Any:
        if callable(given.get("initial_value")) and given.get("shape") is not None:
            shape, dtype = tf.TensorShape(given["shape"]), tf.as_dtype(given.get("dtype") or tf.float32)
            given["initial_value"] = tf.cast(rng.normal(size=shape), dtype)
        return next_creator(**given)

    with tf.variable_creator_scope(create):
        yield


def inside(layer: Any) -> Any:
    """Returns the layer in a pruning wrapper, which computes what the wrapper computes; another layer as it is."""
    return layer.layer if isinstance(layer, PruneLowMagnitude) else layer


def _is_known(layer: Any, args: Any, kwargs: Any, before: Sequence[Any], shapes: Sequence[Shape]) -> bool:
    own = inside(layer)
    if len(before) != 1 or len(args) != 1 or not f"{type(own).__module__}.".startswith(_PLAIN) or own.dynamic:
        return False
    given = tf.nest.flatten(args)
    if not all(map(_is_plain, (*given, *before))) or any(map(_is_symbolic, tf.nest.flatten(kwargs))):
        return False
    # An activation that is a layer is built by its first call.
    if layers_inside(own, itself=False):
        return False
    if any(each._activity_regularizer is not None or replaced_on_object(each) for each in (layer, own)):
        return False
    try:
        found = own.compute_output_shape(tf.nest.map_structure(lambda each: each.shape, args[0]))
    except (TypeError, ValueError):
        # The layer will say it better when it is called.
        return False
    return isinstance(found, tf.TensorShape) and found.rank is not None and tuple(found) == shapes[0]


def _is_plain(value: Any) -> bool:
    """Returns whether a value is a symbolic tensor of floats of known rank, without a mask."""
    # A tensor of integers may have values, beside its shape.
    return (
        type(value).__name__ == "KerasTensor"
        and value.dtype.is_floating
        and value.shape.rank is not None
        and getattr(value, "_keras_mask", None) is None
    )


def _is_symbolic(value: Any) -> bool:
    return type(value).__name__.endswith("KerasTensor")


def _dtype_in(layer: Any, tensor: Any) -> Any:
    """Returns the dtype in which a layer computes with a tensor of floats."""
    return layer.compute_dtype if layer._autocast else tensor.dtype


@contextlib.contextmanager
def _replaced(target: Any, name: str, function: Any) -> Iterator[None]:
    object.__setattr__(target, name, function)
    try:
        yield
    finally:
        object.__delattr__(target, name)
