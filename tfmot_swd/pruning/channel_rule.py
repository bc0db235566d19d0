"""Channel rule of pruning wrappers: that of the wrapped layer, with the state of the wrapper."""

from __future__ import annotations

import inspect

from tfmot_swd.keras2.compat import PruneLowMagnitude, variables_of
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.labels import Labels
from tfmot_swd.layers.own_calls import rule_or_own_call
from tfmot_swd.layers.registry import register_layer
from tfmot_swd.pruning.wrapper import ChannelState, PruningWrapper


def pruning_wrapper(call: LayerCall) -> Labels | list[Labels]:
    """TFMOT's wrapper and those of this package: masks, scores and dense copies are cut like their weights."""
    wrapper = call.layer
    inner = call.inner("layer", call.inputs, call.output_shapes)
    given = call.arguments
    # TFMOT's wrapper has one argument and hands the others on by name, ours also by place.
    bound = inspect.signature(wrapper.layer.call).bind(
        given["inputs"], *given.get("args", ()), **given.get("kwargs", {})
    )
    inner.arguments = dict(bound.arguments)
    found = rule_or_own_call(wrapper.layer)(inner)
    states = (
        wrapper.channel_states()
        if isinstance(wrapper, PruningWrapper)
        else [ChannelState(weight, mask) for weight, mask, _ in wrapper.pruning_vars]
    )
    for each in states:
        call.mirror(each.weight, each.state, each.axis, is_copy=each.is_copy)
    # What is left is the wrapper's clock and the like.
    followed = {id(each) for each in variables_of(wrapper.layer)} | {id(each.state) for each in states}
    call.whole(*(each for each in variables_of(wrapper) if id(each) not in followed))
    return found


register_layer(PruneLowMagnitude, channels=pruning_wrapper)
