"""Which weights of a layer can be pruned, and which of them count towards the rate.

The pool of Selective Weight Decay is the kernels of convolutions and dense layers and the biases of
dense layers (method of arXiv 2011.10520); recurrent, attention and embedding layers follow TFMOT's
registry. Subclasses count like the class they extend, looked up through its ancestry. A custom layer counts what the
layers inside it do, each by its own class.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import PrunableLayer, PruneLowMagnitude, QuantizeWrapper, keras, master_variable
from tfmot_swd.keras2.layer_weights import distinct, kernels_of, unquantized, unwrapped

layers = keras.layers


def _attributes(*names: str) -> Callable[[Any], list[tf.Variable]]:
    def weights(layer: Any) -> list[tf.Variable]:
        found = (getattr(layer, name, None) for name in names)
        return [weight for weight in found if weight is not None]

    return weights


def _inner(*names: str) -> Callable[[Any], list[tf.Variable]]:
    def weights(layer: Any) -> list[tf.Variable]:
        return [weight for name in names for weight in counted_weights(getattr(layer, name))]

    return weights


def _cell_weights(layer: Any) -> list[tf.Variable]:
    cells = layer.cell.cells if isinstance(layer.cell, layers.StackedRNNCells) else [layer.cell]
    found: list[tf.Variable] = []
    for cell in cells:
        if isinstance(cell, PrunableLayer):
            found += cell.get_prunable_weights()
        else:
            found += _with_parts(cell, _attributes("kernel", "recurrent_kernel")(cell))
    return found


def _attention_weights(layer: Any) -> list[tf.Variable]:
    dense = ("_query_dense", "_key_dense", "_value_dense", "_output_dense")
    return [getattr(layer, name).kernel for name in dense]


# Depthwise convolutions are absent on purpose: TFMOT prunes none of their few weights either.
_RULES: dict[type, Callable[[Any], list[tf.Variable]]] = {
    layers.Dense: _attributes("kernel", "bias"),
    layers.EinsumDense: _attributes("kernel", "bias"),
    layers.Conv1D: _attributes("kernel"),
    layers.Conv2D: _attributes("kernel"),
    layers.Conv3D: _attributes("kernel"),
    layers.Conv1DTranspose: _attributes("kernel"),
    layers.Conv2DTranspose: _attributes("kernel"),
    layers.Conv3DTranspose: _attributes("kernel"),
    layers.SeparableConv1D: _attributes("pointwise_kernel"),
    layers.SeparableConv2D: _attributes("pointwise_kernel"),
    layers.LocallyConnected1D: _attributes("kernel"),
    layers.LocallyConnected2D: _attributes("kernel"),
    layers.Embedding: _attributes("embeddings"),
    layers.MultiHeadAttention: _attention_weights,
    layers.RNN: _cell_weights,
    layers.TimeDistributed: _inner("layer"),
    layers.Bidirectional: _inner("forward_layer", "backward_layer"),
    # These inherit from Conv1D and Conv2D; without rows of their own they would count as those.
    layers.DepthwiseConv1D: _attributes(),
    layers.DepthwiseConv2D: _attributes(),
}


# Whose `depthwise_kernel` is left whole.
_DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D, layers.SeparableConv1D, layers.SeparableConv2D)


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
    rule = next((_RULES[kind] for kind in type(layer).__mro__ if kind in _RULES), None)
    return _with_parts(layer, [] if rule is None else rule(layer))


def decides_itself(layer: Any) -> bool:
    """Whether the class of a layer says which of its weights are pruned, as a TFMOT `PrunableLayer` does."""
    return hasattr(type(layer), "get_prunable_weights")


def uncounted_kernels(layer: Any) -> list[tf.Variable]:
    """Returns the kernel weights of a layer that no rule counts, though nobody chose to leave them whole.

    These are the weights that custom layers own themselves. Depthwise kernels and what a `PrunableLayer` does not name
    are left whole on purpose.
    """
    decided = {id(master_variable(each)) for each in counted_weights(layer)}
    for part in unwrapped(layer)._flatten_layers():
        whole = []
        if decides_itself(part):
            whole = part.weights
        elif isinstance(part, _DEPTHWISE) and part.built:
            whole = [part.depthwise_kernel]
        if isinstance(layer, QuantizeWrapper):
            whole = unquantized(layer, whole)
        decided |= {id(master_variable(each)) for each in whole}
    return [each for each in kernels_of(layer) if id(each) not in decided]


def _with_parts(layer: Any, found: list[Any]) -> list[Any]:
    """Returns `found` and what those of the layers inside `layer` count from which nothing is in it."""
    known = {id(master_variable(each)) for each in found}
    for part in layer._flatten_layers(recursive=False, include_self=False):
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
    made_to_be_trained = [weight for part in layer._flatten_layers() for weight in part._trainable_weights]
    return distinct(counted + made_to_be_trained)


def shapes_of_parts(layer: Any) -> str | None:
    """Returns what the layers inside a custom layer were built with, as JSON, for `build_parts`; None for others."""
    if type(layer).__module__.startswith("tf_keras."):
        return None
    configs = [_built_with(part) for part in layer._flatten_layers(include_self=False)]
    return json.dumps(configs) if configs else None


def build_parts(layer: Any, input_shape: Any, part_shapes: str | None = None) -> None:
    """Builds the layers inside a built `layer`, so that their weights exist before its first call.

    Keras builds the parts of a composite layer when it is first called; a copy that is about to be
    wrapped, or one that is being loaded from a file, has not been called yet.

    Args:
      layer: the composite layer.
      input_shape: that it is built for.
      part_shapes: `shapes_of_parts` of its twin. Without, the layer is called on placeholders.

    Raises:
      ValueError: the layer has not the parts that its twin had.
    """
    if part_shapes is not None:
        _build_as(layer, part_shapes)
    elif isinstance(layer, layers.MultiHeadAttention):
        _build_attention(layer)
    elif any(not part.built for part in layer._flatten_layers(include_self=False)):
        # Keras's own way of finding an output shape is to call the layer on placeholders, outside
        # any model; a layer's override of it may not.
        with tf.init_scope():
            layers.Layer.compute_output_shape(layer, input_shape)


def _build_as(layer: Any, part_shapes: str) -> None:
    configs = json.loads(part_shapes)
    for index, config in enumerate(configs):
        # A part may make others when it is built.
        parts = list(layer._flatten_layers(include_self=False))
        if index >= len(parts):
            raise ValueError(
                "A copy of this custom layer has fewer layers inside than the layer itself, so that what is pruned of "
                "it could not be found again: have it make them in __init__ or build, and not when it is called, or "
                f"leave it whole with skip. Received: {layer.name!r} with {len(configs)} layers inside, its copy with "
                f"{len(parts)}"
            )
        part = parts[index]
        if not part.built and config is not None:
            with tf.name_scope(layer.name), tf.name_scope(part.name):
                shapes = {name: _as_shapes(value) for name, value in config.items()}
                if isinstance(part, layers.MultiHeadAttention):
                    part._build_from_signature(**shapes)
                else:
                    part.build_from_config(shapes)
                part.built = True


def _built_with(part: Any) -> dict[str, Any] | None:
    if isinstance(part, layers.MultiHeadAttention) and part._built_from_signature:
        # Keras makes the layers in it when it knows all three.
        shapes = {name: getattr(part, f"_{name}_shape") for name in ("query", "value", "key")}
        return {name: list(tf.TensorShape(shape)) for name, shape in shapes.items()}
    config: dict[str, Any] | None = part.get_build_config()
    return config


def _as_shapes(value: Any) -> Any:
    """Returns JSON with tuples for shapes again, where it has lists."""
    if isinstance(value, dict):
        return {name: _as_shapes(each) for name, each in value.items()}
    if not isinstance(value, list):
        return value
    is_shape = all(each is None or isinstance(each, int) for each in value)
    return tuple(value) if is_shape else [_as_shapes(each) for each in value]


def _build_attention(layer: Any) -> None:
    heads = (layer._num_heads, layer._value_dim)
    for part, shape in (
        (layer._query_dense, layer._query_shape),
        (layer._key_dense, layer._key_shape),
        (layer._value_dense, layer._value_shape),
        (layer._output_dense, layer._query_shape[:-1].concatenate(heads)),
    ):
        if not part.built:
            with tf.name_scope(part.name):
                part.build(shape)
                part.built = True


def make_prunable(layer: Any) -> Any:
    """Gives `layer` the method that TFMOT's wrapper asks for, whatever its class; returns the layer."""
    if not hasattr(layer, "get_prunable_weights"):
        layer.get_prunable_weights = partial(counted_weights, layer)
    return layer
