"""Operators of TensorFlow in a functional model: arithmetic, concat, split, reshapes."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests.channels.exactness import assert_removal_is_exact, members, reasons, sizes

L = keras.layers
VECTOR = np.linspace(0.5, 2.0, 6).astype("float32")


def between(function, shape=(4, 4, 3), filters=6, **options) -> keras.Model:
    """A feature map of six channels, what the function makes of it, and a dense layer that reads that."""
    image = L.Input(shape, **options)
    x = L.Conv2D(filters, 1, activation="relu", name="a")(image)
    found = function(x)
    found = found if isinstance(found, list | tuple) else [found]
    return keras.Model(image, [L.Dense(2, name=f"d{place}")(L.Flatten()(each)) for place, each in enumerate(found)])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + 1.0,
        lambda x: 2.0 - x,
        lambda x: x * x,
        lambda x: x / 3.0,
        lambda x: -x,
        lambda x: abs(x),
        lambda x: x**2,
        lambda x: x * np.float32(0.5) + np.array(0.5, "float32"),
        lambda x: np.float32(2.0) - x / tf.constant(3.0),
        lambda x: x % 0.3,
        lambda x: tf.nn.relu(x - 0.2),
        lambda x: tf.nn.relu6(x),
        lambda x: tf.nn.silu(x),
        lambda x: tf.nn.gelu(x, approximate=True),
        lambda x: tf.nn.leaky_relu(x - 0.5, 0.3),
        lambda x: tf.sigmoid(x) + tf.tanh(x),
        lambda x: tf.nn.softplus(x),
        lambda x: tf.math.log_sigmoid(x),
        lambda x: tf.exp(-x) + tf.sqrt(x + 1.0),
        lambda x: tf.maximum(x, 0.3),
        lambda x: tf.minimum(0.3, x),
        lambda x: tf.clip_by_value(x, 0.1, 0.6),
        lambda x: tf.add_n([x, x * 2.0, x]),
        lambda x: tf.where(x > 0.3, x, 0.0),
        lambda x: tf.where((x > 0.2) & ~(x > 0.7), x, -x),
        lambda x: tf.cast(tf.cast(x * 100.0, tf.int32), tf.float32),
        lambda x: tf.stop_gradient(tf.identity(x)),
        lambda x: tf.ones_like(x) + tf.zeros_like(x) + x,
        lambda x: tf.math.squared_difference(x, 0.5),
        lambda x: tf.math.divide_no_nan(x, x),
        lambda x: tf.nn.softmax(x, axis=1),
        lambda x: keras.activations.swish(x) + keras.activations.hard_sigmoid(x),
        lambda x: tf.image.resize(x, (3, 5)),
        lambda x: tf.nn.max_pool2d(x, 2, 2, "SAME") + tf.nn.avg_pool2d(x, 2, 2, "SAME"),
        lambda x: tf.nn.max_pool(x, [1, 2, 2, 1], [1, 2, 2, 1], "VALID"),
        lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]]),
        lambda x: tf.pad(x, tf.constant([[0, 0], [1, 2], [0, 1], [0, 0]]), mode="SYMMETRIC"),
        lambda x: tf.nn.dropout(x, 0.0),
    ],
)
def test_each_channel_by_itself(function):
    model = between(function)

    assert sizes(model) == {"a": 6}
    assert_removal_is_exact(model)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * VECTOR,
        lambda x: VECTOR - x,
        lambda x: x + tf.constant(VECTOR),
        lambda x: tf.constant(VECTOR) - x,
        lambda x: tf.maximum(x, VECTOR.tolist()),
        lambda x: tf.nn.bias_add(x, VECTOR),
        lambda x: x * VECTOR.reshape(1, 1, 6),
        lambda x: x * np.arange(16, dtype="float32").reshape(4, 4, 1),
        lambda x: x * np.arange(96, dtype="float32").reshape(1, 4, 4, 6),
        lambda x: tf.where(x > VECTOR * 0.3, x, VECTOR),
        lambda x: tf.clip_by_value(x, VECTOR * 0.1, VECTOR),
    ],
)
def test_a_constant_for_each_channel_is_cut(function):
    model = between(function)

    assert sizes(model) == {"a": 6}
    assert_removal_is_exact(model)


def test_operators_survive_files_and_training():
    model = between(lambda x: tf.split(tf.nn.relu(x[:, 1:] * VECTOR - 0.2), [2, 4], axis=-1))

    assert_removal_is_exact(model, save=True, train=True)
    assert_removal_is_exact(model, tflite=True)


def test_a_variable_is_a_barrier():
    variable = tf.Variable(VECTOR)
    assert reasons(between(lambda x: x * variable))["a"][0].endswith("argument 'y' of class ResourceVariable")


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: tf.nn.softmax(x), "softmax looks across channels"),
        (lambda x: tf.reduce_mean(x, axis=-1), "a reduction over channels"),
        (lambda x: tf.reduce_mean(x, axis=[1, 3]), "a reduction over channels"),
        (lambda x: x * tf.reduce_max(x), "a reduction over channels"),
        (lambda x: tf.pad(x, [[0, 0], [0, 0], [0, 0], [1, 0]]), "padding along the channels"),
        (lambda x: tf.nn.max_pool(x, [1, 1, 1, 2], [1, 1, 1, 2], "VALID"), "pooling across channels"),
        (
            lambda x: tf.nn.dropout(x, 0.0, noise_shape=[2, 1, 1, 6]),
            "a noise shape with a number for each channel has no rule",
        ),
        (lambda x: tf.nn.local_response_normalization(x), "no channel rule for tf.nn.local_response_normalization"),
        (lambda x: tf.reshape(x, tf.shape(x)), "the sizes of a tensor are computed with"),
        (lambda x: x * tf.cast(tf.reduce_max(tf.shape(x)), tf.float32), "the sizes of a tensor are computed with"),
        (lambda x: x / tf.cast(tf.shape(x)[-1], tf.float32), "the number of channels is computed with"),
        (lambda x: tf.reshape(x, (2, 16, tf.shape(x)[3])), "the number of channels is computed with"),
        (lambda x: x / tf.cast(tf.shape(x)[2:][1], tf.float32), "the number of channels is computed with"),
        (lambda x: x / tf.cast(tf.unstack(tf.shape(x))[0], tf.float32), "the sizes of a tensor are computed with"),
        (lambda x: tf.math.top_k(x, 2)[0], "no channel rule for tf.math.top_k"),
    ],
)
def test_barriers(function, reason):
    model = between(function, batch_size=2)

    assert sizes(model) == {}
    assert reason in " ".join(reasons(model)["a"])
    assert_removal_is_exact(model)


def test_the_places_where_a_condition_holds_are_a_barrier():
    x = L.Input((4,))
    places = tf.where(L.Dense(2, name="a")(x) > 0.0)
    model = keras.Model(x, L.Dense(2)(tf.cast(places, tf.float32)))

    assert "the places where a condition holds have no rule" in reasons(model)["a"][0]
    assert_removal_is_exact(model)


def test_arguments_of_version_one():
    old = tf.compat.v1
    model = between(lambda x: old.reduce_mean(x, axis=1, keep_dims=True))
    assert_removal_is_exact(model)
    assert_removal_is_exact(between(lambda x: old.squeeze(x[:, :1], squeeze_dims=[1])))
    assert_removal_is_exact(between(lambda x: old.nn.softmax(x, dim=1)))


def test_concat():
    model = between(lambda x: tf.concat([x, tf.nn.relu(x - 0.1), x], axis=-1), shape=(1, 1, 3), filters=2)

    assert members(model, "a", "consume") == {"d0.kernel[0]": [0, 1] * 3}
    assert_removal_is_exact(model)


def test_concat_along_places():
    model = between(lambda x: tf.concat([x, x + 1.0], axis=1))

    assert sizes(model) == {"a": 6}
    assert_removal_is_exact(model)


@pytest.mark.parametrize("parts", [2, 3, 6, [1, 5], [2, 2, 2], [4, 2]], ids=str)
def test_split(parts):
    model = between(lambda x: tf.split(x, parts, axis=-1))

    assert sizes(model) == {"a": 6}
    for seed in range(3):
        assert_removal_is_exact(model, seed=seed)


def test_split_along_places():
    model = between(lambda x: tf.split(x, [1, 3], axis=1))

    assert sizes(model) == {"a": 6}
    assert_removal_is_exact(model)


def test_a_gated_linear_unit_ties_the_halves():
    def halves(x):
        value, gate = tf.split(x, 2, axis=-1)
        return value * tf.sigmoid(gate)

    model = between(halves)
    assert members(model, "a", "produce")["a.kernel[3]"] == [0, 1, 2, 0, 1, 2]
    assert_removal_is_exact(model, train=True)


def test_split_then_concat_in_the_other_order_then_sum():
    def crossed(x):
        first, second = tf.split(x, 2, axis=-1)
        return x + tf.concat([second, first], axis=-1)

    model = between(crossed)
    assert members(model, "a", "produce")["a.kernel[3]"] == [0, 1, 2, 0, 1, 2]
    assert_removal_is_exact(model)


@pytest.mark.parametrize("keepdims", [True, False])
@pytest.mark.parametrize("axis", [1, (1, 2), [2], -2], ids=str)
@pytest.mark.parametrize("name", ["mean", "sum", "max", "min", "std", "logsumexp"])
def test_reductions(name, axis, keepdims):
    reduce = getattr(tf, f"reduce_{name}", None) or getattr(tf.math, f"reduce_{name}")
    model = between(lambda x: reduce(x, axis=axis, keepdims=keepdims))

    assert sizes(model) == {"a": 6}
    if name in ("mean", "max"):
        assert_removal_is_exact(model)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: tf.reshape(x, (-1, 16, 6)),
        lambda x: tf.reshape(x, (2, -1)),
        lambda x: tf.reshape(x, tf.constant([2, 4, 4, 6])),
        lambda x: tf.reshape(x, (2, 16, 2, 3)),
        lambda x: tf.reshape(tf.transpose(tf.reshape(x, (2, 16, 2, 3)), (0, 1, 3, 2)), (2, 16, 6)),
        lambda x: tf.transpose(x, (0, 3, 1, 2)),
        lambda x: tf.transpose(tf.transpose(x)),
        lambda x: tf.expand_dims(tf.expand_dims(x, -1), 1),
        lambda x: tf.squeeze(tf.expand_dims(x, 1), 1),
        lambda x: tf.squeeze(tf.reduce_max(x, (1, 2), keepdims=True)),
    ],
)
def test_shapes(function):
    model = between(function, batch_size=2)

    assert list(sizes(model)) == ["a"]
    for seed in range(2):
        assert_removal_is_exact(model, seed=seed)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: tf.reshape(x, (tf.shape(x)[0], 96)),
        lambda x: tf.reshape(x, (tf.shape(x)[0], tf.shape(x)[1] * tf.shape(x)[2], 6)),
        lambda x: tf.reshape(x, (-1, tf.shape(x)[1:3][0] * 4, 6)),
        lambda x: tf.image.resize(x, 2 * tf.shape(x)[1:3]),
        lambda x: tf.image.resize(x, tf.shape(x)[1:-1] + 1)[:, :5, :5],
        lambda x: x / tf.cast(tf.reduce_prod(tf.shape(x)[:3]), tf.float32),
    ],
)
def test_sizes_of_places_may_be_computed_with(function):
    model = between(function)

    assert sizes(model) == {"a": 6}
    assert_removal_is_exact(model)


def test_resizing_to_the_size_of_another_tensor():
    image = L.Input((None, None, 3))
    large = L.Conv2D(5, 1, name="large")(image)
    small = L.Conv2D(6, 1, name="small")(L.MaxPooling2D()(large))
    joined = L.Concatenate()([large, tf.image.resize(small, tf.shape(large)[1:3])])
    model = keras.Model(image, L.Dense(2)(L.GlobalAveragePooling2D()(L.Conv2D(3, 1, name="out")(joined))))

    assert sizes(model) == {"large": 5, "small": 6, "out": 3}
    assert_removal_is_exact(model)


def test_sizes_as_an_output_or_inside_another_model():
    x = L.Input((4,))
    hidden = L.Dense(5, name="h")(x)
    assert sizes(keras.Model(x, [L.Dense(2)(hidden), tf.shape(hidden)])) == {}
    assert sizes(keras.Model(x, [L.Dense(2)(hidden), tf.shape(hidden)[0]])) == {"h": 5}

    numbers = L.Input((), batch_size=2, dtype="int32")
    inner = keras.Model(numbers, numbers * 2, name="inner")
    model = keras.Model(x, [L.Dense(2)(hidden), inner(tf.shape(hidden))])
    assert reasons(model) == {"h": ("inner: the sizes of a tensor are computed with",)}


def test_a_squeeze_leaves_the_only_channel_that_stays():
    model = between(lambda x: tf.squeeze(tf.reduce_max(x, (1, 2), keepdims=True)), batch_size=2)

    assert_removal_is_exact(model, {"a": [False, True] + [False] * 4})
    model = between(lambda x: tf.squeeze(tf.reduce_max(x, (1, 2)), axis=[]), batch_size=2)
    assert "a squeeze that finds nothing might find channels where one stays" in reasons(model)["a"][0]


def test_a_scalar_of_another_branch_stays():
    image = L.Input((4, 4, 3))
    scale = tf.reduce_mean(L.Conv2D(2, 1, name="s")(image))
    model = keras.Model(image, L.Dense(2)(L.Flatten()(L.Conv2D(6, 1, name="a")(image) * scale)))

    assert sizes(model) == {"a": 6}
    assert_removal_is_exact(model)


def test_sums_of_other_ranks():
    image = L.Input((4, 4, 3))
    vector = L.Dense(6, name="v")(tf.reduce_mean(image, (1, 2)))
    x = L.Conv2D(6, 1, name="a")(image) + vector[:, None, None, :]
    model = keras.Model(image, L.Dense(2)(L.Flatten()(x)))

    assert sizes(model) == {"v": 6}
    assert_removal_is_exact(model)


def test_a_constant_that_makes_channels_of_one():
    """One channel times six numbers is six channels that are all that one."""
    image = L.Input((4, 4, 3))
    x = L.Conv2D(1, 1, name="one")(image) * VECTOR
    model = keras.Model(image, L.Conv2D(2, 1)(x + L.Conv2D(6, 1, name="a")(image)))

    assert sum(sizes(model).values()) == 1
    assert_removal_is_exact(model)


def test_a_half_of_one_channel_may_not_be_empty():
    def halves(x):
        first, second = tf.split(x, [1, 5], axis=-1)
        return tf.concat([second, tf.nn.relu(first)], axis=-1)

    model = between(halves)

    with pytest.raises(ValueError, match=r"would have no channel left"):
        assert_removal_is_exact(model, {"a": [False, True, True, True, True, True]})


def of_two(function) -> keras.Model:
    """Two layers of six channels, what a function makes of them, and dense layers that read that."""
    image = L.Input((4, 4, 3), batch_size=2)
    pair = [L.Conv2D(6, 1, activation="relu", name=name)(image) for name in "ab"]
    found = function(pair)
    found = found if isinstance(found, list | tuple) else [found]
    return keras.Model(image, [L.Dense(2, name=f"d{place}")(L.Flatten()(each)) for place, each in enumerate(found)])


@pytest.mark.parametrize(
    "function",
    [
        lambda pair: tf.reduce_mean(pair, axis=0),
        lambda pair: tf.reduce_max(axis=[0], input_tensor=pair),
        lambda pair: tf.nn.softmax(pair, axis=0)[1],
        lambda pair: tf.transpose(pair, [1, 2, 0, 3, 4])[:, :, 1],
        lambda pair: tf.expand_dims(pair, -1)[0],
        lambda pair: tf.reshape(pair, (2, -1, 16, 6))[1],
        lambda pair: tf.nn.relu(pair)[0],
        lambda pair: tf.maximum(pair, 0.3)[0],
        lambda pair: tf.add(pair, pair[0])[1],
        lambda pair: [part[0] for part in tf.split(pair, 2)],
        lambda pair: L.Activation("relu")(pair)[0],
        lambda pair: L.Dropout(0.5)(pair)[1],
    ],
)
def test_a_list_of_tensors_is_one_tensor_whose_parts_leave_together(function):
    model = of_two(function)

    assert sizes(model) == {"a": 6}
    assert_removal_is_exact(model)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda pair: tf.nn.softmax(pair)[0], "softmax looks across channels"),
        (lambda pair: tf.reduce_sum(pair, [0, -1]), "a reduction over channels"),
        (
            lambda pair: tf.reduce_mean([pair[0], np.ones((2, 4, 4, 6), "float32")], axis=0),
            "a constant where a tensor of the model is computed with has no rule",
        ),
    ],
)
def test_a_list_of_tensors_that_has_no_rule_is_a_barrier(function, reason):
    model = of_two(function)

    assert reason in str(reasons(model)["a"])
    assert_removal_is_exact(model)


def test_the_operand_is_found_whatever_order_the_arguments_have():
    vector = L.Input((4,))
    x = L.Dense(6, name="a")(vector)
    model = keras.Model(vector, L.Dense(2)(tf.reshape(shape=[tf.shape(x)[0], 6], tensor=x)))

    assert sizes(model) == {"a": 6}
    assert_removal_is_exact(model)


def test_an_operator_with_another_function_has_the_rule_of_that():
    model = between(tf.nn.relu)
    model.layers[2].function = tf.nn.softmax

    assert reasons(model) == {"a": (f"{model.layers[2].name}: softmax looks across channels",)}
    assert_removal_is_exact(model)
