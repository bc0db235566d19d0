"""What is told to replace what a class computes, and what is not."""

import functools
import types

import pytest
import tensorflow as tf
import tf_keras as keras

from tfmot_swd.keras2.overrides import computes_as, replaced_below, replaced_on_object

L = keras.layers


class InBuild(L.Conv2D):
    def build(self, input_shape):
        super().build(input_shape)
        plain = self.convolution_op
        self.convolution_op = lambda x, kernel: plain(x, -kernel)


def built(layer: L.Layer) -> L.Layer:
    layer(tf.zeros((1, 4, 4, 2)))
    return layer


@pytest.mark.parametrize("layer", [L.Conv2D(3, 1), L.BatchNormalization(), L.ReLU(), L.Normalization(), L.Dropout(0.5)])
def test_a_layer_as_keras_makes_it_has_nothing_replaced(layer):
    assert replaced_on_object(built(layer)) == {}
    assert computes_as(layer, type(layer))


def test_an_operator_makes_its_own_call():
    x = tf.nn.relu(L.Input((3,)))[:, 1:]
    model = keras.Model(x.node.keras_inputs[0]._keras_history.layer.input, x)

    assert [list(replaced_on_object(layer)) for layer in model.layers] == [[], [], []]


def replaced_by(make) -> list[str]:
    layer = built(L.Conv2D(3, 1))
    layer.call = make(layer)
    return list(replaced_on_object(layer))


@pytest.mark.parametrize(
    "make",
    [
        lambda layer: lambda x: x,
        lambda layer: types.MethodType(lambda self, x: x, layer),
        lambda layer: functools.partial(tf.add, 1.0),
        lambda layer: L.Conv2D(3, 1).call,
        lambda layer: tf.nn.relu,
        lambda layer: L.ReLU(),
    ],
    ids=["lambda", "method", "partial", "method of another", "function", "layer"],
)
def test_whatever_is_assigned_to_a_method_replaces_it(make):
    assert replaced_by(make) == ["call"]


def test_what_a_subclass_puts_in_place_is_its_own_and_replaces_what_its_ancestor_does():
    layer = built(InBuild(3, 1))

    assert replaced_on_object(layer) == {}
    assert list(replaced_on_object(layer, L.Conv2D)) == ["convolution_op"]
    assert computes_as(layer, InBuild)
    assert not computes_as(layer, L.Conv2D)


def test_what_classes_redefine():
    class Access(L.Dense):
        def __getattr__(self, name):
            raise AttributeError(name)

    class Cached(L.Dense):
        @functools.cached_property
        def kernel(self):
            return 1.0

    class Harmless(L.Dense):
        note = "mine"

        def build(self, input_shape):
            super().build(input_shape)

        def new_method(self):
            return 1

        @classmethod
        def made(cls):
            return cls(1)

    assert replaced_below(L.Dense, Access) == ["__getattr__"]
    assert replaced_below(L.Dense, Cached) == ["kernel"]
    assert replaced_below(L.Dense, Harmless) == []
    assert replaced_below(L.Conv1D, L.Conv1DTranspose) == ["call"]
