"""What a final pruning step finds of the weights that it removes, noted in graph, where no Python code looks on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.pruning.wrapped_models import assign


@dataclasses.dataclass(frozen=True)
class RemovedWeights:
    """The numbers of one final pruning step.

    Args:
      step: the update after which it was made.
      squares_removed, squares_kept: sums of the squares of what it removed and left, of all targets.
      largest_removed: the largest magnitude that it removed.
      shares: as `CutReport.removed_shares`.
    """

    step: int
    squares_removed: float
    squares_kept: float
    largest_removed: float
    shares: dict[str, float]


class RemovedWeightsNote:
    """Variables for them; no file holds these, as they are read within the training that writes them.

    Args:
      layers: for each target the name of its layer, where the target is decayed; else None.
    """

    def __init__(self, layers: Sequence[str | None]) -> None:
        self.layers = tuple(layers)
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._rows = tf.Variable(tf.zeros([len(self.layers), 3]), trainable=False)

    def write(self, strategy: tf.distribute.Strategy, step: tf.Tensor, targets: Sequence[Any]) -> None:
        """Notes (weight, mask) of each target before the masks are applied; in graph."""
        rows = []
        for weight, mask in targets:
            value = tf.cast(weight.read_value(), tf.float32)
            gone, kept = tf.where(mask > 0, 0.0, value), tf.where(mask > 0, value, 0.0)
            # Twice the l2_loss is the sum of squares.
            rows.append([2.0 * tf.nn.l2_loss(gone), 2.0 * tf.nn.l2_loss(kept), tf.reduce_max(tf.abs(gone))])
        assign(strategy, self._step, step)
        assign(strategy, self._rows, tf.convert_to_tensor(rows))

    def read(self) -> RemovedWeights:
        """Returns what the last final pruning step noted."""
        rows = self._rows.numpy().astype(np.float64)
        shares: dict[str, float] = {}
        for layer, (gone, kept, _) in zip(self.layers, rows, strict=True):
            if layer is not None and kept:
                shares[layer] = max(shares.get(layer, 0.0), float(np.sqrt(gone / kept)))
        gone, kept, _ = rows.sum(axis=0)
        return RemovedWeights(int(self._step.numpy()), float(gone), float(kept), float(rows[:, 2].max()), shares)
