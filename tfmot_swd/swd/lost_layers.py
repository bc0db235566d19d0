"""Warnings of layers of which the global threshold leaves nothing, so that the model outputs a constant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfmot_swd.keras2.layer_weights import elements
from tfmot_swd.keras2.weight_values import largest_magnitude
from tfmot_swd.pruning.thresholds import kth_magnitude

# Factor by which a layer may grow in training relative to the others, so that it is not lost by its initial size alone.
# The layers of usual networks, such as a dense one behind convolutions, start within half of it.
EXPECTED_GROWTH = 4.0

_REMEDY = (
    "Give such a layer a larger initializer (an Embedding of Keras starts within 0.05), leave it whole with skip, "
    "prune at a lower rate, or "
)


def expected_lost_layers(kernels: Sequence[tuple[str, Any, int]], ranked: Sequence[Any], rate: float) -> list[str]:
    """Returns a warning before training where a kernel starts far below the threshold of the final rate, else nothing.

    Args:
      kernels: (layer, values by whose magnitude its entries are ranked, number of weights kept at least) of each
        kernel.
      ranked: such values of all prunable tensors.
      rate: final sparsity.
    """
    threshold = float(kth_magnitude(ranked, int(rate * elements(ranked))))
    largest = [(layer, largest_magnitude(values), floor) for layer, values, floor in kernels]
    lost = {layer: (most, floor) for layer, most, floor in largest if EXPECTED_GROWTH * most < threshold}
    if not lost:
        return []
    found = ", ".join(f"'{layer}' (largest {most:.3g}, {_kept(floor)})" for layer, (most, floor) in lost.items())
    return [
        f"At the final rate the global threshold would remove all weights of {len(lost)} of the layers, by their "
        f"initial weights: {_REMEDY}raise minimum_kept. Received: {found}, threshold {threshold:.3g}"
    ]


def lost_layers(kernels: Sequence[tuple[str, Any, int]], threshold: float) -> list[str]:
    """Returns warnings at the final pruning step: of lost layers, and of layers that `minimum_kept` alone keeps.

    Args:
      kernels: as in `expected_lost_layers`, just before the step.
      threshold: the global one.
    """
    below = [(layer, floor) for layer, values, floor in kernels if largest_magnitude(values) < threshold]
    found = []
    for title, layers in (
        (
            "The final pruning step has removed all weights of a kernel, so that its outputs are constant",
            _names(below, 0),
        ),
        ("Only minimum_kept keeps a kernel from losing all weights to the global threshold", _names(below, 1)),
    ):
        if layers:
            found.append(f"{title}: {_REMEDY}raise minimum_kept. Received: {layers}, threshold {threshold:.3g}")
    return found


def _names(below: Sequence[tuple[str, int]], least: int) -> str:
    rows = [(layer, floor) for layer, floor in below if (floor > 0) == (least > 0)]
    return ", ".join(f"'{layer}' ({_kept(floor)})" for layer, floor in dict(rows).items())


def _kept(floor: int) -> str:
    return f"{floor:,} stay by minimum_kept" if floor else "no minimum_kept"
