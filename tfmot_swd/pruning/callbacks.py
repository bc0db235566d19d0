"""Keras callback of pruned trainings, of any method."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfmot_swd.keras2 import compat as _compat
from tfmot_swd.pruning.backup import Resumed, TrainingBackup
from tfmot_swd.pruning.idle_run import IdleRun
from tfmot_swd.pruning.methods import method_of
from tfmot_swd.pruning.run import PruningRun, RunOptions
from tfmot_swd.pruning.schedule_end import set_end
from tfmot_swd.pruning.wrapped_models import NothingTrainedError, collect_wrappers, find_wrapped
from tfmot_swd.pruning.wrapper import PruningWrapper


class UpdatePruningStep(_compat.UpdatePruningStep):
    """Joins a wrapped model to its training: the optimizer is its clock, and its numbers go to the logs.

    With Selective Weight Decay it checks the run ahead (see `DecayStrength.forecast`) and warns when the decay will
    diverge, the cut will show or a layer will lose all its weights; and again at nine tenths of the schedule, where
    gradients hold weights that are to be removed at a size that matters. The cut is made right after the update
    `end_step`, inside the batch, so that checkpoints and validation of that epoch see the pruned model wherever this
    callback stands in the list. Epoch logs gain target_sparsity, targeted_share, targeted_kernel_share (of all kernel
    weights of the model, those too that the rate does not count), threshold and the strength; of whole channels what is
    left of each cost that is limited (parameters_left and so on), channels_left, threshold and the strength.

    With Progressive Gradient Pruning it ranks, removes and silences filters at the end of each epoch: after its last
    batch, so that validation and checkpoints see the smaller model; after validation in a first epoch whose length
    Keras does not know. Epoch logs gain channels, parameters and soft_channels.

    A model that has become smaller no longer takes earlier weights: `EarlyStopping(restore_best_weights=True)` fails
    with Progressive Gradient Pruning; use `backup_dir`, or `ModelCheckpoint` of whole models.

    In a custom training loop call `set_model(model)` and `on_train_begin()` before it, and
    `on_epoch_end(epoch)` after each epoch, as with TFMOT's; `model.optimizer` must be the optimizer, or `optimizer`
    name it, and the loss must include `sum(model.losses)`, where the coupled penalty is. After an epoch that removed
    filters (`callback.history[-1].removed`) go on with `model.optimizer`, and with a new `tf.function` of your step.

    Args:
      validation_data: (x, y), (x, y, sample_weight) or a dataset: the model is evaluated on it just before and
        just after the cut of Selective Weight Decay; the numbers are in `cut_report`.
      training_data: the dataset of the fit, for criteria that pass over it once more after each epoch ("pgp").
      training_loss: batch of `training_data` → the whole loss, of the model called with training=False, for the same
        criteria where the model has a training step of its own; by default `model.compute_loss` of (x, y).
      update_freq: "epoch", or a number of batches: how often a status joins `history`. Progressive Gradient Pruning
        has one an epoch.
      learning_rate: update → learning rate, for the check of the run ahead where a callback decides it.
      optimizer: the optimizer that trains the wrapped layers, where it is not `model.optimizer`: that of the generator
        of a generative adversarial network for example. Its updates are the clock of the pruning. With Progressive
        Gradient Pruning it must be an attribute of the model, which gets a new optimizer there when filters leave: have
        the training step read `self.generator_optimizer` each time.
      partial_fit: this fit is one of several, so it may end before the schedule does; it may also be one in which all
        that is wrapped is frozen.
      backup_dir: directory for a backup of the training after each epoch. A fit that finds one there goes on behind
        it, in the architecture that was reached, as if it had not been interrupted, if the data of an epoch do not
        depend on earlier ones; write the script as for a first start. It is removed when fit has come to its end. The
        states of other callbacks are not in it, and dropout draws from a new stream. One training at a time can have
        it; settings of the model or optimizer that are not those of the start are told by a `PruningWarning`.

    Attributes:
      cut_report: a `CutReport`, once the cut of Selective Weight Decay has been made in this training. Where the
        training step has made it, in graph, as within several steps of one call, `before` is None, and `after` is of
        the end of that call.
      history: a `PruningStatus`, `StructuredStatus` or `ProgressiveStatus` of each epoch, or of every so many batches.

    Raises:
      TypeError: `learning_rate` or `training_loss` is no function, `optimizer` no optimizer, `backup_dir` no path.
      ValueError: `validation_data` are none of the above, or have no end; the model is not wrapped, has no optimizer,
        holds NaN, or the fit is shorter than the schedule; another optimizer trains the wrapped layers; all of them
        were frozen for the whole of a schedule; layers were frozen or unfrozen since the training step was traced; the
        backup is damaged, or of another training.
      OSError: nothing can be written into `backup_dir`, or a backup does not fit on the disk.
      RuntimeError: another process that is running keeps its backup in `backup_dir`.

    >>> import tf_keras as keras
    >>> class Adversarial(keras.Model):
    ...     def compile(self, generator_optimizer, discriminator_optimizer):
    ...         super().compile(discriminator_optimizer)
    ...         self.generator_optimizer = generator_optimizer
    >>> model = Adversarial()
    >>> model.compile(keras.optimizers.Adam(), keras.optimizers.Adam())
    >>> callback = UpdatePruningStep(optimizer=model.generator_optimizer)
    """

    def __init__(
        self,
        validation_data: Any = None,
        *,
        training_data: Any = None,
        training_loss: Callable[[Any], Any] | None = None,
        update_freq: str | int = "epoch",
        learning_rate: Callable[[int], float] | None = None,
        optimizer: Any = None,
        partial_fit: bool = False,
        backup_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        if backup_dir is not None and not isinstance(backup_dir, str | os.PathLike):
            raise TypeError(f"backup_dir must be the path of a directory. Received: {backup_dir!r}")
        self._backup = None if backup_dir is None else TrainingBackup(Path(backup_dir))
        self._finished_epochs = self._saved_epochs = 0
        self._options = RunOptions(
            validation_data, training_data, update_freq, learning_rate, partial_fit, training_loss, optimizer
        )
        self._run: PruningRun | None = None

    @property
    def prunable_layers(self) -> list[PruningWrapper]:
        """The wrappers that are pruned, where TFMOT's tools look for them; others once filters have left."""
        return [] if self._run is None else self._run.wrappers

    @prunable_layers.setter
    def prunable_layers(self, layers: list[PruningWrapper]) -> None:
        # TFMOT's own callback begins with none. Kept here, they would keep the larger model alive.
        pass

    @property
    def cut_report(self) -> Any:
        return getattr(self._run, "cut_report", None)

    @property
    def history(self) -> list[Any]:
        return [] if self._run is None else self._run.history

    @property
    def _begun(self) -> PruningRun:
        if self._run is None:
            raise RuntimeError(
                "UpdatePruningStep.on_train_begin comes first: call it before a custom training loop. "
                "Received: a callback that has not begun."
            )
        return self._run

    def on_train_begin(self, logs: Any = None) -> None:
        method = method_of(self.model)
        foreign = find_wrapped(self.model) if method is None else []
        if foreign:
            raise ValueError(
                "This model is wrapped by TFMOT's own prune_low_magnitude, which trains with "
                "tfmot.sparsity.keras.UpdatePruningStep; for a schedule of this package wrap the model as it was with "
                "tfmot_swd.prune_selective_decay or tfmot_swd.prune_progressive_gradient. "
                f"Received: {len(foreign)} such layers ({', '.join(foreign[:5])})"
            )
        if method is None:
            raise ValueError(
                "The model has no wrapped layers: make it with tfmot_swd.prune_selective_decay or "
                "tfmot_swd.prune_progressive_gradient first. "
                f"Received: {getattr(self.model, 'name', self.model)!r}"
            )
        params = getattr(self, "params", None) or {}
        set_end(self.model, params.get("steps"))
        self._finished_epochs = self._saved_epochs = 0
        if self._backup is not None:
            self._finished_epochs = self._saved_epochs = self._backup.begin(self.model)
            # Keras's fit asks there where to begin.
            _compat.set_training_state(self.model, Resumed(self._finished_epochs))
        try:
            self._run = method.run(self.model, self._options, params)
        except NothingTrainedError:
            if not self._options.partial_fit:
                raise
            self._run = IdleRun(self.model, self._options, params, collect_wrappers(self.model, method.wrapper))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        # Only now have all callbacks done at the epoch's end what they do, to the learning rate for example.
        self._save()
        if self._run is not None:
            self._run.on_epoch_begin(epoch)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._begun.check_trace()
        self._begun.on_batch_end(batch)

    def on_test_begin(self, logs: Any = None) -> None:
        if self._run is not None:
            self._run.on_test_begin()

    def on_epoch_end(
        self, epoch: int | None = None, logs: dict[str, Any] | None = None, *, batch: int | None = None
    ) -> None:
        """Ends an epoch.

        Args:
          epoch: its number, from 0. None or below 0, as in TFMOT's guide to custom training loops: the next one.
          logs: of the epoch; gains the numbers of the pruning.
          batch: `epoch`, under the name that it has there.
        """
        epoch = batch if epoch is None else epoch
        if epoch is None or epoch < 0:
            epoch = self._finished_epochs
        self._begun.check_trace()
        self._begun.on_epoch_end(epoch, logs)
        self._finished_epochs = epoch + 1
        if not getattr(self, "params", None):
            # A custom loop need not say that an epoch begins.
            self._save()

    def on_train_end(self, logs: Any = None) -> None:
        self._begun.check_trace()
        self._begun.on_train_end()
        if self._backup is not None:
            _compat.set_training_state(self.model, None)
            self._backup.delete()

    def _save(self) -> None:
        if self._backup is not None and self._finished_epochs > self._saved_epochs:
            self._backup.save(self.model, self._finished_epochs)
            self._saved_epochs = self._finished_epochs
