"""Sums, products and concatenations: which channels are tied to which."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests.channels.exactness import assert_removal_is_exact, members, reasons, sizes

L = keras.layers


def conv(x, filters, name, **options):
    return L.Conv2D(filters, 1, name=name, **options)(x)


@pytest.fixture
def image():
    return L.Input((4, 4, 3), name="image")


@pytest.mark.parametrize("kind", [L.Add, L.Subtract, L.Multiply, L.Average, L.Maximum, L.Minimum])
def test_elementwise_merges_tie_channels_place_by_place(kind, image):
    model = keras.Model(image, conv(kind()([conv(image, 5, "a"), conv(image, 5, "b")]), 2, "out"))

    assert sizes(model) == {"a": 5}
    assert members(model, "a", "produce") == {
        f"{layer}.{weight}": [0, 1, 2, 3, 4] for layer in "ab" for weight in ("kernel[3]", "bias[0]")
    }
    assert_removal_is_exact(model, train=kind is L.Multiply)


def test_a_sum_of_three():
    image = L.Input((4, 4, 3))
    parts = [conv(image, 5, name) for name in "abc"]
    model = keras.Model(image, conv(L.Add()([*parts, parts[0]]), 2, "out"))

    assert sizes(model) == {"a": 5}
    assert_removal_is_exact(model)


def test_squeeze_and_excite(image):
    x = conv(image, 6, "a", activation="relu")
    gate = conv(L.GlobalAveragePooling2D(keepdims=True)(x), 3, "squeeze", activation="relu")
    gate = conv(gate, 6, "excite", activation="sigmoid")
    model = keras.Model(image, conv(L.Multiply()([x, gate]), 2, "out"))

    assert sizes(model) == {"a": 6, "squeeze": 3}
    assert_removal_is_exact(model, save=True, tflite=True, train=True)


def test_a_gate_of_one_channel_stays(image):
    """It acts on all channels of the other, so it cannot leave with any of them."""
    gate = conv(image, 1, "gate", activation="sigmoid")
    model = keras.Model(image, conv(L.Multiply(name="gated")([conv(image, 6, "a"), gate]), 2, "out"))

    assert sizes(model) == {"a": 6}
    assert reasons(model) == {"gate": ("gated: one channel acts on all of another tensor",)}
    assert_removal_is_exact(model)


def test_a_gate_of_lower_rank(image):
    gate = L.Dense(6, name="gate")(L.GlobalMaxPooling2D()(image))
    model = keras.Model(image, conv(conv(image, 6, "a") * gate[:, None, None], 2, "out"))

    assert sizes(model) == {"gate": 6}
    assert_removal_is_exact(model)


def test_what_is_added_to_the_input_stays(image):
    model = keras.Model(image, conv(L.Add()([image, conv(image, 3, "a")]), 2, "out"))

    assert reasons(model) == {"a": ("model input",)}


def test_two_channels_tied_to_the_same_input_are_not_tied_to_each_other(image):
    """One channel is added to the image's only one; another follows it, and could leave."""
    small = L.Input((4, 4, 1))
    x = L.Add()([small, conv(image, 1, "a")])
    model = keras.Model([image, small], conv(L.Concatenate()([x, conv(image, 4, "b")]), 2, "out"))

    assert sizes(model) == {"b": 4}
    assert reasons(model) == {"a": ("model input",)}


def test_concatenation_joins_lists(image):
    x = L.Concatenate()([conv(image, 2, "a"), image, conv(image, 3, "b")])
    model = keras.Model(image, conv(x, 2, "out"))

    assert sizes(model) == {"a": 2, "b": 3}
    assert members(model, "a", "consume") == {"out.kernel[2]": [0, 1, -1, -1, -1, -1, -1, -1]}
    assert members(model, "b", "consume") == {"out.kernel[2]": [-1, -1, -1, -1, -1, 0, 1, 2]}
    assert_removal_is_exact(model)


def test_concatenation_of_a_tensor_with_itself(image):
    x = conv(image, 3, "a")
    x = L.Concatenate()([x, L.ReLU()(x), x])
    model = keras.Model(image, conv(x, 2, "out"))

    assert members(model, "a", "consume") == {"out.kernel[2]": [0, 1, 2] * 3}
    assert_removal_is_exact(model, train=True)


def test_concatenation_then_sum(image):
    """The sum joins the parts' groups, and each channel keeps its one peer."""
    joined = L.Concatenate()([conv(image, 2, "a"), conv(image, 3, "b")])
    model = keras.Model(image, conv(L.Add()([joined, conv(image, 5, "c")]), 2, "out"))

    assert sizes(model) == {"a": 5}
    produce = members(model, "a", "produce")
    assert (produce["a.kernel[3]"], produce["b.kernel[3]"]) == ([0, 1], [2, 3, 4])
    assert produce["c.kernel[3]"] == [0, 1, 2, 3, 4]
    assert_removal_is_exact(model)


def test_concatenation_of_a_tensor_with_itself_then_sum(image):
    x = conv(image, 2, "a")
    model = keras.Model(image, conv(L.Add()([L.Concatenate()([x, x]), conv(image, 4, "b")]), 2, "out"))

    assert sizes(model) == {"a": 2}
    assert members(model, "a", "produce")["b.kernel[3]"] == [0, 1, 0, 1]
    assert_removal_is_exact(model)


def test_concatenation_in_the_other_order_then_sum_closes_a_ring(image):
    a, b = conv(image, 2, "a"), conv(image, 2, "b")
    joined = [L.Concatenate()([a, b]), L.Concatenate()([b, a])]
    model = keras.Model(image, conv(L.Add()(joined), 2, "out"))

    ((name, size),) = sizes(model).items()
    assert size == 2
    assert members(model, name, "consume") == {"out.kernel[2]": [0, 1, 0, 1]}
    assert_removal_is_exact(model)


@pytest.mark.parametrize("axis", [1, 2])
def test_concatenation_along_another_axis_ties(axis, image):
    model = keras.Model(image, conv(L.Concatenate(axis=axis)([conv(image, 4, "a"), conv(image, 4, "b")]), 2, "out"))

    assert sizes(model) == {"a": 4}
    assert_removal_is_exact(model)


def test_concatenation_along_another_axis_with_the_input(image):
    model = keras.Model(image, conv(L.Concatenate(axis=1)([image, conv(image, 3, "a")]), 2, "out"))

    assert reasons(model) == {"a": ("model input",)}


def test_concatenation_of_single_channels_along_another_axis(image):
    """Neither can leave; still no shape may be wrong."""
    x = L.Concatenate(axis=1)([conv(image, 1, "a"), conv(image, 1, "b")])
    model = keras.Model(image, conv(conv(x, 4, "c"), 2, "out"))

    assert "c" in sizes(model)
    assert_removal_is_exact(model)


def test_dense_net(image):
    x = conv(image, 4, "stem")
    for number in range(3):
        grown = conv(L.ReLU()(L.BatchNormalization()(x)), 3, f"grow{number}")
        x = L.Concatenate()([x, grown])
    model = keras.Model(image, conv(x, 2, "out"))

    assert sizes(model) == {"stem": 4, "grow0": 3, "grow1": 3, "grow2": 3}
    for seed in range(3):
        assert_removal_is_exact(model, seed=seed)


def test_broadcast_over_the_batch():
    x, single = L.Input((4,)), L.Input((4,), batch_size=1)
    model = keras.Model([x, single], L.Dense(2)(L.Add()([L.Dense(5, name="a")(x), L.Dense(5, name="b")(single)])))

    assert sizes(model) == {"a": 5}
    assert_removal_is_exact(model)


@pytest.mark.parametrize("make", [tf.constant, np.asarray], ids=["tensor", "array"])
def test_a_constant_beside_channels_stays_and_they_leave(make):
    image = L.Input((4, 4, 3), batch_size=2)
    x = conv(image, 6, "a")
    places = make(np.random.default_rng(0).normal(size=(2, 4, 4, 2)).astype("float32"))
    model = keras.Model(image, L.Dense(2)(L.Flatten()(conv(L.Concatenate()([x, places]), 4, "b"))))

    assert sizes(model) == {"a": 6, "b": 4}
    assert members(model, "a", "consume") == {"b.kernel[2]": [0, 1, 2, 3, 4, 5, -1, -1]}
    assert_removal_is_exact(model)


@pytest.mark.parametrize("kind", ["Add", "Multiply", "Maximum"])
def test_channels_that_meet_a_constant_stay(kind):
    image = L.Input((4, 4, 3), batch_size=2)
    x = getattr(L, kind)(name="m")([conv(image, 6, "a"), tf.random.normal((2, 4, 4, 6))])
    model = keras.Model(image, L.Dense(2)(L.Flatten()(conv(x, 4, "b"))))

    assert reasons(model) == {"a": ("m: a constant",)}
    assert_removal_is_exact(model)


def test_a_nested_model_with_a_constant():
    image = L.Input((4, 4, 3), batch_size=2)
    first, second = L.Input((4, 4, 6)), L.Input((4, 4, 2))
    inner = keras.Model([first, second], L.Concatenate()([first, second]))
    joined = inner([conv(image, 6, "a"), tf.ones((2, 4, 4, 2))])
    model = keras.Model(image, L.Dense(2)(L.Flatten()(conv(joined, 4, "b"))))

    assert sizes(model) == {"a": 6, "b": 4}
    assert_removal_is_exact(model)
