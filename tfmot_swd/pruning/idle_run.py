"""Training run in which all wrapped layers are frozen."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

from absl import logging

from tfmot_swd.keras2 import optimizers
from tfmot_swd.keras2.validation import PruningWarning
from tfmot_swd.pruning.run import PruningRun, RunOptions
from tfmot_swd.pruning.wrapped_models import IN_THE_WRAPPED_MODEL
from tfmot_swd.pruning.wrapper import PruningWrapper


class IdleRun(PruningRun):
    """Run of a model whose wrapped layers are all frozen, as in the first phase of transfer learning.

    Nothing is pruned. Step counters of updates advance, as schedules count the updates of all phases; those of epochs
    in which filters can be removed do not.

    Args:
      model, options, params: as `PruningRun`.
      wrappers: all wrappers of the model.
    """

    wrapper_class: ClassVar[type[PruningWrapper]] = PruningWrapper

    def __init__(
        self, model: Any, options: RunOptions, params: dict[str, Any], wrappers: Sequence[PruningWrapper]
    ) -> None:
        super().__init__(model, options, params)
        self._wrappers = list(wrappers)
        self._counted = self._updates()
        self._has_warned = False
        self._link_wrappers()
        logging.info("tfmot_swd prunes nothing in this fit: the %d wrapped layers are frozen", len(self._wrappers))

    @classmethod
    def prune_now(cls, model: Any) -> None:
        raise ValueError(
            "Nothing can be pruned while all wrapped layers are frozen: set layer.trainable = True on some "
            f"{IN_THE_WRAPPED_MODEL} and compile again. Received: an idle phase"
        )

    @property
    def skipped(self) -> int:
        return 0

    @property
    def is_over(self) -> bool:
        # Nothing is pruned, so it does not matter which optimizer trains the model.
        return True

    @property
    def wrappers(self) -> list[PruningWrapper]:
        return list(self._wrappers)

    def scalars(self) -> tuple[int, dict[str, float]]:
        return max(int(wrapper.pruning_step.numpy()) for wrapper in self._wrappers), {}

    def on_batch_end(self, batch: int) -> None:
        """Does nothing: updates are counted at the end of each epoch."""

    def on_test_begin(self) -> None:
        """Does nothing: no weight is masked."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None) -> None:
        self._count()

    def on_train_end(self) -> None:
        self._count()
        self._unlink_wrappers()

    def _count(self) -> None:
        now = self._updates()
        with self.model.distribute_strategy.scope():
            for wrapper in self._wrappers:
                if wrapper.counts_updates:
                    wrapper.pruning_step.assign_add(now - self._counted)
        self._counted = now
        self._warn_of_lost_time()

    def _warn_of_lost_time(self) -> None:
        """Warns once if the schedule runs while nothing can be decayed."""
        clocks = [each for each in self._wrappers if each.counts_updates]
        if self._has_warned or not clocks or type(clocks[0]).unfinished(clocks) is None:
            return
        schedule, step = clocks[0].pruning_schedule, max(int(each.pruning_step.numpy()) for each in clocks)
        if step <= schedule.begin_step:
            return
        self._has_warned = True
        warnings.warn(
            "The pruning schedule has begun while all wrapped layers are frozen: it counts the updates of all phases, "
            "and decays nothing in this one. Set begin_step to the number of updates of this phase, and count end_step "
            "from the same start. "
            f"Received: update {step}, begin_step={schedule.begin_step}, end_step={schedule.end_step}, "
            f"{len(clocks)} wrapped layers",
            PruningWarning,
            stacklevel=6,
        )

    def _updates(self) -> int:
        return int(optimizers.iterations(self.optimizer).numpy())
