"""Training run of Selective Weight Decay: forecast, final pruning step and status."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.validation import PruningWarning
from tfmot_swd.pruning.run import PruningRun, RunOptions
from tfmot_swd.pruning.wrapper import PruningWrapper
from tfmot_swd.swd.final_step import FinalStepReport, report_final_step, take_final_step, warn_of_final_step
from tfmot_swd.swd.forward_pool import weight_pool_of
from tfmot_swd.swd.monitor import Monitor, expected_removed_shares
from tfmot_swd.swd.pool import DecayPool
from tfmot_swd.swd.removed_weights import visible_shares
from tfmot_swd.swd.wrapper import PruneSelectiveDecay

# Share of the schedule after which the weights still to be removed are measured: late enough to extrapolate, early
# enough to stop before the rest of the time is spent.
LOOK_AHEAD_AT = 0.9


class SelectiveRun(PruningRun):
    """Checks the run ahead, makes the final pruning step right after the update `end_step`, and keeps its report.

    Attributes:
      final_step: a `FinalStepReport`, once the step has been made; else None.

    Raises:
      ValueError: the model is not wrapped, the fit is shorter than the schedule, or the schedule is over and nothing
        was ever decayed.
    """

    wrapper_class: ClassVar[type[PruningWrapper]] = PruneSelectiveDecay
    monitor_class: ClassVar[type[Any]] = Monitor

    def __init__(self, model: Any, options: RunOptions, params: dict[str, Any]) -> None:
        pool = self.pool_of(model)
        super().__init__(model, options, params)
        self.final_step: FinalStepReport | None = None
        self._looked_ahead = False
        self._check_length(pool)
        _check_has_decayed(pool)
        joined = _joined_late(pool)
        pool.join(self.optimizer)
        forecast = pool.strength.forecast(options.learning_rate)
        # Whether the user has been warned that the final pruning step will change the outputs.
        self._has_warned_of_outputs = forecast.jumps or forecast.diverges
        if joined:
            warnings.warn(joined, PruningWarning, stacklevel=4)
        if not pool.is_pruned:
            lost = pool.expected_lost_layers() if pool.step == 0 else []
            for problem in forecast.problems() + _held_norms(pool.wrappers) + lost:
                warnings.warn(problem, PruningWarning, stacklevel=4)
        self._pool, self._monitor = pool, self.monitor_class(pool)
        # Whether the final pruning step, which may be made in graph or by prune_now too, has been reported.
        self._has_reported = pool.is_pruned
        # For TensorBoard, which counts the weights that entered and left since its own last summary.
        self._summaries = self.monitor_class(pool)
        self._link_wrappers()

    @classmethod
    def pool_of(cls, model: Any) -> DecayPool[Any]:
        """Returns the pool of a wrapped model."""
        return weight_pool_of(model)

    @classmethod
    def problems_after(cls, pool: DecayPool[Any]) -> tuple[str, ...]:
        """Returns warnings after the final pruning step, beside those of its report."""
        return ()

    @classmethod
    def prune_now(cls, model: Any) -> None:
        pool = cls.pool_of(model)
        report = take_final_step(pool)
        run = pool.leader.run
        if isinstance(run, SelectiveRun):
            # Without it the run would report the step again, as one that was made in graph.
            run.keep_report(report)
        warn_of_final_step(model, pool, report, cls.problems_after(pool))

    @property
    def skipped(self) -> int:
        return self._pool.skipped

    @property
    def is_over(self) -> bool:
        return self._pool.is_pruned

    @property
    def wrappers(self) -> list[PruningWrapper]:
        return list(self._pool.wrappers)

    def scalars(self) -> tuple[int, dict[str, float]]:
        status = self._summaries.status()
        return status.step, {f"selective_decay/{name}": value for name, value in status.scalars().items()}

    def on_batch_end(self, batch: int) -> None:
        super().on_batch_end(batch)
        self._look_ahead()
        self._prune_if_due(is_last=self._is_last(batch))
        if self._is_status_due():
            self.history.append(self._monitor.status())

    def on_test_begin(self) -> None:
        # Fit validates before it calls on_epoch_end, and must see the pruned model.
        self._settle()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None) -> None:
        super().on_epoch_end(epoch, logs)
        self._prune_if_due()
        self._settle()
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
        # A fit of known length has had its last batch, if it did not end early.
        self._prune_if_due(is_last=not self.params.get("steps"))
        if self._pool.is_pruned:
            self._pool.apply_masks()
        elif not self.options.partial_fit:
            warnings.warn(
                f"Training ended after {self._pool.step} of {self._pool.schedule.end_step} updates, before the "
                "final pruning step: the model is NOT pruned. Train on, or call tfmot_swd.prune_now(model)."
                + (f" Received: {self.skipped} more updates that the optimizer skipped" if self.skipped else ""),
                PruningWarning,
                stacklevel=3,
            )
        self._pool.leave()
        self._unlink_wrappers()

    def _settle(self) -> None:
        """Brings the variables to the pruned weights, which the optimizer has moved since."""
        if self._pool.is_pruned:
            self._pool.apply_masks()
        else:
            self._pool.settle()

    def _is_last(self, batch: int) -> bool:
        """Returns whether this is the last batch of the fit; False where its length is not known."""
        steps, epochs = self.params.get("steps") or 0, self.params.get("epochs") or 0
        return 0 < steps <= batch + 1 and 0 < epochs <= self._epoch + 1

    def _look_ahead(self) -> None:
        """Warns once, shortly before the final pruning step, when it is going to change the outputs."""
        schedule = self._pool.schedule
        from_step = schedule.begin_step + LOOK_AHEAD_AT * (schedule.end_step - schedule.begin_step)
        if self._looked_ahead or self._pool.is_pruned or self._pool.step < from_step:
            return
        self._looked_ahead = True
        self._warn_of_visible(
            expected_removed_shares(self._pool),
            f"Pruning at update {schedule.end_step} would change the outputs, judged at update {self._pool.step}",
        )

    def _warn_of_visible(self, shares: dict[str, float], what: str) -> None:
        visible = visible_shares(shares)
        if self._has_warned_of_outputs or not visible:
            return
        self._has_warned_of_outputs = True
        warnings.warn(
            f"{what}: gradients keep the weights to be removed at a size that is not negligible, about "
            "|g| / (mu (1 + a)). Raise a_max, lower the learning rate less, train longer at the end, ask for a lower "
            "rate, or use penalty='implicit', which leaves nothing; fine-tuning with the zeros fixed (a fit that "
            "continues after end_step) helps too. "
            f"Received: removed weights with a norm of {visible}, relative to those that stay",
            PruningWarning,
            stacklevel=5,
        )

    def _prune_if_due(self, is_last: bool = False) -> None:
        pool = self._pool
        if pool.is_pruned:
            self._notice_final_step()
            return
        if not (pool.step >= pool.schedule.end_step or (is_last and self._ends_short())):
            return
        if not pool.strength.coupled:
            # An update is followed by its decay when the next one begins; the last update has no next.
            pool.decay()
        before = self._evaluate()
        self._report(dataclasses.replace(take_final_step(pool), before=before, after=self._evaluate()))

    def _notice_final_step(self) -> None:
        """Reports once a final pruning step that the training step has made in graph.

        This is the case where end_step lies within several steps of one call, where a custom loop reports epochs
        alone, and where layers join that were frozen at an earlier final step.
        """
        if self._has_reported:
            return
        self._pool.apply_masks()
        self._report(dataclasses.replace(report_final_step(self._pool), after=self._evaluate()))

    def _report(self, report: FinalStepReport) -> None:
        self.keep_report(report)
        warn_of_final_step(self.model, self._pool, report, self.problems_after(self._pool))
        self._warn_of_visible(report.removed_shares, "The final pruning step has changed the outputs")

    def keep_report(self, report: FinalStepReport) -> None:
        """Keeps the report of a final pruning step whose warnings have been given."""
        self.final_step, self._has_reported = report, True

    def _ends_short(self) -> bool:
        """Returns whether a finished training misses `end_step` only by updates that a loss scale has skipped.

        The step counter leaves them out. A few are no reason to leave the model unpruned: the strength is near its
        final value by then.
        """
        schedule, pool = self._pool.schedule, self._pool
        if self.options.partial_fit or not pool.scales:
            return False
        missing = schedule.end_step - pool.step
        known = bool(self.params.get("steps"))
        return 2 * missing < schedule.end_step - schedule.begin_step and (known or missing <= pool.skipped)

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
        # An upper bound: a resumed fit counts its earlier epochs too.
        reach = max(pool.step, 0) + steps * epochs
        if pool.schedule.end_step > reach:
            raise ValueError(
                f"The schedule ends at update {pool.schedule.end_step} and this fit at {reach}, so the "
                "final pruning step would never be made: set end_step to epochs · steps per epoch, or pass "
                "UpdatePruningStep(partial_fit=True) when more fits follow. "
                f"Received: end_step={pool.schedule.end_step}, epochs={epochs}, steps={steps}"
            )


def _check_has_decayed(pool: DecayPool[Any]) -> None:
    """Raises where the whole schedule has passed while all wrapped layers were frozen, so that nothing has decayed."""
    schedule, step = pool.schedule, pool.step
    if step < schedule.end_step or pool.has_begun:
        return
    raise ValueError(
        "The pruning schedule has passed without a decay, as all wrapped layers were frozen: the final pruning step "
        "would remove weights at full size. Schedules count the updates of all phases: wrap the model with a "
        "begin_step and an end_step in the phase in which the layers are trained, or call tfmot_swd.prune_now(model) "
        "to prune without a decay. "
        f"Received: {step} updates made, begin_step={schedule.begin_step}, end_step={schedule.end_step}"
    )


def _joined_late(pool: DecayPool[Any]) -> str:
    """Returns a warning where layers join that were frozen when the others were pruned, else an empty text."""
    late = [wrapper.layer.name for wrapper in pool.wrappers if not bool(wrapper.cut.numpy())]
    if not late or len(late) == len(pool.wrappers):
        return ""
    return (
        "Layers that were frozen at the final pruning step are trainable now: the step is made again over all layers, "
        "without a decay before it, which costs accuracy. Let the schedule end in the phase in which they are trained. "
        f"Received: {', '.join(late)}, trainable since"
    )


def _held_norms(wrappers: Sequence[PruningWrapper]) -> list[str]:
    """Returns a warning where a constraint restores the norms that the decay reduces, else nothing."""
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
        "shrink, and the final pruning step removes it at full size. Use MaxNorm, batch normalization or no constraint "
        "there. "
        f"Received: {', '.join(found)}"
    ]
