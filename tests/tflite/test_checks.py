import pytest
import tf_keras as keras
from tensorflow_model_optimization.python.core.sparsity.keras import prune

from tfmot_swd.tflite.checks import check_exportable

L = keras.layers


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

    with pytest.raises(TypeError, match=r"import tf_keras as keras.*Received: keras.src.models.sequential"):
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
