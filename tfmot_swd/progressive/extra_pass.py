"""A pass over the training data that only looks at gradients: weights stay, dropout and batch norm as in inference."""

from __future__ import annotations

import itertools
from typing import Any

import tensorflow as tf

from tfmot_swd._compat import keras
from tfmot_swd.progressive.score_pool import ScorePool


class ExtraPass:
    """Has the wrappers of a model see the gradient of its loss, `model.compute_loss`, on every batch.

    Args:
      model: the compiled model; no weight, metric or optimizer state of it changes.
      pool: of its wrappers.
    """

    def __init__(self, model: Any, pool: ScorePool) -> None:
        self._model = model
        self._pool = pool
        self._step = tf.function(self._distributed_step, reduce_retracing=True)

    def over(self, data: tf.data.Dataset, steps: int | None) -> None:
        """Passes over `data`; over its first `steps` batches where it has no end.

        Raises:
          ValueError: the data has no end and `steps` is not known.
        """
        is_endless = data.cardinality() == tf.data.INFINITE_CARDINALITY
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
            for batch in itertools.islice(whole, steps if is_endless else None):
                self._step(batch)
        finally:
            pool.in_extra_pass = False
        for metric, state in states:
            metric.set_weights(state)

    def _distributed_step(self, batch: Any) -> None:
        self._pool.strategy.run(self._look, args=(batch,))

    def _look(self, batch: Any) -> None:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        optimizer = self._pool.optimizer
        with tf.GradientTape() as tape:
            loss = self._model.compute_loss(x, y, self._model(x, training=False), sample_weight)
            if hasattr(optimizer, "get_scaled_loss"):
                loss = optimizer.get_scaled_loss(loss)
        tape.gradient(loss, [weight for wrapper in self._pool.wrappers for weight in wrapper.prunable_weights])


def check_can_pass(model: Any, data: Any) -> None:
    """Raises unless a criterion with a pass of its own can pass over `data` with the loss of `model`.

    Raises:
      ValueError: there is no data, or no loss.
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
    compiled = getattr(model, "compiled_loss", None)
    if type(model).compute_loss is keras.Model.compute_loss and getattr(compiled, "_user_losses", None) is None:
        raise ValueError(
            "This criterion takes gradients of model.compute_loss in a pass of its own: give model.compile the loss, "
            "or the model's class a compute_loss method; or choose 'rpgp', which sees the gradients of your own "
            f"training step. Received: {model.name!r} without a loss"
        )
