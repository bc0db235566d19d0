"""Keras wrapper layers, and models inside other layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfmot_swd.keras2.compat import Functional, QuantizeLayer, keras, master_variable
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.labels import Labels
from tfmot_swd.layers.macs import count_macs, macs_of_model
from tfmot_swd.layers.prunable import counted_weights
from tfmot_swd.layers.registry import find_rule, register_layer
from tfmot_swd.layers.sample import CallShapes, Shape


def time_distributed(call: LayerCall) -> Labels | list[Labels]:
    """Applies the rule of the inner layer at each step, without axis 1."""
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


def spectral_normalization(call: LayerCall) -> Labels | list[Labels]:
    """Applies the rule of the inner layer, whose kernel is normalized by its largest singular value in training.

    Its estimate of the singular vector has an entry for each index of the kernel's last axis. The smaller kernel, whose
    largest singular value is another, has the larger one's values until it is trained.
    """
    rule, reason = find_rule(call.layer.layer)
    if rule is None:
        return call.barrier(reason)
    inner = call.inner("layer", call.inputs, call.output_shapes)
    inner.arguments = {"inputs": call.operand}
    found = rule(inner)
    kernel = master_variable(call.layer.kernel)
    last = [
        cut.ids
        for cut in call.record.cuts.values()
        if cut.variable_id == id(kernel) and cut.axis == kernel.shape.rank - 1
    ]
    call.whole("vector_u")
    for ids in last:
        call.follow("vector_u", 1, ids)
    return found


def _step_weights(layer: Any) -> list[Any]:
    return counted_weights(layer.layer)


def _step_macs(layer: Any, call: CallShapes) -> int | None:
    def merge(shape: Shape) -> Shape:
        return (shape[0] * shape[1], *shape[2:])

    return count_macs(layer.layer, CallShapes(tuple(map(merge, call.inputs)), tuple(map(merge, call.outputs))))


def _wrapped_macs(layer: Any, call: CallShapes) -> int | None:
    return count_macs(layer.layer, call)


def _model_macs(model: Any, call: CallShapes) -> int | None:
    """Returns the MACs of a model inside another layer, such as TimeDistributed; nested models are counted by layer."""
    each = macs_of_model(model)
    return None if each is None else call.inputs[0][0] * each


def _no_macs(layer: Any, call: CallShapes) -> int:
    """Returns 0: rounding an input to its range multiplies no matrix."""
    return 0


register_layer(keras.layers.Wrapper, macs=_wrapped_macs)
register_layer(keras.layers.TimeDistributed, prunable=_step_weights, channels=time_distributed, macs=_step_macs)
register_layer(keras.layers.SpectralNormalization, channels=spectral_normalization)
register_layer(Functional, macs=_model_macs)
register_layer(QuantizeLayer, macs=_no_macs)
