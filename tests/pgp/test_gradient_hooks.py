"""Watching a gradient go by changes nothing that passes."""

import functools
import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tensorflow.python.framework import ops

from tests.pgp.nets import L
from tfmot_swd.keras2.layer_weights import part_of, weight_at
from tfmot_swd.pgp.gradient_hooks import gradient_hook, weight_gradient_hook

ROWS = np.array([[1.0, 2.0], [3.0, -1.0]], np.float32)


def dense(**options) -> keras.layers.Dense:
    layer = L.Dense(2, use_bias=False, **options)
    layer.build((None, 2))
    layer.kernel.assign([[1.0, 0.0], [2.0, 1.0]])
    return layer


@pytest.mark.parametrize("graph", [False, True])
def test_the_gradient_is_seen_and_goes_on(graph):
    x, seen = tf.Variable([3.0, 4.0]), tf.Variable([0.0, 0.0])

    def run():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(gradient_hook(x.read_value(), seen.assign_add) ** 2)
        return tape.gradient(loss, x)

    np.testing.assert_array_equal((tf.function(run) if graph else run)(), [6.0, 8.0])
    np.testing.assert_array_equal(seen, [6.0, 8.0])


@pytest.mark.parametrize("graph", [False, True])
def test_the_gradient_of_all_uses_inside_one_call_is_seen_once(graph):
    layer, seen, count = dense(), tf.Variable(tf.zeros((2, 2))), tf.Variable(0)

    def watch(gradient):
        seen.assign_add(gradient)
        count.assign_add(1)

    def run():
        with tf.GradientTape() as tape:
            with weight_gradient_hook(layer, "kernel", watch):
                loss = tf.reduce_sum(layer(layer(tf.constant(ROWS))))
            loss += 5.0 * tf.reduce_sum(layer.kernel)
        return tape.gradient(loss, layer.kernel)

    total = (tf.function(run) if graph else run)()
    # Of sum(x·K·K) it is xᵀ·1·(K·1)ᵀ + (x·K)ᵀ·1·1ᵀ, by hand [[4, 12], [1, 3]] + [[6, 6], [1, 1]].
    np.testing.assert_array_equal(seen, [[10.0, 18.0], [2.0, 4.0]])
    np.testing.assert_array_equal(total, np.array([[10.0, 18.0], [2.0, 4.0]]) + 5.0)
    assert int(count) == 1


def test_the_variable_is_put_back_after_an_error():
    layer = dense()
    kernel = layer.kernel

    def fail():
        with weight_gradient_hook(layer, "kernel", lambda gradient: None):
            assert layer.kernel is not kernel
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert layer.kernel is kernel
    assert [id(each) for each in layer.weights] == [id(kernel)]


def test_mixed_precision_computes_in_half_and_sees_in_full():
    layer, seen = dense(dtype="mixed_float16"), []
    with tf.GradientTape() as tape:
        with weight_gradient_hook(layer, "kernel", seen.append):
            outputs = layer(tf.constant(ROWS))
        loss = tf.reduce_sum(outputs)
    assert tape.gradient(loss, weight_at(layer, "kernel")).dtype == tf.float32
    assert outputs.dtype == tf.float16
    assert seen[0].dtype == tf.float32
    np.testing.assert_array_equal(seen[0], [[4.0, 4.0], [1.0, 1.0]])


def test_parts_are_found_by_dots():
    layer = L.LSTM(2)
    layer.build((None, 3, 2))
    assert part_of(layer, "cell.kernel") == (layer.cell, "kernel")
    assert weight_at(layer, "cell.kernel") is layer.cell.kernel


def test_a_weight_that_is_computed_cannot_be_watched():
    class Doubled(L.Dense):
        @property
        def kernel(self):
            return 2 * self.half

        @kernel.setter
        def kernel(self, value):
            self.half = value

    layer = Doubled(2, name="doubled")
    layer.build((None, 2))
    with (
        pytest.raises(TypeError, match="criterion that needs no gradient.*Received: Doubled.kernel of layer 'doubled'"),
        weight_gradient_hook(layer, "kernel", print),
    ):
        pass


def test_nothing_of_a_hook_is_registered_and_its_graph_goes():
    before = set(ops.gradient_registry.list())
    x, seen = tf.Variable([3.0, 4.0]), tf.Variable([0.0, 0.0])

    @tf.function
    def inner(value):
        return tf.reduce_sum(gradient_hook(value, seen.assign_add) ** 2)

    def gradient_of(function):
        # Here the gradient is of the traced function as a whole.
        with tf.GradientTape() as tape:
            loss = function(x.read_value())
        return tape.gradient(loss, x)

    outer = tf.function(functools.partial(gradient_of, inner))
    np.testing.assert_array_equal(outer(), [6.0, 8.0])
    np.testing.assert_array_equal(seen, [6.0, 8.0])
    assert set(ops.gradient_registry.list()) == before
    traces = [*inner._list_all_concrete_functions(), *outer._list_all_concrete_functions()]
    graphs = [weakref.ref(each.graph) for each in traces]
    assert len(graphs) >= 2
    del inner, outer, traces
    gc.collect()
    assert [each() for each in graphs] == [None] * len(graphs)
