"""Keras callback that runs a pruning method in a training."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfmot_swd.io.deprecation import renamed_attribute
from tfmot_swd.keras2 import compat as _compat
from tfmot_swd.keras2.gradients import forget_gradients_of_training
from tfmot_swd.keras3.datasets import readable
from tfmot_swd.keras3.training_objects import training_object
from tfmot_swd.pruning.backup import Resumed, TrainingBackup
from tfmot_swd.pruning.idle_run import IdleRun
from tfmot_swd.pruning.methods import method_of
from tfmot_swd.pruning.run import PruningRun, RunOptions
from tfmot_swd.pruning.schedules import set_end
from tfmot_swd.pruning.wrapped_models import (
    NothingTrainedError,
    check_trains_in_tf_keras,
    collect_wrappers,
    find_wrapped,
)
from tfmot_swd.pruning.wrapper import PruningWrapper


class UpdatePruningStep(_compat.UpdatePruningStep):
    """Runs the pruning method of a wrapped model in its training, with the optimizer's updates as steps.

    Pass it to `fit`, whatever the method; a training without it raises.

    With Selective Weight Decay it checks the run ahead (see `DecayStrength.forecast`) and warns if the decay will
    diverge, pruning will change the outputs, or a layer will lose all its weights; and again at nine tenths of the
    schedule, if gradients keep weights to be removed at a size that matters. The final pruning step is made right after
    the update `end_step`, inside the batch, so that checkpoints and validation of that epoch see the pruned model
    wherever this callback is in the list. Epoch logs gain target_sparsity, targeted_share, targeted_kernel_share (of
    all kernel weights of the model, prunable or not), threshold and the strength; with whole channels the rest of each
    limited cost (parameters_left and so on), channels_left, threshold and the strength.

    With Progressive Gradient Pruning it ranks, removes and soft-prunes filters at the end of each epoch: after its last
    batch, so that validation and checkpoints see the smaller model; after validation in a first epoch of unknown
    length. Epoch logs gain channels, parameters and soft_channels.

    A model that has lost filters does not take earlier weights: `EarlyStopping(restore_best_weights=True)` fails with
    Progressive Gradient Pruning; use `backup_dir`, or `ModelCheckpoint` of whole models.

    In a custom training loop call `set_model(model)` and `on_train_begin()` before it, and
    `on_epoch_end(epoch)` after each epoch, as with TFMOT's callback. `model.optimizer` must be the optimizer, or
    `optimizer` name it, and the loss must include `sum(model.losses)`, which has the coupled penalty. After an epoch
    that removed filters (`callback.history[-1].removed`) continue with `model.optimizer` and a new `tf.function` of the
    training step.

    Args:
      validation_data: (x, y), (x, y, sample_weight) or a dataset: the model is evaluated on it just before and
        just after the final pruning step of Selective Weight Decay; the metrics are in `final_step`.
      training_data: the dataset of the fit, for criteria with an extra pass after each epoch ("pgp").
      training_loss: batch of `training_data` → the whole loss of the model, called with training=False, for the same
        criteria if the model has a custom training step; by default `model.compute_loss` of (x, y).
      update_freq: "epoch", or a number of batches between two statuses in `history`. Progressive Gradient Pruning
        has one status an epoch.
      learning_rate: update → learning rate, for the check of the run ahead if a callback sets it.
      optimizer: the optimizer that trains the wrapped layers, if it is not `model.optimizer`: that of the generator of
        a generative adversarial network, for example. The schedule counts its updates. With Progressive Gradient
        Pruning it must be an attribute of the model, which is replaced when filters are removed: have the training step
        read `self.generator_optimizer` each time.
      partial_fit: whether this fit is one of several, so that it may end before the schedule does, or train with all
        wrapped layers frozen.
      backup_dir: directory for a backup of the training after each epoch. A fit that finds one there resumes after that
        epoch, in the architecture reached, as if it had not been interrupted, if the data of an epoch do not depend on
        earlier ones; the script is the same as for a first start. The backup is removed at the end of fit. It does not
        include the states of other callbacks, and dropout draws other random numbers. One training at a time can use
        the directory; a `PruningWarning` names settings of the model or optimizer that have changed.

    Attributes:
      final_step: a `FinalStepReport`, once the final pruning step of Selective Weight Decay has been made in this
        training; else None. If the step was made in graph, as within several steps of one call, `before` is None and
        `after` is measured at the end of that call.
      history: a `PruningStatus`, `StructuredStatus` or `ProgressiveStatus` of each epoch, or of every so many batches.

    Raises:
      TypeError: `learning_rate` or `training_loss` is not a function, `optimizer` not an optimizer, or `backup_dir` not
        a path; the model that is fitted is of Keras 3.
      ValueError: `validation_data` has another form, or is infinite; the model is not wrapped, has no optimizer, holds
        NaN, or the fit is shorter than the schedule; another optimizer trains the wrapped layers; all of them were
        frozen for the whole of a schedule; layers were frozen or unfrozen since the training step was traced; the
        backup is damaged, or of another training.
      OSError: `backup_dir` cannot be written to, or a backup does not fit on the disk.
      RuntimeError: another running process has its backup in `backup_dir`.

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
            readable(validation_data),
            readable(training_data),
            update_freq,
            learning_rate,
            partial_fit,
            training_loss,
            # The same one as where the Keras 3 optimizer was given to `compile` or to `training_object`.
            training_object(optimizer),
        )
        self._run: PruningRun | None = None

    @property
    def prunable_layers(self) -> list[PruningWrapper]:
        """The wrappers that take part, under TFMOT's name; other objects once filters have been removed."""
        return [] if self._run is None else self._run.wrappers

    @prunable_layers.setter
    def prunable_layers(self, layers: list[PruningWrapper]) -> None:
        # TFMOT's callback sets an empty list. Wrappers kept here would keep the larger model alive.
        pass

    @property
    def final_step(self) -> Any:
        return getattr(self._run, "final_step", None)

    cut_report = renamed_attribute("final_step")

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

    def set_model(self, model: Any) -> None:
        check_trains_in_tf_keras(model, self)
        super().set_model(model)

    def on_train_begin(self, logs: Any = None) -> None:
        method = method_of(self.model)
        foreign = find_wrapped(self.model) if method is None else []
        if foreign:
            raise ValueError(
                "This model is wrapped by TFMOT's prune_low_magnitude, which trains with "
                "tfmot.sparsity.keras.UpdatePruningStep; for this callback wrap the original model with "
                "tfmot_swd.prune_selective_decay or tfmot_swd.prune_progressive_gradient. "
                f"Received: {len(foreign)} such layers ({', '.join(foreign[:5])})"
            )
        if method is None:
            raise ValueError(
                "The model has no wrapped layers: wrap it with tfmot_swd.prune_selective_decay or "
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
        # Saved here, after all callbacks have ended the epoch and changed the learning rate, for example.
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
          logs: of the epoch; gains the values of the present status.
          batch: `epoch`, under the name of TFMOT's guide.
        """
        epoch = batch if epoch is None else epoch
        if epoch is None or epoch < 0:
            epoch = self._finished_epochs
        self._begun.check_trace()
        self._begun.on_epoch_end(epoch, logs)
        self._finished_epochs = epoch + 1
        if not getattr(self, "params", None):
            # A custom loop may not call on_epoch_begin.
            self._save()

    def on_train_end(self, logs: Any = None) -> None:
        self._begun.check_trace()
        self._begun.on_train_end()
        forget_gradients_of_training(self.model)
        if self._backup is not None:
            _compat.set_training_state(self.model, None)
            self._backup.delete()

    def _save(self) -> None:
        if self._backup is not None and self._finished_epochs > self._saved_epochs:
            self._backup.save(self.model, self._finished_epochs)
            self._saved_epochs = self._finished_epochs
