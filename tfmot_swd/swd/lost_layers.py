"""Layers of which one global threshold leaves nothing, so that the model answers a constant: what to say of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# How much a layer may be expected to grow in training, relative to the others, before it is called lost by what it
# starts with: the layers of usual networks, a dense one behind convolutions for example, start within half of that.
EXPECTED_GROWTH = 4.0

_REMEDY = (
    "Give such a layer a larger initializer (an Embedding of Keras starts within 0.05), leave it whole with skip, "
    "prune at a lower rate, or "
)


def foreseen_losses(
    kernels: Sequence[tuple[str, np.ndarray, int]], sizes: Sequence[np.ndarray], rate: float
) -> list[str]:
    """Returns a sentence to warn with before training, where a kernel starts far below the threshold of the final rate.

    Args:
      kernels: (layer, magnitudes, how many stay at least) of each kernel.
      sizes: magnitudes of all tensors that the rate counts.
      rate: final sparsity.
    """
    pool = np.concatenate([each.ravel() for each in sizes])
    rank = int(rate * pool.size)
    threshold = float(np.partition(pool, rank)[rank])
    lost = {
        layer: (float(values.max(initial=0.0)), floor)
        for layer, values, floor in kernels
        if EXPECTED_GROWTH * values.max(initial=0.0) < threshold
    }
    if not lost:
        return []
    found = ", ".join(f"'{layer}' (largest {most:.3g}, {_kept(floor)})" for layer, (most, floor) in lost.items())
    return [
        f"At the final rate the global threshold would take all weights of {len(lost)} of the layers, as the model "
        f"starts: {_REMEDY}raise minimum_kept. Received: {found}, threshold {threshold:.3g}"
    ]


def losses(kernels: Sequence[tuple[str, np.ndarray, int]], threshold: float) -> list[str]:
    """Returns sentences to warn with at the final pruning step: of lost layers, and of those that a floor alone keeps.

    Args:
      kernels: (layer, magnitudes, how many stay at least) of each kernel, just before.
      threshold: the global one.
    """
    below = [(layer, floor) for layer, values, floor in kernels if values.max(initial=0.0) < threshold]
    found = []
    for title, layers in (
        (
            "The final pruning step has taken all weights of a kernel, and what follows it sees a constant",
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
