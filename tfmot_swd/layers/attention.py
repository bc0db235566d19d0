"""Multi-head attention: inputs, output and whole heads."""

from __future__ import annotations

from tfmot_swd.keras2.compat import keras
from tfmot_swd.layers.call import Kept, LayerCall
from tfmot_swd.layers.labels import Labels
from tfmot_swd.layers.registry import register_channel_rule

layers = keras.layers


@register_channel_rule(layers.MultiHeadAttention)
def multi_head_attention(call: LayerCall) -> Labels | list[Labels]:
    """Kernels (in, heads, size) and (heads, size, out).

    Heads meet only in the sum of the output projection, so each can leave by itself. The size of a head cannot
    change: it scales the scores.
    """
    layer, arguments = call.layer, call.arguments
    for name in ("_query_dense", "_key_dense", "_value_dense", "_output_dense"):
        if call.part(name, layers.EinsumDense).activation is not keras.activations.linear:
            return call.barrier("attention with an activation of its projections has no rule")
    call.part("_softmax", layers.Softmax)
    call.part("_dropout_layer", layers.Dropout)
    if layer._output_dense.kernel.shape.rank != 3 or len(call.output_shapes) != 1:
        return call.barrier("attention over several axes, or with its scores given back, has no rule")
    query, value, mask = arguments["query"], arguments["value"], arguments.get("attention_mask")
    key = value if arguments.get("key") is None else arguments["key"]
    if not all(isinstance(each, Labels) for each in (query, key, value)):
        return call.barrier("attention to a constant has no rule")
    heads = call.new(layer._num_heads, "heads")
    if isinstance(mask, Labels):
        call.ties.pin(mask.ids, f"{call.record.path}: attention mask")
    if mask is not None and len(mask.shape) > 3:
        call.ties.pin(heads, f"{call.record.path}: a mask for each head")
    target = call.new(int(layer._output_dense.kernel.shape[-1]), "output")
    for name, source in (("_query_dense", query), ("_value_dense", value), ("_key_dense", key)):
        call.consume(f"{name}.kernel", 0, call.channels(source, -1))
        call.produce(f"{name}.kernel", 1, heads)
        if layer._use_bias:
            call.produce(f"{name}.bias", 0, heads)
    call.consume("_output_dense.kernel", 0, heads)
    call.produce("_output_dense.kernel", 2, target)
    if layer._use_bias:
        call.produce("_output_dense.bias", 0, target)
    call.resize("num_heads", heads)

    def resize(config: dict, kept: Kept) -> None:
        config["output_shape"] = (kept.count(target),)
        # Keras builds a loaded layer by the shapes in its config, which are those of the larger one.
        for name, source in (("query_shape", query), ("value_shape", value), ("key_shape", key)):
            if config.get(name) is not None:
                config[name] = kept.shape(source)

    call.reconfigure("output_shape", resize)
    return call.output(target, -1)
