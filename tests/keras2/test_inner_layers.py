"""Layers inside a layer, built before its first call."""

import numpy as np
import tf_keras as keras

from tfmot_swd.keras2.inner_layers import build_parts

L = keras.layers
VECTOR = (2, 3)


class Composite(L.Layer):
    """A layer without build: Keras builds its part when it is called."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.part = L.Dense(2)

    def call(self, inputs):
        return self.part(inputs)


def test_parts_are_built_before_the_first_call():
    layer = Composite()
    layer.build(VECTOR)
    assert not layer.part.built

    build_parts(layer, VECTOR)

    assert layer.part.kernel.shape == (3, 2)
    kernel = layer.part.kernel
    layer(np.ones(VECTOR, np.float32))
    assert layer.part.kernel is kernel


def test_the_parts_of_a_copied_attention_have_the_names_of_the_original():
    original = L.MultiHeadAttention(2, 4, name="mha")
    inputs = keras.Input((3, 8))
    original(inputs, inputs)
    copy = L.MultiHeadAttention.from_config(original.get_config())

    build_parts(copy, (None, 3, 8))

    assert [weight.shape for weight in copy.weights] == [weight.shape for weight in original.weights]
    assert len({weight.name for weight in copy.weights}) == 8
