"""Layers inside other layers: building those of custom layers, and the projections of attention."""

from __future__ import annotations

import json
from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.graph import layers_inside

layers = keras.layers

# The attributes of the projections, each an EinsumDense, and of the layers that act on the scores.
QUERY, KEY, VALUE, OUTPUT = PROJECTIONS = ("_query_dense", "_key_dense", "_value_dense", "_output_dense")
SOFTMAX, DROPOUT = "_softmax", "_dropout_layer"


class AttentionParts:
    """The projections and sizes of one `MultiHeadAttention` layer that has been built.

    Args:
      layer: the attention layer.

    Attributes:
      query, key, value, output: its projections, EinsumDense layers.
      heads: number of heads.
      head_sizes: the features of a head in queries and keys, and in values.
      axes: the axes of its values that are attended over.
      use_bias: whether its projections have biases.
    """

    def __init__(self, layer: Any) -> None:
        self.query, self.key, self.value, self.output = (getattr(layer, name) for name in PROJECTIONS)
        self.heads = int(layer._num_heads)
        self.head_sizes = int(layer._key_dim), int(layer._value_dim)
        self.axes = tuple(layer._attention_axes)
        self.use_bias = bool(layer._use_bias)


def shapes_of_parts(layer: Any) -> str | None:
    """Returns the build configs of the layers inside a custom layer as JSON, for `build_parts`; None for others."""
    if type(layer).__module__.startswith("tf_keras."):
        return None
    configs = [_built_with(part) for part in layers_inside(layer, itself=False)]
    return json.dumps(configs) if configs else None


def build_parts(layer: Any, input_shape: Any, part_shapes: str | None = None) -> None:
    """Builds the layers inside a built `layer`, so that their weights exist before its first call.

    Keras builds the parts of a composite layer when it is first called; a copy that is about to be
    wrapped, or one that is being loaded from a file, has not been called yet.

    Args:
      layer: the composite layer.
      input_shape: the shape that it is built for.
      part_shapes: `shapes_of_parts` of the layer that this one is a copy of; without it, the layer is called on
        placeholders.

    Raises:
      ValueError: the copy has fewer layers inside than the layer itself.
    """
    if part_shapes is not None:
        _build_as(layer, part_shapes)
    elif isinstance(layer, layers.MultiHeadAttention):
        _build_attention(layer)
    elif any(not part.built for part in layers_inside(layer, itself=False)):
        # Keras's own way of finding an output shape is to call the layer on placeholders, outside
        # any model; a layer's override of it may not.
        with tf.init_scope():
            layers.Layer.compute_output_shape(layer, input_shape)


def _build_as(layer: Any, part_shapes: str) -> None:
    configs = json.loads(part_shapes)
    for index, config in enumerate(configs):
        # A part may make others when it is built.
        parts = layers_inside(layer, itself=False)
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
    """Returns a value from JSON with its lists of sizes as tuples."""
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
