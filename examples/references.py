"""Magnitude pruning, the methods that Selective Weight Decay is measured against, as one Keras callback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfmot_swd.layers.prunable import counted_weights
from tfmot_swd.pruning.magnitude_bits import magnitude_bits
from tfmot_swd.pruning.thresholds import kth_magnitude

Rates = Callable[[int], float | None]


class GlobalMagnitude(keras.callbacks.Callback):
    """Zeroes the weights of least magnitude over the whole model, and keeps them zero after each update.

    The pool and the global threshold are those of Selective Weight Decay, so that only the method
    differs. Masks are recomputed, from the weights as they are, at each update for which `rate_at` gives
    a rate; a weight that has grown back by then returns.

    Args:
      rate_at: updates made so far → share of the pool to zero now, or None to keep the masks.
      score: weights of one layer → what they are ranked by, of the same shape; their magnitude by default.
    """

    def __init__(self, rate_at: Rates, score: Callable[[tf.Tensor], tf.Tensor] = tf.abs) -> None:
        super().__init__()
        self._rate_at, self._score = rate_at, score
        self._step = 0

    def on_train_begin(self, logs: Any = None) -> None:
        weights = [weight for layer in self.model.layers for weight in counted_weights(layer)]
        masks = [tf.Variable(tf.ones_like(weight), trainable=False) for weight in weights]
        size = sum(int(np.prod(weight.shape)) for weight in weights)

        @tf.function
        def refresh(rate: tf.Tensor) -> None:
            scores = [self._score(tf.convert_to_tensor(weight)) for weight in weights]
            threshold = magnitude_bits(kth_magnitude(scores, tf.cast(rate * float(size), tf.int32)))
            for score, mask in zip(scores, masks, strict=True):
                mask.assign(tf.cast(magnitude_bits(score) >= threshold, mask.dtype))

        @tf.function
        def apply() -> None:
            for weight, mask in zip(weights, masks, strict=True):
                weight.assign(weight * mask)

        self._refresh, self._apply = refresh, apply

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._step += 1
        rate = self._rate_at(self._step)
        if rate is not None:
            self._refresh(tf.constant(rate, tf.float64))
        self._apply()


def gradual(final: float, end_step: int, power: float = 3.0) -> Rates:
    """TFMOT's `PolynomialDecay` shape with a mask refreshed at every update until `end_step`."""

    def rate_at(step: int) -> float | None:
        if step > end_step:
            return None
        return final - final * (1 - step / end_step) ** power

    return rate_at


def once(final: float, at_step: int) -> Rates:
    """One cut to the final rate after update `at_step`."""
    return lambda step: final if step == at_step else None
