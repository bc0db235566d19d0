"""Functions of the user's as activations and in Lambda layers: their operations are followed, or what is declared."""

import functools
import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tests.channels.exactness import assert_removal_is_exact, close, reasons, sizes
from tfmot_swd.channels import remove_dead_channels
from tfmot_swd.layers import register_function

L = keras.layers
SCALES = np.linspace(0.5, 2.0, 6).astype("float32")


def hard_swish(x):
    return x * tf.nn.relu6(x + 3.0) / 6.0


def gate(x):
    values, gates = tf.split(x, 2, axis=-1)
    return values * tf.nn.sigmoid(gates)


def excite(x):
    return x * tf.nn.sigmoid(tf.reduce_mean(x, axis=[1, 2], keepdims=True))


@tf.function
def traced(x):
    return tf.nn.relu(x) + 0.1 * x


def between(layer, shape=(4, 4, 3), filters=6) -> keras.Model:
    """A feature map, a layer that calls a function, and a dense layer that reads what it makes."""
    image = L.Input(shape)
    x = layer(L.Conv2D(filters, 1, name="a")(image))
    return keras.Model(image, L.Dense(2, name="d")(L.Flatten()(x)))


FOLLOWED = {
    "hard_swish": hard_swish,
    "lambda": lambda x: x * tf.nn.sigmoid(1.7 * x),
    "backend": lambda x: keras.backend.sigmoid(x) * keras.backend.relu(x, max_value=1.0),
    "gate of two halves": gate,
    "excite": excite,
    "tf.function": traced,
    "halves by its own size": lambda x: x[..., x.shape[-1] // 2 :] * x[..., : x.shape[-1] // 2],
    "flat": lambda x: tf.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3])),
}


@pytest.mark.parametrize("kind", [L.Activation, L.Lambda])
@pytest.mark.parametrize("name", FOLLOWED)
def test_a_function_is_followed(kind, name):
    net = between(kind(FOLLOWED[name], name="f"))

    small = assert_removal_is_exact(net, train=True)

    assert sizes(net) == {"a": 3 if name.startswith(("gate", "halves")) else 6}
    assert small.get_layer("a").filters < 6


@pytest.mark.parametrize("make", [L.Dense, functools.partial(L.Conv1D, kernel_size=2), L.SimpleRNN, L.LSTM])
def test_the_activation_of_a_layer_is_followed(make):
    net = keras.Sequential([L.Input((5, 3)), make(6, activation=hard_swish, name="a"), L.Flatten(), L.Dense(2)])

    assert_removal_is_exact(net, train=True)

    assert sizes(net) == {"a": 6}


def test_a_function_of_several_tensors():
    image = L.Input((4, 4, 3))
    x, y = L.Conv2D(6, 1, name="a")(image), L.Conv2D(6, 1, name="b")(image)
    z = L.Lambda(lambda both, scale: both[0] * scale + tf.nn.relu(both[1]), arguments={"scale": 0.5})([x, y])
    net = keras.Model(image, L.Dense(2)(L.Flatten()(z)))

    assert_removal_is_exact(net, train=True)

    assert sizes(net) == {"a": 6}


def test_what_training_alone_does_counts_too():
    def halves(x, training=None):
        if not training:
            return x
        left, right = tf.split(x, 2, -1)
        return tf.concat([left + right, right * left], -1)

    net = between(L.Lambda(halves))

    assert_removal_is_exact(net)

    # In training channels 0 and 3 are added.
    assert sizes(net) == {"a": 3}


STAYS = {
    "numbers of channels": (lambda x: x[..., :4], "would not follow another number of channels"),
    "half of them": (lambda x: x[..., 2:5], "would not follow another number of channels"),
    "halves that are not tied": (
        lambda x: tf.concat([x[..., x.shape[-1] // 2 :], x[..., : x.shape[-1] // 2]], -1),
        "would not follow another number of channels",
    ),
    "a number for each channel": (lambda x: x * SCALES, "would not follow another number of channels"),
    "its own size": (lambda x: x / x.shape[-1], "would not follow another number of channels"),
    "its own size in a root": (lambda x: x * keras.backend.int_shape(x)[-1] ** -0.5, "would not follow"),
    "random numbers": (lambda x: x + tf.random.normal((1,)), "would not follow another number of channels"),
    "softmax": (lambda x: tf.nn.softmax(x), "softmax looks across channels"),
    "a reduction": (lambda x: x - tf.reduce_mean(x, -1, keepdims=True), "a reduction over channels"),
    "numpy": (lambda x: tf.constant(np.asarray(x)), "cannot be called on symbolic tensors"),
    "a branch": (lambda x: x if tf.reduce_sum(x) > 0 else -x, "cannot be called on symbolic tensors"),
    "a layer": (lambda x: L.Dense(6)(x), "makes layers with weights"),
    "a constant": (lambda x: tf.constant(SCALES), "returns something else than tensors"),
    "no rule": (lambda x: tf.math.betainc(x, x, x), "no channel rule for tf.math.betainc"),
}


@pytest.mark.parametrize("name", STAYS)
def test_a_function_that_cannot_be_followed_is_a_barrier(name):
    function, reason = STAYS[name]
    layer = L.Activation("linear", name="f")
    net = between(layer)
    # As if it had been given at once, which Keras itself does not take of every function.
    layer.activation = function

    assert reason in reasons(net)["a"][0]


def test_a_function_of_a_layer_pins_its_channels_alone():
    def turned(x):
        return tf.concat([x[:, 3:], x[:, :3]], -1)

    def tail(x):
        return tf.concat(tf.split(x, 2, -1)[::-1], -1) * tf.nn.sigmoid(x)

    for function, reason in (
        (turned, "would not follow another number of channels"),
        (tail, "moves channels"),
        (tf.function(lambda x: tf.math.betainc(x, x, x)), "no channel rule for tf.math.betainc"),
    ):
        layers = [L.Dense(5, name="in"), L.Dense(6, activation=function, name="a"), L.Dense(2)]
        net = keras.Sequential([L.Input((3,)), *layers])

        assert sizes(net) == {"in": 5}
        assert reason in reasons(net)["a"][0]


def test_places_and_numbers_of_channels_are_found():
    for function in (
        lambda x: tf.concat([x[..., 3:], x[..., :3]], -1),
        lambda x: tf.concat([x[..., -3:], x[..., :-3]], -1),
        lambda x: tf.sigmoid(x) if x.shape[-1] < 3 else x,
    ):
        net = between(L.Lambda(function, name="f"))

        assert sizes(net) == {}
        assert "would not follow another number of channels" in reasons(net)["a"][0]


def test_a_function_with_a_mask_is_a_barrier():
    words = L.Input((5, 3))
    x = L.Dense(6, name="a")(L.Masking()(words))
    net = keras.Model(words, L.Dense(2)(L.Lambda(lambda x, mask=None: x, mask=lambda x, mask: mask, name="f")(x)))

    assert reasons(net)["a"] == ("f: a function with a mask has no rule",)


def test_names_of_layers_made_later_stay_as_they_are():
    keras.backend.clear_session()
    net = between(L.Activation(hard_swish))
    tfmot_swd.channel_groups(net)
    x = L.Input((3,))
    later = keras.Model(x, L.Activation("relu")(x) * 2.0)

    assert [layer.name for layer in later.layers[1:]] == ["activation_1", "tf.math.multiply"]


def test_constants_pass_through_an_elementwise_function_alone():
    def dead(function):
        net = between(L.Activation(function))
        kernel, bias = net.get_layer("a").get_weights()
        net.get_layer("a").set_weights([kernel * [1, 1, 0, 1, 1, 1], bias + 0.7])
        x = np.random.default_rng(0).normal(size=(3, 4, 4, 3)).astype("float32")
        small = remove_dead_channels(net)
        close([small(x).numpy()], [net(x).numpy()], 1e-5, "without dead channels")
        return small.get_layer("a").filters

    assert dead(hard_swish) == 5
    # Each is computed from the whole map.
    assert dead(excite) == 6


def test_a_softmax_hides_no_constant():
    features = L.Input((5,))
    x = L.Activation("softmax")(L.Dense(4, name="a")(features))
    net = keras.Model(features, L.Dense(2, name="c")(L.Dense(3, name="b")(x)))
    for name, kept in (("a", [0, 1, 1, 1]), ("b", None)):
        kernel, bias = net.get_layer(name).get_weights()
        kernel = kernel * kept if kept else np.concatenate([kernel[:1], kernel[1:] * [0, 1, 1]])
        net.get_layer(name).set_weights([kernel, bias + 0.3])
    x = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")

    # What b.0 reads, a channel of a constant input, is divided by a sum of what is not constant.
    close([remove_dead_channels(net)(x).numpy()], [net(x).numpy()], 1e-6, "without dead channels")


def test_a_declared_function():
    def opaque(x):
        return tf.ensure_shape(tf.numpy_function(lambda values: values**2, [x], x.dtype), x.shape)

    def pooled(x):
        return tf.ensure_shape(
            tf.numpy_function(lambda values: values.mean(axis=(1, 2)), [x], x.dtype), (None, x.shape[-1])
        )

    assert "numpy_function" in reasons(between(L.Lambda(opaque)))["a"][0]
    register_function(opaque)
    register_function(pooled, acts="per_channel")

    assert_removal_is_exact(between(L.Lambda(opaque)))
    assert_removal_is_exact(between(L.Lambda(pooled)))
    assert sizes(keras.Sequential([L.Input((3,)), L.Dense(6, activation=opaque, name="a"), L.Dense(2)])) == {"a": 6}


@pytest.mark.parametrize(
    ("functions", "acts", "error", "said"),
    [
        ((), "elementwise", ValueError, "Received: none"),
        ((3,), "elementwise", TypeError, "Received: 3"),
        ((L.ReLU(),), "elementwise", TypeError, "like=keras.layers.ReLU"),
        ((hard_swish,), "alone", ValueError, "Received: 'alone'"),
    ],
)
def test_a_declaration_is_checked(functions, acts, error, said):
    with pytest.raises(error, match=said):
        register_function(*functions, acts=acts)


def test_products_inside_a_function_are_counted():
    image = L.Input((4, 3))
    net = keras.Model(image, L.Lambda(lambda x: tf.matmul(x, x, transpose_b=True))(image))

    # 4 · 4 products of 3 numbers.
    assert tfmot_swd.profile(net).macs == 48


def test_what_a_function_sums_over_stays_and_values_leave():
    steps = L.Input((6, 5))
    q, k, v = (L.Dense(8, name=name)(steps) for name in "qkv")

    def attend(three):
        query, key, value = three
        scores = tf.matmul(query, key, transpose_b=True) / math.sqrt(query.shape[-1])
        return tf.matmul(tf.nn.softmax(scores), value)

    net = keras.Model(steps, L.Dense(2)(L.Lambda(attend, name="attend")([q, k, v])))

    assert sizes(net) == {"v": 8}
    assert set(reasons(net)["q"]) == set(reasons(net)["k"])
    assert "sums over channels of two tensors" in reasons(net)["q"][0]
    assert_removal_is_exact(net, train=True)


def test_an_activation_that_doubles_the_channels_is_a_barrier():
    def both_signs(x):
        return tf.concat([tf.nn.relu(x), tf.nn.relu(-x)], -1)

    net = keras.Sequential([L.Input((3,)), L.Dense(6, activation=both_signs, name="a"), L.Dense(2)])

    assert "changes the shape" in reasons(net)["a"][0]
    assert_removal_is_exact(between(L.Activation(both_signs)))


def test_an_activation_with_a_number_for_each_position_gives_no_constants():
    places = np.arange(5, dtype="float32")[:, np.newaxis]
    net = keras.Sequential([L.Input((5, 3)), L.Dense(6, activation=lambda x: x + places), L.Flatten(), L.Dense(2)])
    net.layers[0].set_weights([np.zeros((3, 6)), np.ones(6)])
    x = np.random.default_rng(0).normal(size=(3, 5, 3)).astype("float32")

    close([remove_dead_channels(net)(x).numpy()], [net(x).numpy()], 1e-6, "without dead channels")


def test_products_inside_an_activation_are_counted():
    net = keras.Sequential([L.Input((4, 6)), L.Activation(lambda x: tf.matmul(x, tf.ones((6, 3))))])

    assert tfmot_swd.profile(net).macs == 4 * 6 * 3
