import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfmot_swd.keras3 import training_object


@pytest.mark.parametrize("item", ["adam", None, 3, tf_keras.optimizers.SGD(), tf_keras.losses.Hinge(), np.mean])
def test_what_is_not_of_keras_3_is_returned_as_it_is(item):
    assert training_object(item) is item


def test_what_no_model_trains_with_is_refused():
    with pytest.raises(TypeError, match=r"tfmot_swd.keras3.from_keras3 first. Received: keras.layers.Dense$"):
        training_object(keras.layers.Dense(2))


def test_a_custom_training_loop_trains_with_the_counterparts():
    optimizer = training_object(keras.optimizers.SGD(0.5))
    loss = training_object(keras.losses.MeanSquaredError())
    weight = tf.Variable([[1.0]])

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            value = loss(tf.zeros((1, 1)), weight)
        optimizer.apply_gradients([(tape.gradient(value, weight), weight)])
        return value

    # w ← w - .5 · 2w is zero after one step.
    assert [float(step()), float(step())] == [1.0, 0.0]
