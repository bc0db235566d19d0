"""Pruning in the forward pass alone: a dense copy of the weights takes the gradients of the pruned ones.

The references ST-3 (arXiv 2212.01076) and Feather (BMVC 2023, arXiv 2310.02448), and what was tried for a form of
Selective Weight Decay that decays in the forward pass. They differ in how a weight above the threshold is shrunk, how
the gradient of one below it is scaled, and what the dense copy decays by.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfmot_swd.layers.prunable import counted_weights
from tfmot_swd.pruning.thresholds import kth_magnitude


@dataclasses.dataclass(frozen=True)
class ForwardPruning:
    """How weights are pruned in the forward pass; θ is a dense weight, T the global threshold of |θ|.

    A weight with |θ| > T is used as sign(θ) · (|θ|^p - T^p)^(1/p), any other as 0: soft thresholding at p = 1, hard
    where p is 0.

    Args:
      power: p, 0 for hard thresholding.
      begin, end: shares of the run between which the rate climbs as a cubic.
      gradient_scale: factor of the gradient of weights below T.
      decay_dense: whether weight decay acts on θ, as in the references, or on what the forward pass uses.
      selective_min, selective_max: θ below T is divided by 1 + X after each update, X growing exponentially between
        the two over the run; 0 for none. This is the decay of Selective Weight Decay, on the dense copy.
      rest: share of the run after which which weights are pruned no longer changes.
      relative: exponent of the layer's root mean square that |θ| is divided by before it is compared; 0 for |θ|.
      clip: bound of the norm of all gradients; 0 for none.
    """

    power: float = 1.0
    begin: float = 0.0
    end: float = 0.5
    gradient_scale: float = 1.0
    decay_dense: bool = True
    selective_min: float = 1e-4
    selective_max: float = 0.0
    rest: float = 1.0
    relative: float = 0.0
    clip: float = 0.0

    def rate(self, share: tf.Tensor, final: float) -> tf.Tensor:
        """Returns the share of weights below T at a share of the run, float64."""
        if self.end <= self.begin:
            return tf.where(share < self.begin, tf.constant(0.0, tf.float64), final)
        way = tf.clip_by_value((share - self.begin) / (self.end - self.begin), 0.0, 1.0)
        return final * (1.0 - (1.0 - way) ** 3)


class StraightThrough(keras.Model):
    """A classifier that trains under `ForwardPruning`; at rest its variables hold the dense weights.

    Call `configure` before `fit` and `finish` after it.
    """

    def configure(self, setting: ForwardPruning, final_rate: float, steps: int) -> None:
        """Sets what is pruned when."""
        found = [(layer, weight) for layer in self.layers for weight in counted_weights(layer)]
        self._setting, self._final, self._steps = setting, final_rate, steps
        self._kernels = [weight for _, weight in found]
        self._size = sum(int(weight.shape.num_elements()) for weight in self._kernels)
        self._decays = [
            2.0 * float(getattr(layer.kernel_regularizer, "l2", 0.0)) if weight is layer.kernel else 0.0
            for layer, weight in found
        ]
        self._masks = [tf.Variable(tf.ones(weight.shape, tf.bool), trainable=False) for weight in self._kernels]

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        images, labels = data
        setting = self._setting
        share = tf.cast(self.optimizer.iterations, tf.float64) / self._steps
        dense = [tf.convert_to_tensor(weight) for weight in self._kernels]
        used, kept = self._pruned(dense, setting.rate(share, self._final), share)
        for weight, value in zip(self._kernels, used, strict=True):
            weight.assign(value)
        with tf.GradientTape() as tape:
            loss = self.compute_loss(images, labels, self(images, training=True))
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)
        place = {id(variable): index for index, variable in enumerate(variables)}
        for index, weight in enumerate(self._kernels):
            gradient = gradients[place[id(weight)]]
            decay = self._decays[index]
            # The loss holds the decay of what was used; taken off, it is neither scaled nor in the wrong place.
            gradient -= decay * used[index]
            gradient *= tf.where(kept[index], 1.0, setting.gradient_scale)
            gradient += decay * (dense[index] if setting.decay_dense else used[index])
            gradients[place[id(weight)]] = gradient
        if setting.clip:
            gradients, _ = tf.clip_by_global_norm(gradients, setting.clip)
        for weight, value in zip(self._kernels, dense, strict=True):
            weight.assign(value)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        if setting.selective_max:
            growth = (setting.selective_max / setting.selective_min) ** tf.cast(share, tf.float32)
            divisor = 1.0 + setting.selective_min * growth
            for weight, mask in zip(self._kernels, kept, strict=True):
                weight.assign(tf.where(mask, weight, weight / divisor))
        return {"loss": loss}

    def finish(self) -> None:
        """Replaces the dense weights by the pruned ones, at the final rate."""

        @tf.function
        def replace() -> None:
            dense = [tf.convert_to_tensor(weight) for weight in self._kernels]
            used, _ = self._pruned(dense, tf.constant(self._final, tf.float64), tf.constant(1.0, tf.float64))
            for weight, value in zip(self._kernels, used, strict=True):
                weight.assign(value)

        replace()

    def _pruned(
        self, dense: list[tf.Tensor], rate: tf.Tensor, share: tf.Tensor
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Returns what the forward pass uses, and which weights are not pruned."""
        setting = self._setting
        scales = [tf.math.rsqrt(tf.reduce_mean(value**2)) ** setting.relative for value in dense]
        scaled = [value * scale for value, scale in zip(dense, scales, strict=True)]
        rank = tf.cast(rate * float(self._size), tf.int32)
        # At rank 0 nothing is pruned, so nothing is shrunk either.
        threshold = tf.where(rank > 0, kth_magnitude(scaled, rank), 0.0)
        resting = tf.cast(share, tf.float32) > setting.rest
        used, kept = [], []
        for value, scale, mask in zip(dense, scales, self._masks, strict=True):
            size, bound = tf.abs(value), threshold / scale
            above = tf.where(resting, mask, size * scale >= threshold)
            mask.assign(above)
            used.append(tf.where(above, tf.sign(value) * _shrunk(size, bound, setting.power), 0.0))
            kept.append(above)
        return used, kept


def _shrunk(size: tf.Tensor, bound: tf.Tensor, power: float) -> tf.Tensor:
    if power == 0.0:
        return size
    if power == 1.0:
        return tf.maximum(size - bound, 0.0)
    relative = tf.minimum(bound / tf.maximum(size, 1e-30), 1.0)
    return size * (1.0 - relative**power) ** (1.0 / power)
