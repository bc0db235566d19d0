"""One training by Selective Weight Decay: the link of its clock to the optimizer, the forecast, the final cut."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from tfmot_swd._compat import keras
from tfmot_swd.decay_pool import DecayPool
from tfmot_swd.forward_pool import weight_pool_of
from tfmot_swd.monitor import CutReport, Monitor, cut_and_report
from tfmot_swd.pruning_run import PruningRun, RunOptions
from tfmot_swd.pruning_warning import PruningWarning
from tfmot_swd.pruning_wrapper import PruningWrapper
from tfmot_swd.wrappers import PruneSelectiveDecay


class SelectiveRun(PruningRun):
    """Checks the run ahead, makes the cut right after the update `end_step`, and keeps what it changed.

    Attributes:
      cut_report: a `CutReport`, once the cut has been made.

    Raises:
      ValueError: the model is not wrapped, or the fit is shorter than the schedule.
    """

    wrapper_class: ClassVar[type[PruningWrapper]] = PruneSelectiveDecay
    monitor_class: ClassVar[type[Any]] = Monitor

    def __init__(self, model: Any, options: RunOptions, params: dict[str, Any]) -> None:
        pool = self.pool_of(model)
        super().__init__(model, options, params)
        self.cut_report: CutReport | None = None
        self._batches = 0
        self._check_length(pool)
        pool.join(model.optimizer)
        if not pool.is_cut:
            for problem in pool.strength.forecast(options.learning_rate).problems() + _held_norms(pool.wrappers):
                warnings.warn(problem, PruningWarning, stacklevel=4)
        self._pool, self._monitor = pool, self.monitor_class(pool)
        # TensorBoard counts who entered and left since its own last look.
        self._summaries = self.monitor_class(pool)
        for wrapper in pool.wrappers:
            wrapper.run = self

    def pool_of(self, model: Any) -> DecayPool[Any]:
        """Returns what trains the model as one."""
        return weight_pool_of(model)

    @property
    def wrappers(self) -> list[PruningWrapper]:
        return list(self._pool.wrappers)

    def scalars(self) -> tuple[int, dict[str, float]]:
        status = self._summaries.status()
        return status.step, {f"selective_decay/{name}": value for name, value in status.scalars().items()}

    def on_batch_end(self, batch: int) -> None:
        self._cut_if_due()
        self._batches += 1
        if self.options.update_freq != "epoch" and self._batches % int(self.options.update_freq) == 0:
            self.history.append(self._monitor.status())

    def on_test_begin(self) -> None:
        # Fit validates before it calls on_epoch_end; after the cut that must be the pruned model.
        if self._pool.is_cut:
            self._pool.apply_masks()
        else:
            self._pool.settle()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None) -> None:
        self._cut_if_due()
        if self._pool.is_cut:
            self._pool.apply_masks()
        else:
            self._pool.settle()
        status = self._monitor.status()
        if not status.is_finite:
            raise ValueError(
                "The weights have become NaN or infinite, so they cannot be ranked: lower the learning "
                f"rate or clip gradients. Received: NaN or infinity at step {status.step}, "
                f"threshold {status.threshold}"
            )
        if self.options.update_freq == "epoch":
            self.history.append(status)
        if logs is not None:
            logs.update(status.logs())

    def on_train_end(self) -> None:
        self._cut_if_due()
        if self._pool.is_cut:
            self._pool.apply_masks()
        elif not self.options.partial_fit:
            warnings.warn(
                f"Training ended after {self._pool.step} of {self._pool.schedule.end_step} updates, before the "
                "final cut: the model is NOT pruned. Train on, or call tfmot_swd.cut_now(model).",
                PruningWarning,
                stacklevel=3,
            )
        self._pool.leave()
        for wrapper in self._pool.wrappers:
            wrapper.run = None

    def _cut_if_due(self) -> None:
        pool = self._pool
        if pool.step < pool.schedule.end_step or pool.is_cut:
            return
        if not pool.strength.coupled:
            # The decay of an update is made before the next one; the last update has no next.
            pool.decay()
        before = self._evaluate()
        report = cut_and_report(pool)
        self.cut_report = dataclasses.replace(report, before=before, after=self._evaluate())

    def _evaluate(self) -> dict[str, float] | None:
        if self.options.validation_data is None:
            return None
        # evaluate resets the metrics that the running epoch is still adding to.
        states = [(metric, metric.get_weights()) for metric in self.model.metrics]
        data = self.options.validation_data
        named = dict(zip(("x", "y", "sample_weight"), data if isinstance(data, tuple) else (data,), strict=False))
        batch_size = 512 if isinstance(named["x"], np.ndarray) else None
        results = self.model.evaluate(**named, batch_size=batch_size, verbose=0, return_dict=True)
        for metric, state in states:
            metric.set_weights(state)
        return {name: float(value) for name, value in results.items()}

    def _check_length(self, pool: DecayPool[Any]) -> None:
        # A custom loop sets no params.
        steps, epochs = self.params.get("steps"), self.params.get("epochs")
        if self.options.partial_fit or not steps or not epochs:
            return
        # A resumed fit counts its earlier epochs too, so this is the most it can reach.
        reach = max(pool.step, 0) + steps * epochs
        if pool.schedule.end_step > reach:
            raise ValueError(
                f"The schedule ends at update {pool.schedule.end_step} and this fit at {reach}, so the "
                "final cut would never be made: set end_step to epochs · steps per epoch, or pass "
                "UpdatePruningStep(partial_fit=True) when more fits follow. "
                f"Received: end_step={pool.schedule.end_step}, epochs={epochs}, steps={steps}"
            )


def _held_norms(wrappers: Sequence[PruningWrapper]) -> list[str]:
    """Returns a sentence to warn with where a constraint puts back what the decay takes away, else nothing."""
    found = []
    for wrapper in wrappers:
        for weight in wrapper.layer.trainable_weights:
            constraint = getattr(weight, "constraint", None)
            if isinstance(constraint, keras.constraints.UnitNorm) or getattr(constraint, "min_value", 0.0) > 0.0:
                found.append(f"{type(constraint).__name__} in layer '{wrapper.layer.name}'")
    if not found:
        return []
    return [
        "Constraints that give each unit a norm undo the decay of a unit that is decayed as a whole: it does not "
        "shrink, and the final cut removes it at full size. Use MaxNorm, batch normalization or no constraint there. "
        f"Received: {', '.join(found)}"
    ]
