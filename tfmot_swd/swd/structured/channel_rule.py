"""How the state of a wrapper follows the channels that leave."""

from __future__ import annotations

from tfmot_swd.keras2.weight_paths import weight_at
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.labels import Labels
from tfmot_swd.layers.registry import register_channel_rule
from tfmot_swd.layers.wrapping import rule_of_wrapped
from tfmot_swd.swd.structured.wrapper import PruneStructuredDecay


@register_channel_rule(PruneStructuredDecay)
def structured_wrapper(call: LayerCall) -> Labels | list[Labels]:
    """Masks are cut like the axes that they are of."""
    found = rule_of_wrapped(call)
    for owned in call.layer.owned:
        weight = weight_at(call.layer.layer, owned.path)
        for state in (owned.mask, owned.ranked):
            call.mirror(weight, state, owned.axis if len(weight.shape) > 1 else None)
    return found
