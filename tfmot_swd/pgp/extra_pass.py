"""A pass over the training data that only looks at gradients: weights stay, dropout and batch norm as in inference."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import keras
from tfmot_swd.pgp.pool import ScorePool


class ExtraPass:
    """Has the wrappers of a model see the gradient of its loss on every batch.

    Args:
      model: the compiled model; no weight, metric or optimizer state of it changes.
      pool: of its wrappers.
      loss: batch → loss; None for `model.compute_loss` of (x, y).
    """

    def __init__(self, model: Any, pool: ScorePool, loss: Callable[[Any], Any] | None = None) -> None:
        self._model = model
        self._pool = pool
        self._loss = loss or self._computed_loss
        self._step = tf.function(self._distributed_step, reduce_retracing=True)

    def over(self, data: tf.data.Dataset, steps: int | None) -> None:
        """Passes over `data`; over its first `steps` batches where it has no end, or none that is known.

        Raises:
          ValueError: the data has no end and `steps` is not known.
        """
        is_endless = data.cardinality() == tf.data.INFINITE_CARDINALITY
        # A generator may go on for ever without saying so.
        is_bounded = is_endless or data.cardinality() == tf.data.UNKNOWN_CARDINALITY
        if steps is None and is_endless:
            raise ValueError(
                "A pass over training data without end needs to know its length: give fit steps_per_epoch. "
                "Received: an infinite training_data and no steps_per_epoch"
            )
        strategy, pool = self._pool.strategy, self._pool
        whole = data if strategy.num_replicas_in_sync == 1 else strategy.experimental_distribute_dataset(data)
        # compute_loss adds to them, and the running epoch is still shown.
        states = [(metric, metric.get_weights()) for metric in self._model.metrics]
        pool.in_extra_pass = True
        try:
            for batch in itertools.islice(whole, steps if is_bounded else None):
                self._step(batch)
        finally:
            pool.in_extra_pass = False
        for metric, state in states:
            metric.set_weights(state)

    def _distributed_step(self, batch: Any) -> None:
        self._pool.strategy.run(self._look, args=(batch,))

    def _look(self, batch: Any) -> None:
        optimizer = self._pool.optimizer
        with tf.GradientTape() as tape:
            loss = self._loss(batch)
            if hasattr(optimizer, "get_scaled_loss"):
                loss = optimizer.get_scaled_loss(loss)
        tape.gradient(loss, [weight for wrapper in self._pool.wrappers for weight in wrapper.prunable_weights])

    def _computed_loss(self, batch: Any) -> tf.Tensor:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        return self._model.compute_loss(x, y, self._model(x, training=False), sample_weight)


def check_can_pass(model: Any, data: Any, loss: Callable[[Any], Any] | None = None) -> None:
    """Raises unless a criterion with a pass of its own can pass over `data` with the loss of `model`.

    Raises:
      ValueError: there is no data, or no loss; or a training step of its own has a loss that only it knows.
      TypeError: the data are no dataset.
    """
    if data is None:
        raise ValueError(
            "This criterion looks at the training data once more after each epoch, and a callback cannot get it from "
            "fit: pass UpdatePruningStep(training_data=dataset), or choose 'rpgp', which needs no such pass. "
            "Received: training_data=None"
        )
    if not isinstance(data, tf.data.Dataset):
        raise TypeError(f"training_data must be a tf.data.Dataset of batches. Received: {type(data).__name__}")
    own_loss = type(model).compute_loss is not keras.Model.compute_loss
    if loss is not None or own_loss:
        return
    if type(model).train_step is not keras.Model.train_step:
        raise ValueError(
            "This criterion takes gradients of the loss in a pass of its own, and a training step of the model's own "
            "may have another loss than model.compile: pass UpdatePruningStep(training_loss=function of a batch), or "
            "give the class a compute_loss method; or choose 'rpgp', which sees the gradients of your own training "
            f"step. Received: {model.name!r} of class {type(model).__name__} without a loss of a batch"
        )
    compiled = getattr(model, "compiled_loss", None)
    if getattr(compiled, "_user_losses", None) is None:
        raise ValueError(
            "This criterion takes gradients of model.compute_loss in a pass of its own: give model.compile the loss, "
            "or the model's class a compute_loss method; or choose 'rpgp', which sees the gradients of your own "
            f"training step. Received: {model.name!r} without a loss"
        )
