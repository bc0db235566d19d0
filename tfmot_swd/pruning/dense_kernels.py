"""Warnings of kernel weights that a pruning leaves dense though nobody chose it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from absl import logging

from tfmot_swd.channels.plan import ChannelPlan
from tfmot_swd.keras2.layer_choice import LayerChoice
from tfmot_swd.keras2.layer_weights import elements, kernels_of, layers_with_weights
from tfmot_swd.keras2.validation import PruningWarning
from tfmot_swd.pruning.plan import PruningPlan

# A smaller share of the kernel weights, as that of a table of positions beside large layers, changes no rate that is
# asked for, and is only told in the log.
NEGLIGIBLE_SHARE = 0.01


def warn_of_uncounted(plan: PruningPlan) -> None:
    """Warns of the layers of a plan that hold kernel weights which Selective Weight Decay does not count."""
    _tell(
        [(row.layer, row.kind, row.uncounted) for row in plan.uncounted],
        plan.kernels,
        "These layers hold kernel weights that the rate does not count, so that they stay dense",
        "Layers inside a custom layer are pruned by their own class; for the weights that it owns itself, derive it "
        "from tfmot.sparsity.keras.PrunableLayer and return them from get_prunable_weights",
    )


def warn_of_unknown_kernels(plan: ChannelPlan, choice: LayerChoice) -> None:
    """Warns of the layers of a model that hold kernel weights of which no channel can leave, for lack of a rule."""
    chosen = choice.of(plan.groups.model)
    known = {cut.variable_id for cut in plan.groups.trace.cuts}
    found, whole = [], 0
    for path, layer in layers_with_weights(plan.groups.model):
        kernels = kernels_of(layer)
        whole += elements(kernels)
        unknown = elements(each for each in kernels if id(each) not in known)
        if unknown and chosen.allows(path):
            found.append((path, type(layer).__name__, unknown))
    _tell(
        found,
        whole,
        "No channel is known of these layers, so that their kernel weights stay, and all channels that reach them",
        "Register their class with tfmot_swd.register_layer, or call the layers inside of them as layers of the model",
    )


def _tell(found: Sequence[tuple[str, str, int]], whole: int, what: str, remedy: str) -> None:
    dense = sum(size for _, _, size in found)
    if not dense:
        return
    named = ", ".join(f"{layer} ({kind}: {size:,})" for layer, kind, size in found)
    message = (
        f"{what}: {named}. {remedy}; name them in skip where they are to stay whole. "
        f"Received: {dense:,} of {whole:,} kernel weights ({dense / whole:.2%})"
    )
    if dense < NEGLIGIBLE_SHARE * whole:
        logging.info("tfmot_swd: %s", message)
    else:
        warnings.warn(message, PruningWarning, stacklevel=4)
