"""Constants pushed through the graph, against hand computations."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfmot_swd.channels.constants import constant_inputs
from tfmot_swd.channels.walk import trace_channels

L = keras.layers
NAN = np.nan


def read_by_last(model: keras.Model) -> np.ndarray:
    """What the last layer with a kernel reads."""
    layer = [layer for layer in model.layers if hasattr(layer, "kernel")][-1]
    (line,) = constant_inputs(model, trace_channels(model))[(id(layer), "kernel")]
    return line


def dense(kernel, bias, activation=None) -> L.Layer:
    kernel = np.array(kernel, np.float32)
    layer = L.Dense(kernel.shape[1], activation)
    layer.build((None, kernel.shape[0]))
    layer.set_weights([kernel, np.array(bias, np.float32)])
    return layer


def after(*layers, shape=(2,)) -> keras.Model:
    return keras.Sequential([keras.Input(shape), *layers, L.Dense(1)])


def test_a_unit_without_weights_gives_its_bias_through_the_activation():
    first = dense([[1, 0, 0], [0, 0, 0]], [5, 2, -3], "relu")

    np.testing.assert_array_equal(read_by_last(after(first)), [NAN, 2, 0])


def test_constants_add_up_in_the_next_layer():
    first = dense([[0, 0, 1], [0, 0, 1]], [2, -1, 0])
    second = dense([[3, 1, 0], [10, 0, 0], [0, 1, 0]], [0.5, 0, 7])

    # 2·3 - 1·10 + .5; the second unit reads what is not constant; the third nothing.
    np.testing.assert_allclose(read_by_last(after(first, second)), [-3.5, NAN, 7])


def test_batch_normalization_moves_a_constant():
    norm = L.BatchNormalization(epsilon=0.0)
    first = dense([[0, 1], [0, 1]], [2, 0])
    model = after(first, norm)
    norm.set_weights([np.array(value, np.float32) for value in ([3, 1], [1, 0], [1, 0], [4, 1])])

    # 3 · (2 - 1) / sqrt(4) + 1
    np.testing.assert_allclose(read_by_last(model), [2.5, NAN])


def conv(kernel, bias, **options) -> L.Layer:
    kernel = np.array(kernel, np.float32)
    layer = L.Conv1D(kernel.shape[2], kernel.shape[0], **options)
    layer.build((None, 8, kernel.shape[1]))
    layer.set_weights([kernel, np.array(bias, np.float32)])
    return layer


@pytest.mark.parametrize(("padding", "expected"), [("valid", 2 * 3 + 0.5), ("same", NAN), ("causal", NAN)])
def test_a_padded_convolution_of_a_constant_is_not_constant(padding, expected):
    first = conv([[[0.0]]], [2])
    second = conv([[[1]], [[1]], [[1]]], [0.5], padding=padding)

    np.testing.assert_array_equal(read_by_last(after(first, second, shape=(8, 1))), [expected])


def test_a_padded_convolution_of_zeros_is_its_bias():
    first = conv([[[0.0]]], [-2], activation="relu")
    second = conv([[[1]], [[1]], [[1]]], [0.5], padding="same")

    np.testing.assert_array_equal(read_by_last(after(first, second, shape=(8, 1))), [0.5])


@pytest.mark.parametrize(("constant", "expected"), [(0.0, 0.0), (2.0, NAN)])
def test_padding_writes_zeros_beside_a_constant(constant, expected):
    model = after(conv([[[0.0]]], [constant]), L.ZeroPadding1D(1), shape=(8, 1))

    np.testing.assert_array_equal(read_by_last(model), [expected])


def two_branches(merge) -> np.ndarray:
    """Units of constants (2, 0, 4, free) and (3, free, 5, free)."""
    inputs = keras.Input((2,))
    first = dense([[0, 0, 0, 1], [0, 0, 0, 1]], [2, 0, 4, 0])(inputs)
    second = dense([[0, 1, 0, 1], [0, 1, 0, 1]], [3, 0, 5, 0])(inputs)
    return read_by_last(keras.Model(inputs, L.Dense(1)(merge(first, second))))


@pytest.mark.parametrize(
    ("merge", "expected"),
    [
        (lambda a, b: a + b, [5, NAN, 9, NAN]),
        (lambda a, b: L.Subtract()([a, b]), [-1, NAN, -1, NAN]),
        (lambda a, b: L.Multiply()([a, b]), [6, 0, 20, NAN]),
        (lambda a, b: a * b, [6, 0, 20, NAN]),
        (lambda a, b: L.Maximum()([a, b]), [3, NAN, 5, NAN]),
        (lambda a, b: L.Concatenate()([a, b]), [2, 0, 4, NAN, 3, NAN, 5, NAN]),
        (lambda a, b: L.Concatenate()([a, b])[:, 2:6], [4, NAN, 3, NAN]),
        (lambda a, b: L.Activation("sigmoid")(a), [1 / (1 + np.exp(-2.0)), 0.5, 1 / (1 + np.exp(-4.0)), NAN]),
        (lambda a, b: 2.0 * a - 1.0, [3, -1, 7, NAN]),
    ],
)
def test_merges(merge, expected):
    np.testing.assert_allclose(two_branches(merge), expected, rtol=1e-6)


def test_flatten_repeats_constants_in_the_order_of_elements():
    model = after(conv([[[0.0, 1.0]]], [2, 0]), L.MaxPooling1D(2), L.Flatten(), shape=(4, 1))

    np.testing.assert_array_equal(read_by_last(model), [2, NAN, 2, NAN])


def test_a_depthwise_filter_of_zeros_gives_its_bias():
    depthwise = L.DepthwiseConv1D(1, depth_multiplier=2)
    model = after(conv([[[0.0, 1.0]]], [2, 0]), depthwise, shape=(4, 1))
    depthwise.set_weights([np.array([[[3, 0], [1, 0]]], np.float32), np.array([0, 1, 2, 4], np.float32)])

    np.testing.assert_array_equal(read_by_last(model), [6, 1, NAN, 4])


def test_each_call_of_a_shared_layer_is_told_apart():
    inputs = keras.Input((2,))
    first, second = dense([[0], [0]], [2])(inputs), dense([[1], [1]], [0])(inputs)
    shared = L.Dense(1)
    model = keras.Model(inputs, shared(first) + shared(second))

    lines = constant_inputs(model, trace_channels(model))[(id(shared), "kernel")]
    np.testing.assert_array_equal(lines, [[2], [NAN]])


@pytest.mark.parametrize(
    "layer",
    [L.LayerNormalization(), L.Lambda(lambda x: x + tf.reduce_mean(x, 1, keepdims=True)), L.Masking(0.0)],
)
def test_a_layer_that_is_not_known_gives_no_constants(layer):
    first = dense([[0, 0], [0, 0]], [2, 3])
    inputs = keras.Input((2, 2))
    model = keras.Model(inputs, L.Dense(1)(layer(first(inputs))))

    assert np.isnan(read_by_last(model)).all()


@pytest.mark.parametrize(
    "layer", [L.BatchNormalization(), L.PReLU(), L.Activation("relu"), L.Rescaling(2.0), L.LayerNormalization()]
)
@pytest.mark.parametrize("barrier", [lambda x: x, L.Lambda(lambda x: x * 2.0), lambda x: tf.math.l2_normalize(x, -1)])
def test_what_stands_behind_the_input_or_a_barrier_is_not_constant(barrier, layer):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, L.Dense(1)(layer.from_config(layer.get_config())(barrier(inputs))))
    trace = trace_channels(model)
    found = constant_inputs(model, trace)

    assert all(np.isnan(line).all() for lines in found.values() for line in lines)
    assert trace.failures == []


def test_a_nested_model_gets_its_inputs_in_its_own_order():
    first, second = keras.Input((1,), name="b"), keras.Input((1,), name="a")
    read = L.Dense(1)
    inner = keras.Model({"b": first, "a": second}, read(L.Concatenate()([first, second])))
    inputs = keras.Input((2,))
    dead, free = dense([[0], [0]], [2])(inputs), dense([[1], [1]], [0])(inputs)
    model = keras.Model(inputs, L.Dense(1)(inner({"a": free, "b": dead})))

    (line,) = constant_inputs(model, trace_channels(model))[(id(read), "kernel")]
    np.testing.assert_array_equal(line, [2, NAN])


def test_a_dense_layer_that_computes_something_else_makes_no_constants():
    made = dense([[0, 0], [0, 0]], [2, 3])
    model = after(made, dense([[1], [1]], [0]))
    plain = made.call
    made.call = lambda x: plain(x) * tf.reduce_sum(x)

    np.testing.assert_array_equal(read_by_last(model), [NAN])


def test_a_constant_of_all_heads_is_one_of_their_channel():
    """Two heads of three: what they have in common, channel by channel."""
    first = dense([[0, 0, 1, 0, 0, 0]], [2, 5, 0, 2, 6, 0])
    model = after(first, L.Reshape((2, 3)), L.Permute((2, 1)), L.Permute((2, 1)), shape=(1,))

    np.testing.assert_array_equal(read_by_last(model), [2, NAN, NAN])
