"""Recurrent layers, whose channels are hidden units, with a slice of every gate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tfmot_swd.keras2.compat import PrunableLayer, has_backward_config, keras
from tfmot_swd.keras2.layer_weights import attribute_at
from tfmot_swd.keras2.overrides import computes_as
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.labels import Labels, Shape
from tfmot_swd.layers.macs import count_macs
from tfmot_swd.layers.prunable import counted_weights, with_parts
from tfmot_swd.layers.registry import register_layer, rule_of
from tfmot_swd.layers.sample import CallShapes, size_of

layers = keras.layers
GATES = {layers.LSTM: 4, layers.GRU: 3, layers.SimpleRNN: 1}
CELLS = {layers.LSTM: layers.LSTMCell, layers.GRU: layers.GRUCell, layers.SimpleRNN: layers.SimpleRNNCell}
_GATES_OF_CELLS = {CELLS[kind]: gates for kind, gates in GATES.items()}


def recurrent(call: LayerCall) -> list[Labels]:
    """Declares the cell of one layer, its config "units", and its states, which are tied to the units."""
    layer = call.layer
    kind = next(kind for kind in GATES if isinstance(layer, kind))
    cell = call.part("cell", CELLS[kind])
    units = call.new(layer.units)
    _declare_cell(call, "cell.", GATES[kind], call.channels(call.inputs[0], -1), units)
    call.resize("units", units)
    _tie_states(call, units, -1)
    _activate(call, cell, units, (None, len(units)), -1)
    return [call.output(units, -1, index) for index in range(len(call.output_shapes))]


def convolutional(call: LayerCall) -> list[Labels]:
    """Declares ConvLSTM, an LSTM of feature maps: its kernels are `(window…, in, 4 · filters)`."""
    layer, images = call.layer, len(call.layer.kernel_size)
    cell, axis = layer.cell, -images - 1 if layer.data_format == "channels_first" else -1
    if not computes_as(cell, type(cell)):
        return call.barrier("a cell with another method has no rule")
    filters = call.new(layer.filters)
    _declare_cell(call, "cell.", 4, call.channels(call.inputs[0], axis), filters)
    call.resize("filters", filters)
    _tie_states(call, filters, axis)
    step: list[int | None] = [None] * (images + 2)
    step[axis] = len(filters)
    _activate(call, cell, filters, tuple(step), axis)
    return [call.output(filters, axis, index) for index in range(len(call.output_shapes))]


def cells(call: LayerCall) -> list[Labels]:
    """Declares the cells of an RNN layer, each of which reads the units of the one before."""
    outer = call.layer.cell
    stacked = type(outer) is layers.StackedRNNCells and computes_as(outer, layers.StackedRNNCells)
    inside = outer.cells if stacked else [outer]
    if not all(type(each) in _GATES_OF_CELLS and computes_as(each, type(each)) for each in inside):
        return call.barrier("cells other than LSTMCell, GRUCell and SimpleRNNCell have no rule")
    given = (call.arguments.get(name) is not None for name in ("initial_state", "constants"))
    if stacked and (len(call.inputs) > 1 or any(given) or outer.reverse_state_order):
        return call.barrier("stacked cells that are given states, or return them backwards, have no rule")
    if call.arguments.get("constants") is not None or len({id(each) for each in inside}) < len(inside):
        return call.barrier("a cell that is used twice, or is given constants, has no rule")
    read, states = call.channels(call.inputs[0], -1), []
    for place, cell in enumerate(inside):
        part, key = (f"cell.cells.{place}", ("cell", "cells", place)) if stacked else ("cell", ("cell",))
        inner = call.inner(part, call.inputs, call.output_shapes, key)
        units = inner.new(cell.units)
        _declare_cell(inner, "", _GATES_OF_CELLS[type(cell)], read, units)
        inner.resize("units", units)
        _activate(inner, cell, units, (None, len(units)), -1)
        read = units
        states += [units] * int(np.size(cell.state_size))
    if not stacked:
        _tie_states(call, read, -1)
    made = [read, *states][: len(call.output_shapes)]
    return [call.output(ids, -1, index) for index, ids in enumerate(made)]


def _declare_cell(call: LayerCall, part: str, gates: int, inputs: np.ndarray, units: np.ndarray) -> None:
    """Declares the kernel `(…, in, gates · units)`, recurrent kernel `(…, units, gates · units)` and bias of a cell.

    With a unit its row of the recurrent kernel is removed, by which the others read it.
    """
    columns = np.tile(units, gates)
    call.consume(f"{part}kernel", -2, inputs)
    call.produce(f"{part}kernel", -1, columns)
    call.consume(f"{part}recurrent_kernel", -2, units)
    call.produce(f"{part}recurrent_kernel", -1, columns)
    if attribute_at(call.layer, f"{part}use_bias"):
        call.produce(f"{part}bias", -1, columns)


def _tie_states(call: LayerCall, units: np.ndarray, axis: int) -> None:
    """Ties states that are given to the units; constant ones make them stay."""
    if call.arguments.get("initial_state") is not None:
        # Keras puts those that are tensors of the model among the inputs.
        call.ties.pin(units, f"{call.record.path}: constant initial states")
    else:
        for state in call.inputs[1:]:
            call.ties.tie(call.channels(state, axis), units)


def _activate(call: LayerCall, cell: Any, units: np.ndarray, shape: Shape, axis: int) -> None:
    """Declares the activations of a cell, which act on the units of one step, a tensor of this shape."""
    for name in ("activation", "recurrent_activation"):
        call.activated(Labels.on_axis(units, axis, shape), getattr(cell, name, None))


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


register_layer(layers.RNN, prunable=_cell_weights, channels=cells, macs=_recurrent_macs)
register_layer(layers.LSTM, layers.GRU, layers.SimpleRNN, channels=recurrent)
register_layer(
    layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D, channels=convolutional, macs=_convolutional_lstm_macs
)
register_layer(layers.Bidirectional, prunable=_weights_of_both, channels=bidirectional, macs=_macs_of_both)
