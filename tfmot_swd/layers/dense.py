"""Dense layers and embeddings."""

from __future__ import annotations

from typing import Any

from tfmot_swd.keras2.compat import keras
from tfmot_swd.layers.call import Kept, LayerCall
from tfmot_swd.layers.labels import Labels
from tfmot_swd.layers.registry import register_channel_rule

layers = keras.layers


@register_channel_rule(layers.Dense)
def dense(call: LayerCall) -> Labels:
    """Kernel (in, units), on the last axis; behind Flatten an input channel owns several rows."""
    layer = call.layer
    target = call.new(layer.units)
    call.consume("kernel", 0, call.channels(call.operand, -1))
    call.produce("kernel", 1, target)
    if layer.use_bias:
        call.produce("bias", 0, target)
    call.resize("units", target)
    return call.activated(call.output(target, -1), layer.activation)


@register_channel_rule(layers.EinsumDense)
def einsum_dense(call: LayerCall) -> Labels:
    """One letter an axis: letters of input and kernel are read; the last one that only the kernel has is made."""
    layer = call.layer
    source, rest = layer.equation.replace(" ", "").split(",")
    kernel, result = rest.split("->")
    if "..." in source and not (source.startswith("...") and result.startswith("...")):
        return call.barrier(f"equation {layer.equation!r} has no rule")[0]
    # Letters that no equation has stand for the axes that an ellipsis leaves open.
    hidden = "".join(chr(0x391 + axis) for axis in range(call.operand.rank - len(source.replace("...", ""))))
    source, result = source.replace("...", hidden), result.replace("...", hidden)
    for axis in call.operand.varying:
        letter = source[axis]
        if letter not in kernel or letter in result or len(call.operand.varying) > 1:
            return call.barrier(f"equation {layer.equation!r} keeps the channels that come in")[0]
        call.consume("kernel", kernel.index(letter), call.operand.along(axis))
    made = [letter for letter in result if letter in kernel and letter not in source]
    if not made:
        return call.barrier(f"equation {layer.equation!r} makes no channels")[0]
    letter, axis = made[-1], result.index(made[-1])
    target = call.new(int(layer.kernel.shape[kernel.index(letter)]))
    call.produce("kernel", kernel.index(letter), target)
    if layer.bias is not None and letter in layer.bias_axes:
        call.produce("bias", axis - len(result), target)

    def resize(config: dict[str, Any], kept: Kept) -> None:
        given = config["output_shape"]
        shape = list(given) if isinstance(given, list | tuple) else [given]
        shape[axis - len(result)] = kept.count(target)
        config["output_shape"] = shape

    call.reconfigure("output_shape", resize)
    return call.activated(call.output(target, axis), layer.activation)


@register_channel_rule(layers.Embedding)
def embedding(call: LayerCall) -> Labels:
    """Table (words, out)."""
    call.ties.pin(call.operand.ids, f"{call.record.path}: rows of an embedding are looked up, not summed")
    target = call.new(call.layer.output_dim)
    call.produce("embeddings", 1, target)
    call.resize("output_dim", target)
    return call.output(target, -1)
