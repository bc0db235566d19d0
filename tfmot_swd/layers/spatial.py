"""Pooling, padding, cropping, resizing: each channel by itself, on the other axes."""

from __future__ import annotations

import numpy as np

from tfmot_swd.keras2.compat import keras
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.constants import Moves
from tfmot_swd.layers.labels import Labels
from tfmot_swd.layers.registry import register_layer

layers = keras.layers
_PER_CHANNEL = [
    getattr(layers, f"{name}{dims}D")
    for name in ("MaxPooling", "AveragePooling", "Cropping", "UpSampling")
    for dims in (1, 2, 3)
] + [layers.Resizing, layers.CenterCrop]
_PADDING = [getattr(layers, f"ZeroPadding{dims}D") for dims in (1, 2, 3)]
_GLOBAL = [getattr(layers, f"Global{name}Pooling{dims}D") for name in ("Max", "Average") for dims in (1, 2, 3)]


def per_channel(call: LayerCall) -> Labels:
    axis = _channel_axis(call)
    ids = call.channels(call.operand, axis)
    return call.output(ids, axis) if call.operand.varying else call.same(call.operand)


def global_pooling(call: LayerCall) -> Labels:
    axis = _channel_axis(call)
    ids: np.ndarray = call.channels(call.operand, axis)
    return call.output(ids, axis if call.layer.keepdims else -1)


def _channel_axis(call: LayerCall) -> int:
    return 1 if getattr(call.layer, "data_format", None) == "channels_first" else call.operand.rank - 1


register_layer(*_PER_CHANNEL, channels=per_channel, constants=Moves())
register_layer(*_PADDING, channels=per_channel, constants=Moves(pads_with_zeros=True))
register_layer(*_GLOBAL, channels=global_pooling, constants=Moves())
