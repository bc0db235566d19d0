"""How the state of a wrapper follows the channels that leave."""

from __future__ import annotations

from tfmot_swd.keras2.weight_paths import weight_at
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.labels import Labels
from tfmot_swd.layers.registry import register_channel_rule
from tfmot_swd.layers.wrapping import rule_of_wrapped
from tfmot_swd.pgp.wrapper import PruneProgressiveGradient


@register_channel_rule(PruneProgressiveGradient)
def progressive_wrapper(call: LayerCall) -> Labels | list[Labels]:
    """Scores are cut like the filters that they are of, other state like the weight."""
    found = rule_of_wrapped(call)
    for scored in call.layer.scored:
        weight = weight_at(call.layer.layer, scored.path)
        for state in scored.states():
            is_vector = len(state.shape) == 1 and len(weight.shape) > 1
            call.mirror(weight, state, scored.axis if is_vector else None)
    return found
