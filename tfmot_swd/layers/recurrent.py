"""Recurrent layers: a hidden unit is a channel, with a slice of every gate."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfmot_swd.keras2.compat import keras
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.labels import Labels
from tfmot_swd.layers.registry import register_channel_rule, rule_of

layers = keras.layers
GATES = {layers.LSTM: 4, layers.GRU: 3, layers.SimpleRNN: 1}
CELLS = {layers.LSTM: layers.LSTMCell, layers.GRU: layers.GRUCell, layers.SimpleRNN: layers.SimpleRNNCell}


@register_channel_rule(layers.LSTM, layers.GRU, layers.SimpleRNN)
def recurrent(call: LayerCall) -> list[Labels]:
    """Kernel (in, gates · units), recurrent kernel (units, gates · units).

    A unit that goes takes its row of the recurrent kernel along: the others read nothing of it. Its initial state
    is read in the same way, so states that come from outside are tied to the units.
    """
    layer = call.layer
    kind = next(kind for kind in GATES if isinstance(layer, kind))
    gates = GATES[kind]
    call.part("cell", CELLS[kind])
    units = call.new(layer.units)
    columns = np.tile(units, gates)
    call.consume("cell.kernel", 0, call.channels(call.inputs[0], -1))
    call.produce("cell.kernel", 1, columns)
    call.consume("cell.recurrent_kernel", 0, units)
    call.produce("cell.recurrent_kernel", 1, columns)
    if layer.use_bias:
        call.produce("cell.bias", -1, columns)
    call.resize("units", units)
    if call.arguments.get("initial_state") is not None:
        # Keras puts those that are tensors of the model among the inputs.
        call.ties.pin(units, f"{call.record.path}: constant initial states")
    else:
        for state in call.inputs[1:]:
            call.ties.tie(call.channels(state, -1), units)
    outputs = [call.output(units, -1, index) for index in range(len(call.output_shapes))]
    for name in ("activation", "recurrent_activation"):
        call.activated(outputs[0], getattr(layer.cell, name, None))
    return outputs


def _is_known(part: Any) -> bool:
    return type(part) in GATES and rule_of(part) is recurrent


@register_channel_rule(layers.Bidirectional)
def bidirectional(call: LayerCall) -> list[Labels]:
    """Two layers over the same input, concatenated, merged element by element, or side by side."""
    layer = call.layer
    parts = layer.forward_layer, layer.backward_layer
    if len(call.inputs) != 1 or layer.return_state or not all(map(_is_known, parts)):
        return call.barrier("a bidirectional layer of these parts has no rule")
    halves = []
    for part, name, key in zip(parts, ("forward_layer", "backward_layer"), ("layer", "backward_layer"), strict=True):
        inner = call.inner(name, call.inputs, [(*call.output_shape[:-1], part.units)], key=key)
        halves += [labels.along(-1) for labels in recurrent(inner)]
    forward, backward = halves
    # Keras writes one config for both layers unless it was given two, so they keep as many units.
    if not hasattr(layer, "_backward_layer_config") or layer.merge_mode in ("sum", "mul", "ave"):
        call.ties.tie(forward, backward)
    if layer.merge_mode is None:
        return [call.output(forward, -1, 0), call.output(backward, -1, 1)]
    return [call.output(np.concatenate(halves) if layer.merge_mode == "concat" else forward, -1)]
