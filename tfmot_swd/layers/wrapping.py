"""Layers around a layer: the rule of what is inside, and the wrapper's own variables with it."""

from __future__ import annotations

import inspect

import numpy as np

from tfmot_swd.keras2.compat import PruneLowMagnitude, keras
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.labels import Labels
from tfmot_swd.layers.registry import find_rule, register_channel_rule
from tfmot_swd.swd.wrapper import PruneSelectiveDecay

# What TFMOT's wrapper and ours keep beside masks.
CLOCKS = ("threshold", "pruning_step", "last_iterations", "updates_since", "cut", "limits")


@register_channel_rule(PruneLowMagnitude, PruneSelectiveDecay)
def pruning_wrapper(call: LayerCall) -> Labels | list[Labels]:
    """TFMOT's wrappers: masks and dense copies are cut like the weights that they belong to."""
    found = rule_of_wrapped(call)
    for weight, mask, threshold in call.layer.pruning_vars:
        call.mirror(weight, mask)
        call.whole(threshold)
    for weight, dense in getattr(call.layer, "dense_copies", ()):
        call.mirror(weight, dense)
    return found


def rule_of_wrapped(call: LayerCall) -> Labels | list[Labels]:
    """Applies the rule of the layer that a pruning wrapper, whose layer is `layer`, is around."""
    layer = call.layer.layer
    rule, reason = find_rule(layer)
    if rule is None:
        return call.barrier(reason)
    call.whole(*CLOCKS)
    inner = call.inner("layer", call.inputs, call.output_shapes)
    given = call.arguments
    # TFMOT's wrapper has one argument and hands the others on by name, ours also by place.
    bound = inspect.signature(layer.call).bind(given["inputs"], *given.get("args", ()), **given.get("kwargs", {}))
    inner.arguments = dict(bound.arguments)
    return rule(inner)


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
