"""Criteria of filter importance from a training: gradients, and changes of weights over an epoch."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfmot_swd.channels.criteria import ChannelCriterion, register_criterion, sum_of_slices
from tfmot_swd.keras2.compat import keras


def _register(kind: type[ChannelCriterion]) -> type[ChannelCriterion]:
    return keras.utils.register_keras_serializable("tfmot_swd")(kind)


@_register
class GradientNorm(ChannelCriterion):
    """RPGP: the sum over the updates of an epoch of ‖dL/dW_j‖_1."""

    watches = "weight"
    full = True

    def contribution(self, value: tf.Tensor, gradient: tf.Tensor, axis: int) -> tf.Tensor:
        return gradient

    def settled(self, update: tf.Tensor, axis: int) -> tf.Tensor:
        return sum_of_slices(tf.abs(update), axis)


@_register
class SummedGradient(GradientNorm):
    """PGP: ‖ sum over batches of dL/dW_j ‖_1, in an extra pass over the data with fixed weights.

    The pass makes no update, so its contributions are one sum until it ends.
    """

    extra_pass = True


@_register
class WeightTaylor(ChannelCriterion):
    """First-order Taylor criterion of weights: abs( sum over updates and weights of w·dL/dw )."""

    watches = "weight"

    def contribution(self, value: tf.Tensor, gradient: tf.Tensor, axis: int) -> tf.Tensor:
        return sum_of_slices(value * gradient, axis)

    def scores(
        self, weight: np.ndarray, total: np.ndarray, start: np.ndarray | None, axis: int, rng: np.random.Generator
    ) -> np.ndarray:
        return np.abs(total.astype(np.float64))


@_register
class FeatureTaylor(WeightTaylor):
    """Taylor criterion of feature maps a_j: abs( sum over updates of mean( relu(a_j)·dL/da_j ) )."""

    watches = "output"

    def contribution(self, value: tf.Tensor, gradient: tf.Tensor, axis: int) -> tf.Tensor:
        others = [each for each in range(value.shape.rank) if each != axis]
        return tf.reduce_mean(tf.nn.relu(value) * gradient, others)


@_register
class WeightChange(ChannelCriterion):
    """Change of the weights, ‖ W_j(end of epoch) - W_j(start) ‖_1; it needs no gradient."""

    compares = True

    def scores(
        self, weight: np.ndarray, total: np.ndarray, start: np.ndarray | None, axis: int, rng: np.random.Generator
    ) -> np.ndarray:
        change = np.asarray(weight, np.float64) - np.asarray(start, np.float64)
        rows = np.moveaxis(np.abs(change), axis, 0)
        return np.asarray(rows.reshape(len(rows), -1).sum(axis=1))


@_register
class Random(ChannelCriterion):
    """Random scores, a baseline; the same at each epoch of all runs with one seed."""

    def scores(
        self, weight: np.ndarray, total: np.ndarray, start: np.ndarray | None, axis: int, rng: np.random.Generator
    ) -> np.ndarray:
        return rng.random((np.shape(weight)[axis],))


register_criterion("rpgp", GradientNorm())
register_criterion("pgp", SummedGradient())
register_criterion("weight_change", WeightChange())
register_criterion("weight_taylor", WeightTaylor())
register_criterion("feature_taylor", FeatureTaylor())
register_criterion("random", Random())
