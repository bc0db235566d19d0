"""Copies of layers: objects of the user's own come along, registered with Keras or not."""

import warnings

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tfmot_swd.keras2.cloning import copy_layer

L = keras.layers
X = np.linspace(-1, 1, 8 * 4 * 4, dtype=np.float32).reshape(8, 4, 4, 1)
Y = np.arange(8) % 2


class Bounded(keras.constraints.Constraint):
    """Not registered, and not to be made from its config, as all that follow."""

    def __init__(self, limit):
        self.limit = limit

    def __call__(self, w):
        return tf.clip_by_value(w, -self.limit, self.limit)


class Squares(keras.regularizers.Regularizer):
    def __init__(self, strength):
        self.strength = strength

    def __call__(self, x):
        return self.strength * tf.reduce_sum(tf.square(x))

    def get_config(self):
        return {}


class Slope(keras.initializers.Initializer):
    def __init__(self, scale):
        self.scale = scale

    def __call__(self, shape, dtype=None, **kwargs):
        return tf.reshape(tf.linspace(-self.scale, self.scale, int(np.prod(shape))), shape)


class Steep:
    def __init__(self, slope):
        self.slope = slope

    def __call__(self, x):
        return tf.nn.relu(self.slope * x)

    def get_config(self):
        return {}


OBJECTS = {"kernel_constraint": Bounded(0.9), "kernel_regularizer": Squares(0.01), "kernel_initializer": Slope(0.5)}
BESIDE = {"beta_constraint": Bounded(0.8), "gamma_regularizer": Squares(0.02), "beta_initializer": Slope(0.1)}
ACTIVATIONS = {"object": Steep(2.0), "lambda": lambda x: tf.nn.relu(2.0 * x)}
METHODS = {
    "selective": lambda net: tfmot_swd.prune_selective_decay(net, tfmot_swd.SelectiveDecay(0.5, end_step=2)),
    "structured": lambda net: tfmot_swd.prune_selective_decay(net, tfmot_swd.StructuredDecay(0.7, 2)),
    "progressive": lambda net: tfmot_swd.prune_progressive_gradient(net, tfmot_swd.ProgressiveRate(0.5, 1)),
}


class Convolution(L.Conv2D):
    pass


def network(activation="linear") -> keras.Model:
    """conv → batch norm → relu → head → activation: the first is wrapped always, the head by selective decay."""
    keras.utils.set_random_seed(2)
    conv = Convolution(6, 3, activation="relu", name="conv", input_shape=(4, 4, 1), **OBJECTS)
    layers = [conv, L.BatchNormalization(name="norm", **BESIDE), L.Flatten(), L.Dense(2, activation, name="head")]
    return keras.Sequential([*layers, L.Activation(activation, name="last")])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("method", METHODS)
def test_what_is_not_registered_on_wrapped_and_other_layers(method, activation):
    net = network(ACTIVATIONS[activation])
    pruned = METHODS[method](net)
    np.testing.assert_array_equal(pruned.predict(X, verbose=0), net.predict(X, verbose=0))
    pruned.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    pruned.fit(X, Y, batch_size=4, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep()])
    small = tfmot_swd.strip_pruning(pruned)

    conv, norm, head, last = (small.get_layer(name) for name in ("conv", "norm", "head", "last"))
    assert type(conv) is Convolution
    assert all(getattr(conv, key) is each for key, each in OBJECTS.items())
    assert all(getattr(norm, key) is each for key, each in BESIDE.items())
    assert head.activation is last.activation is ACTIVATIONS[activation]
    expected = 0.01 * np.square(conv.kernel).sum() + 0.02 * np.square(norm.gamma).sum()
    np.testing.assert_allclose(sum(map(float, small.losses)), expected, rtol=1e-5)


def test_each_copy_of_a_wrapper_has_the_objects_of_the_layer_in_it():
    pruned = METHODS["selective"](network(ACTIVATIONS["object"]))
    conv, head = (
        copy_layer(pruned.get_layer(name)) for name in ("prune_selective_decay_conv", "prune_selective_decay_head")
    )

    assert type(conv.layer) is Convolution
    assert all(getattr(conv.layer, key) is each for key, each in OBJECTS.items())
    assert head.layer.activation is ACTIVATIONS["object"]
    # Built, they would hold on to the input shape, which may shrink.
    assert [each.layer.built for each in (conv, head)] == [False, False]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_layers_inside_of_layers():
    given = {key: OBJECTS[key] for key in ("kernel_constraint", "kernel_regularizer")}
    timed = copy_layer(L.TimeDistributed(L.Dense(2, activation=lambda x: x, **given)))
    cells = copy_layer(L.RNN([L.LSTMCell(2), L.GRUCell(3, **given)])).cell.cells
    several = copy_layer(L.TimeDistributed(keras.Sequential([keras.Input((3,)), L.Dense(2), L.Dense(2, **given)])))

    for layer in (timed.layer, cells[1], several.layer.layers[1]):
        assert all(getattr(layer, key) is each for key, each in given.items())
    for layer in (cells[0], several.layer.layers[0]):
        assert (layer.kernel_constraint, layer.kernel_regularizer) == (None, None)
    attention = copy_layer(L.MultiHeadAttention(1, 2, **given))
    attention(tf.ones((1, 2, 3)), tf.ones((1, 2, 3)))
    assert len(attention.losses) == 4


def swish(x):
    return 5.0 * x


def test_a_function_that_is_called_as_one_of_keras():
    assert copy_layer(L.Dense(2, activation=swish)).activation is swish
    assert copy_layer(L.Dense(2, activation="swish")).activation is keras.activations.swish


FUNCTIONS = {"swish": tf.nn.swish, "double": lambda x: 2.0 * x}


class Named(L.Layer):
    """Takes a name of its own table, and has the function under the same attribute."""

    def __init__(self, activation, **kwargs):
        super().__init__(**kwargs)
        self.named, self.activation = activation, FUNCTIONS[activation]

    def get_config(self):
        return {**super().get_config(), "activation": self.named}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_names_that_a_layer_looks_up_itself(name):
    assert copy_layer(Named(name)).activation is FUNCTIONS[name]


def test_initializers_of_keras_are_made_anew():
    layer = L.Dense(3)
    layer.build((None, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copy = copy_layer(layer)
        copy.build((None, 2))
    assert copy.kernel_initializer is not layer.kernel_initializer
    assert np.abs(copy.kernel - layer.kernel).max() > 0


def test_the_config_can_be_changed_without_the_layer():
    layer = L.Conv2D(2, (3, 3))
    copy = copy_layer(layer, lambda config: config.update(filters=5, use_bias=False))

    assert (copy.filters, copy.use_bias) == (5, False)
    assert (layer.filters, layer.use_bias) == (2, True)
