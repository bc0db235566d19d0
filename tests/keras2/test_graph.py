"""The calls of a model, in order, and values pushed through them."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfmot_swd.keras2 import graph
from tfmot_swd.keras2.graph import calls_of, layer_paths, propagate, shape_of

L = keras.layers


def residual() -> keras.Model:
    inputs = keras.Input((4,), name="in")
    x = L.Dense(3, name="a")(inputs)
    inner = keras.Sequential([L.Dense(3, name="c", input_shape=(3,))], name="inner")
    return keras.Model(inputs, L.Add(name="sum")([inner(x), L.Dense(3, name="b")(x), inner(L.ReLU(name="r")(x))]))


def names(calls) -> list[str]:
    return [call.layer.name for call in calls]


def test_calls_come_behind_those_that_they_need_and_inputs_are_left_out():
    calls = calls_of(residual())

    assert names(calls)[0] == "a"
    assert names(calls)[-1] == "sum"
    assert sorted(names(calls)) == ["a", "b", "inner", "inner", "r", "sum"]


def test_a_copy_has_its_calls_in_the_same_order():
    model = residual()

    assert names(calls_of(keras.models.clone_model(model))) == names(calls_of(model))


def test_calls_as_run_are_in_the_order_of_keras():
    ran = []

    class Recorder(L.Layer):
        def call(self, x):
            if tf.executing_eagerly() and not keras.backend.is_keras_tensor(x):
                ran.append(self.name)
            return x

    inputs = keras.Input((2,))
    tails = [Recorder(name=name)(L.Dense(2)(inputs)) for name in "cab"]
    model = keras.Model(inputs, L.Add()(tails[::-1]))
    ran.clear()
    model(np.ones((1, 2), np.float32))

    assert [name for name in names(calls_of(model, as_run=True)) if len(name) == 1] == ran
    assert sorted(ran) == ["a", "b", "c"]


def test_the_same_call_has_the_same_key_each_time():
    model = residual()

    assert [call.key for call in calls_of(model)] == [call.key for call in calls_of(model)]
    assert len({call.key for call in calls_of(model)}) == 6


def test_values_are_pushed_through_nested_models():
    def depth(call, known):
        place = max(known[id(tensor)] for tensor in call.inputs)
        if isinstance(call.layer, keras.Model):
            return propagate(call.layer, [place], depth)
        return [place + 1]

    assert propagate(residual(), [0], depth) == [4]


def test_calls_that_are_left_out_have_no_value():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, [L.Dense(1, name="a")(inputs), L.Dense(1, name="b")(inputs)])
    known: dict[int, str] = {}

    with pytest.raises(KeyError):
        propagate(model, ["x"], lambda call, _: ["y"] if call.layer.name == "a" else None, known=known)
    assert sorted(known.values()) == ["x", "y"]


def test_operands_are_in_the_order_of_a_models_inputs_and_flags_are_left_out():
    first, second = keras.Input((2,), name="first"), keras.Input((3,), name="second")
    inner = keras.Model({"one": first, "two": second}, L.Concatenate()([first, second]), name="inner")
    given = keras.Input((3,)), keras.Input((2,))
    mask = keras.Input((4,), dtype="bool")
    lstm_input = keras.Input((4, 2))
    model = keras.Model(
        [*given, lstm_input, mask],
        [inner({"two": given[0], "one": given[1]}), L.LSTM(1, name="lstm")(lstm_input, mask=mask)],
    )
    operands = {call.layer.name: call.operands() for call in calls_of(model)}

    assert [id(each) for each in operands["inner"]] == [id(given[1]), id(given[0])]
    assert [id(each) for each in operands["lstm"]] == [id(lstm_input)]


def test_arguments_are_bound_by_name():
    inputs = keras.Input((2, 3))
    model = keras.Model(inputs, tf.transpose(L.MultiHeadAttention(1, 2, name="mha")(inputs, inputs), [0, 2, 1]))
    attention, transposed = calls_of(model)

    assert list(attention.bind().arguments) == ["query", "value"]
    assert transposed.bind().arguments["perm"] == [0, 2, 1]


def test_paths_of_layers_lead_through_nested_models():
    assert [path for path, _ in layer_paths(residual())] == ["in", "a", "r", "inner", "inner/c", "b", "sum"]


def test_shapes_of_tensors_and_arrays():
    assert shape_of(keras.Input((None, 3))) == (None, None, 3)
    assert shape_of(np.ones((2, 1))) == (2, 1)
    assert shape_of(keras.Input(tensor=keras.Input((2,)))) == (None, 2)


def test_a_graph_takes_the_place_of_another_and_what_is_tracked_beside_it_stays():
    model, other = residual(), residual()
    beside = model.beside = L.Dense(1, name="beside")
    graph.replace_graph(model, other, lambda each: each is beside)

    assert [id(call.layer) for call in calls_of(model)] == [id(call.layer) for call in calls_of(other)]
    assert beside in graph.layers_inside(model)
    np.testing.assert_array_equal(model(np.ones((1, 4))), other(np.ones((1, 4))))
