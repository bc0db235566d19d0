"""Copies compute what a changed layer computes, with variables of their own."""

import types

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tfmot_swd.pruning.wrapping import wrap_with

L = keras.layers
X = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")


def net(layer: L.Layer) -> keras.Model:
    return keras.Sequential([L.Dense(4, input_shape=(3,), name="first"), layer, L.Dense(2)])


def by_closure(layer: L.Layer) -> None:
    plain = layer.call
    layer.call = lambda x: plain(x) * tf.reduce_sum(layer.kernel)


def by_method(layer: L.Layer) -> None:
    layer.call = types.MethodType(lambda self, x, scale=2.0: scale * x @ self.kernel, layer)


def by_variable(layer: L.Layer) -> None:
    plain, gain = layer.call, tf.Variable([1.0, 2.0, 3.0, 4.0, 5.0])
    layer.gain = gain
    layer.call = lambda x: plain(x) * gain


def by_part(layer: L.Layer) -> None:
    plain, layer.part = layer.call, L.Dense(5)
    layer.part.build((None, 5))
    layer.call = lambda x: layer.part(plain(x))


def by_constant(layer: L.Layer) -> None:
    layer.kernel = tf.math.l2_normalize(layer.kernel, axis=1)


def by_flag(layer: L.Layer) -> None:
    layer.bias.assign(tf.ones(5))
    layer.use_bias = False


@pytest.mark.parametrize("change", [by_closure, by_method, by_variable, by_part, by_constant, by_flag])
def test_a_copy_of_a_changed_layer(change):
    layer = L.Dense(5, name="changed")
    model = net(layer)
    change(layer)
    expected = model(X).numpy()
    plain = keras.models.clone_model(model)
    if len(plain.weights) == len(model.weights):
        plain.set_weights(model.get_weights())
        assert np.abs(plain(X) - expected).max() > 1e-3, "the change changes nothing"

    copies = [wrap_with(model, lambda given, copy: copy), tfmot_swd.channels.remove_channels(model, {})]
    for copy in copies:
        np.testing.assert_allclose(copy(X), expected, rtol=1e-6)
        # Nothing is shared.
        for weight in copy.weights:
            weight.assign(weight * 0.0)
    np.testing.assert_array_equal(model(X), expected)


def test_a_changed_layer_goes_on_in_a_pruned_training():
    layer = L.Dense(5, name="changed")
    model = net(layer)
    by_closure(layer)
    pruned = tfmot_swd.prune_selective_decay(model, tfmot_swd.SelectiveDecay(final_sparsity=0.5, end_step=4))
    np.testing.assert_allclose(pruned(X), model(X), rtol=1e-6)
    tfmot_swd.prune_now(pruned)

    np.testing.assert_allclose(tfmot_swd.strip_pruning(pruned)(X), pruned(X), rtol=1e-6)


def test_statistics_of_a_data_set_are_there_after_wrapping():
    norm = L.Normalization(input_shape=(3,))
    norm.adapt(np.random.default_rng(1).normal(5.0, 3.0, (50, 3)))
    model = keras.Sequential([norm, L.Dense(4), L.Dense(2)])

    np.testing.assert_allclose(wrap_with(model, lambda given, copy: copy)(X), model(X), rtol=1e-6)


def test_a_model_whose_call_was_replaced_is_refused():
    model = net(L.Dense(5))
    model.call = lambda x: x

    with pytest.raises(ValueError, match=r"this one's call was replaced on the object.* Received: 'sequential"):
        wrap_with(model, lambda given, copy: copy)
    with pytest.raises(ValueError, match="has a call method of its own"):
        tfmot_swd.channels.channel_groups(model)


def test_a_layer_called_on_a_constant_that_keras_cannot_copy_is_named():
    x = L.Input((3,), batch_size=2)
    model = keras.Model(x, L.Dense(2)(L.Add(name="sum")([x, tf.ones((2, 3))])))

    with pytest.raises(ValueError, match=r"called on a constant: .* Received: sum, TypeError: "):
        wrap_with(model, lambda given, copy: copy)


def test_weights_that_do_not_follow_from_the_config_are_told():
    class Forgets(L.Dense):
        def __init__(self, units, more=0, **kwargs):
            super().__init__(units, **kwargs)
            self.more = more

        def build(self, input_shape):
            super().build(input_shape)
            self.extras = [self.add_weight("extra", ()) for _ in range(self.more)]

    with pytest.raises(ValueError, match=r"other weights than its config says.* Received: layer 'f' with weights"):
        wrap_with(net(Forgets(5, more=1, name="f")), lambda given, copy: copy)
