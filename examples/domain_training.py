"""Unsupervised domain adaptation in Keras: losses that bring two domains together, and a model trained on both.

Sources: maximum mean discrepancy with several kernels, Long et al. 2015 (DAN); CORAL, Sun and Saenko 2016 (Deep CORAL);
a domain classifier behind a reversed gradient, Ganin et al. 2016 (DANN).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf_keras as keras

# Widths of the Gaussian kernels, in mean squared distances.
KERNEL_WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
# How fast the alignment gets its full weight (Ganin et al. 2016).
_RAMP = 10.0
# Filters of each convolution.
WIDTHS = (32, 32, 64, 64)
_BATCH_NORM = {"momentum": 0.9, "epsilon": 1e-5}


def mmd(source: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Returns the squared maximum mean discrepancy of two sets of features, `(N, D)` and `(M, D)`; a scalar >= 0.

        mean k(s, s') + mean k(t, t') - 2 mean k(s, t),    k(a, b) = sum over w of exp(-‖a - b‖² / (w·m))

    over all pairs, m the mean of ‖a - b‖² over the pairs of both sets together, w in `KERNEL_WIDTHS`.
    """
    features = tf.concat([source, target], axis=0)
    squares = tf.reduce_sum(features**2, axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * tf.matmul(features, features, transpose_b=True)
    # Rounding can leave less than nothing.
    distances = tf.maximum(distances, 0.0)
    count = tf.cast(tf.shape(features)[0], features.dtype)
    mean = tf.stop_gradient(tf.reduce_sum(distances) / (count * (count - 1)))
    scaled = tf.math.divide_no_nan(distances, mean)
    kernel = tf.add_n([tf.exp(-scaled / width) for width in KERNEL_WIDTHS])
    split = tf.shape(source)[0]
    within = tf.reduce_mean(kernel[:split, :split]) + tf.reduce_mean(kernel[split:, split:])
    return within - 2 * tf.reduce_mean(kernel[:split, split:])


def coral(source: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Returns how far the covariances of two sets of features, `(N, D)` and `(M, D)`, are apart: ‖Cs - Ct‖² / 4D²."""
    size = tf.cast(tf.shape(source)[1], source.dtype)
    return tf.reduce_sum((_covariance(source) - _covariance(target)) ** 2) / (4 * size**2)


def _covariance(x: tf.Tensor) -> tf.Tensor:
    centred = x - tf.reduce_mean(x, axis=0)
    return tf.matmul(centred, centred, transpose_a=True) / tf.cast(tf.shape(x)[0] - 1, x.dtype)


def domain_cross_entropy(source: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Returns the mean cross-entropy of a domain classifier's logits `(N, 1)` and `(M, 1)`, where source is class 1."""
    logits = tf.concat([source, target], axis=0)
    truth = tf.concat([tf.ones_like(source), tf.zeros_like(target)], axis=0)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(truth, logits))


# Name → (the output that is aligned, the loss of it on both domains).
ALIGNMENTS: dict[str, tuple[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]]] = {
    "mmd": ("features", mmd),
    "coral": ("features", coral),
    "adversarial": ("domain", domain_cross_entropy),
}


@tf.custom_gradient
def reverse_gradient(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Returns `x`; the gradient comes back with its sign changed."""
    return tf.identity(x), tf.negative


@keras.utils.register_keras_serializable("tfmot_swd_examples")
class GradientReversal(keras.layers.Layer):
    """Passes its input on and reverses the gradient: what follows learns to tell domains, what precedes to confuse."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return reverse_gradient(inputs)


@keras.utils.register_keras_serializable("tfmot_swd_examples")
class DomainAdapter(keras.Model):
    """A network that learns from labelled images of one domain and images alone of another.

        loss = cross-entropy(labels, logits of the source) + strength·r·alignment(source, target) + sum(model.losses)
        r = 2 / (1 + exp(-10·update / steps)) - 1

    Both batches pass through the network as one, so that batch norm sees both domains, as in use. In the adversarial
    alignment the domain classifier learns with the same growing weight, where Ganin et al. reverse a gradient that
    grows and let the classifier learn at full weight from the start.

    Make it of inputs and outputs, a dictionary with `logits` (N, classes), `features` (N, D) and, for the adversarial
    alignment, `domain` (N, 1). Fit it on batches of `((images, labels), target images)`.
    """

    def compile(
        self, optimizer: Any, alignment: str | None = None, strength: float = 1.0, steps: int = 1, **kwargs: Any
    ) -> None:
        """As Keras's, without a loss.

        Args:
          optimizer: any of Keras's.
          alignment: a key of `ALIGNMENTS`; None learns from the source alone and never sees the target.
          strength: weight of the alignment when it has its full weight.
          steps: updates in all.

        Raises:
          ValueError: the alignment is unknown, or the network lacks the output that it aligns; steps below 1, a
            negative strength, a loss.
        """
        if alignment is not None and alignment not in ALIGNMENTS:
            raise ValueError(f"alignment must be one of {', '.join(ALIGNMENTS)}, or None. Received: {alignment!r}")
        if alignment is not None and ALIGNMENTS[alignment][0] not in self.output:
            raise ValueError(
                f"This alignment needs the output {ALIGNMENTS[alignment][0]!r}: make the network for it. "
                f"Received: alignment={alignment!r} for outputs {', '.join(self.output)}"
            )
        if steps < 1 or strength < 0 or "loss" in kwargs:
            raise ValueError(
                "steps must be 1 or more, strength 0 or more, and the loss is the adapter's own. "
                f"Received: steps={steps}, strength={strength}, loss={kwargs.get('loss')}"
            )
        super().compile(optimizer, **kwargs)
        self.alignment, self.strength, self.steps = alignment, strength, steps
        means = {name: keras.metrics.Mean(name) for name in ("loss", "label_loss", "alignment_loss")}
        self._seen = {**means, "accuracy": keras.metrics.SparseCategoricalAccuracy("accuracy")}

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        (_, labels), _ = data
        with tf.GradientTape() as tape:
            loss, label_loss, alignment, logits = self.complete_loss(data, training=True)
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        for name, value in (("loss", loss), ("label_loss", label_loss), ("alignment_loss", alignment)):
            self._seen[name].update_state(value)
        self._seen["accuracy"].update_state(labels, logits)
        return {name: metric.result() for name, metric in self._seen.items()}

    def complete_loss(self, data: Any, training: bool) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the loss of a batch, its parts of the labels and of the alignment, and the logits of the source."""
        (images, labels), target_images = data
        if self.alignment is None:
            logits = self(images, training=training)["logits"]
            alignment = tf.constant(0.0)
        else:
            both = self(tf.concat([images, target_images], axis=0), training=training)
            sizes = [tf.shape(images)[0], tf.shape(target_images)[0]]
            logits, _ = tf.split(both["logits"], sizes)
            output, distance = ALIGNMENTS[self.alignment]
            alignment = distance(*tf.split(both[output], sizes))
        label_loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True))
        loss = label_loss + self.strength * self._ramp() * alignment + sum(self.losses)
        return loss, label_loss, alignment, logits

    def _ramp(self) -> tf.Tensor:
        done = tf.cast(self.optimizer.iterations, tf.float32) / self.steps
        return 2 / (1 + tf.exp(-_RAMP * done)) - 1


def digit_network(
    input_shape: tuple[int, int, int],
    num_classes: int,
    weight_decay: float = 0.0,
    *,
    adversarial: bool = False,
    widths: tuple[int, ...] = WIDTHS,
    features: int = 64,
) -> DomainAdapter:
    """Batch-normalized 3x3 convolutions, each but the last one pooled, then features and logits.

    102,762 trainable parameters at 28x28x1 with 10 classes.

    Args:
      input_shape: (height, width, channels).
      num_classes: width of the logits.
      weight_decay: as in `examples.networks`.
      adversarial: adds a domain classifier of two layers behind a `GradientReversal`.
      widths: filters of each convolution.
      features: size of the layer on which domains are aligned.
    """
    inputs = x = keras.Input(input_shape, name="image")
    for index, width in enumerate(widths, start=1):
        decay = keras.regularizers.L2(weight_decay / 2)
        x = keras.layers.Conv2D(
            width,
            3,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            kernel_regularizer=decay,
            name=f"conv{index}",
        )(x)
        x = keras.layers.BatchNormalization(**_BATCH_NORM, name=f"bn{index}")(x)
        x = keras.layers.ReLU(name=f"relu{index}")(x)
        if index < len(widths):
            x = keras.layers.MaxPooling2D(name=f"pool{index}")(x)
    x = keras.layers.Flatten(name="flatten")(x)

    def dense(x: Any, units: int, name: str, activation: str | None = None) -> Any:
        decay = keras.regularizers.L2(weight_decay / 2)
        return keras.layers.Dense(units, activation, kernel_regularizer=decay, name=name)(x)

    x = dense(x, features, "features", "relu")
    outputs = {"features": x, "logits": dense(x, num_classes, "logits")}
    if adversarial:
        hidden = dense(GradientReversal(name="reversal")(x), features, "domain_hidden", "relu")
        outputs["domain"] = dense(hidden, 1, "domain")
    return DomainAdapter(inputs, outputs, name="digits")


def classifier_of(adapter: keras.Model) -> keras.Model:
    """Returns what a device needs of a stripped adapter: images to logits, in the same layers."""
    return keras.Model(adapter.inputs, adapter.output["logits"], name=adapter.name)
