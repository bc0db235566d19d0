"""Prunable weights of layers, which a pruning rate is a share of.

They are the kernels of convolutions and dense layers and the biases of dense layers, as published for Selective Weight
Decay (arXiv 2011.10520); recurrent, attention and embedding layers follow TFMOT's registry. Subclasses count like the
class they extend, looked up through their ancestry. A custom layer counts what the layers inside it do, each by its own
class.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import PruneLowMagnitude, QuantizeWrapper, master_variable
from tfmot_swd.keras2.graph import layers_inside
from tfmot_swd.keras2.layer_weights import distinct, kernels_of, made_trainable, part_of, unquantized, unwrapped
from tfmot_swd.layers.registry import said_of


def counted_weights(layer: Any) -> list[tf.Variable]:
    """Returns the prunable weights of a built layer, which a pruning rate counts; an empty list if it has none.

    A class with a `get_prunable_weights` method (`tfmot.sparsity.keras.PrunableLayer`) decides itself. For others the
    family of the nearest registered ancestor decides; layers inside that it does not cover count by their own class. A
    kernel that a layer computes from another weight is not a variable and cannot be pruned.

    >>> import tf_keras as keras
    >>> dense = keras.layers.Dense(2)
    >>> dense.build((None, 3))
    >>> [weight.shape.as_list() for weight in counted_weights(dense)]
    [[3, 2], [2]]
    """
    return [weight for weight in _named(layer) if isinstance(master_variable(weight), tf.Variable)]


def _named(layer: Any) -> list[Any]:
    """Returns the prunable weights, including tensors that a layer computes in place of a variable."""
    if isinstance(layer, QuantizeWrapper):
        return unquantized(layer, _named(layer.layer))
    if isinstance(layer, PruneLowMagnitude):
        return _named(layer.layer)
    if decides_itself(layer):
        return list(layer.get_prunable_weights())
    return with_parts(layer, _said(layer))


def _said(layer: Any) -> list[Any]:
    """Returns the prunable weights by the family of a layer."""
    kind, prunable = said_of(type(layer), "prunable")
    if kind is None:
        return []
    if callable(prunable):
        return list(prunable(layer))
    found = []
    for path in prunable:
        try:
            owner, name = part_of(layer, path)
            found.append(getattr(owner, name))
        except AttributeError as error:
            if layer.built and not kind.__module__.startswith("tf_keras."):
                raise ValueError(
                    f"The prunable weights of {kind.__name__} are attributes of its built layers: name those in "
                    f"register_layer. Received: {path!r}, which layer {layer.name!r} does not have"
                ) from error
    return [weight for weight in found if weight is not None]


def decides_itself(layer: Any) -> bool:
    """Returns whether the class of a layer names its prunable weights, as a TFMOT `PrunableLayer` does."""
    return hasattr(type(layer), "get_prunable_weights")


def uncounted_kernels(layer: Any) -> list[tf.Variable]:
    """Returns the kernel weights of a layer that are not prunable for lack of a registration.

    These are the weights that custom layers own themselves. Depthwise kernels, and weights that a `PrunableLayer` does
    not name, are left dense on purpose and are not among them.
    """
    decided = {id(master_variable(each)) for each in counted_weights(layer)}
    for part in layers_inside(unwrapped(layer)):
        whole = []
        if decides_itself(part):
            whole = part.weights
        elif part.built:
            names = said_of(type(part), "whole")[1] or ()
            whole = [getattr(part, name) for name in names if getattr(part, name, None) is not None]
        if isinstance(layer, QuantizeWrapper):
            whole = unquantized(layer, whole)
        decided |= {id(master_variable(each)) for each in whole}
    return [each for each in kernels_of(layer) if id(each) not in decided]


def with_parts(layer: Any, found: list[Any]) -> list[Any]:
    """Returns `found` with the prunable weights of those layers inside `layer` that have none in it yet."""
    known = {id(master_variable(each)) for each in found}
    for part in layers_inside(layer, itself=False, deep=False):
        counted = _named(part)
        if known.isdisjoint(id(master_variable(each)) for each in counted):
            found = found + counted
    return distinct(found)


def target_weights(layer: Any, targets: str) -> list[tf.Variable]:
    """Returns the variables that the decay may act on: the prunable ones, then with "all" every other trainable one.

    "all" follows the published code: the threshold of the prunable weights is applied to biases and the gamma and beta
    of batch normalization too, which "kernels" leaves alone. Frozen weights are included; the order does not depend on
    whether weights are frozen.

    Args:
      layer: a built layer.
      targets: "kernels" or "all".
    """
    counted = counted_weights(layer)
    if targets == "kernels":
        return counted
    return distinct(counted + made_trainable(layer))


def make_prunable(layer: Any) -> Any:
    """Adds `get_prunable_weights`, which TFMOT's wrapper requires, to a layer that lacks it; returns the layer."""
    if not hasattr(layer, "get_prunable_weights"):
        layer.get_prunable_weights = partial(counted_weights, layer)
    return layer
