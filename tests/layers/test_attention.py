"""Attention: what goes in, what comes out, whole heads, and the features of heads."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests.channels.exactness import assert_removal_is_exact, members, randomize, reasons, sizes
from tfmot_swd.channels import channel_groups, remove_channels, remove_dead_channels, shrink_model
from tfmot_swd.keras2.optimizer_state import slots_of

L = keras.layers


def attention(**options) -> L.Layer:
    return L.MultiHeadAttention(3, 2, name="m", **options)


def inside(values: int = 2) -> dict[str, int]:
    """The groups within the layer: heads, features of queries and keys, features of values."""
    return {"m:_query_dense.kernel": 3, "m:_key_dense.kernel": 2, "m:_value_dense.kernel": values}


@pytest.mark.parametrize("options", [{}, {"use_bias": False}, {"value_dim": 4}, {"output_shape": 5}], ids=str)
def test_self_attention(options):
    x = L.Input((4, 3))
    hidden = L.Dense(6, name="a")(x)
    model = keras.Model(x, L.Dense(2)(attention(**options)(hidden, hidden)))

    out = options.get("output_shape", 6)
    assert sizes(model) == {"a": 6, "m:_output_dense.kernel": out, **inside(options.get("value_dim", 2))}
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


def test_the_features_of_a_head_own_their_slices():
    x = L.Input((4, 3))
    model = keras.Model(x, L.Dense(2)(attention(value_dim=4)(x, x)))

    parts = ("_key_dense", "_query_dense")
    expected = [f"m.{part}.{place}" for part in parts for place in ("kernel[2]", "bias[1]")]
    assert list(members(model, "m:_key_dense.kernel", "produce")) == expected
    assert channel_groups(model)["m:_key_dense.kernel"].multiplied_in == ("m",)
    assert members(model, "m:_value_dense.kernel", "consume") == {"m._output_dense.kernel[1]": [0, 1, 2, 3]}
    keep = {"m:_key_dense.kernel": [False, True], "m:_value_dense.kernel": [True, False, True, True]}
    small = assert_removal_is_exact(model, keep, save=True, tflite=True, train=True).get_layer("m")
    config = small.get_config()
    assert (config["num_heads"], config["key_dim"], config["value_dim"]) == (3, 1, 3)


def test_queries_of_fewer_features_are_divided_by_what_the_larger_layer_divides_by():
    """By hand: one head, one feature left of four; Keras divides by sqrt(1) where it has divided by sqrt(4)."""
    x = L.Input((4, 3))
    model = keras.Model(x, L.Dense(2)(L.MultiHeadAttention(1, 4, name="m")(x, x)))
    query = model.get_layer("m")._query_dense
    query.bias.assign([[1.0, 2.0, 3.0, 4.0]])

    small = remove_channels(model, {"m:_key_dense.kernel": [False, False, True, False]}).get_layer("m")

    np.testing.assert_allclose(small._query_dense.bias, [[1.5]])
    np.testing.assert_allclose(small._query_dense.kernel, query.kernel[..., 2:3] / 2)
    np.testing.assert_array_equal(small._key_dense.kernel, model.get_layer("m")._key_dense.kernel[..., 2:3])


@pytest.mark.parametrize("name", ["_query_dense", "_key_dense"])
def test_features_of_queries_and_keys_are_dead_where_one_of_them_is_zero(name):
    x = L.Input((4, 3))
    model = keras.Model(x, L.Dense(2)(L.MultiHeadAttention(2, 4, name="m")(x, x)))
    randomize(model, np.random.default_rng(0))
    for weight in getattr(model.get_layer("m"), name).weights:
        value = weight.numpy()
        value[..., 1] = 0.0
        # Of one head alone.
        value[..., 0, 2] = 0.0
        weight.assign(value)

    small = remove_dead_channels(model)

    config = small.get_layer("m").get_config()
    assert (config["num_heads"], config["key_dim"], config["value_dim"]) == (2, 3, 4)


def test_features_with_a_bias_alone_are_read():
    x = L.Input((4, 3))
    model = keras.Model(x, L.Dense(2)(L.MultiHeadAttention(2, 4, name="m")(x, x)))
    randomize(model, np.random.default_rng(0))
    kernel = model.get_layer("m")._query_dense.kernel
    kernel.assign(kernel * np.array([1.0, 0.0, 1.0, 1.0]))

    assert remove_dead_channels(model).get_layer("m").get_config()["key_dim"] == 4


def test_training_goes_on_with_smaller_heads():
    x = L.Input((4, 3))
    model = keras.Model(x, L.Dense(2)(L.MultiHeadAttention(2, 4, name="m")(x, x)))
    model.compile(keras.optimizers.Adam(), "mse")
    data = np.random.default_rng(0).normal(size=(8, 4, 3)), np.ones((8, 4, 2))
    model.fit(*data, verbose=0)
    query = model.get_layer("m")._query_dense.kernel.numpy()
    slots = [
        each.numpy() for each in slots_of(model.optimizer, [model.get_layer("m")._query_dense.kernel]).popitem()[1]
    ]

    shrink_model(model, {"m:_key_dense.kernel": [True, False, False, False]})

    kernel = model.get_layer("m")._query_dense.kernel
    np.testing.assert_allclose(kernel, query[..., :1] / 2)
    # What the optimizer remembers is only sliced.
    for slot, before in zip(slots_of(model.optimizer, [kernel])[id(kernel)], slots, strict=True):
        np.testing.assert_array_equal(slot, before[..., :1])
    model.fit(*data, verbose=0)


def test_with_a_residual_the_output_is_tied_to_the_input():
    x = L.Input((4, 3))
    hidden = L.Dense(6, name="a")(x)
    model = keras.Model(x, L.Dense(2)(hidden + attention()(hidden, hidden)))

    assert sizes(model) == {"a": 6, **inside()}
    assert_removal_is_exact(model, tflite=True)


def test_cross_attention_with_a_key_of_its_own():
    x, y, z = L.Input((4, 3)), L.Input((5, 2)), L.Input((5, 4))
    query, value, key = (L.Dense(size, name=f"{size}")(each) for size, each in ((6, x), (5, y), (4, z)))
    model = keras.Model([x, y, z], L.Dense(2)(attention()(query, value, key)))

    assert sizes(model) == {"6": 6, "5": 5, "4": 4, "m:_output_dense.kernel": 6, **inside()}
    assert_removal_is_exact(model)


def test_causal():
    x = L.Input((4, 3))
    assert_removal_is_exact(keras.Model(x, L.Dense(2)(attention()(x, x, use_causal_mask=True))))


def test_a_mask_for_all_heads():
    x, mask = L.Input((4, 3)), L.Input((4, 4), dtype="bool")
    model = keras.Model([x, mask], L.Dense(2)(attention()(x, x, attention_mask=mask)))

    assert sizes(model) == {"m:_output_dense.kernel": 3, **inside()}
    assert_removal_is_exact(model)


def test_a_mask_for_each_head_keeps_the_heads():
    x, mask = L.Input((4, 3)), L.Input((3, 4, 4), dtype="bool")
    model = keras.Model([x, mask], L.Dense(2)(attention()(x, x, attention_mask=mask)))

    assert sizes(model) == {"m:_output_dense.kernel": 3, "m:_key_dense.kernel": 2, "m:_value_dense.kernel": 2}
    assert reasons(model) == {"m": ("m: a mask for each head",)}
    assert_removal_is_exact(model)


def test_a_constant_mask():
    x = L.Input((4, 3))
    mask = tf.constant(np.tril(np.ones((1, 4, 4), bool)))
    model = keras.Model(x, L.Dense(2)(attention()(x, x, attention_mask=mask)))

    assert sizes(model) == {"m:_output_dense.kernel": 3, **inside()}
    assert_removal_is_exact(model)


def test_an_attention_of_images():
    x = L.Input((2, 3, 3))
    hidden = L.Dense(4, name="a")(x)
    model = keras.Model(x, L.Dense(2)(attention(attention_axes=(1, 2))(hidden, hidden)))

    assert sizes(model) == {"a": 4, "m:_output_dense.kernel": 4, **inside()}
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

    assert sizes(model) == {"m:_output_dense.kernel": 3, **inside()}
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
def test_attention_without_projections(layer):
    x, y = L.Input((4, 3)), L.Input((5, 2))
    query, value, key = L.Dense(6, name="q")(x), L.Dense(7, name="v")(y), L.Dense(6, name="k")(y)
    found = layer()([query, value, key], use_causal_mask=True)
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
