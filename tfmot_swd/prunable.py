"""Which weights of a layer can be pruned, and which of them count towards the rate.

The pool of Selective Weight Decay is the kernels of convolutions and dense layers and the biases of
dense layers (method of arXiv 2011.10520); recurrent, attention and embedding layers follow TFMOT's
registry. Subclasses count like the class they extend, looked up through its ancestry.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import tensorflow as tf

from tfmot_swd._compat import PrunableLayer, keras, master_variable

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
            found += _attributes("kernel", "recurrent_kernel")(cell)
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


def counted_weights(layer: Any) -> list[tf.Variable]:
    """Returns the variables of a built `layer` that belong to the pool; empty where it has none.

    What a layer computes in the place of a weight, as a kernel of another weight, is no variable and cannot be pruned.
    A class with a `get_prunable_weights` method (`tfmot.sparsity.keras.PrunableLayer`) decides itself.
    """
    if hasattr(type(layer), "get_prunable_weights"):
        return list(layer.get_prunable_weights())
    rule = next((_RULES[kind] for kind in type(layer).__mro__ if kind in _RULES), None)
    found = [] if rule is None else rule(layer)
    return [weight for weight in found if isinstance(master_variable(weight), tf.Variable)]


def target_weights(layer: Any, targets: str) -> list[tf.Variable]:
    """Returns the variables that the penalty may act on: the pool, then with "all" every other one.

    "all" is the published code: one threshold from the pool, applied to biases and batch-norm gamma
    and beta too. "kernels" leaves those alone.
    """
    counted = counted_weights(layer)
    if targets == "kernels":
        return counted
    taken = {id(weight) for weight in counted}
    return counted + [weight for weight in layer.trainable_weights if id(weight) not in taken]


def build_parts(layer: Any, input_shape: Any) -> None:
    """Builds the layers inside a built `layer`, so that their weights exist before its first call.

    Keras builds the parts of a composite layer when it is first called; a copy that is about to be
    wrapped, or one that is being loaded from a file, has not been called yet.
    """
    if isinstance(layer, layers.MultiHeadAttention):
        _build_attention(layer)
    elif any(not part.built for part in layer._flatten_layers(include_self=False)):
        # Keras's own way of finding an output shape is to call the layer on placeholders, outside
        # any model; a layer's override of it may not.
        with tf.init_scope():
            layers.Layer.compute_output_shape(layer, input_shape)


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
