import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfmot_swd.keras3 import from_keras3, to_keras3
from tfmot_swd.keras3.activations import keras2_activation, keras3_activation

X = np.array([-4.0, -1.0, -0.3, 0.0, 0.3, 1.0, 4.0], "float32")


@pytest.mark.parametrize(
    "name", sorted(set(dir(keras.activations)) - {"deserialize", "get", "serialize", "glu", "sparsemax", "threshold"})
)
def test_every_activation_of_keras_3_computes_the_same(name):
    function = getattr(keras.activations, name)
    if name.startswith("_"):
        return
    made = keras2_activation(function)
    np.testing.assert_allclose(np.asarray(made(tf.constant(X[None]))), np.asarray(function(X[None])), atol=1e-6)
    assert keras3_activation(made) is function


def test_the_hard_sigmoids_of_both_are_two_functions():
    there = from_keras3(keras.Sequential([keras.Input((7,)), keras.layers.Activation("hard_sigmoid")]))
    np.testing.assert_allclose(there(X[None])[0, 5], (1 + 3) / 6, atol=1e-6)

    ours = tf_keras.Sequential([tf_keras.layers.Activation("hard_sigmoid", input_shape=(7,))])
    np.testing.assert_allclose(np.asarray(to_keras3(ours)(X[None]))[0, 5], 0.2 * 1 + 0.5, atol=1e-6)


def test_a_function_of_the_users_goes_over_as_it_is_even_under_a_known_name():
    def relu(x):
        return x * 2.0

    there = from_keras3(keras.Sequential([keras.Input((7,)), keras.layers.Activation(relu)]))
    np.testing.assert_allclose(there(X[None])[0], 2 * X)
    assert there.layers[0].activation is relu
