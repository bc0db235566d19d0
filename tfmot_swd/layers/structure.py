"""Layers that rearrange the axes of a tensor: Flatten, Reshape, Permute, RepeatVector."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.graph import GraphCall, operator_name
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.constants import Moves, PerElement
from tfmot_swd.layers.labels import Labels, Shape
from tfmot_swd.layers.record import Kept
from tfmot_swd.layers.registry import constants_of, register_layer

layers = keras.layers


def flatten(call: LayerCall) -> Labels:
    """Merges all axes but the batch axis, channels last."""
    labels = call.operand
    if call.layer.data_format == "channels_first" and labels.rank > 1:
        labels = transposed(labels, (0, *range(2, labels.rank), 1))
    return reshaped(call, labels, call.output_shape)


def reshape(call: LayerCall) -> Labels:
    """Declares the target shape, which follows the channels."""
    labels = reshaped(call, call.operand, call.output_shape)

    def resize(config: dict[str, Any], kept: Kept) -> None:
        config["target_shape"] = smaller_shape(config["target_shape"], labels, kept)

    call.reconfigure("target_shape", resize, labels.ids)
    return labels


def permute(call: LayerCall) -> Labels:
    """Permutes the axes of the labels."""
    return transposed(call.operand, (0, *call.layer.dims))


def repeat_vector(call: LayerCall) -> Labels:
    """Adds a time axis to the labels."""
    return Labels(np.expand_dims(call.operand.ids, 1), call.output_shape)


def transposed(labels: Labels, order: tuple[int, ...]) -> Labels:
    """Returns the labels of a tensor with its axes permuted."""
    return Labels(labels.ids.transpose(order), tuple(labels.shape[axis] for axis in order))


def smaller_shape(shape: Any, labels: Labels, kept: Kept) -> tuple[Any, ...]:
    """Returns a user's shape (without the batch axis, with -1 for an inferred size) for the kept part of a tensor.

    Computed sizes and those of axes without channels are unchanged.
    """
    shape = tuple(shape)
    first = labels.rank - len(shape)
    return tuple(
        kept.count_along(labels, first + place)
        if first + place in labels.varying and isinstance(size, int | np.integer) and size != -1
        else size
        for place, size in enumerate(shape)
    )


def reshaped(call: LayerCall, labels: Labels, shape: Shape) -> Labels:
    """Returns the labels of the same elements in row-major order under another shape.

    Where channels then lie on two axes, the kept part must be a rectangle: they are tied along the shorter one. Axes
    with channels must be of known size, and the axes before them must not be mixed with them.
    """
    if not labels.varying:
        return Labels(labels.ids.reshape(-1)[:1].reshape((1,) * len(shape)), shape)
    before, after = _common_suffix(labels.shape, shape)
    if before is None or min(labels.varying) < labels.rank - before:
        return call.barrier("the reshape moves channels among axes of unknown size")[0]
    # No size of these axes is unknown.
    sizes = [size or 0 for size in labels.shape[labels.rank - before :]]
    ids = labels.ids.reshape(labels.ids.shape[labels.rank - before :])
    whole = np.broadcast_to(ids, sizes).reshape([1] * (len(shape) - after) + [size or 0 for size in shape[-after:]])
    found = Labels.compressed(whole, shape)
    return rectangular(call, found, _channel_axis_behind(call.layer))


def rectangular(call: LayerCall, labels: Labels, meant: int = -1) -> Labels:
    """Ties channels that lie on several axes along all of these but one, and returns labels that vary along it alone.

    It is the longest one; but axis `meant`, by default the last, where all but the batch axis have channels, as in a
    feature map made from a vector.
    """
    if not labels.varying:
        return labels
    ids = labels.ids
    whole = labels.varying == tuple(range(1, labels.rank))
    chosen = meant % labels.rank if whole else max(labels.varying, key=lambda axis: (ids.shape[axis], axis))
    for axis in labels.varying:
        if axis != chosen:
            call.ties.tie_along(ids, axis)
            ids = np.take(ids, [0], axis)
    return Labels(ids, labels.shape)


def _channel_axis_behind(layer: Any) -> int:
    """Returns the axis of a layer's output that the layers behind it take for the channels, as far as that shows.

    The first axis of places where a convolution has channels first, otherwise the axis that transpositions on the way
    make the last one.
    """
    orders: list[tuple[int, ...]] = []
    axis = -1
    while True:
        readers = [GraphCall(node) for node in layer.outbound_nodes]
        if len(readers) != 1:
            break
        (reader,) = readers
        layer = reader.layer
        if getattr(layer, "data_format", None) == "channels_first":
            axis = 1
            break
        order = _order_of(reader)
        if order:
            orders.append(order)
        elif not isinstance(constants_of(layer), PerElement):
            break
    for order in reversed(orders):
        axis = order[axis]
    return axis


def _order_of(call: GraphCall) -> tuple[int, ...]:
    """Returns the order of axes that a call transposes to; () for others, or where it is not known."""
    if isinstance(call.layer, layers.Permute):
        return (0, *(int(each) for each in call.layer.dims))
    if operator_name(call.layer) == "transpose":
        order = call.bind().arguments.get("perm")
        return tuple(int(each) for each in order) if isinstance(order, list | tuple | np.ndarray) else ()
    return ()


def _common_suffix(first: Shape, second: Shape) -> tuple[int | None, int]:
    """Returns the most trailing axes of two shapes that have equally many elements; (None, 0) if there are none."""
    best: tuple[int | None, int] = (None, 0)
    products = {}
    for count in range(1, len(first) + 1):
        sizes = first[len(first) - count :]
        if None in sizes:
            break
        products[math.prod(sizes)] = count  # type: ignore[arg-type]
    for count in range(1, len(second) + 1):
        sizes = second[len(second) - count :]
        if None in sizes:
            break
        size = math.prod(sizes)  # type: ignore[arg-type]
        if size in products:
            best = products[size], count
    return best


register_layer(layers.Flatten, channels=flatten, constants=Moves(), view=True)
register_layer(layers.Reshape, channels=reshape, constants=Moves(), view=True)
register_layer(layers.Permute, channels=permute, constants=Moves())
register_layer(layers.RepeatVector, channels=repeat_vector, constants=Moves())
