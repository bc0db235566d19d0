"""The private parts of Keras's multi-head attention."""

from __future__ import annotations

from typing import Any

# The attributes of the projections, each an EinsumDense, and of what acts on the scores.
QUERY, KEY, VALUE, OUTPUT = PROJECTIONS = ("_query_dense", "_key_dense", "_value_dense", "_output_dense")
SOFTMAX, DROPOUT = "_softmax", "_dropout_layer"


class AttentionParts:
    """The projections and sizes of one `MultiHeadAttention` layer that has been built.

    Args:
      layer: the attention layer.

    Attributes:
      query, key, value, output: its projections, EinsumDense layers.
      heads: how many heads it has.
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
