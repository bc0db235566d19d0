import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tensorflow_model_optimization.python.core.sparsity.keras import prune

from tfmot_swd.tflite.serving import (
    batch_size,
    check_exportable,
    float32_copy,
    has_loop,
    keras_outputs,
    serving_function,
)

L = keras.layers


@keras.utils.register_keras_serializable("test_serving")
class Doubled(L.Layer):
    def call(self, inputs):
        return inputs * 2


class Unregistered(L.Layer):
    def call(self, inputs):
        return inputs + 1


def test_names_and_batch_of_the_signature(two_by_two):
    function = serving_function(two_by_two, 1)
    (given, _) = function.structured_input_signature
    assert given == (
        tf.TensorSpec((1, 5), tf.float32, "right"),
        tf.TensorSpec((1, 2), tf.float32, "left-hand"),
    )
    assert {name: tuple(out.shape) for name, out in function.structured_outputs.items()} == {
        "zebra": (1, 4),
        "ant": (1, 3),
    }


def test_keras_outputs_are_those_of_predict_over_all_chunks(two_by_two, pairs):
    outputs = keras_outputs(two_by_two, tuple(pairs), chunk=16)
    zebra, ant = two_by_two.predict(pairs, verbose=0)
    np.testing.assert_allclose(outputs["zebra"], zebra, atol=1e-6)
    np.testing.assert_allclose(outputs["ant"], ant, atol=1e-6)


def test_keras_outputs_are_those_of_inference():
    model = keras.Sequential([L.Input((4,)), L.Dropout(0.5), L.BatchNormalization(epsilon=0.0, name="y")])
    x = np.ones((3, 4), "float32")
    np.testing.assert_array_equal(keras_outputs(model, (x,))["y"], x)
    np.testing.assert_array_equal(model.layers[-1].moving_mean, np.zeros(4))


def test_batch_size():
    assert batch_size(keras.Sequential([L.Input((4,)), L.Dense(1)])) is None
    assert batch_size(keras.Sequential([L.Input((4,), batch_size=3), L.Dense(1)])) == 3
    late = keras.Sequential([L.Dense(1)])
    late(np.zeros((7, 4), "float32"))
    assert late.inputs[0].shape[0] == 7
    assert batch_size(late) is None


def test_a_float32_model_is_its_own_copy(conv_net):
    assert float32_copy(conv_net) is conv_net


def test_a_policy_that_was_never_set_still_follows_floatx():
    model = keras.Sequential([L.Input((4,)), L.Dense(4, dtype="mixed_float16")])
    assert float32_copy(model) is not model
    keras.backend.set_floatx("float64")
    try:
        assert keras.mixed_precision.global_policy().name == "float64"
    finally:
        keras.backend.set_floatx("float32")


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "float64"])
def test_the_copy_computes_in_float32_with_the_same_weights(policy):
    keras.mixed_precision.set_global_policy(policy)
    try:
        inner = keras.Sequential([L.Input((4,)), L.Dense(4), Unregistered()], name="inner")
        x = L.Input((4,), name="x")
        wrapped = L.TimeDistributed(L.Dense(2))(L.Reshape((2, 2))(Doubled()(inner(x))))
        model = keras.Model(x, tf.cast(wrapped, policy.removeprefix("mixed_")) + 1)
        copy = float32_copy(model)
        assert keras.mixed_precision.global_policy().name == policy
    finally:
        keras.mixed_precision.set_global_policy("float32")
    layers = [each for each in copy.submodules if isinstance(each, L.Layer)]
    assert {each.compute_dtype for each in layers} == {"float32"}
    assert {weight.dtype for weight in copy.weights} == {tf.float32}
    assert copy.output_names == model.output_names
    data = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    (got,), (wanted,) = keras_outputs(copy, (data,)).values(), keras_outputs(model, (data,)).values()
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted.astype("float32"), atol=0.1 if "bf" in policy else 1e-2)


@pytest.mark.parametrize(
    ("recurrent", "loop"),
    [
        (L.GRU(2), True),
        (L.SimpleRNN(2), True),
        (L.RNN(L.LSTMCell(2)), True),
        (L.LSTM(2, activation="relu"), True),
        (lambda x: L.LSTM(2)(L.Masking()(x)), True),
        (L.LSTM(2), False),
        (L.GRU(2, unroll=True), False),
        (L.Flatten(), False),
    ],
)
def test_has_loop(recurrent, loop):
    x = L.Input((3, 2))
    assert has_loop(serving_function(keras.Model(x, recurrent(x)), 1)) == loop


def test_a_plain_model_passes(conv_net, two_by_two):
    check_exportable(conv_net)
    check_exportable(two_by_two)


def test_a_wrapper_is_found_at_any_depth():
    inner = keras.Sequential([L.Input((6,)), prune.prune_low_magnitude(L.Dense(3, name="deep"))])
    middle = keras.Sequential([L.Input((6,)), inner])
    outer = L.Input((6,))
    model = keras.Model(outer, L.Dense(2)(middle(outer)))
    with pytest.raises(
        ValueError,
        match=r"call tfmot_swd.strip_pruning\(model\) first.*"
        r"Received: 1 wrapped layers \(prune_low_magnitude_deep\)",
    ):
        check_exportable(model)


def test_a_keras_3_model_is_told_apart_without_keras_3():
    class Sequential:
        __module__ = "keras.src.models.sequential"

    with pytest.raises(
        TypeError, match=r"keras3.from_keras3\(model\).*Received: a Keras 3 .*keras.src.models.sequential"
    ):
        check_exportable(Sequential())


def test_no_model_and_an_unbuilt_one():
    with pytest.raises(TypeError, match="Received: dict"):
        check_exportable({})
    with pytest.raises(ValueError, match=r"not built.*Received: 'net'"):
        check_exportable(keras.Sequential([L.Dense(1)], name="net"))


def test_strings_are_refused_before_any_work():
    words = keras.Sequential(
        [keras.Input((1,), dtype="string", name="word"), keras.layers.StringLookup(vocabulary=["a"])]
    )
    with pytest.raises(ValueError, match="Files take no strings.*Received: input 'word' of dtype string"):
        check_exportable(words)
