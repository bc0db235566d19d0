"""Recurrent layers, whose channels are hidden units, with a slice of every gate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tfmot_swd.keras2.compat import PrunableLayer, has_backward_config, keras
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.labels import Labels
from tfmot_swd.layers.macs import count_macs
from tfmot_swd.layers.prunable import counted_weights, with_parts
from tfmot_swd.layers.registry import register_layer, rule_of
from tfmot_swd.layers.sample import CallShapes, size_of

layers = keras.layers
GATES = {layers.LSTM: 4, layers.GRU: 3, layers.SimpleRNN: 1}
CELLS = {layers.LSTM: layers.LSTMCell, layers.GRU: layers.GRUCell, layers.SimpleRNN: layers.SimpleRNNCell}


def recurrent(call: LayerCall) -> list[Labels]:
    """Declares the kernel `(in, gates · units)`, recurrent kernel `(units, gates · units)`, bias and `units`.

    With a unit its row of the recurrent kernel is removed, by which the others read it, and its initial state: states
    passed as inputs are tied to the units.
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
        # They act on the units of one step.
        call.activated(Labels.on_axis(units, -1, (None, len(units))), getattr(layer.cell, name, None))
    return outputs


def _is_known(part: Any) -> bool:
    return type(part) in GATES and rule_of(part) is recurrent


def bidirectional(call: LayerCall) -> list[Labels]:
    """Applies the rule of both inner layers; their outputs are concatenated, merged element by element, or separate."""
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
    if not has_backward_config(layer) or layer.merge_mode in ("sum", "mul", "ave"):
        call.ties.tie(forward, backward)
    if layer.merge_mode is None:
        return [call.output(forward, -1, 0), call.output(backward, -1, 1)]
    return [call.output(np.concatenate(halves) if layer.merge_mode == "concat" else forward, -1)]


def _cell_weights(layer: Any) -> list[Any]:
    cells = layer.cell.cells if isinstance(layer.cell, layers.StackedRNNCells) else [layer.cell]
    found: list[Any] = []
    for cell in cells:
        if isinstance(cell, PrunableLayer):
            found += cell.get_prunable_weights()
        else:
            kernels = (getattr(cell, name, None) for name in ("kernel", "recurrent_kernel"))
            found += with_parts(cell, [kernel for kernel in kernels if kernel is not None])
    return found


def _weights_of_both(layer: Any) -> list[Any]:
    return [*counted_weights(layer.forward_layer), *counted_weights(layer.backward_layer)]


def _recurrent_macs(layer: Any, call: CallShapes) -> int | None:
    step = _cell_macs(layer.cell)
    return None if step is None else math.prod(call.inputs[0][:2]) * step


def _cell_macs(cell: Any) -> int | None:
    """Returns the MACs of one time step."""
    if isinstance(cell, layers.StackedRNNCells):
        steps = [_cell_macs(each) for each in cell.cells]
        known = [step for step in steps if step is not None]
        return sum(known) if len(known) == len(steps) else None
    if isinstance(cell, (layers.LSTMCell, layers.GRUCell, layers.SimpleRNNCell)):
        return size_of(cell.kernel, cell.recurrent_kernel)
    return None


def _convolutional_lstm_macs(layer: Any, call: CallShapes) -> int:
    rank = len(layer.kernel_size)
    output = call.outputs[0]
    image = output[-rank:] if layer.data_format == "channels_first" else output[-rank - 1 : -1]
    steps = math.prod(call.inputs[0][:2])
    return steps * math.prod(image) * size_of(layer.cell.kernel, layer.cell.recurrent_kernel)


def _macs_of_both(layer: Any, call: CallShapes) -> int | None:
    forward, backward = count_macs(layer.forward_layer, call), count_macs(layer.backward_layer, call)
    return None if forward is None or backward is None else forward + backward


register_layer(layers.RNN, prunable=_cell_weights, macs=_recurrent_macs)
register_layer(layers.LSTM, layers.GRU, layers.SimpleRNN, channels=recurrent)
register_layer(layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D, macs=_convolutional_lstm_macs)
register_layer(layers.Bidirectional, prunable=_weights_of_both, channels=bidirectional, macs=_macs_of_both)
