"""Extra pass over the training data for gradients alone, with fixed weights and layers in inference mode."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import keras
from tfmot_swd.pgp.pool import ScorePool


class ExtraPass:
    """Computes the gradient of the loss on every batch, for the hooks of the wrappers.

    Args:
      model: the compiled model; its weights, metrics and optimizer state do not change.
      pool: of its wrappers.
      loss: batch → loss; None for `model.compute_loss` of (x, y).
    """

    def __init__(self, model: Any, pool: ScorePool, loss: Callable[[Any], Any] | None = None) -> None:
        self._model = model
        self._pool = pool
        self._loss = loss or self._computed_loss
        self._step = tf.function(self._distributed_step, reduce_retracing=True)

    def over(self, data: tf.data.Dataset, steps: int | None) -> None:
        """Passes over `data`; over its first `steps` batches if its length is infinite or unknown.

        Raises:
          ValueError: the data has no end and `steps` is not known.
        """
        is_endless = data.cardinality() == tf.data.INFINITE_CARDINALITY
        # A generator may be infinite without saying so.
        is_bounded = is_endless or data.cardinality() == tf.data.UNKNOWN_CARDINALITY
        if steps is None and is_endless:
            raise ValueError(
                "A pass over infinite training data needs a number of steps: give fit steps_per_epoch. "
                "Received: an infinite training_data and no steps_per_epoch"
            )
        strategy, pool = self._pool.strategy, self._pool
        whole = data if strategy.num_replicas_in_sync == 1 else strategy.experimental_distribute_dataset(data)
        # compute_loss updates the metrics, which still report on the present epoch.
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
    """Raises unless an extra pass over `data` can compute the loss of `model`.

    Args:
      model: a compiled model.
      data: a `tf.data.Dataset` of batches.
      loss: batch → loss; None for that of the model.

    Raises:
      ValueError: there is no data or no loss, or a custom training step may have another loss.
      TypeError: `data` is not a dataset.
    """
    if data is None:
        raise ValueError(
            "This criterion passes over the training data once more after each epoch, and a callback cannot get it "
            "from fit: pass UpdatePruningStep(training_data=dataset), or choose 'rpgp', which needs no such pass. "
            "Received: training_data=None"
        )
    if not isinstance(data, tf.data.Dataset):
        raise TypeError(f"training_data must be a tf.data.Dataset of batches. Received: {type(data).__name__}")
    own_loss = type(model).compute_loss is not keras.Model.compute_loss
    if loss is not None or own_loss:
        return
    if type(model).train_step is not keras.Model.train_step:
        raise ValueError(
            "This criterion takes gradients of the loss in an extra pass, and the custom training step of this model "
            "may have another loss than model.compile: pass UpdatePruningStep(training_loss=function of a batch), or "
            "give the class a compute_loss method; or choose 'rpgp', which sees the gradients of the training "
            f"step. Received: {model.name!r} of class {type(model).__name__} without a loss of a batch"
        )
    compiled = getattr(model, "compiled_loss", None)
    if getattr(compiled, "_user_losses", None) is None:
        raise ValueError(
            "This criterion takes gradients of model.compute_loss in an extra pass: give model.compile the loss, "
            "or the model's class a compute_loss method; or choose 'rpgp', which sees the gradients of the "
            f"training step. Received: {model.name!r} without a loss"
        )
