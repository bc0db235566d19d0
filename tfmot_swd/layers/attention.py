"""Attention: that of several heads, which can become fewer and smaller, and that of tensors without projections."""

from __future__ import annotations

import math
from typing import Any

from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.inner_layers import DROPOUT, KEY, OUTPUT, PROJECTIONS, QUERY, SOFTMAX, VALUE, AttentionParts
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.labels import Labels
from tfmot_swd.layers.products import no_channels
from tfmot_swd.layers.record import Kept
from tfmot_swd.layers.registry import register_layer
from tfmot_swd.layers.sample import CallShapes, shape_of_argument, size_of

layers = keras.layers


def multi_head_attention(call: LayerCall) -> Labels | list[Labels]:
    """Declares the kernels `(in, heads, size)` of query, key and value, and `(heads, size, out)` of the output.

    Heads are only added up by the output projection, so each can be removed alone, and so can the features of a head,
    the same ones of all heads: those of queries and keys jointly, as a product sums over them. Keras divides the scores
    by the square root of their number: the queries of a smaller layer are scaled down to keep what the larger one has
    divided by.
    """
    layer, arguments = AttentionParts(call.layer), call.arguments
    for name in PROJECTIONS:
        if call.part(name, layers.EinsumDense).activation is not keras.activations.linear:
            return call.barrier("attention with an activation of its projections has no rule")
    call.part(SOFTMAX, layers.Softmax)
    call.part(DROPOUT, layers.Dropout)
    if layer.output.kernel.shape.rank != 3 or len(call.output_shapes) != 1:
        return call.barrier("attention over several axes, or with its scores given back, has no rule")
    query, value, mask = arguments["query"], arguments["value"], arguments.get("attention_mask")
    key = value if arguments.get("key") is None else arguments["key"]
    if not all(isinstance(each, Labels) for each in (query, key, value)):
        return call.barrier("attention to a constant has no rule")
    heads = call.new(layer.heads, "heads")
    if isinstance(mask, Labels):
        call.ties.pin(mask.ids, f"{call.record.path}: attention mask")
    if mask is not None and len(mask.shape) > 3:
        call.ties.pin(heads, f"{call.record.path}: a mask for each head")
    target = call.new(int(layer.output.kernel.shape[-1]), "output")
    for name, source in ((QUERY, query), (VALUE, value), (KEY, key)):
        call.consume(f"{name}.kernel", 0, call.channels(source, -1))
        call.produce(f"{name}.kernel", 1, heads)
        if layer.use_bias:
            call.produce(f"{name}.bias", 0, heads)
    scored, weighed = call.new(layer.head_sizes[0], "scored"), call.new(layer.head_sizes[1], "weighed")
    for name, size in ((KEY, scored), (QUERY, scored), (VALUE, weighed)):
        call.produce(f"{name}.kernel", 2, size)
        if layer.use_bias:
            call.produce(f"{name}.bias", 1, size)
    call.consume(f"{OUTPUT}.kernel", 1, weighed)
    made = [[(f"{name}.kernel", 2), *[(f"{name}.bias", 1)] * layer.use_bias] for name in (QUERY, KEY)]
    call.multiply_inside(scored, heads, scored, made=made)
    call.multiply(heads, weighed)
    for weight in ("kernel", "bias")[: 1 + layer.use_bias]:
        call.rescale(f"{QUERY}.{weight}", lambda kept: math.sqrt(kept.count(scored) / len(scored)))
    call.consume(f"{OUTPUT}.kernel", 0, heads)
    call.produce(f"{OUTPUT}.kernel", 2, target)
    if layer.use_bias:
        call.produce(f"{OUTPUT}.bias", 0, target)
    call.resize("num_heads", heads)
    call.resize("key_dim", scored)
    call.resize("value_dim", weighed)

    def resize(config: dict, kept: Kept) -> None:
        config["output_shape"] = (kept.count(target),)
        # Keras builds a loaded layer by the shapes in its config, which are those of the larger one.
        for name, source in (("query_shape", query), ("value_shape", value), ("key_shape", key)):
            if config.get(name) is not None:
                config[name] = kept.shape(source)

    call.reconfigure("output_shape", resize)
    return call.output(target, -1)


def attention(call: LayerCall) -> Labels | list[Labels]:
    """Ties queries and keys, whose channels are summed over, and passes the channels of values on."""
    layer, given = call.layer, call.arguments["inputs"]
    query, value, key = given[0], given[1], given[-1]
    for mask in call.arguments.get("mask") or ():
        if isinstance(mask, Labels):
            call.ties.pin(mask.ids, f"{call.record.path}: attention mask")
    queries, keys, values = (call.channels(each, -1) for each in (query, key, value))
    call.ties.tie(queries, keys)
    if getattr(layer, "scale", None) is not None and layer.scale.shape.rank:
        # AdditiveAttention makes it for the channels of values, and weighs those of queries and keys with it.
        call.ties.tie(keys, values)
        call.consume("scale", 0, keys)
        call.multiply(keys)
    elif isinstance(layer, layers.AdditiveAttention) or layer.score_mode == "concat":
        # A sum of both goes through a tanh: it is zero where both are.
        for labels in (query, key):
            call.multiply(*[queries] * (labels is query), summed=[(labels, -1)])
    else:
        call.multiply(queries, summed=[(query, -1), (key, -1)])
    call.multiply(values)
    call.whole(*(each for each in layer.weights if not each.shape.rank))
    found = Labels.on_axis(values, -1, call.output_shape) if value.varying else call.same(value)
    return [found, *(no_channels(call, index) for index in range(1, len(call.output_shapes)))]


def _attention_weights(layer: Any) -> list[Any]:
    return [getattr(layer, name).kernel for name in PROJECTIONS]


def _positions(layer: Any, call: CallShapes) -> tuple[int, int, int]:
    """Returns the numbers of positions of queries, keys and values."""
    query, value = shape_of_argument(call.argument(layer, "query")), shape_of_argument(call.argument(layer, "value"))
    key = value if call.argument(layer, "key") is None else shape_of_argument(call.argument(layer, "key"))
    queries, keys, values = (math.prod(shape[:-1]) for shape in (query, key, value))
    return queries, keys, values


def _multi_head_macs(layer: Any, call: CallShapes) -> int:
    parts, value = AttentionParts(layer), shape_of_argument(call.argument(layer, "value"))
    projections = sum(round(times) * size_of(kernel) for kernel, times in _multi_head_macs_by_weight(layer, call))
    attended = math.prod(value[axis] for axis in parts.axes)
    return projections + _positions(layer, call)[0] * attended * parts.heads * sum(parts.head_sizes)


def _multi_head_macs_by_weight(layer: Any, call: CallShapes) -> list[tuple[Any, float]]:
    parts, (queries, keys, values) = AttentionParts(layer), _positions(layer, call)
    return [
        (parts.query.kernel, float(queries)),
        (parts.output.kernel, float(queries)),
        (parts.key.kernel, float(keys)),
        (parts.value.kernel, float(values)),
    ]


def _attention_macs(layer: Any, call: CallShapes) -> int:
    # Scores, additive ones too, take a MAC for each feature of each pair; then they weigh the values.
    query, value = call.operands(layer)[:2]
    return math.prod(query[:-1]) * value[-2] * (query[-1] + value[-1])


register_layer(
    layers.MultiHeadAttention,
    prunable=_attention_weights,
    channels=multi_head_attention,
    macs=_multi_head_macs,
    macs_by_weight=_multi_head_macs_by_weight,
)
register_layer(layers.Attention, layers.AdditiveAttention, channels=attention, macs=_attention_macs)
