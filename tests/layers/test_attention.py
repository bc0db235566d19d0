"""Multi-head attention: what goes in, what comes out, and whole heads."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests.channels.exactness import assert_removal_is_exact, members, reasons, sizes
from tfmot_swd.channels import channel_groups

L = keras.layers


def attention(**options) -> L.Layer:
    return L.MultiHeadAttention(3, 2, name="m", **options)


@pytest.mark.parametrize("options", [{}, {"use_bias": False}, {"value_dim": 4}, {"output_shape": 5}], ids=str)
def test_self_attention(options):
    x = L.Input((4, 3))
    hidden = L.Dense(6, name="a")(x)
    model = keras.Model(x, L.Dense(2)(attention(**options)(hidden, hidden)))

    out = options.get("output_shape", 6)
    assert sizes(model) == {"a": 6, "m:_query_dense.kernel": 3, "m:_output_dense.kernel": out}
    assert_removal_is_exact(model, train=not options, save=not options)


def test_a_head_owns_its_slices():
    x = L.Input((4, 3))
    model = keras.Model(x, L.Dense(2)(attention()(x, x)))

    produce = members(model, "m:_query_dense.kernel", "produce")
    parts = ("_query_dense", "_value_dense", "_key_dense")
    assert list(produce) == [f"m.{part}.{place}" for part in parts for place in ("kernel[1]", "bias[0]")]
    assert members(model, "m:_query_dense.kernel", "consume") == {"m._output_dense.kernel[0]": [0, 1, 2]}
    keep = {"m:_query_dense.kernel": [True, False, True]}
    assert assert_removal_is_exact(model, keep).get_layer("m").get_config()["num_heads"] == 2


def test_with_a_residual_the_output_is_tied_to_the_input():
    x = L.Input((4, 3))
    hidden = L.Dense(6, name="a")(x)
    model = keras.Model(x, L.Dense(2)(hidden + attention()(hidden, hidden)))

    assert sizes(model) == {"a": 6, "m": 3}
    assert_removal_is_exact(model, tflite=True)


def test_cross_attention_with_a_key_of_its_own():
    x, y, z = L.Input((4, 3)), L.Input((5, 2)), L.Input((5, 4))
    query, value, key = (L.Dense(size, name=f"{size}")(each) for size, each in ((6, x), (5, y), (4, z)))
    model = keras.Model([x, y, z], L.Dense(2)(attention()(query, value, key)))

    assert sizes(model) == {"6": 6, "5": 5, "4": 4, "m:_query_dense.kernel": 3, "m:_output_dense.kernel": 6}
    assert_removal_is_exact(model)


def test_causal():
    x = L.Input((4, 3))
    assert_removal_is_exact(keras.Model(x, L.Dense(2)(attention()(x, x, use_causal_mask=True))))


def test_a_mask_for_all_heads():
    x, mask = L.Input((4, 3)), L.Input((4, 4), dtype="bool")
    model = keras.Model([x, mask], L.Dense(2)(attention()(x, x, attention_mask=mask)))

    assert sizes(model) == {"m:_query_dense.kernel": 3, "m:_output_dense.kernel": 3}
    assert_removal_is_exact(model)


def test_a_mask_for_each_head_keeps_the_heads():
    x, mask = L.Input((4, 3)), L.Input((3, 4, 4), dtype="bool")
    model = keras.Model([x, mask], L.Dense(2)(attention()(x, x, attention_mask=mask)))

    assert sizes(model) == {"m": 3}
    assert reasons(model) == {"m": ("m: a mask for each head",)}
    assert_removal_is_exact(model)


def test_a_constant_mask():
    x = L.Input((4, 3))
    mask = tf.constant(np.tril(np.ones((1, 4, 4), bool)))
    model = keras.Model(x, L.Dense(2)(attention()(x, x, attention_mask=mask)))

    assert sizes(model) == {"m:_query_dense.kernel": 3, "m:_output_dense.kernel": 3}
    assert_removal_is_exact(model)


def test_an_attention_of_images():
    x = L.Input((2, 3, 3))
    hidden = L.Dense(4, name="a")(x)
    model = keras.Model(x, L.Dense(2)(attention(attention_axes=(1, 2))(hidden, hidden)))

    assert sizes(model) == {"a": 4, "m:_query_dense.kernel": 3, "m:_output_dense.kernel": 4}
    assert_removal_is_exact(model)


def test_what_is_not_its_own_config_stays():
    x = L.Input((4, 3))
    model = keras.Model(x, L.Dense(2)(attention(kernel_regularizer="l2", bias_constraint="non_neg")(x, x)))

    small = assert_removal_is_exact(model)
    assert len(small.losses) == 4
    assert type(small.get_layer("m")._query_dense.bias_constraint) is keras.constraints.NonNeg


def test_called_twice():
    x, y = L.Input((4, 3)), L.Input((5, 3))
    layer = attention()
    model = keras.Model([x, y], [L.Dense(2)(layer(x, x)), L.Dense(2)(layer(y, x))])

    assert sizes(model) == {"m:_query_dense.kernel": 3, "m:_output_dense.kernel": 3}
    assert_removal_is_exact(model)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: attention()(x, x, return_attention_scores=True)[0],
        lambda x: attention(output_shape=(2, 3))(x, x),
    ],
)
def test_barriers(call):
    x = L.Input((4, 3))
    model = keras.Model(x, L.Dense(2)(L.Flatten()(call(L.Dense(6, name="a")(x)))))

    reason = "m: attention over several axes, or with its scores given back, has no rule"
    assert reasons(model) == {"a": (reason,)}
    assert_removal_is_exact(model)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: L.Attention(name="m"),
        lambda: L.Attention(use_scale=True, name="m"),
        lambda: L.Attention(use_scale=True, score_mode="concat", name="m"),
        lambda: L.AdditiveAttention(use_scale=False, name="m"),
    ],
    ids=["dot", "scaled", "concat", "additive"],
)
@pytest.mark.parametrize("causal", [False, True])
def test_attention_without_projections(layer, causal):
    x, y = L.Input((4, 3)), L.Input((5, 2))
    query, value, key = L.Dense(6, name="q")(x), L.Dense(7, name="v")(y), L.Dense(6, name="k")(y)
    found = layer()([query, value, key], use_causal_mask=causal)
    model = keras.Model([x, y], L.Dense(2)(found))

    assert sizes(model) == {"q": 6, "v": 7}
    assert list(members(model, "q", "produce")) == ["q.kernel[1]", "q.bias[0]", "k.kernel[1]", "k.bias[0]"]
    assert channel_groups(model)["q"].multiplied_in == ("m",)
    assert channel_groups(model)["v"].multiplied_in == ()
    assert_removal_is_exact(model, save=True, tflite=True, train=True)


def test_attention_with_values_as_keys():
    x = L.Input((4, 3))
    query, value = L.Dense(6, name="q")(x), L.Dense(6, name="v")(x)
    model = keras.Model(x, L.Dense(2)(L.Attention(name="m")([query, value])))

    assert sizes(model) == {"q": 6}
    assert_removal_is_exact(model, save=True)


def test_additive_attention_has_a_weight_for_each_channel():
    x, y = L.Input((4, 3)), L.Input((5, 2))
    query, value, key = L.Dense(6, name="q")(x), L.Dense(6, name="v")(y), L.Dense(6, name="k")(y)
    model = keras.Model([x, y], L.Dense(2)(L.AdditiveAttention(name="m")([query, value, key])))

    assert sizes(model) == {"q": 6}
    assert "m.scale[0]" in members(model, "q", "consume")
    assert channel_groups(model)["q"].multiplied_in == ()
    assert_removal_is_exact(model, save=True, tflite=True, train=True)


def test_scores_that_are_given_back_have_no_channels():
    x = L.Input((4, 3))
    query, value = L.Dense(6, name="q")(x), L.Dense(6, name="v")(x)
    found, scores = L.Attention(name="m")([query, value], return_attention_scores=True)
    model = keras.Model(x, [L.Dense(2)(found), L.Dense(2)(scores)])

    assert sizes(model) == {"q": 6}
    assert_removal_is_exact(model, save=True)


def test_masks_of_attention_stay():
    x, mask = L.Input((4, 3)), L.Input((4,), dtype="bool")
    query, value = L.Dense(6, name="q")(x), L.Dense(6, name="v")(x)
    model = keras.Model([x, mask], L.Dense(2)(L.Attention(name="m")([query, value], mask=[mask, mask])))

    assert sizes(model) == {"q": 6}
    assert_removal_is_exact(model)


def test_queries_that_are_an_input_keep_the_keys():
    x, y = L.Input((4, 6)), L.Input((5, 2))
    value, key = L.Dense(7, name="v")(y), L.Dense(6, name="k")(y)
    model = keras.Model([x, y], L.Dense(2)(L.Attention(name="m")([x, value, key])))

    assert sizes(model) == {"v": 7}
    assert reasons(model) == {"k": ("model input",)}
    assert_removal_is_exact(model)


def test_attention_to_a_constant_keeps_the_queries():
    x = L.Input((4, 3))
    query = L.Dense(6, name="q")(x)
    model = keras.Model(x, L.Dense(2)(L.Attention(name="m")([query, tf.ones((1, 5, 6))])))

    assert reasons(model) == {"q": ("m: a constant",)}
    assert_removal_is_exact(model)
