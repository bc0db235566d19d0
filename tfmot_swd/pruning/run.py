"""Training run: the part of a pruning method that the callback drives."""

from __future__ import annotations

import abc
import dataclasses
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import tensorflow as tf

from tfmot_swd.keras2.compat import keras, retrace_training_step
from tfmot_swd.keras2.graph import calls_of
from tfmot_swd.keras2.layer_weights import elements, kernels_of
from tfmot_swd.keras2.optimizers import KINDS, iterations, loss_scale, main_optimizer
from tfmot_swd.keras2.validation import PruningWarning
from tfmot_swd.keras3.door import is_keras3
from tfmot_swd.pruning.update_clock import OptimizerCheck
from tfmot_swd.pruning.wrapped_models import IN_THE_WRAPPED_MODEL, collect_wrappers, wrapped_graphs
from tfmot_swd.pruning.wrapper import PruningWrapper

# A dynamic loss scale finds its size by a few skipped updates at the start; more than these are worth a warning.
_FEW_SKIPPED = 3
_SMALL_SHARE_SKIPPED = 0.1

# What Keras evaluates on beside arrays and datasets, and more than once; a generator is at its end after the first.
_REPEATABLE = keras.utils.Sequence | tf.distribute.DistributedDataset | keras.utils.experimental.DatasetCreator


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Checked arguments of `UpdatePruningStep`; see there."""

    validation_data: Any = None
    training_data: Any = None
    update_freq: str | int = "epoch"
    learning_rate: Callable[[int], float] | None = None
    partial_fit: bool = False
    training_loss: Callable[[Any], Any] | None = None
    optimizer: Any = None

    def __post_init__(self) -> None:
        _check_optimizer(self.optimizer)
        check_update_freq(self.update_freq)
        _check_validation_data(self.validation_data)
        _check_function("learning_rate", self.learning_rate, "of an update that returns the learning rate")
        _check_function("training_loss", self.training_loss, "of a batch that returns the loss")


class PruningRun(abc.ABC):
    """Base of the runs of pruning methods: one training of a wrapped model.

    Args:
      model: the model in training; it or models inside it are wrapped.
      options: of the callback.
      params: Keras's `params` of the fit; empty in a custom loop.

    Attributes:
      history: a status of each epoch, or of every so many batches.
      optimizer: trains the wrapped layers; its updates are counted.

    Raises:
      ValueError: the model has no optimizer, or its wrapped layers are trained by another optimizer.
    """

    wrapper_class: ClassVar[type[PruningWrapper]]

    def __init__(self, model: Any, options: RunOptions, params: dict[str, Any]) -> None:
        self.optimizer = main_optimizer(model) if options.optimizer is None else options.optimizer
        if self.optimizer is None:
            raise ValueError(
                "The model has no optimizer: call model.compile, or set model.optimizer = optimizer "
                "before on_train_begin in a custom training loop. Received: optimizer=None"
            )
        if is_keras3(self.optimizer):
            raise TypeError(
                "An optimizer of Keras 3 cannot train the variables of a tf_keras model: set model.optimizer = "
                "tfmot_swd.keras3.training_object(optimizer), and apply the gradients with model.optimizer. "
                f"Received: {type(self.optimizer).__name__} of Keras 3"
            )
        mark_pinned(model)
        self.model = model
        self.options = options
        self.params = params
        self.history: list[Any] = []
        self._epoch = self._batches = 0
        self._updates_at_begin = int(iterations(self.optimizer).numpy())
        self._has_warned_of_skipped = False
        self._retrace_where_stale()
        self._watch_optimizer()

    def _link_wrappers(self) -> None:
        """Tells the wrappers that take part that this run trains them, for the callbacks beside it."""
        for wrapper in self.wrappers:
            wrapper.run = self

    def _unlink_wrappers(self) -> None:
        """Tells them that the training is over."""
        for wrapper in self.wrappers:
            wrapper.run = None

    def _retrace_where_stale(self) -> None:
        """Has the training step traced again if its trace counts another optimizer or prunes other weights."""
        found = collect_wrappers(self.model, self.wrapper_class)
        kept = found[0].unsaved
        pruned = {id(each) for each in _trained_weights(found)}
        self._other_weights = getattr(kept, "pruned", pruned) != pruned
        is_stale = self._other_weights or getattr(kept, "clock", self.optimizer) is not self.optimizer
        if is_stale:
            retrace_training_step(self.model)
        if not self._other_weights:
            kept.pruned = pruned
        for wrapper in found:
            wrapper.unsaved.entered = False

    def check_trace(self) -> None:
        """Checks that the training step was traced after layers were last frozen or unfrozen.

        A `tf.function` of a custom loop keeps its trace: it prunes the layers that were trained when it was traced, and
        no others.

        Raises:
          ValueError: updates have been made by a training step that was traced before.
        """
        if not self._other_weights or int(iterations(self.optimizer).numpy()) == self._updates_at_begin:
            return
        found = collect_wrappers(self.model, self.wrapper_class)
        pruned = {id(each) for each in _trained_weights(found)}
        if not any(wrapper.unsaved.entered for wrapper in found):
            raise ValueError(
                "Layers were frozen or unfrozen since this training step was traced, so it still prunes those that "
                "were trained then: after setting layer.trainable compile the model, or make a new tf.function of your "
                "step, with a new optimizer, before on_train_begin. "
                f"Received: a step that was traced for {len(found[0].unsaved.pruned)} pruned weights, and "
                f"{len(pruned)} that are trained now"
            )
        self._other_weights = False
        found[0].unsaved.pruned = pruned

    def _watch_optimizer(self) -> None:
        """Starts the check that the counted optimizer trains the wrapped layers."""
        found = collect_wrappers(self.model, self.wrapper_class)
        found[0].unsaved.clock = self.optimizer
        models = (self.model, *wrapped_graphs(self.model))
        self._optimizer_check = OptimizerCheck(self.optimizer, _trained_weights(found), models)

    @classmethod
    @abc.abstractmethod
    def prune_now(cls, model: Any) -> None:
        """Prunes a wrapped model to its final rate, also in the middle of a training."""

    @property
    @abc.abstractmethod
    def skipped(self) -> int:
        """Number of updates of this training that the optimizer has counted and skipped."""

    @property
    @abc.abstractmethod
    def is_over(self) -> bool:
        """Whether the pruning is finished, so that updates need not be counted any more."""

    @property
    @abc.abstractmethod
    def wrappers(self) -> list[PruningWrapper]:
        """The wrappers that take part in the pruning."""

    @abc.abstractmethod
    def scalars(self) -> tuple[int, dict[str, float]]:
        """Returns (step, scalars of the present status by name) for TensorBoard."""

    def on_epoch_begin(self, epoch: int) -> None:
        """Called before each epoch of a fit."""
        self._epoch = epoch

    def on_batch_end(self, batch: int) -> None:
        """Called after each training batch, or after the last of those that ran in one call."""
        self._batches += 1
        if not self.is_over:
            self._optimizer_check.after_batch()

    def _is_status_due(self) -> bool:
        """Returns whether a status joins `history` after this batch, by `update_freq`."""
        return self.options.update_freq != "epoch" and self._batches % int(self.options.update_freq) == 0

    def _warn_of_skipped(self) -> None:
        """Warns once when many updates are skipped."""
        skipped, counted = self.skipped, int(iterations(self.optimizer).numpy()) - self._updates_at_begin
        if self._has_warned_of_skipped or skipped < _FEW_SKIPPED or skipped <= _SMALL_SHARE_SKIPPED * counted:
            return
        self._has_warned_of_skipped = True
        warnings.warn(
            "Gradients overflow under the loss scale, and the optimizer skips their updates: they train nothing and "
            "do not count as updates of the pruning schedule. Lower the learning rate, clip gradients, give the "
            "LossScaleOptimizer a smaller initial_scale, or train in mixed_bfloat16 or float32. "
            f"Received: {skipped} of {counted} updates skipped, loss scale {float(loss_scale(self.optimizer)):g}",
            PruningWarning,
            stacklevel=5,
        )

    @abc.abstractmethod
    def on_test_begin(self) -> None:
        """Called before fit validates."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None) -> None:
        """Called after each epoch, validation included."""
        if not self.is_over:
            self._optimizer_check.after_epoch()
        self._warn_of_skipped()

    @abc.abstractmethod
    def on_train_end(self) -> None:
        """Called after the last epoch."""


def _trained_weights(wrappers: Sequence[PruningWrapper]) -> list[tf.Variable]:
    """Returns the weights that are pruned and trained, as the model is now."""
    trained = frozenset().union(*(wrapper.trained_ids() for wrapper in wrappers))
    return [weight for wrapper in wrappers for weight in wrapper.prunable_weights if id(weight) in trained]


def warn_of_frozen(model: Any, wrappers: Sequence[PruningWrapper]) -> None:
    """Warns at the final pruning step of wrapped layers that are frozen and so stay dense."""
    frozen: dict[str, int] = {}
    for wrapper in wrappers:
        trained = wrapper.trained_ids()
        whole = elements(each for each in kernels_of(wrapper) if id(each) not in trained)
        if whole:
            frozen[wrapper.layer.name] = whole
    if frozen:
        size, kernels = sum(frozen.values()), elements(kernels_of(model))
        warnings.warn(
            "Layers that are wrapped for pruning are frozen at the final pruning step, so they stay dense. To prune "
            f"them too, set layer.trainable = True {IN_THE_WRAPPED_MODEL}, compile and fit before the schedule ends; "
            "to leave them dense on purpose, name them in skip. "
            f"Received: {', '.join(frozen)}, {size:,} of {kernels:,} kernel weights ({size / kernels:.2%})",
            PruningWarning,
            stacklevel=4,
        )


def mark_pinned(model: Any) -> None:
    """Marks the wrappers inside parts of a model that it always calls with training=False."""
    for graph in wrapped_graphs(model):
        for call in calls_of(graph):
            if call.kwargs.get("training") is False:
                inside = [call.layer] if isinstance(call.layer, PruningWrapper) else call.layer.submodules
                for each in inside:
                    if isinstance(each, PruningWrapper):
                        each.is_pinned = True
            elif isinstance(call.layer, keras.Model):
                mark_pinned(call.layer)


def check_update_freq(update_freq: str | int) -> None:
    if update_freq != "epoch" and (not isinstance(update_freq, int) or update_freq < 1):
        raise ValueError(f"update_freq must be 'epoch' or a number of batches. Received: {update_freq!r}")


def _check_optimizer(optimizer: Any) -> None:
    if optimizer is not None and not isinstance(optimizer, KINDS):
        raise TypeError(
            "optimizer must be the tf_keras optimizer that trains the wrapped layers, as model.generator_optimizer: "
            f"an object, not its name or class. Received: {optimizer!r}"
        )


def _check_function(name: str, given: Any, what: str) -> None:
    if given is not None and not callable(given):
        raise TypeError(f"{name} must be a function {what}. Received: {given!r}")


def _check_validation_data(data: Any) -> None:
    """Raises unless `evaluate` can pass over `data` as often as it is asked to."""
    if isinstance(data, tuple):
        _check_arrays(data)
    elif isinstance(data, tf.data.Dataset):
        if data.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise ValueError(
                "validation_data must have an end: pass dataset.take(batches). "
                "Received: a dataset of infinite cardinality"
            )
    elif not isinstance(data, _REPEATABLE | None):
        raise ValueError(_validation_message(type(data).__name__))


def _check_arrays(data: tuple[Any, ...]) -> None:
    if len(data) not in (2, 3):
        raise ValueError(_validation_message(f"a tuple of {len(data)}"))
    shapes = [each.shape for each in tf.nest.flatten(data) if hasattr(each, "shape")]
    lengths = sorted({int(shape[0]) for shape in shapes if len(shape) and shape[0] is not None})
    if len(lengths) > 1:
        raise ValueError(f"validation_data must have as many samples in each array. Received: lengths {lengths}")


def _validation_message(received: str) -> str:
    return f"validation_data must be (x, y), (x, y, sample_weight) or a dataset of such batches. Received: {received}"
