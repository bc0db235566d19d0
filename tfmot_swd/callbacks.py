"""The Keras callbacks of a pruned training: the clock's link to the optimizer, the cut, summaries."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd import _compat
from tfmot_swd._compat import keras
from tfmot_swd.monitor import CutReport, Monitor, PruningStatus, status_logs
from tfmot_swd.weight_pool import WeightPool
from tfmot_swd.wrappers import collect_wrappers


class PruningWarning(UserWarning):
    """A pruned training that will diverge, will end with a visible cut, or ended without one."""


class UpdatePruningStep(_compat.UpdatePruningStep):
    """Joins a wrapped model to its optimizer, makes the final cut, and adds its numbers to the logs.

    Before training it checks the run ahead (see `DecayStrength.forecast`) and warns when the decay
    will diverge or the cut will show. The cut is made right after the update `end_step`, inside the
    batch, so that checkpoints and validation of that epoch see the pruned model wherever this callback
    stands in the list. Epoch logs gain target_sparsity, targeted_share, threshold and the strength.

    In a custom training loop call `set_model(model)` and `on_train_begin()` before it, and
    `on_epoch_end(epoch)` after each epoch, as with TFMOT's; `model.optimizer` must be the optimizer, and the
    loss must include `sum(model.losses)`, where the coupled penalty is.

    Args:
      validation_data: (x, y), (x, y, sample_weight) or a dataset: the model is evaluated on it just before and
        just after the cut; the numbers are in `cut_report`.
      update_freq: "epoch", or a number of batches: how often a `PruningStatus` joins `history`.
      learning_rate: update → learning rate, for the check of the run ahead where a callback decides it.
      partial_fit: this fit is one of several, so it may end before `end_step`.

    Attributes:
      cut_report: a `CutReport`, once the cut has been made by this callback.
      history: the `PruningStatus` of each epoch, or of every so many batches.

    Raises:
      ValueError: the model is not wrapped, has no optimizer, holds NaN, or the fit is shorter than
        the schedule.
    """

    def __init__(
        self,
        validation_data: Any = None,
        *,
        update_freq: str | int = "epoch",
        learning_rate: Callable[[int], float] | None = None,
        partial_fit: bool = False,
    ) -> None:
        super().__init__()
        _check_update_freq(update_freq)
        _check_validation_data(validation_data)
        self.cut_report: CutReport | None = None
        self.history: list[PruningStatus] = []
        self._validation_data = validation_data
        self._update_freq = update_freq
        self._learning_rate = learning_rate
        self._partial_fit = partial_fit
        self._batches = 0
        self._pool: WeightPool | None = None
        self._monitor: Monitor | None = None

    @property
    def _linked(self) -> tuple[WeightPool, Monitor]:
        if self._pool is None or self._monitor is None:
            raise RuntimeError(
                "UpdatePruningStep.on_train_begin comes first: call it before a custom training loop. "
                "Received: a callback that has not begun."
            )
        return self._pool, self._monitor

    def on_train_begin(self, logs: Any = None) -> None:
        pool = WeightPool.of(self.model)
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is None:
            raise ValueError(
                "The model has no optimizer: call model.compile, or set model.optimizer = optimizer "
                "before on_train_begin in a custom training loop. Received: optimizer=None"
            )
        if getattr(self.model, "jit_compile", None):
            raise ValueError(
                "The clock and the threshold of Selective Weight Decay cannot be compiled by XLA as a whole: "
                "compile the model without jit_compile. Received: jit_compile=True"
            )
        self._check_length(pool)
        pool.join(optimizer)
        if not pool.is_cut:
            for problem in pool.strength.forecast(self._learning_rate).problems():
                warnings.warn(problem, PruningWarning, stacklevel=2)
        self.prunable_layers = list(pool.wrappers)
        self._pool, self._monitor = pool, Monitor(pool)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._cut_if_due()
        self._batches += 1
        if self._update_freq != "epoch" and self._batches % int(self._update_freq) == 0:
            _, monitor = self._linked
            self.history.append(monitor.status())

    def on_test_begin(self, logs: Any = None) -> None:
        # Fit validates before it calls on_epoch_end; after the cut that must be the pruned model.
        if self._pool is not None and self._pool.is_cut:
            self._pool.apply_masks()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        pool, monitor = self._linked
        self._cut_if_due()
        if pool.is_cut:
            pool.apply_masks()
        status = monitor.status()
        if not status.is_finite:
            raise ValueError(
                "The weights have become NaN or infinite, so they cannot be ranked: lower the learning "
                f"rate or clip gradients. Received: NaN or infinity at step {status.step}, "
                f"threshold {status.threshold}"
            )
        if self._update_freq == "epoch":
            self.history.append(status)
        if logs is not None:
            logs.update(status_logs(status))

    def on_train_end(self, logs: Any = None) -> None:
        pool, _ = self._linked
        self._cut_if_due()
        if pool.is_cut:
            pool.apply_masks()
        elif not self._partial_fit:
            warnings.warn(
                f"Training ended after {pool.step} of {pool.schedule.end_step} updates, before the "
                "final cut: the model is NOT pruned. Train on, or call tfmot_swd.cut_now(model).",
                PruningWarning,
                stacklevel=2,
            )
        pool.leave()

    def _cut_if_due(self) -> None:
        pool, monitor = self._linked
        if pool.step < pool.schedule.end_step or pool.is_cut:
            return
        if not pool.strength.coupled:
            # The decay of an update is made before the next one; the last update has no next.
            pool.decay()
        before = self._evaluate()
        report = monitor.cut()
        self.cut_report = dataclasses.replace(report, before=before, after=self._evaluate())

    def _evaluate(self) -> dict[str, float] | None:
        if self._validation_data is None:
            return None
        # evaluate resets the metrics that the running epoch is still adding to.
        states = [(metric, metric.get_weights()) for metric in self.model.metrics]
        data = self._validation_data
        named = dict(zip(("x", "y", "sample_weight"), data if isinstance(data, tuple) else (data,), strict=False))
        batch_size = 512 if isinstance(named["x"], np.ndarray) else None
        results = self.model.evaluate(**named, batch_size=batch_size, verbose=0, return_dict=True)
        for metric, state in states:
            metric.set_weights(state)
        return {name: float(value) for name, value in results.items()}

    def _check_length(self, pool: WeightPool) -> None:
        # A custom loop sets no params.
        params = getattr(self, "params", None) or {}
        steps, epochs = params.get("steps"), params.get("epochs")
        if self._partial_fit or not steps or not epochs:
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


class PruningSummaries(keras.callbacks.Callback):
    """Writes the state of Selective Weight Decay for TensorBoard.

    Scalars: strength (a, or shrink X), threshold, target and targeted share, how many weights entered
    and left the targeted set, the penalty, and the sparsity of each layer. Use it beside
    `UpdatePruningStep`, in any order.

    Args:
      log_dir: directory of the event files.
      update_freq: "epoch", or a number of batches.

    Raises:
      ImportError: the tensorboard package is missing.
      ValueError: an argument is malformed, or the model is not being pruned.
    """

    def __init__(self, log_dir: str, update_freq: str | int = "epoch") -> None:
        super().__init__()
        if not log_dir:
            raise ValueError(f"log_dir must be a directory name. Received: {log_dir!r}")
        _check_update_freq(update_freq)
        try:
            import tensorboard  # noqa: F401
        except ImportError as error:
            raise ImportError(
                "TensorBoard summaries need the tensorboard package, which TensorFlow no longer "
                "installs: pip install 'tfmot_swd[tensorboard]'. Received: no module tensorboard"
            ) from error
        self._log_dir = log_dir
        self._update_freq = update_freq
        self._writer: Any = None
        self._monitor: Monitor | None = None
        self._batches = 0

    def on_train_begin(self, logs: Any = None) -> None:
        self._writer = tf.summary.create_file_writer(self._log_dir)
        self._monitor = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._batches += 1
        if self._update_freq != "epoch" and self._batches % int(self._update_freq) == 0:
            self._write()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._update_freq == "epoch":
            self._write()

    def on_train_end(self, logs: Any = None) -> None:
        self._writer.close()

    def _write(self) -> None:
        if self._monitor is None:
            wrappers = collect_wrappers(self.model)
            pool = next((found._pool for found in wrappers if found._pool is not None), None)
            if pool is None:
                raise ValueError(
                    "PruningSummaries needs UpdatePruningStep beside it in callbacks, and a model made "
                    f"by prune_selective_decay. Received: {len(wrappers)} wrapped layers, none linked"
                )
            self._monitor = Monitor(pool)
        status = self._monitor.status()
        scalars: dict[str, float | None] = {
            "a": status.a,
            "shrink": status.shrink,
            "threshold": status.threshold,
            "target_sparsity": status.target_sparsity,
            "targeted_share": status.targeted_share,
            "entered": status.entered,
            "left": status.left,
            "penalty": status.penalty,
        }
        scalars |= {f"sparsity/{name}": share for name, share in status.sparsity.items()}
        with self._writer.as_default():
            for name, value in scalars.items():
                if value is not None:
                    tf.summary.scalar(f"selective_decay/{name}", value, step=status.step)
        self._writer.flush()


def _check_update_freq(update_freq: str | int) -> None:
    if update_freq != "epoch" and (not isinstance(update_freq, int) or update_freq < 1):
        raise ValueError(f"update_freq must be 'epoch' or a number of batches. Received: {update_freq!r}")


def _check_validation_data(data: Any) -> None:
    if isinstance(data, tuple) and len(data) not in (2, 3):
        received = f"a tuple of {len(data)}"
    elif isinstance(data, list | dict | np.ndarray):
        received = type(data).__name__
    else:
        return
    raise ValueError(
        f"validation_data must be (x, y), (x, y, sample_weight) or a dataset of such batches. Received: {received}"
    )
