"""Pool of Progressive Gradient Pruning: the scores of all filters of a model over an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2 import optimizers
from tfmot_swd.keras2.layer_weights import weight_at
from tfmot_swd.pgp.settings import ProgressiveSettings
from tfmot_swd.pgp.wrapper import PruneProgressiveGradient, ScoredWeight
from tfmot_swd.pruning.pool import PruningPool
from tfmot_swd.pruning.wrapped_models import assign, missing_metadata_message


class ScorePool(PruningPool[PruneProgressiveGradient]):
    """Sums what the backward passes of each update contribute to the scores of an epoch; see `PruningPool`.

    An update is added to the scores when the next one begins, as it may still be skipped under a loss scale.

    Attributes:
      settings: the `ProgressiveSettings`, shared by all wrappers.
      is_done: whether the schedule was finished when the wrappers were joined; gradients are not observed then.
      in_extra_pass: whether the present backward passes are those of an `ExtraPass`.

    Raises:
      NothingTrainedError: no weight of the wrappers is trained as the model is now.
      ValueError: their schedules or settings differ, or the model was built from its config alone.
    """

    wrapper_class = PruneProgressiveGradient

    def __init__(self, wrappers: Sequence[PruneProgressiveGradient], strategy: tf.distribute.Strategy) -> None:
        super().__init__(wrappers, strategy)
        shared = {(wrapper.pruning_schedule, wrapper.settings) for wrapper in self.wrappers}
        if len(shared) > 1:
            raise ValueError(
                "All layers of a model are pruned by one schedule and one criterion: wrap them in one call. "
                f"Received: {shared}"
            )
        if not any(scored.initial.numpy().any() for wrapper in wrappers for scored in wrapper.scored):
            raise ValueError(missing_metadata_message(wrappers))
        self.settings: ProgressiveSettings = self.leader.settings
        self.in_extra_pass = False
        self.is_done = self.epochs >= self.schedule.epochs

    @property
    def epochs(self) -> int:
        """Number of epochs of the schedule that are finished."""
        # A layer that was frozen for a while has missed some.
        return max(int(wrapper.pruning_step.numpy()) for wrapper in self._clocks)

    @property
    def scored(self) -> list[ScoredWeight]:
        """All scored weights, in call order."""
        return [scored for wrapper in self.wrappers for scored in wrapper.scored]

    def advance(self) -> None:
        """Adds the previous update to the scores; calls in the same update after the first change nothing."""
        if self._watches_training or self.scales:
            super().advance()

    def settle(self) -> None:
        """Adds the last update to the scores, which no other one follows; discards one that was begun and not made."""
        criterion = self.settings.criterion
        if not criterion.watches:
            return
        made = optimizers.iterations(self.optimizer).numpy() != self.leader.last_iterations.numpy()
        with self.strategy.scope():
            if criterion.extra_pass:
                self._settle(self.strategy, tf.constant(True), tf.constant(False))
            elif made:
                self._settle(self.strategy, tf.constant(True), self._skipped_updates.last())
            else:
                self._clear(self.strategy, tf.constant(True))

    def has_seen_enough(self) -> bool:
        """Returns whether filters can be ranked: criteria of gradients or changes need scores that are not all zero."""
        criterion = self.settings.criterion
        if criterion.watches:
            return any(each.total.numpy().any() for each in self.scored)
        # Before the first epoch the start weights are zeros, from which every weight differs.
        pairs = [
            (each.start.numpy(), weight_at(wrapper.layer, each.path).numpy().astype(np.float32))
            for wrapper in self.wrappers
            for each in wrapper.scored
            if each.start is not None
        ]
        moved = any((start != now).any() for start, now in pairs)
        return not criterion.compares or (moved and any(start.any() for start, _ in pairs))

    def begin_epoch(self) -> None:
        """Resets the scores for a new epoch."""
        with self.strategy.scope():
            for wrapper in self.wrappers:
                for scored in wrapper.scored:
                    scored.total.assign(tf.zeros_like(scored.total))
                    if scored.update is not None:
                        scored.update.assign(tf.zeros(scored.update.shape))
                    if scored.start is not None:
                        weight = weight_at(wrapper.layer, scored.path).read_value()
                        scored.start.assign(tf.cast(weight, scored.start.dtype))

    @property
    def _watches_training(self) -> bool:
        criterion = self.settings.criterion
        return not self.is_done and bool(criterion.watches) and not criterion.extra_pass

    def _advance(self, strategy: tf.distribute.Strategy) -> None:
        # The wrappers' `pruning_step` counts epochs; only `last_iterations` follows the updates.
        skipped = self._skipped_updates.begin_update(strategy)
        if not self._watches_training:
            return
        now = optimizers.iterations(self.optimizer).read_value()
        last = self.leader.last_iterations.read_value()
        # Selected and not branched: a branch of a hundred operations takes longer to trace and to optimize.
        self._settle(strategy, tf.not_equal(now, last) & tf.not_equal(last, -1), skipped)
        assign(strategy, self.leader.last_iterations, now)

    def _settle(self, strategy: tf.distribute.Strategy, is_new: tf.Tensor, skipped: tf.Tensor) -> None:
        """Adds the update to the scores unless it was skipped, and clears it; where `is_new` is false nothing changes.

        Args:
          strategy: to assign with.
          is_new: bool scalar.
          skipped: bool scalar.
        """
        counts = is_new & ~skipped
        for scored in self.scored:
            if scored.update is not None:
                # Read outside the replicas, this is a sum over the replicas.
                added = self.settings.criterion.settled(scored.update.read_value(), scored.axis)
                added = tf.where(counts, added, tf.zeros([], added.dtype))
                strategy.extended.update(scored.total, lambda var, more: var.assign_add(more), args=(added,))
        self._clear(strategy, is_new)

    def _clear(self, strategy: tf.distribute.Strategy, is_new: tf.Tensor) -> None:
        def clear(update: tf.Variable, is_new: tf.Tensor) -> Any:
            # Of each replica its own part.
            return update.assign(tf.where(is_new, tf.zeros([], update.dtype), update))

        for scored in self.scored:
            if scored.update is not None:
                strategy.extended.update(scored.update, clear, args=(is_new,))
