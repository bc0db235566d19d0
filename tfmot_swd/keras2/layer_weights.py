"""Weights of layers, inside TFMOT's wrappers too: kernels, and weights by dotted path ("cell.recurrent_kernel")."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import (
    PruneLowMagnitude,
    QuantizeLayer,
    QuantizeWrapper,
    keras,
    master_variable,
    variables_of,
)
from tfmot_swd.keras2.graph import layer_paths, layers_inside

layers = keras.layers

# What they own scales or shifts each channel, or each value, however many axes it has.
_SCALING = (
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.GroupNormalization,
    layers.UnitNormalization,
    layers.PReLU,
)


def unwrapped(layer: Any) -> Any:
    """Returns the layer inside TFMOT's wrappers for pruning and quantization, ours too; another layer as it is."""
    return unwrapped(layer.layer) if isinstance(layer, PruneLowMagnitude | QuantizeWrapper) else layer


def weights_inside(layer: Any) -> list[tf.Variable]:
    """Returns the variables of a layer in full precision, without those that wrappers keep for themselves.

    Quantization-aware training puts a tensor in the place of a kernel: here the variable behind it is returned.
    """
    if isinstance(layer, QuantizeLayer):
        return []
    if isinstance(layer, QuantizeWrapper):
        own = [master_variable(weight) for weight, *_ in getattr(layer, "_weight_vars", ())]
        return distinct([*own, *weights_inside(layer.layer)])
    return weights_inside(layer.layer) if isinstance(layer, PruneLowMagnitude) else variables_of(layer)


def unquantized(wrapper: Any, weights: list[Any]) -> list[Any]:
    """Returns weights of the layer in a `QuantizeWrapper` with variables in place of what rounds them."""
    rounded = wrapper.quantize_config.get_weights_and_quantizers(wrapper.layer)
    variables = {
        id(now): variable
        for (now, _), (variable, *_) in zip(rounded, getattr(wrapper, "_weight_vars", ()), strict=False)
    }
    return [variables.get(id(each), each) for each in weights]


def kernels_of(layer: Any) -> list[tf.Variable]:
    """Returns the kernel weights of a layer: kernels, embeddings, recurrent kernels, matrices of custom layers.

    That is every variable of two axes or more that was made to be trained, frozen now or not, but for biases (those of
    attention and of a GRU have two axes) and what normalization and PReLU scale by.
    """
    no_kernel: set[int] = set()
    for part in layers_inside(unwrapped(layer)):
        scaling = part.weights if isinstance(part, _SCALING) else [getattr(part, "bias", None)]
        no_kernel |= {id(master_variable(each)) for each in scaling}
    return [
        weight
        for weight in weights_inside(layer)
        if len(weight.shape) > 1 and weight.trainable and weight.dtype.is_floating and id(weight) not in no_kernel
    ]


def layers_with_weights(model: Any) -> Iterator[tuple[str, Any]]:
    """Yields (path, layer) of every layer that owns weights, nested models followed, each once."""
    seen: set[int] = set()
    for path, layer in layer_paths(model):
        if id(layer) not in seen and not isinstance(layer, keras.Model) and weights_inside(layer):
            seen.add(id(layer))
            yield path, layer


def has_bias(layer: Any) -> bool:
    """Whether a layer adds a bias: it has the weight, and no `use_bias` that says otherwise."""
    return getattr(layer, "bias", None) is not None and bool(getattr(layer, "use_bias", True))


def own_weights(model: Any) -> list[Any]:
    """Returns the variables of a model's layers, each once, in full precision; not those of wrappers and metrics."""
    kept: set[int] = set()
    for layer in model.submodules:
        if isinstance(layer, keras.metrics.Metric):
            # A class with a training step of its own holds them, and Keras counts them among its weights.
            kept |= {id(master_variable(each)) for each in layer.weights}
        if isinstance(layer, PruneLowMagnitude):
            inside = {id(master_variable(each)) for each in layer.layer.weights}
            kept |= {id(each) for each in map(master_variable, layer.weights)} - inside
    found = {id(each): each for each in variables_of(model)}
    return [variable for place, variable in found.items() if place not in kept]


def distinct(weights: Iterable[Any]) -> list[Any]:
    """Returns each variable once, in the order of first appearance."""
    found: dict[int, Any] = {}
    for each in weights:
        found.setdefault(id(master_variable(each)), each)
    return list(found.values())


def elements(weights: Iterable[Any]) -> int:
    """Returns how many numbers these weights hold together."""
    return sum(math.prod(weight.shape) for weight in weights)


def made_trainable(layer: Any) -> list[Any]:
    """Returns the weights that a layer and those inside of it have made to be trained, frozen now or not."""
    return [weight for part in layers_inside(layer) for weight in part._trainable_weights]


def part_of(layer: Any, path: str) -> tuple[Any, str]:
    """Returns the object inside `layer` that has the weight of a dotted path, and the attribute's name."""
    *parents, name = path.split(".")
    for parent in parents:
        layer = getattr(layer, parent)
    return layer, name


def weight_at(layer: Any, path: str) -> Any:
    """Returns the variable at a dotted path, in full precision."""
    owner, name = part_of(layer, path)
    return master_variable(getattr(owner, name))
