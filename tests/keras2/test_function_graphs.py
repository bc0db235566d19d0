"""Functions recorded as the layer graph of what they compute."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfmot_swd.keras2.function_graphs import NotTraced, graph_of


def test_the_graph_computes_what_the_function_computes():
    def function(pair, scale):
        return [pair["a"] * scale + pair["b"], tf.nn.relu(pair["a"])]

    specs = {"a": tf.TensorSpec((None, 3)), "b": tf.TensorSpec((None, 3))}
    graph = graph_of(function, specs, {"scale": 2.0})
    a, b = np.float32([[1, -2, 3]]), np.float32([[4, 5, 6]])

    np.testing.assert_array_equal(graph([a, b])[0], [[6, 1, 12]])
    np.testing.assert_array_equal(graph([a, b])[1], [[1, 0, 3]])


def test_a_tf_function_is_recorded_by_the_function_in_it():
    graph = graph_of(tf.function(lambda x: x + 1.0), tf.TensorSpec((2, 3)), {})

    assert [layer.name for layer in graph.layers[1:]] == ["tf.__operators__.add"]
    assert tuple(graph.outputs[0].shape) == (2, 3)


def test_the_tensor_itself_is_a_graph_too():
    graph = graph_of(lambda x: x, tf.TensorSpec((None, 3), tf.float16), {})

    assert graph.inputs[0] is graph.outputs[0]
    assert graph.inputs[0].dtype == tf.float16


def test_names_that_keras_gives_stay_as_they_are():
    keras.backend.clear_session()
    keras.Input((3,)) + 1.0
    graph_of(lambda x: keras.layers.ReLU()(x) + 1.0, tf.TensorSpec((None, 3)), {})
    x = keras.Input((3,))

    assert x.name == "input_2"
    assert keras.layers.ReLU().name == "re_lu"
    assert (x + 1.0)._keras_history.layer.name == "tf.__operators__.add_1"


@pytest.mark.parametrize(
    ("function", "shape", "reason"),
    [
        (lambda x: np.asarray(x), (None, 3), "cannot be called on symbolic tensors"),
        (lambda x: x if x > 0 else -x, (None, 3), "cannot be called on symbolic tensors"),
        (lambda x: tf.ones((3,)), (None, 3), "something else than tensors that depend on its inputs"),
        (lambda x: [], (None, 3), "something else than tensors that depend on its inputs"),
        (lambda x: x, (), "without a batch axis"),
    ],
)
def test_what_cannot_be_recorded_says_why(function, shape, reason):
    with pytest.raises(NotTraced, match=reason):
        graph_of(function, tf.TensorSpec(shape), {})
