"""Dense layers and embeddings."""

from __future__ import annotations

import math
from typing import Any

from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.layer_weights import has_bias
from tfmot_swd.keras2.weight_values import view_of
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.constants import Line, Linear, weighted, with_bias
from tfmot_swd.layers.labels import Labels
from tfmot_swd.layers.record import Kept
from tfmot_swd.layers.registry import register_layer
from tfmot_swd.layers.sample import CallShapes, Shape, size_of

layers = keras.layers


def dense(call: LayerCall) -> Labels:
    """Declares the kernel `(in, units)`, the bias and `units`; behind Flatten an input channel owns several rows."""
    layer = call.layer
    target = call.new(int(layer.kernel.shape[-1]))
    call.consume("kernel", 0, call.channels(call.operand, -1))
    call.produce("kernel", 1, target)
    if has_bias(layer):
        call.produce("bias", 0, target)
    call.resize("units", target)
    return call.activated(call.output(target, -1), getattr(layer, "activation", None))


def einsum_dense(call: LayerCall) -> Labels:
    """Declares the kernel of an equation: it consumes axes shared with the input, and makes its own last one."""
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


def embedding(call: LayerCall) -> Labels:
    """Declares the table `(words, out)`, of which columns can be removed."""
    call.ties.pin(call.operand.ids, f"{call.record.path}: rows of an embedding are looked up, not summed")
    target = call.new(call.layer.output_dim)
    call.produce("embeddings", 1, target)
    call.resize("output_dim", target)
    return call.output(target, -1)


def _dense_macs(layer: Any, call: CallShapes) -> int:
    return math.prod(call.inputs[0][:-1]) * size_of(layer.kernel)


def _einsum_dense_macs(layer: Any, call: CallShapes) -> int:
    return einsum_macs(layer.equation, call.inputs[0], tuple(layer.kernel.shape))


def einsum_macs(equation: str, *shapes: Shape) -> int:
    """Returns the MACs of an einsum of two operands: the product of the sizes of all its labels.

    >>> einsum_macs("ij,jk->ik", (2, 3), (3, 5))
    30
    """
    sizes: dict[str, int] = {}
    terms = equation.replace(" ", "").split("->")[0].split(",")
    for term, shape in zip(terms, shapes, strict=True):
        head, dots, tail = term.partition("...")
        # The axes behind an ellipsis are aligned at the right, like any that broadcast.
        spread = len(shape) - len(head) - len(tail) if dots else 0
        labels = [*head, *(f".{axis}" for axis in range(spread, 0, -1)), *tail]
        for label, size in zip(labels, shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    return math.prod(sizes.values())


def _dense_constants(layer: Any, line: Line) -> Line:
    return with_bias(layer, weighted(line, view_of(layer.kernel), True))


register_layer(
    layers.Dense,
    prunable=("kernel", "bias"),
    channels=dense,
    macs=_dense_macs,
    constants=Linear(_dense_constants, folds=True),
)
register_layer(layers.EinsumDense, prunable=("kernel", "bias"), channels=einsum_dense, macs=_einsum_dense_macs)
register_layer(layers.Embedding, prunable=("embeddings",), channels=embedding, macs=lambda layer, call: 0)
