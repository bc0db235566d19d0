"""The last check of a removal that must leave predictions as they are."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tfmot_swd.channels.agreement import check_agreement
from tfmot_swd.layers import registry
from tfmot_swd.layers.registry import register_layer

L = keras.layers


def pair(build) -> tuple[keras.Model, keras.Model]:
    first, second = build(), build()
    second.set_weights(first.get_weights())
    return first, second


def small() -> keras.Model:
    return keras.Sequential([L.Dense(4, input_shape=(3,)), L.BatchNormalization(), L.Dense(2)])


def test_models_that_agree_pass_and_keep_their_state():
    first, second = pair(small)
    before = [value.copy() for value in first.get_weights()]
    check_agreement(first, second)

    for one, other in zip(first.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_weight_that_differs_is_seen():
    first, second = pair(small)
    second.layers[0].kernel.assign_add([[0.1, 0, 0, 0]] * 3)

    with pytest.raises(RuntimeError, match=r"must be wrong about a layer.* Received: predictions of 'sequential.* the"):
        check_agreement(first, second)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_agrees_with_itself(dtype):
    keras.mixed_precision.set_global_policy(dtype)
    try:
        check_agreement(*pair(small))
    finally:
        keras.mixed_precision.set_global_policy(None)


def test_what_is_random_or_has_inputs_of_text_says_nothing():
    def noisy() -> keras.Model:
        return keras.Sequential([L.Dense(4, input_shape=(3,)), L.Lambda(lambda x: x + tf.random.normal(tf.shape(x)))])

    check_agreement(*pair(noisy))
    text = L.Input((), dtype="string")
    model = keras.Model(text, tf.strings.length(text))
    check_agreement(model, model)


def test_several_inputs_in_a_dictionary_and_open_sizes():
    def build() -> keras.Model:
        image, place = L.Input((None, None, 3), name="image"), L.Input((2,), dtype="int32", name="place")
        looked_up = L.Flatten()(L.Embedding(5, 3)(place))
        joined = L.Concatenate()([L.GlobalMaxPooling2D()(L.Conv2D(2, 3)(image)), looked_up])
        return keras.Model({"place": place, "image": image}, {"y": L.Dense(2)(joined), "z": joined})

    first, second = pair(build)
    check_agreement(first, second)
    second.layers[-1].set_weights([np.ones_like(value) for value in second.layers[-1].get_weights()])
    with pytest.raises(RuntimeError, match="must be wrong"):
        check_agreement(first, second)


class Neighbours(L.Layer):
    """Each channel with the next one added."""

    def call(self, x):
        return x + tf.roll(x, 1, -1)


@pytest.fixture
def _wrong_rule(monkeypatch):
    monkeypatch.setattr(registry, "_FAMILIES", dict(registry._FAMILIES))
    register_layer(Neighbours, channels=lambda call: call.same(call.input))


def dying() -> keras.Model:
    """The second unit is dead for what its rule says, and read by the third all the same."""
    model = keras.Sequential([L.Dense(3, input_shape=(4,), name="a"), Neighbours(), L.Dense(2, name="d")])
    kernel, bias = model.get_layer("d").get_weights()
    model.get_layer("d").set_weights([kernel * [[1], [0], [1]], bias])
    return model


@pytest.mark.usefixtures("_wrong_rule")
def test_a_wrong_rule_is_seen_before_a_wrong_model_is_given_back():
    with pytest.raises(RuntimeError, match="must be wrong about a layer"):
        tfmot_swd.channels.remove_dead_channels(dying())


@pytest.mark.usefixtures("_wrong_rule")
def test_a_wrong_rule_leaves_a_stripped_model_whole():
    pruned = tfmot_swd.prune_selective_decay(dying(), tfmot_swd.SelectiveDecay(final_sparsity=0.1, end_step=4))
    tfmot_swd.prune_now(pruned)
    with pytest.warns(tfmot_swd.PruningWarning, match=r"keeps all its channels.* RuntimeError: The model without"):
        stripped = tfmot_swd.strip_pruning(pruned)

    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    np.testing.assert_allclose(stripped(x), pruned(x), rtol=1e-6)
    assert stripped.get_layer("a").units == 3
