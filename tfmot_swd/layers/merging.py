"""Layers of several inputs: sums and elementwise products, which tie channels, and concatenation."""

from __future__ import annotations

import numpy as np

from tfmot_swd.keras2.compat import keras
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.constants import Moves, PerElement
from tfmot_swd.layers.labels import Labels, Shape
from tfmot_swd.layers.registry import register_layer
from tfmot_swd.layers.structure import rectangular

layers = keras.layers


def elementwise_merge(call: LayerCall) -> Labels:
    """Ties the channels of all inputs."""
    return tied(call, call.inputs, call.output_shape)


def concatenate(call: LayerCall) -> Labels:
    """Joins the channels of all inputs along the axis of the layer."""
    return joined(call, call.inputs, call.layer.axis, call.output_shape)


def tied(call: LayerCall, inputs: list[Labels], shape: Shape) -> Labels:
    """Returns the labels of an elementwise function of several tensors that broadcast."""
    aligned = [_aligned(labels, len(shape)) for labels in inputs]
    if any(labels is None for labels in aligned):
        return call.barrier("tensors of unknown rank")[0]
    whole = [labels for labels in aligned if labels is not None]
    varying = {axis for labels in whole for axis in labels.varying}
    spread = [
        not labels.varying
        and all(labels.shape[axis] == 1 for axis in varying)
        and any(shape[axis] != 1 for axis in varying)
        for labels in whole
    ]
    found: np.ndarray | None = None
    for labels, alone in zip(whole, spread, strict=True):
        if alone:
            # One number for all channels of another tensor: it is not removed with any of them.
            call.ties.pin(labels.ids, f"{call.record.path}: one channel acts on all of another tensor")
        elif found is None:
            found = labels.ids
        else:
            call.ties.tie(found, labels.ids)
            found = np.broadcast_arrays(found, labels.ids)[0]
    if found is None:
        return call.barrier("no tensor with channels")[0]
    return rectangular(call, Labels(np.array(found), shape))


def _aligned(labels: Labels, rank: int) -> Labels | None:
    """Returns labels with leading axes added, as broadcasting does."""
    if labels.rank > rank:
        return None
    more = rank - labels.rank
    return Labels(labels.ids.reshape((1,) * more + labels.ids.shape), (1,) * more + labels.shape)


def joined(call: LayerCall, inputs: list[Labels], axis: int, shape: Shape) -> Labels:
    """Returns the labels of a concatenation; along an axis without channels it ties them instead."""
    axis %= len(shape)
    if any(labels.rank != len(shape) for labels in inputs):
        return call.barrier("concatenation of tensors of unknown rank")[0]
    if not any(other != axis for labels in inputs for other in labels.varying):
        if any(labels.shape[axis] is None for labels in inputs):
            if any(labels.varying for labels in inputs):
                return call.barrier("concatenation along an axis of unknown size")[0]
            return call.barrier("tensors without channels")[0]
        return call.output(np.concatenate([labels.along(axis) for labels in inputs]), axis)
    if any(axis in labels.varying for labels in inputs):
        return call.barrier("concatenation along one axis of tensors with channels on another")[0]
    return tied(call, inputs, shape)


register_layer(
    layers.Add,
    layers.Subtract,
    layers.Average,
    layers.Maximum,
    layers.Minimum,
    channels=elementwise_merge,
    constants=PerElement(),
)
register_layer(layers.Multiply, channels=elementwise_merge, constants=PerElement(zero_wins=True))
register_layer(layers.Concatenate, channels=concatenate, constants=Moves())
