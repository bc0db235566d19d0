"""Layers that act on each channel alone: activations, dropout, noise, scaling, pooling, padding, cropping, resizing."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfmot_swd.keras2.compat import AddLoss, AddMetric, CustomScaleLayer, LayerScale, StochasticDepth, keras
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.constants import Moves, PerElement
from tfmot_swd.layers.labels import Labels
from tfmot_swd.layers.merging import tied
from tfmot_swd.layers.record import ConfigEdit, Kept, axes_with_channels
from tfmot_swd.layers.registry import register_layer

layers = keras.layers
_PER_CHANNEL = [
    getattr(layers, f"{name}{dims}D")
    for name in ("MaxPooling", "AveragePooling", "Cropping", "UpSampling")
    for dims in (1, 2, 3)
] + [layers.Resizing, layers.CenterCrop]
_PADDING = [getattr(layers, f"ZeroPadding{dims}D") for dims in (1, 2, 3)]
_GLOBAL = [getattr(layers, f"Global{name}Pooling{dims}D") for name in ("Max", "Average") for dims in (1, 2, 3)]


def passes(call: LayerCall) -> Labels | list[Labels]:
    """Passes the channels on; a dropout may have a noise shape that counts them."""
    if len(call.output_shapes) > 1:
        # Identity passes a structure of tensors on.
        return [call.same(labels, index) for index, labels in enumerate(call.inputs)]
    labels = call.same(call.operand)
    if getattr(call.layer, "noise_shape", None) is not None:

        def resize(config: dict[str, Any], kept: Kept) -> None:
            sizes = zip(call.layer.noise_shape, labels.shape, kept.shape(labels), strict=True)
            config["noise_shape"] = tuple(left if size == whole else size for size, whole, left in sizes)

        call.reconfigure("noise_shape", resize, labels.ids)
    return labels


def masking(call: LayerCall) -> Labels:
    """Passes channels on that do not lie on the last axis, over which the mask is computed."""
    if call.operand.rank - 1 in call.operand.varying:
        return call.barrier("its mask is taken across channels")[0]
    return call.same(call.operand)


def softmax(call: LayerCall) -> Labels:
    """Passes channels on that do not lie on the normalized axes."""
    given: Any = call.layer.axis
    axes = {each % call.operand.rank for each in ([given] if isinstance(given, int) else given)}
    if axes & set(call.operand.varying) or call.arguments.get("mask") is not None:
        return call.barrier("softmax looks across channels")[0]
    return call.same(call.operand)


def prelu(call: LayerCall) -> Labels:
    """Declares the slopes, one for each element but along shared axes."""
    return call.scaled_by("alpha", call.same(call.operand))


def rescaling(call: LayerCall) -> Labels:
    """Passes the channels on; a scale or an offset for each channel is sliced in the config."""
    labels = call.operand
    for name in ("scale", "offset"):
        value = getattr(call.layer, name)
        if np.ndim(value) > labels.rank:
            return call.barrier(f"{name} has more axes than the tensor")[0]
        if axes_with_channels(np.shape(value), labels):
            call.reconfigure(name, _sliced(name, labels), labels.ids)
    return call.same(labels)


def _sliced(name: str, labels: Labels) -> ConfigEdit:
    def edit(config: dict[str, Any], kept: Kept) -> None:
        config[name] = kept.part_of(config[name], labels).tolist()

    return edit


def layer_scale(call: LayerCall) -> Labels:
    """Declares ConvNeXt's gamma `(channels,)`."""
    ids = call.channels(call.operand, -1)
    call.follow("gamma", 0, ids)
    call.resize("projection_dim", ids)
    return call.output(ids, -1)


def scaled_sum(call: LayerCall) -> Labels:
    """Ties the channels of x and y in InceptionResNetV2's x + scale · y."""
    return tied(call, call.inputs, call.output_shape)


def per_channel(call: LayerCall) -> Labels:
    """Passes the channels on; the sizes of other axes may change."""
    axis = _channel_axis(call)
    ids = call.channels(call.operand, axis)
    return call.output(ids, axis) if call.operand.varying else call.same(call.operand)


def global_pooling(call: LayerCall) -> Labels:
    """Passes the channels on to the only axis left, or to the same one with `keepdims`."""
    axis = _channel_axis(call)
    ids: np.ndarray = call.channels(call.operand, axis)
    return call.output(ids, axis if call.layer.keepdims else -1)


def _channel_axis(call: LayerCall) -> int:
    return 1 if getattr(call.layer, "data_format", None) == "channels_first" else call.operand.rank - 1


register_layer(
    layers.ReLU, layers.LeakyReLU, layers.ELU, layers.ThresholdedReLU, channels=passes, constants=PerElement()
)
register_layer(
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.AlphaDropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.ActivityRegularization,
    layers.Identity,
    channels=passes,
    constants=PerElement(),
    view=True,
)
register_layer(StochasticDepth, channels=passes, constants=PerElement())
register_layer(layers.Masking, channels=masking)
register_layer(layers.Softmax, channels=softmax)
register_layer(layers.PReLU, channels=prelu, constants=PerElement(), macs=lambda layer, call: 0)
register_layer(layers.Rescaling, channels=rescaling, constants=PerElement())
register_layer(LayerScale, channels=layer_scale, constants=PerElement())
register_layer(CustomScaleLayer, channels=scaled_sum, constants=PerElement())
register_layer(*_PER_CHANNEL, channels=per_channel, constants=Moves())
register_layer(*_PADDING, channels=per_channel, constants=Moves(pads_with_zeros=True))
register_layer(*_GLOBAL, channels=global_pooling, constants=Moves())
# They pass a tensor on, behind `model.add_loss` and `add_metric`.
register_layer(AddLoss, AddMetric, view=True)
