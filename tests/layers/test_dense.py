"""Dense layers on tensors of any rank, einsum equations, embeddings."""

import pytest
import tensorflow as tf
import tf_keras as keras

from tests.channels.exactness import assert_removal_is_exact, members, reasons, sizes

L = keras.layers


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4), (None, 4)], ids=str)
def test_dense_reads_the_last_axis_of_any_rank(shape):
    x = L.Input(shape)
    hidden = L.Dense(5, use_bias=False, name="b")(L.Dense(6, activation="relu", name="a")(x))
    model = keras.Model(x, L.Dense(2)(hidden))

    assert sizes(model) == {"a": 6, "b": 5}
    assert_removal_is_exact(model, train=True)


def test_dense_survives_files():
    x = L.Input((4,))
    assert_removal_is_exact(keras.Model(x, L.Dense(2)(L.Dense(6)(x))), save=True, tflite=True)


def test_behind_flatten_a_channel_owns_every_row_of_its_index_modulo_the_channels():
    image = L.Input((2, 2, 1))
    model = keras.Model(image, L.Dense(2, name="d")(L.Flatten()(L.Conv2D(3, 1, name="a")(image))))

    assert members(model, "a", "consume") == {"d.kernel[0]": [0, 1, 2] * 4}


def test_a_dense_layer_along_another_axis_than_the_channels_is_a_barrier():
    x = L.Input((5, 4))
    model = keras.Model(x, L.Dense(3, name="mix")(L.Permute((2, 1))(L.Dense(6, name="a")(x))))

    assert reasons(model) == {"a": ("mix needs channels on axis 2 alone, and they lie on axis 1",)}


@pytest.mark.parametrize("activation", ["softmax", "log_softmax"])
def test_softmax_keeps_the_units(activation):
    function = tf.nn.log_softmax if activation == "log_softmax" else activation
    x = L.Input((4,))
    model = keras.Model(x, L.Dense(2)(L.Dense(6, activation=function, name="a")(x)))

    assert list(reasons(model)) == ["a"]


@pytest.mark.parametrize(
    ("shape", "equation", "output", "bias", "expected"),
    [
        ((4,), "ab,bc->ac", 5, "c", {"a": 4, "e": 5}),
        ((3, 4), "abc,cd->abd", (None, 5), "d", {"a": 4, "e": 5}),
        ((3, 4), "...c,cd->...d", 5, "d", {"a": 4, "e": 5}),
        ((3, 4), "...c,cd->...d", 5, None, {"a": 4, "e": 5}),
        ((3, 4), "abc,cde->abde", (3, 2, 5), "de", {"a": 4, "e": 5}),
        ((3, 4), "abc,cde->abde", (3, 2, 5), "e", {"a": 4, "e": 5}),
        ((3, 4), "abc,cd->adb", (5, 3), "d", {"a": 4, "e": 5}),
        ((3, 4), "abc,cd->adb", (5, 3), "db", {"a": 4, "e": 5}),
        ((3, 4), "abc,bcd->ad", 5, "d", {"a": 4, "e": 5}),
        ((2, 3, 4), "abcd,cde->abe", (2, 5), "be", {"a": 4, "e": 5}),
    ],
    ids=str,
)
def test_einsum(shape, equation, output, bias, expected):
    x = L.Input(shape)
    hidden = L.EinsumDense(equation, output, bias_axes=bias, activation="tanh", name="e")(L.Dense(4, name="a")(x))
    model = keras.Model(x, L.Dense(2)(L.Flatten()(hidden)))

    assert sizes(model) == expected
    assert_removal_is_exact(model, train=True)


@pytest.mark.parametrize(
    ("equation", "output", "reason"),
    [
        ("abc,c->abc", (3, 4), "keeps the channels that come in"),
        ("abc,bd->adc", (5, 4), "keeps the channels that come in"),
        ("abc,cd->abcd", (3, 4, 5), "keeps the channels that come in"),
        ("ab...,bc->ac...", (5,), "has no rule"),
    ],
)
def test_einsum_barriers(equation, output, reason):
    x = L.Input((3, 4))
    hidden = L.EinsumDense(equation, output, name="e")(L.Dense(4, name="a")(x))
    model = keras.Model(x, L.Dense(2)(L.Flatten()(hidden)))

    assert reasons(model)["a"] == (f"e: equation {equation!r} {reason}",)
    assert_removal_is_exact(model)


def test_einsum_that_makes_no_channels():
    x = L.Input((3, 4))
    model = keras.Model(x, L.EinsumDense("abc,c->ab", 3, name="e")(L.Dense(4, name="a")(x)))

    assert reasons(model) == {"a": ("e: equation 'abc,c->ab' makes no channels",)}


def test_embedding():
    words = L.Input((5,), dtype="int32")
    model = keras.Model(words, L.Dense(2)(L.Flatten()(L.Dense(3, name="b")(L.Embedding(7, 6, name="e")(words)))))

    assert sizes(model) == {"e": 6, "b": 3}
    assert members(model, "e", "produce") == {"e.embeddings[1]": [0, 1, 2, 3, 4, 5]}
    assert_removal_is_exact(model, save=True, train=True)


def test_an_embedding_of_what_channels_say_keeps_them():
    x = L.Input((4,))
    places = tf.cast(tf.sigmoid(L.Dense(5, name="a")(x)) * 3.0, tf.int32)
    model = keras.Model(x, L.Dense(2)(L.GlobalAveragePooling1D()(L.Embedding(3, 6, name="e")(places))))

    assert reasons(model) == {"a": ("e: rows of an embedding are looked up, not summed",)}
    assert_removal_is_exact(model)
