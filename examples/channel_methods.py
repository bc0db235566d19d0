"""Methods that bring a network within a budget of parameters, and the dense net that they should beat."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from examples.filter_methods import PRUNING_SHARE, afresh
from examples.job import Fitted, Job
from tfmot_swd.keras2.compat import master_variable

Scores = Mapping[str, np.ndarray]
# Liu et al. 2017 have 1e-4 in 160 epochs; a run of nine needs more for scales to reach zero.
SLIMMING_STRENGTH = 3e-3
SMOOTH_L1_STRENGTH = 1e-4


class RemoveOnce(keras.callbacks.Callback):
    """Brings the model within a budget after an epoch; it fine-tunes from then on.

    Args:
      epoch: how many epochs come before.
      budget: what may be left.
      scores: of the model's channels, by group.
    """

    def __init__(self, epoch: int, budget: tfmot_swd.Budget, scores: Callable[[keras.Model], Scores]) -> None:
        super().__init__()
        self.epoch, self.budget, self.scores = epoch, budget, scores

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch + 1 == self.epoch:
            fitted = tfmot_swd.costs.fit_budget(self.model, self.scores(self.model), self.budget)
            tfmot_swd.channels.shrink_model(self.model, fitted.keep)


def l1_shares(model: keras.Model) -> Scores:
    """Returns the place of each channel in its group by the L1 norm of its filters, in (0, 1]: equal rates."""
    # Those behind the variables of a mixed precision.
    variables = {id(each): each.numpy() for each in map(master_variable, model.trainable_weights)}
    found = {}
    for row in tfmot_swd.plan_channels(model, layers="all").ranked:
        norms = np.zeros(row.channels)
        for member in row.scored:
            slices = np.moveaxis(np.abs(variables[member.variable_id]), member.axis, 0)
            np.add.at(norms, member.channels, slices.reshape(len(slices), -1).sum(axis=1))
        found[row.group] = (norms.argsort().argsort() + 1) / row.channels
    return found


def uniform(model: keras.Model) -> Scores:
    """Returns scores by which every group keeps the same share of its channels, whatever they hold."""
    rows = tfmot_swd.plan_channels(model, layers="all").ranked
    return {row.group: np.arange(row.channels, 0, -1) / row.channels for row in rows}


def structured(job: Job, schedule: tfmot_swd.StructuredDecay, learning_rate: Any = None) -> Fitted:
    """Trains under structured SWD and returns the model within the schedule's budget."""
    pruned = tfmot_swd.prune_selective_decay(job.model, schedule)
    every = max(job.steps // 200, 1)
    callback = tfmot_swd.UpdatePruningStep(validation_data=job.validation, update_freq=every)
    history = job.fit(pruned, [callback], learning_rate)
    return tfmot_swd.strip_pruning(pruned), history, callback


def _swd(job: Job, **changes: Any) -> Fitted:
    return structured(job, tfmot_swd.StructuredDecay(job.rate, job.steps, **changes))


def _swd_paper(job: Job) -> Fitted:
    schedule = tfmot_swd.StructuredDecay.paper(job.rate, job.steps, mu=job.recipe.weight_decay)
    return structured(job, schedule, job.stepped)


def _once(job: Job, scores: Callable[[keras.Model], Scores]) -> Fitted:
    epoch = max(round(PRUNING_SHARE * job.recipe.epochs), 1)
    remove = RemoveOnce(epoch, tfmot_swd.Budget(sparsity=job.rate), scores)
    return job.model, job.fit(job.model, [remove]), None


@keras.utils.register_keras_serializable("tfmot_swd_examples")
class ScaleL1(keras.regularizers.Regularizer):
    """Strength times the sum of |x|; `stop` ends it while the model trains on."""

    def __init__(self, strength: float) -> None:
        self.strength = strength
        self._now = tf.Variable(strength, trainable=False)

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return self._now * tf.reduce_sum(tf.abs(x))

    def stop(self) -> None:
        self._now.assign(0.0)

    def get_config(self) -> dict[str, Any]:
        return {"strength": self.strength}


@keras.utils.register_keras_serializable("tfmot_swd_examples")
class SmoothL1(keras.regularizers.Regularizer):
    """Strength times the sum of x² where |x| is at most 1, and of |x| beyond."""

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        size = tf.abs(x)
        return self.strength * tf.reduce_sum(tf.where(size <= 1.0, size**2, size))

    def get_config(self) -> dict[str, Any]:
        return {"strength": self.strength}


def _regularized(model: keras.Model, regularizer: keras.regularizers.Regularizer) -> keras.Model:
    """Returns the model with a regularizer on the scales of batch normalization."""

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if isinstance(layer, keras.layers.BatchNormalization):
            config["gamma_regularizer"] = regularizer
        return type(layer).from_config(config)

    copied = keras.models.clone_model(model, clone_function=copy)
    copied.set_weights(model.get_weights())
    return copied


def _slimming(job: Job) -> Fitted:
    """Network slimming (Liu et al. 2017): L1 on the scales of batch norm, a cut by them, fine-tuning without it."""
    penalty = ScaleL1(SLIMMING_STRENGTH)

    def scores(model: keras.Model) -> Scores:
        penalty.stop()
        return tfmot_swd.channels.channel_scores(model, criterion="scale")

    return _once(dataclasses.replace(job, model=_regularized(job.model, penalty)), scores)


def _smooth_l1(job: Job) -> Fitted:
    """What earlier tables called slimming: quadratic for scales below 1, so that it makes none of them sparse."""
    scores = functools.partial(tfmot_swd.channels.channel_scores, criterion="scale")
    return _once(dataclasses.replace(job, model=_regularized(job.model, SmoothL1(SMOOTH_L1_STRENGTH))), scores)


def _progressive(job: Job) -> Fitted:
    epochs = max(round(PRUNING_SHARE * job.recipe.epochs), 1)
    schedule = tfmot_swd.ProgressiveRate(tfmot_swd.Budget(sparsity=job.rate), epochs, "geometric")
    pruned = tfmot_swd.prune_progressive_gradient(job.model, schedule, "rpgp", layers="all")
    callback = tfmot_swd.UpdatePruningStep()
    history = job.fit(pruned, [callback])
    return tfmot_swd.strip_pruning(pruned), history, callback


def _small_dense(job: Job) -> Fitted:
    """A dense net of this size, every layer narrower by the same share, trained from a random start of its own."""
    fitted = tfmot_swd.costs.fit_budget(job.model, uniform(job.model), tfmot_swd.Budget(sparsity=job.rate))
    small = afresh(tfmot_swd.channels.remove_channels(job.model, fitted.keep))
    return small, job.fit(small, []), None


CHANNEL_METHODS: dict[str, Callable[[Job], Fitted]] = {
    "structured": _swd,
    "structured_by_scale": functools.partial(_swd, criterion="scale"),
    "structured_scale": functools.partial(_swd, criterion="scale", mode="scale"),
    "structured_magnitude": functools.partial(_swd, criterion="magnitude"),
    "structured_layer": functools.partial(_swd, scope="layer"),
    "structured_paper": _swd_paper,
    "slimming": _slimming,
    "smooth_l1": _smooth_l1,
    "l1_budget": functools.partial(_once, scores=l1_shares),
    "rpgp_budget": _progressive,
    "narrow_dense": _small_dense,
}
