"""The weights of a layer that can be pruned, and those of them that count towards the rate.

The pool of Selective Weight Decay is the kernels of convolutions and dense layers and the biases of
dense layers (method of arXiv 2011.10520); recurrent, attention and embedding layers follow TFMOT's
registry. Subclasses count like the class they extend, looked up through its ancestry. A custom layer counts what the
layers inside it do, each by its own class.
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
    """Returns the variables of a built `layer` that belong to the pool; empty where it has none.

    A class with a `get_prunable_weights` method (`tfmot.sparsity.keras.PrunableLayer`) decides itself. Of other classes
    the rule of the nearest ancestor decides, and the layers inside that it does not speak of each by their own class.
    What a layer computes in the place of a weight, as a kernel of another weight, is no variable and cannot be pruned.
    """
    return [weight for weight in _named(layer) if isinstance(master_variable(weight), tf.Variable)]


def _named(layer: Any) -> list[Any]:
    """Returns what belongs to the pool, tensors that a layer computes in the place of a variable among it."""
    if isinstance(layer, QuantizeWrapper):
        return unquantized(layer, _named(layer.layer))
    if isinstance(layer, PruneLowMagnitude):
        return _named(layer.layer)
    if decides_itself(layer):
        return list(layer.get_prunable_weights())
    return with_parts(layer, _said(layer))


def _said(layer: Any) -> list[Any]:
    """Returns the weights that the family of a layer names."""
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
    """Whether the class of a layer says which of its weights are pruned, as a TFMOT `PrunableLayer` does."""
    return hasattr(type(layer), "get_prunable_weights")


def uncounted_kernels(layer: Any) -> list[tf.Variable]:
    """Returns the kernel weights of a layer that no rule counts, though nobody chose to leave them whole.

    These are the weights that custom layers own themselves. Depthwise kernels and what a `PrunableLayer` does not name
    are left whole on purpose.
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
    """Returns `found` and what those of the layers inside `layer` count from which nothing is in it."""
    known = {id(master_variable(each)) for each in found}
    for part in layers_inside(layer, itself=False, deep=False):
        counted = _named(part)
        if known.isdisjoint(id(master_variable(each)) for each in counted):
            found = found + counted
    return distinct(found)


def target_weights(layer: Any, targets: str) -> list[tf.Variable]:
    """Returns the variables that the penalty may act on: the pool, then with "all" every other one.

    "all" is the published code: one threshold from the pool, applied to biases and batch-norm gamma
    and beta too. "kernels" leaves those alone. What is frozen now is among them, and their order does not depend on it.
    """
    counted = counted_weights(layer)
    if targets == "kernels":
        return counted
    return distinct(counted + made_trainable(layer))


def make_prunable(layer: Any) -> Any:
    """Gives `layer` the method that TFMOT's wrapper asks for, whatever its class; returns the layer."""
    if not hasattr(layer, "get_prunable_weights"):
        layer.get_prunable_weights = partial(counted_weights, layer)
    return layer
