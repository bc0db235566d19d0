"""Error of a removal that is approximate: normalizations whose statistics are those of the channels that are left."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from tfmot_swd.channels.agreement import differences
from tfmot_swd.channels.rebuild import Rebuilt, rebuild
from tfmot_swd.channels.walk import Trace
from tfmot_swd.keras2.pruning_warning import PruningWarning
from tfmot_swd.layers.record import CONSUME

# Of the largest output; what is below is rounding.
_EXACT = 1e-5
_MOST_NAMES = 3


def settle_approximation(model: Any, trace: Trace, stays: np.ndarray, rebuilt: Rebuilt) -> None:
    """Measures how far a smaller model is from what an exact removal would be, chooses its scales, and warns.

    The model is compared with the larger one in which every weight that reads a removed channel is zero, on random
    inputs. A normalization whose removed channels were near zero had statistics that were smaller by √(n'/n), for n'
    of n channels; so gamma · √(n/n') is tried too, and kept where it is nearer.

    Args:
      model: the larger model; it is unchanged.
      trace: of it.
      stays: bool by channel id, true where a channel is kept.
      rebuilt: the smaller model; the gammas of its normalizations may be scaled.
    """
    scales = _scales(trace, stays, rebuilt)
    if not scales:
        return

    def scaled(direction: int) -> Any:
        for gamma, factor in scales.values():
            if gamma is not None:
                gamma.assign(gamma * factor**direction)
        return rebuilt.model

    masked = _masked(model, trace, stays)
    found = differences(masked, [lambda: rebuilt.model, lambda: scaled(1)])
    if found is not None and found[0] <= found[1]:
        scaled(-1)
    error = None if found is None else min(found)
    if error is None or error > _EXACT:
        names = list(scales)
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        measured = "not measured" if error is None else f"{error:.2g} of the largest output for random inputs"
        warnings.warn(
            f"The removal is approximate, as was asked for: {', '.join(names[:_MOST_NAMES])}{more} take statistics "
            f"over the channels that are left. Fine-tune the smaller model. Received: an error of {measured}",
            PruningWarning,
            stacklevel=4,
        )


def _scales(trace: Trace, stays: np.ndarray, rebuilt: Rebuilt) -> dict[str, tuple[Any, float]]:
    """Returns path → (gamma of the smaller layer, √(n/n')) of the normalizations that lose channels.

    The gamma is None where there is none, as in a normalization by operators.
    """
    targets = {id(each.source): each.target for each in rebuilt.slicings}
    found: dict[str, tuple[Any, float]] = {}
    for record in trace.records.values():
        if not record.approximations:
            continue
        gone = [ids for ids in record.met if not stays[ids].all()]
        gamma = next((cut for cut in record.cuts.values() if cut.weight == "gamma"), None)
        if gamma is not None and gone:
            found[record.path] = targets[gamma.variable_id], math.sqrt(1 / float(stays[gamma.ids].mean()))
        elif gone:
            found[record.path] = None, 1.0
    return found


def _masked(model: Any, trace: Trace, stays: np.ndarray) -> Any:
    """Returns a copy of a model in which every slice of a weight that reads a removed channel is zero.

    So is every slice that makes a channel that a product of two tensors sums over.
    """
    copied = rebuild(model, trace, np.ones_like(stays))
    targets = {id(each.source): each.target for each in copied.slicings}
    # No weight reads what a product sums over: its term is gone where what makes it is zero.
    is_summed = np.zeros(len(stays), bool)
    for product in (each for products in trace.products.values() for each in products):
        is_summed[trace.classes.of(product.sums)] = True
    for cut in trace.cuts:
        gone = ~stays[cut.ids]
        if cut.role != CONSUME:
            gone &= is_summed[trace.classes.of(cut.ids)]
        if gone.any():
            value = targets[cut.variable_id].numpy()
            np.moveaxis(value, cut.axis, 0)[gone] = 0
            targets[cut.variable_id].assign(value)
    return copied.model
