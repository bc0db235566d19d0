"""Pooling, padding, cropping, resizing: each channel by itself, on the other axes."""

from __future__ import annotations

import numpy as np

from tfmot_swd.keras2.compat import keras
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.labels import Labels
from tfmot_swd.layers.registry import register_channel_rule

layers = keras.layers
_PER_CHANNEL = [
    getattr(layers, f"{name}{dims}D")
    for name in ("MaxPooling", "AveragePooling", "ZeroPadding", "Cropping", "UpSampling")
    for dims in (1, 2, 3)
] + [layers.Resizing, layers.CenterCrop]
_GLOBAL = [getattr(layers, f"Global{name}Pooling{dims}D") for name in ("Max", "Average") for dims in (1, 2, 3)]


@register_channel_rule(*_PER_CHANNEL)
def per_channel(call: LayerCall) -> Labels:
    axis = _channel_axis(call)
    ids = call.channels(call.operand, axis)
    return call.output(ids, axis) if call.operand.varying else call.same(call.operand)


@register_channel_rule(*_GLOBAL)
def global_pooling(call: LayerCall) -> Labels:
    axis = _channel_axis(call)
    ids: np.ndarray = call.channels(call.operand, axis)
    return call.output(ids, axis if call.layer.keepdims else -1)


def _channel_axis(call: LayerCall) -> int:
    return 1 if getattr(call.layer, "data_format", None) == "channels_first" else call.operand.rank - 1
