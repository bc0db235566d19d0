"""Symbolic calls without a trace: what Keras would have made, and when Keras is asked after all."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfmot_swd.keras2.graph import shape_of
from tfmot_swd.keras2.symbolic_calls import call_symbolically, initial_zeros

L = keras.layers
IMAGE = (8, 8, 3)


class Traced:
    """Counts the calls of a layer's `call`."""

    def __init__(self, layer: Any) -> None:
        self.count, original = 0, type(layer).call

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            self.count += 1
            return original(layer, *args, **kwargs)

        self.kind = type(type(layer).__name__, (type(layer),), {"call": call, "__module__": type(layer).__module__})
        layer.__class__ = self.kind


def called(layer: Any, args: Any, planned: Any = None, **kwargs: Any) -> tuple[Any, int, Any]:
    """Returns the output of a symbolic call, how often the layer was traced for it, and the output that Keras makes."""
    twin = type(layer).from_config(layer.get_config())
    like = twin(args, **kwargs)
    traced = Traced(layer)
    call_symbolically(layer, (args,), kwargs, [like], [shape_of(like) if planned is None else planned])
    return layer.output, traced.count, like


@pytest.mark.parametrize(
    "layer",
    [
        L.Conv2D(4, 3, strides=2, padding="same", activation="relu", kernel_regularizer="l2"),
        L.Conv2DTranspose(2, 3, strides=2),
        L.SeparableConv2D(5, 3),
        L.DepthwiseConv2D(3, depth_multiplier=2),
        L.BatchNormalization(),
        L.LayerNormalization(),
        L.Dense(6),
        L.MaxPooling2D(),
        L.GlobalAveragePooling2D(keepdims=True),
        L.ReLU(6.0),
        L.PReLU(shared_axes=[1, 2]),
        L.Activation("swish"),
        L.Dropout(0.5),
        L.Flatten(),
        L.Reshape((-1, 6)),
        L.UpSampling2D(),
        L.ZeroPadding2D(((1, 0), (0, 2))),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layer_of_keras_is_not_traced(layer):
    found, traces, wanted = called(layer, keras.Input(IMAGE))
    assert traces == 0
    assert shape_of(found) == shape_of(wanted)
    assert found.dtype == wanted.dtype
    assert layer.built
    assert layer._saved_model_inputs_spec is not None
    # As in any model, its weights have their names, and it computes.
    names = [each.name for each in layer.weights]
    assert names == [
        name.replace(wanted.node.layer.name, layer.name) for name in [w.name for w in wanted.node.layer.weights]
    ]
    model = keras.Model(layer.input, found)
    assert model(np.ones((2, *IMAGE), np.float32)).shape[1:] == wanted.shape[1:]


@pytest.mark.parametrize("layer", [L.Add(), L.Concatenate(axis=1)])
def test_nor_is_one_of_several_inputs(layer):
    found, traces, wanted = called(layer, [keras.Input(IMAGE), keras.Input(IMAGE)])
    assert traces == 0
    assert shape_of(found) == shape_of(wanted)


def test_in_mixed_precision_the_output_is_half():
    found, traces, wanted = called(L.Dense(2, dtype="mixed_float16"), keras.Input((3,)))
    assert traces == 0
    assert found.dtype == wanted.dtype == tf.float16


def masked() -> Any:
    return L.Masking()(keras.Input((4, 3)))


class Own(L.Dense):
    """A class of the user's."""


@pytest.mark.parametrize(
    ("layer", "given"),
    [
        (L.Dense(2, activity_regularizer="l2"), lambda: keras.Input((3,))),
        (L.Dense(2), masked),
        (L.LSTM(2), lambda: keras.Input((4, 3))),
        (Own(2), lambda: keras.Input((3,))),
        (L.Lambda(lambda x: x + 1.0), lambda: keras.Input((3,))),
        (L.Flatten(), lambda: keras.Input((3,), dtype="int32")),
    ],
    ids=["activity", "mask", "recurrent", "own class", "lambda", "integers"],
)
def test_all_others_are(layer, given):
    found, traces, wanted = called(layer, given())
    assert traces > 0
    assert shape_of(found) == shape_of(wanted)


def test_where_the_plan_is_wrong_keras_says_what_comes_out():
    found, traces, _ = called(L.Dense(2), keras.Input((3,)), planned=(None, 5))
    assert traces == 1
    assert shape_of(found) == (None, 2)


def test_weights_start_with_zeros_and_draw_no_random_numbers():
    keras.utils.set_random_seed(1)
    wanted = L.Dense(2)
    wanted.build((None, 3))
    keras.utils.set_random_seed(1)
    first, second = L.Dense(2, bias_initializer="ones"), L.Dense(2)
    with initial_zeros(first):
        first.build((None, 3))
    assert not any(weight.numpy().any() for weight in first.weights)
    second.build((None, 3))
    np.testing.assert_array_equal(second.kernel, wanted.kernel)


def test_a_class_of_the_users_starts_as_it_says():
    layer = Own(2, bias_initializer="ones")
    with initial_zeros(layer):
        layer.build((None, 3))
    np.testing.assert_array_equal(layer.bias, [1.0, 1.0])
