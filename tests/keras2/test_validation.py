"""Models that cannot be pruned are refused early, in words that say what to do."""

import keras as keras3
import numpy as np
import pytest
import tf_keras as keras

from tfmot_swd.keras2.validation import check_finite_weights, check_keras_model

L = keras.layers


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = L.Dense(2)

    def call(self, inputs):
        return self.dense(inputs)


class OwnInit(keras.Model):
    """Functional, but cloning would lose the class: its constructor takes something else."""

    def __init__(self, units):
        inputs = keras.Input((3,))
        super().__init__(inputs, L.Dense(units)(inputs))


class OwnStep(keras.Model):
    def train_step(self, data):
        return super().train_step(data)


def functional(make=keras.Model) -> keras.Model:
    inputs = keras.Input((3,))
    return make(inputs, L.Dense(2)(inputs))


def test_models_that_are_graphs_of_layers_pass():
    check_keras_model(functional())
    check_keras_model(functional(OwnStep))
    check_keras_model(keras.Sequential([L.Dense(2, input_shape=(3,))]))
    late = keras.Sequential([L.Dense(2)])
    late.build((None, 3))
    check_keras_model(late)


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras3.Sequential([keras3.Input((3,)), keras3.layers.Dense(2)]),
        lambda: keras3.Model(*(lambda inputs: (inputs, keras3.layers.Dense(2)(inputs)))(keras3.Input((3,)))),
    ],
    ids=["sequential", "functional"],
)
def test_a_keras_3_model_that_was_not_converted_is_told_how_to_be(make):
    message = r"pass what prune_selective_decay.*from_keras3\(model\).*Received: a Keras 3 object of class keras\."
    with pytest.raises(TypeError, match=message):
        check_keras_model(make())


@pytest.mark.parametrize("thing", [None, "model", L.Dense(2), [L.Dense(2)]])
def test_what_is_no_model_is_named(thing):
    with pytest.raises(TypeError, match=rf"model is needed\. Received: {type(thing).__name__}"):
        check_keras_model(thing)


@pytest.mark.parametrize("make", [Subclassed, lambda: OwnInit(2)], ids=["call", "init"])
def test_a_subclassed_model_is_told_what_to_wrap(make):
    message = r"build the network as a Sequential or Functional model, wrap that.*Received: '.*' of class "
    with pytest.raises(ValueError, match=message):
        check_keras_model(make())


def test_a_subclassed_model_inside_another_is_found():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, L.Dense(1)(Subclassed()(inputs)))

    with pytest.raises(ValueError, match=r"Received: 'subclassed.*' of class Subclassed"):
        check_keras_model(model)


def test_an_unbuilt_model_is_told_to_build():
    with pytest.raises(ValueError, match=r"input_shape, or call model\.build.*Received: 'late', not built"):
        check_keras_model(keras.Sequential([L.Dense(2)], name="late"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_cannot_be_ranked_are_named(value):
    model = keras.Sequential([L.Dense(2, input_shape=(3,)), L.Dense(2, name="broken")])
    check_finite_weights(model)
    kernel = model.layers[1].kernel
    kernel.assign(kernel.numpy() * 0 + [[value, 1.0], [0.0, 0.0]])

    with pytest.raises(ValueError, match=r"load an earlier checkpoint\. Received: broken/kernel:0$"):
        check_finite_weights(model)
