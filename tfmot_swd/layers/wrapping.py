"""Wrapper layers of Keras: TimeDistributed."""

from __future__ import annotations

import numpy as np

from tfmot_swd.keras2.compat import keras
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.labels import Labels
from tfmot_swd.layers.registry import find_rule, register_channel_rule


@register_channel_rule(keras.layers.TimeDistributed)
def time_distributed(call: LayerCall) -> Labels | list[Labels]:
    """The same layer at each step: axis 1 is taken off and put back."""
    rule, reason = find_rule(call.layer.layer)
    if rule is None:
        return call.barrier(f"{reason} at each step")
    if len(call.inputs) != 1 or 1 in call.operand.varying:
        return call.barrier(f"no channel rule for {type(call.layer.layer).__name__} at each step")
    step = Labels(np.take(call.operand.ids, 0, 1), (call.operand.shape[0], *call.operand.shape[2:]))
    shapes = [(shape[0], *shape[2:]) for shape in call.output_shapes]
    inner = call.inner("layer", [step], shapes)
    inner.arguments = {"inputs": step}
    found = rule(inner)
    return [
        Labels(np.expand_dims(labels.ids, 1), shape)
        for labels, shape in zip([found] if isinstance(found, Labels) else found, call.output_shapes, strict=True)
    ]
