"""Size of the weights that the final pruning step removes, relative to those that stay.

A layer's outputs change by about the norm of its removed weights over that of its remaining ones. A weight without a
gradient has decayed to nothing by then. One with a gradient g settles where the decay and g balance, at
|g| / (mu (1 + a)), and a hundred thousand of those can change the outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.weight_values import pieces
from tfmot_swd.pruning.wrapped_models import assign

# Of the published schedule on the small Fashion-MNIST network: shares of .012 at 99.5 % cost .1 points of accuracy,
# .037 at 99.9 % cost five. The default schedule is at 1e-6 and less.
VISIBLE_SHARE = 0.02


@dataclasses.dataclass(frozen=True)
class RemovedSums:
    """Sums over the removed and the remaining entries of one weight, in float64.

    Args:
      removed: number of removed entries.
      largest_removed: the largest magnitude among them.
      squares_removed, squares_kept: sums of squares.
    """

    removed: int
    largest_removed: float
    squares_removed: float
    squares_kept: float

    @classmethod
    def of(cls, values: Any, stays: Any) -> RemovedSums:
        """Returns the sums for a weight's values; no copy of them is made as a whole.

        Args:
          values: a variable, tensor or array.
          stays: broadcasts to it, zero or False where an entry is removed.

        >>> RemovedSums.of(np.array([3.0, -4.0]), np.array([True, False]))
        RemovedSums(removed=1, largest_removed=4.0, squares_removed=16.0, squares_kept=9.0)
        """
        rows = []
        for piece, kept in pieces(values, stays):
            wide, leaves = piece.astype(np.float64), kept == 0
            gone = np.abs(wide[leaves])
            largest = gone.max(initial=0.0)
            np.square(gone, out=gone)
            removed = gone.sum()
            wide[leaves] = 0.0
            np.square(wide, out=wide)
            rows.append((gone.size, largest, removed, wide.sum()))
        sizes, largest, removed, kept = np.array(rows).reshape(-1, 4).T
        return cls(int(sizes.sum()), float(largest.max(initial=0.0)), float(removed.sum()), float(kept.sum()))


def removed_shares(weights: Iterable[tuple[str, Any, Any]]) -> dict[str, float]:
    """Returns by layer the norm of what is removed over the norm of what stays, of its weight with the largest share.

    A weight that is removed completely is left out: its layer is lost whatever the size of its entries.

    Args:
      weights: (layer, values, mask of those that stay, as in `RemovedSums.of`) of each weight.

    >>> removed_shares([("dense", np.array([3.0, 0.3, -0.4]), np.array([True, False, False]))])["dense"]
    0.16666666666666666
    """
    shares = []
    for layer, values, stays in weights:
        sums = RemovedSums.of(values, stays)
        if sums.squares_kept:
            shares.append((layer, float(np.sqrt(sums.squares_removed) / np.sqrt(sums.squares_kept))))
    return _largest_by_layer(shares)


def visible_shares(shares: dict[str, float]) -> str:
    """Returns the layers whose outputs would change visibly and their shares, largest first; empty without any."""
    found = sorted(((share, layer) for layer, share in shares.items() if share > VISIBLE_SHARE), reverse=True)
    return ", ".join(f"{share:.1%} in layer '{layer}'" for share, layer in found)


def _largest_by_layer(shares: Iterable[tuple[str, float]]) -> dict[str, float]:
    largest: dict[str, float] = {}
    for layer, share in shares:
        largest[layer] = max(largest.get(layer, 0.0), share)
    return largest


@dataclasses.dataclass(frozen=True)
class RemovedWeights:
    """Norms of the weights that one final pruning step has removed and kept.

    Args:
      step: the update after which it was made.
      squares_removed, squares_kept: sums of squares over all targets, of the removed and the remaining weights.
      largest_removed: the largest removed magnitude.
      shares: as `FinalStepReport.removed_shares`.
    """

    step: int
    squares_removed: float
    squares_kept: float
    largest_removed: float
    shares: dict[str, float]


class RemovedWeightsNote:
    """Variables that record a `RemovedWeights` in graph, where no Python code runs at the final pruning step.

    They are in no file, as they are read within the training that writes them.

    Args:
      layers: for each target the name of its layer, where the target is decayed; else None.
    """

    def __init__(self, layers: Sequence[str | None]) -> None:
        self.layers = tuple(layers)
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._rows = tf.Variable(tf.zeros([len(self.layers), 3]), trainable=False)

    def write(self, strategy: tf.distribute.Strategy, step: tf.Tensor, targets: Sequence[Any]) -> None:
        """Records the norms of all targets before the masks are applied; in graph.

        Args:
          strategy: to assign with.
          step: int64 scalar, the update after which the masks are applied.
          targets: (weight, mask that broadcasts to it) of each target.
        """
        rows: list[tf.Tensor] = []
        for weight, mask in targets:
            # One after the other, target by target and part by part: each takes as much memory as the weight.
            with tf.control_dependencies(rows[-1:]):
                value = tf.cast(weight.read_value(), tf.float32)
                gone = tf.where(mask > 0, 0.0, value)
                # Twice the l2_loss is the sum of squares.
                removed = 2.0 * tf.nn.l2_loss(gone)
                largest = tf.maximum(tf.reduce_max(gone), -tf.reduce_min(gone))
            del gone
            with tf.control_dependencies([removed, largest]):
                kept = 2.0 * tf.nn.l2_loss(tf.where(mask > 0, value, 0.0))
            rows.append(tf.stack([removed, kept, largest]))
        assign(strategy, self._step, step)
        assign(strategy, self._rows, tf.stack(rows))

    def read(self) -> RemovedWeights:
        """Returns the record of the last final pruning step."""
        rows = self._rows.numpy().astype(np.float64)
        shares = _largest_by_layer(
            (layer, float(np.sqrt(gone / kept)))
            for layer, (gone, kept, _) in zip(self.layers, rows, strict=True)
            if layer is not None and kept
        )
        gone, kept, _ = rows.sum(axis=0)
        return RemovedWeights(int(self._step.numpy()), float(gone), float(kept), float(rows[:, 2].max()), shares)
