"""What a pruning method does in the course of one training: the part of a method that the callback drives."""

from __future__ import annotations

import abc
import dataclasses
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import tensorflow as tf

from tfmot_swd._compat import keras, master_variable
from tfmot_swd.channels.walk import nodes_of
from tfmot_swd.layer_weights import elements, kernels_of
from tfmot_swd.pruning_warning import PruningWarning
from tfmot_swd.pruning_wrapper import PruningWrapper, wrapped_graphs

# What Keras evaluates on beside arrays and datasets, and more than once; a generator is at its end after the first.
_REPEATABLE = keras.utils.Sequence | tf.distribute.DistributedDataset | keras.utils.experimental.DatasetCreator


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """What the user has told `UpdatePruningStep`; see there."""

    validation_data: Any = None
    training_data: Any = None
    update_freq: str | int = "epoch"
    learning_rate: Callable[[int], float] | None = None
    partial_fit: bool = False
    training_loss: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        check_update_freq(self.update_freq)
        _check_validation_data(self.validation_data)
        _check_function("learning_rate", self.learning_rate, "of an update that returns the learning rate")
        _check_function("training_loss", self.training_loss, "of a batch that returns the loss")


class PruningRun(abc.ABC):
    """One training of a wrapped model by one method.

    Args:
      model: the model that is being trained; it or models inside it are wrapped.
      options: of the callback.
      params: Keras's `params` of the fit; empty in a custom loop.

    Attributes:
      history: a status of each epoch, or of every so many batches.
    """

    wrapper_class: ClassVar[type[PruningWrapper]]

    def __init__(self, model: Any, options: RunOptions, params: dict[str, Any]) -> None:
        if getattr(model, "optimizer", None) is None:
            raise ValueError(
                "The model has no optimizer: call model.compile, or set model.optimizer = optimizer "
                "before on_train_begin in a custom training loop. Received: optimizer=None"
            )
        if getattr(model, "jit_compile", None):
            raise ValueError(
                "What pruning does inside a training step cannot be compiled by XLA as a whole: "
                "compile the model without jit_compile. Received: jit_compile=True"
            )
        mark_pinned(model)
        self.model = model
        self.options = options
        self.params = params
        self.history: list[Any] = []

    @property
    @abc.abstractmethod
    def wrappers(self) -> list[PruningWrapper]:
        """The wrappers that are pruned."""

    @abc.abstractmethod
    def scalars(self) -> tuple[int, dict[str, float]]:
        """Returns the step, and the numbers of the present state for TensorBoard."""

    @abc.abstractmethod
    def on_batch_end(self, batch: int) -> None:
        """Called after each training batch, or after the last of those that ran in one call."""

    @abc.abstractmethod
    def on_test_begin(self) -> None:
        """Called before fit validates."""

    @abc.abstractmethod
    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None) -> None:
        """Called after each epoch, validation included."""

    @abc.abstractmethod
    def on_train_end(self) -> None:
        """Called after the last epoch."""


def warn_of_frozen(model: Any, wrappers: Sequence[PruningWrapper]) -> None:
    """Warns, when a model is pruned for good, of the wrapped layers that are frozen and so stay whole."""
    frozen: dict[str, int] = {}
    for wrapper in wrappers:
        trained = {id(master_variable(each)) for each in wrapper.layer.trainable_weights}
        whole = elements(each for each in kernels_of(wrapper) if id(each) not in trained)
        if whole:
            frozen[wrapper.layer.name] = whole
    if frozen:
        size, kernels = sum(frozen.values()), elements(kernels_of(model))
        warnings.warn(
            "Layers that are wrapped for pruning are frozen at the final pruning step, so they stay whole. To prune "
            "them too, set layer.trainable = True, compile and fit before the schedule ends; to leave them whole on "
            f"purpose, name them in skip. Received: {', '.join(frozen)}, {size:,} of {kernels:,} kernel weights "
            f"({size / kernels:.2%})",
            PruningWarning,
            stacklevel=4,
        )


def mark_pinned(model: Any) -> None:
    """Tells the wrappers of a model which of them stand in a part that it calls with training=False for good."""
    for graph in wrapped_graphs(model):
        for node in nodes_of(graph):
            if node.call_kwargs.get("training") is False:
                inside = [node.layer] if isinstance(node.layer, PruningWrapper) else node.layer.submodules
                for each in inside:
                    if isinstance(each, PruningWrapper):
                        each._pinned = True
            elif isinstance(node.layer, keras.Model):
                mark_pinned(node.layer)


def check_update_freq(update_freq: str | int) -> None:
    if update_freq != "epoch" and (not isinstance(update_freq, int) or update_freq < 1):
        raise ValueError(f"update_freq must be 'epoch' or a number of batches. Received: {update_freq!r}")


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
