"""Warnings of kernel weights that stay dense although they were not left out on purpose."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from absl import logging

from tfmot_swd.channels.plan import ChannelPlan
from tfmot_swd.keras2.graph import class_name
from tfmot_swd.keras2.layer_choice import LayerChoice
from tfmot_swd.keras2.layer_weights import elements, kernels_of, layers_with_weights
from tfmot_swd.keras2.validation import PruningWarning
from tfmot_swd.pruning.plan import PruningPlan

# A smaller share of the kernel weights, such as a table of positions beside large layers, does not matter for a rate
# and is only logged.
NEGLIGIBLE_SHARE = 0.01


def warn_of_dense_kernels(plan: PruningPlan) -> None:
    """Warns of the layers of a plan with kernel weights that the pruning rate does not count."""
    _warn(
        [(row.layer, row.kind, row.unknown_kernels) for row in plan.unknown],
        plan.kernels,
        "These layers have kernel weights that the rate does not count, so these stay dense",
        "Layers inside a custom layer are pruned by their own class; for weights that it owns itself, derive it "
        "from tfmot.sparsity.keras.PrunableLayer (a layer of Keras 3 as it is) and return them from "
        "get_prunable_weights",
    )


def warn_of_unknown_kernels(plan: ChannelPlan, choice: LayerChoice) -> None:
    """Warns of the layers of a model without a channel rule, whose kernel weights keep all channels."""
    chosen = choice.of(plan.groups.model)
    known = {cut.variable_id for cut in plan.groups.trace.cuts}
    found, whole = [], 0
    for path, layer in layers_with_weights(plan.groups.model):
        kernels = kernels_of(layer)
        whole += elements(kernels)
        unknown = elements(each for each in kernels if id(each) not in known)
        if unknown and chosen.allows(path):
            found.append((path, class_name(layer), unknown))
    _warn(
        found,
        whole,
        "The channels of these layers are not known, so their kernel weights stay, and all channels that reach them",
        "Register their class with tfmot_swd.register_layer (a class of Keras 3 with "
        "tfmot_swd.keras3.register_layer_pair first), or call the layers inside them as layers of the model",
    )


def _warn(found: Sequence[tuple[str, str, int]], whole: int, what: str, remedy: str) -> None:
    dense = sum(size for _, _, size in found)
    if not dense:
        return
    named = ", ".join(f"{layer} ({kind}: {size:,})" for layer, kind, size in found)
    message = (
        f"{what}: {named}. {remedy}; name layers that are meant to stay dense in skip. "
        f"Received: {dense:,} of {whole:,} kernel weights ({dense / whole:.2%})"
    )
    if dense < NEGLIGIBLE_SHARE * whole:
        logging.info("tfmot_swd: %s", message)
    else:
        warnings.warn(message, PruningWarning, stacklevel=4)
