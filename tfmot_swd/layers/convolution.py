"""Convolutions: plain, grouped, transposed, depthwise, separable, locally connected."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.layer_weights import has_bias
from tfmot_swd.keras2.weight_values import view_of
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.constants import Line, Linear, is_unpadded, weighted, weighted_each, with_bias
from tfmot_swd.layers.labels import Labels
from tfmot_swd.layers.registry import register_layer
from tfmot_swd.layers.sample import CallShapes, positions, size_of

layers = keras.layers


def channel_axis(call: LayerCall, kernel: Any) -> int:
    """Returns the channel axis by the layer's data format; several batch axes may come first.

    Args:
      call: of a convolution.
      kernel: its weight, `(spatial axes…, in, out)`.
    """
    rank, spatial = call.operand.rank, len(kernel.shape) - 2
    return rank - 1 - spatial if getattr(call.layer, "data_format", None) == "channels_first" else rank - 1


def convolution(call: LayerCall) -> Labels:
    """Declares the kernel `(…, in / groups, out)`, the bias and the number of filters."""
    layer = call.layer
    axis, groups = channel_axis(call, layer.kernel), getattr(layer, "groups", 1)
    source, target = call.channels(call.operand, axis), call.new(int(layer.kernel.shape[-1]))
    if groups == 1:
        call.consume("kernel", -2, source)
    else:
        _tie_groups(call, source.reshape(groups, -1), target.reshape(groups, -1))
    call.produce("kernel", -1, target)
    return _made(call, target, axis)


def _made(call: LayerCall, target: np.ndarray, axis: int) -> Labels:
    """Declares the bias and the number of filters; returns the labels of the output, behind the activation."""
    if has_bias(call.layer):
        call.produce("bias", 0, target)
    call.resize("filters", target)
    return call.activated(call.output(target, axis), getattr(call.layer, "activation", None))


def _tie_groups(call: LayerCall, source: np.ndarray, target: np.ndarray) -> None:
    """Ties the channels of a grouped convolution, `(groups, width)` each, so that all groups stay of equal width.

    Many narrow groups are removed as a whole, input and output together; of few wide groups, the channels at the same
    index of each. The choice leaves the larger number of channels that can be removed one by one.
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


def transposed(call: LayerCall) -> Labels:
    """Declares the kernel `(…, out, in)`, the bias and the number of filters."""
    layer = call.layer
    axis, target = channel_axis(call, layer.kernel), call.new(int(layer.kernel.shape[-2]))
    if getattr(layer, "groups", 1) != 1:
        return call.barrier("grouped transposed convolution has no rule")[0]
    call.consume("kernel", -1, call.channels(call.operand, axis))
    call.produce("kernel", -2, target)
    return _made(call, target, axis)


def depthwise(call: LayerCall) -> Labels:
    """Declares the kernel `(…, in, multiplier)`: each output channel belongs to its input channel."""
    layer = call.layer
    axis = channel_axis(call, layer.depthwise_kernel)
    source = call.channels(call.operand, axis)
    target = np.repeat(source, int(layer.depthwise_kernel.shape[-1]))
    call.follow("depthwise_kernel", -2, source)
    if has_bias(layer):
        call.follow("bias", 0, target)
    return call.activated(call.output(target, axis), getattr(layer, "activation", None))


def separable(call: LayerCall) -> Labels:
    """Declares a depthwise and a pointwise kernel, the bias and the number of filters."""
    layer = call.layer
    axis = channel_axis(call, layer.depthwise_kernel)
    source, target = call.channels(call.operand, axis), call.new(int(layer.pointwise_kernel.shape[-1]))
    call.follow("depthwise_kernel", -2, source)
    call.consume("pointwise_kernel", -2, np.repeat(source, int(layer.depthwise_kernel.shape[-1])))
    call.produce("pointwise_kernel", -1, target)
    return _made(call, target, axis)


def _convolution_macs(layer: Any, call: CallShapes) -> int:
    # The kernel's input axis has the channels of one group only.
    return positions(layer, call.outputs[0], len(layer.kernel.shape) - 2) * size_of(layer.kernel)


def _transposed_macs(layer: Any, call: CallShapes) -> int:
    # Every input position is multiplied with the whole kernel; what falls outside the border is cropped.
    return positions(layer, call.inputs[0], len(layer.kernel.shape) - 2) * size_of(layer.kernel)


def _depthwise_macs(layer: Any, call: CallShapes) -> int:
    kernel = layer.depthwise_kernel
    return positions(layer, call.outputs[0], len(kernel.shape) - 2) * size_of(kernel)


def _separable_macs(layer: Any, call: CallShapes) -> int:
    kernels = layer.depthwise_kernel, layer.pointwise_kernel
    return positions(layer, call.outputs[0], len(kernels[0].shape) - 2) * size_of(*kernels)


def _locally_connected_macs(layer: Any, call: CallShapes) -> int:
    # Not from the kernel: each `implementation` keeps it in another shape.
    channels = math.prod(call.inputs[0]) // positions(layer, call.inputs[0], len(layer.kernel_size))
    return math.prod(call.outputs[0]) * math.prod(layer.kernel_size) * channels


def _convolution_constants(layer: Any, line: Line) -> Line:
    groups, kernel = getattr(layer, "groups", 1), view_of(layer.kernel)
    parts = zip(np.split(line, groups), np.split(kernel, groups, axis=-1), strict=True)
    return with_bias(layer, np.concatenate([weighted(*part, is_unpadded(layer, kernel)) for part in parts]))


def _transposed_constants(layer: Any, line: Line) -> Line:
    return with_bias(layer, weighted(line, np.swapaxes(view_of(layer.kernel), -1, -2), False))


def _depthwise_constants(layer: Any, line: Line) -> Line:
    return with_bias(layer, _depthwise_line(layer, line))


def _separable_constants(layer: Any, line: Line) -> Line:
    return with_bias(layer, weighted(_depthwise_line(layer, line), view_of(layer.pointwise_kernel), True))


def _depthwise_line(layer: Any, line: Line) -> Line:
    kernel = view_of(layer.depthwise_kernel)
    return weighted_each(line, kernel, is_unpadded(layer, kernel))


register_layer(
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    prunable=("kernel",),
    channels=convolution,
    macs=_convolution_macs,
    constants=Linear(_convolution_constants, folds=True),
    filters=True,
)
register_layer(
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
    prunable=("kernel",),
    channels=transposed,
    macs=_transposed_macs,
    constants=Linear(_transposed_constants),
    filters=True,
)
# Their weights are deliberately not pruned: there are few, and TFMOT leaves them dense too.
register_layer(
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    prunable=(),
    whole=("depthwise_kernel",),
    channels=depthwise,
    macs=_depthwise_macs,
    constants=Linear(_depthwise_constants, weight="depthwise_kernel"),
    filters=False,
)
register_layer(
    layers.SeparableConv1D,
    layers.SeparableConv2D,
    prunable=("pointwise_kernel",),
    whole=("depthwise_kernel",),
    channels=separable,
    macs=_separable_macs,
    constants=Linear(_separable_constants, weight="pointwise_kernel"),
    filters=True,
)
register_layer(layers.LocallyConnected1D, layers.LocallyConnected2D, prunable=("kernel",), macs=_locally_connected_macs)
