"""Convolutions: plain, grouped, transposed, depthwise, separable."""

from __future__ import annotations

import numpy as np

from tfmot_swd.keras2.compat import keras
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.labels import Labels
from tfmot_swd.layers.registry import register_channel_rule

layers = keras.layers


def channel_axis(call: LayerCall) -> int:
    """Returns the axis on which the layer's data format has the channels; more than one batch axis may come first."""
    rank = call.operand.rank
    return rank - 1 - call.layer.rank if call.layer.data_format == "channels_first" else rank - 1


@register_channel_rule(layers.Conv1D, layers.Conv2D, layers.Conv3D)
def convolution(call: LayerCall) -> Labels:
    """Kernel (…, in / groups, out)."""
    layer, axis = call.layer, channel_axis(call)
    source, target = call.channels(call.operand, axis), call.new(layer.filters)
    if layer.groups == 1:
        call.consume("kernel", -2, source)
    else:
        _tie_groups(call, source.reshape(layer.groups, -1), target.reshape(layer.groups, -1))
    call.produce("kernel", -1, target)
    if layer.use_bias:
        call.produce("bias", 0, target)
    call.resize("filters", target)
    return call.activated(call.output(target, axis), layer.activation)


def _tie_groups(call: LayerCall, source: np.ndarray, target: np.ndarray) -> None:
    """Every group must keep as many channels as the others, `(groups, width)` each.

    Many narrow groups leave as wholes, input and output together; of few wide groups the channels at the same place
    leave together. Either way each piece is the largest number of classes that can be had.
    """
    groups, width = source.shape
    if groups >= min(width, target.shape[1]):
        for ids in (source, target):
            call.ties.tie_along(ids, 1)
        call.ties.tie(source[:, 0], target[:, 0])
        call.reconfigure("groups", lambda config, kept: config.__setitem__("groups", kept.count(target[:, 0])))
        return
    for ids in (source, target):
        call.ties.tie_along(ids, 0)
    call.consume("kernel", -2, source[0])


@register_channel_rule(layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
def transposed(call: LayerCall) -> Labels:
    """Kernel (…, out, in)."""
    layer, axis = call.layer, channel_axis(call)
    target = call.new(layer.filters)
    if getattr(layer, "groups", 1) != 1:
        return call.barrier("grouped transposed convolution has no rule")[0]
    call.consume("kernel", -1, call.channels(call.operand, axis))
    call.produce("kernel", -2, target)
    if layer.use_bias:
        call.produce("bias", 0, target)
    call.resize("filters", target)
    return call.activated(call.output(target, axis), layer.activation)


@register_channel_rule(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
def depthwise(call: LayerCall) -> Labels:
    """Kernel (…, in, multiplier): each output channel belongs to its input channel."""
    layer, axis = call.layer, channel_axis(call)
    source = call.channels(call.operand, axis)
    target = np.repeat(source, layer.depth_multiplier)
    call.follow("depthwise_kernel", -2, source)
    if layer.use_bias:
        call.follow("bias", 0, target)
    return call.activated(call.output(target, axis), layer.activation)


@register_channel_rule(layers.SeparableConv1D, layers.SeparableConv2D)
def separable(call: LayerCall) -> Labels:
    """A depthwise and a pointwise kernel."""
    layer, axis = call.layer, channel_axis(call)
    source, target = call.channels(call.operand, axis), call.new(layer.filters)
    call.follow("depthwise_kernel", -2, source)
    call.consume("pointwise_kernel", -2, np.repeat(source, layer.depth_multiplier))
    call.produce("pointwise_kernel", -1, target)
    if layer.use_bias:
        call.produce("bias", 0, target)
    call.resize("filters", target)
    return call.activated(call.output(target, axis), layer.activation)
