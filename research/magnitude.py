"""References that prune by magnitude: gradually under one threshold, ranked by LAMP, once, and TFMOT's own way."""

from __future__ import annotations

import dataclasses

import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras

from examples.references import GlobalMagnitude, Rates, gradual, once
from research.case import Training, WarmUpAndFall
from tfmot_swd.layers.prunable import counted_weights

# Updates between two rankings by LAMP, which sorts every layer.
LAMP_FREQUENCY = 8


def every(rates: Rates, frequency: int) -> Rates:
    """Returns the same rates at every so many updates, and at the last one that has one."""

    def rate_at(step: int) -> float | None:
        return rates(step) if step % frequency == 0 or rates(step + 1) is None else None

    return rate_at


def lamp(weight: tf.Tensor) -> tf.Tensor:
    """Returns the LAMP score of each weight of one layer, in the weight's shape.

    The square of a weight over the sum of the squares of all weights of its layer that are no smaller (Lee et al. 2021,
    arXiv 2010.07611).

    >>> [round(float(each), 3) for each in lamp(tf.constant([2.0, -1.0]))]
    [1.0, 0.2]
    """
    squares = tf.reshape(weight, [-1]) ** 2
    order = tf.argsort(squares)
    ascending = tf.gather(squares, order)
    no_smaller = tf.cumsum(ascending, reverse=True)
    scores = ascending / tf.maximum(no_smaller, 1e-30)
    return tf.reshape(tf.scatter_nd(order[:, None], scores, tf.shape(squares)), tf.shape(weight))


def global_gradual(training: Training, rate: float, ramp_end: float, criterion: str = "magnitude") -> keras.Model:
    """Gradual pruning (Zhu and Gupta 2017) under one global threshold, refreshed at each update of the ramp."""
    model = training.build()
    rates = gradual(rate, int(training.steps * ramp_end))
    by_lamp = criterion == "lamp"
    training.fit(model, [GlobalMagnitude(every(rates, LAMP_FREQUENCY), lamp) if by_lamp else GlobalMagnitude(rates)])
    return model


def once_and_restart(training: Training, rate: float, at: float, restart: float) -> keras.Model:
    """BIMP (arXiv 2111.00843): dense training, one global cut, retraining under a linearly falling learning rate.

    `at` is the share of the run before the cut, 0 for a network that is trained already; `restart` is the learning rate
    after it as a share of the first peak.
    """
    model = training.build()
    cut = max(int(training.steps * at), 1)
    schedule = WarmUpAndFall(training.learning_rate, training.steps, restart=(cut, restart * training.learning_rate))
    training.fit(model, [GlobalMagnitude(once(rate, cut))], schedule)
    return model


def tfmot_gradual(
    training: Training, rate: float, ramp_end: float, frequency: int = 16, initial: float = 0.0
) -> keras.Model:
    """TFMOT's `PolynomialDecay` layer by layer, first and last layer skipped as its guide advises.

    The rate of the other layers is raised so that the model as a whole ends at `rate`; where the skipped layers alone
    hold more than may be left, the last one is pruned too. The climb begins at `initial`, for trained weights 0.5 in
    the guide.
    """
    # Its wrapper multiplies masters by masks in the compute dtype, which mixed precision would round at each step.
    training = dataclasses.replace(training, case=dataclasses.replace(training.case, policy="float32"))
    model = training.build()
    owners = [layer for layer in model.layers if counted_weights(layer)]
    sizes = {layer.name: sum(int(each.shape.num_elements()) for each in counted_weights(layer)) for layer in owners}
    total, kept_whole = sum(sizes.values()), {owners[0].name, owners[-1].name}
    if sum(sizes[name] for name in kept_whole) > 0.5 * (1.0 - rate) * total:
        kept_whole = {owners[0].name}
    layer_rate = rate * total / (total - sum(sizes[name] for name in kept_whole))
    end_step = max(int(training.steps * ramp_end) // frequency, 1) * frequency
    schedule = tfmot.sparsity.keras.PolynomialDecay(initial, min(layer_rate, 0.9999), 0, end_step, frequency=frequency)

    def wrap(layer: keras.layers.Layer) -> keras.layers.Layer:
        if layer.name in sizes and layer.name not in kept_whole:
            return tfmot.sparsity.keras.prune_low_magnitude(layer, schedule)
        return layer

    pruned = keras.models.clone_model(model, clone_function=wrap)
    training.fit(pruned, [tfmot.sparsity.keras.UpdatePruningStep()])
    return tfmot.sparsity.keras.strip_pruning(pruned)
