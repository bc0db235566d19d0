"""Graphs: nested and shared models and layers, several inputs and outputs, and models that are no graph."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests.channels.exactness import assert_removal_is_exact, members, reasons, sizes
from tfmot_swd.channels.groups import channel_groups

L = keras.layers


def block(width: int, out: int, name: str, shape=(None, None, 3)) -> keras.Model:
    image = L.Input(shape)
    x = L.BatchNormalization(name="n")(L.Conv2D(width, 3, padding="same", name="c")(image))
    return keras.Model(image, L.Conv2D(out, 1, name="p")(L.ReLU()(x)), name=name)


def test_functional_in_functional():
    image = L.Input((6, 6, 3))
    x = block(5, 4, "inner")(L.Conv2D(3, 1, name="stem")(image))
    model = keras.Model(image, L.Dense(2, name="d")(L.Flatten()(x)))

    assert sizes(model) == {"stem": 3, "inner/c": 5, "inner/p": 4}
    assert list(members(model, "inner/c", "produce")) == ["inner/c.kernel[3]", "inner/c.bias[0]"]
    small = assert_removal_is_exact(model, save=True, train=True)
    assert small.get_layer("inner").input_shape == (None, None, None, small.get_layer("stem").filters)


def test_three_deep():
    innermost = block(5, 4, "innermost")
    image = L.Input((6, 6, 3))
    middle = keras.Model(image, innermost(L.Conv2D(3, 1, name="m")(image)), name="middle")
    outer = L.Input((6, 6, 3))
    model = keras.Model(outer, L.Dense(2)(L.Flatten()(middle(outer))))

    assert sizes(model) == {"middle/m": 3, "middle/innermost/c": 5, "middle/innermost/p": 4}
    assert_removal_is_exact(model)


def test_sequential_in_functional():
    inner = keras.Sequential([L.Dense(5, name="h", input_shape=(4,)), L.ReLU(), L.Dense(4, name="o")], name="inner")
    x = L.Input((3,))
    model = keras.Model(x, L.Dense(2)(inner(L.Dense(4, name="a")(x))))

    assert sizes(model) == {"a": 4, "inner/h": 5, "inner/o": 4}
    assert_removal_is_exact(model, save=True)


def test_sequential_in_sequential():
    inner = keras.Sequential([L.Dense(5, name="h"), L.Dense(4, name="o")], name="inner")
    model = keras.Sequential([L.Dense(3, input_shape=(4,), name="a"), inner, L.Dense(2)])

    assert sizes(model) == {"a": 3, "inner/h": 5, "inner/o": 4}
    assert_removal_is_exact(model)


def test_functional_in_sequential():
    model = keras.Sequential([L.Conv2D(3, 1, input_shape=(6, 6, 3), name="a"), block(5, 4, "inner"), L.Flatten()])
    model.add(L.Dense(2))

    assert sizes(model) == {"a": 3, "inner/c": 5, "inner/p": 4}
    assert_removal_is_exact(model)


@pytest.mark.parametrize("build", [lambda m: m.build((None, 4)), lambda m: m(np.ones((2, 4), "float32"))])
def test_sequential_without_an_input(build):
    model = keras.Sequential([L.Dense(5, name="a"), L.Dense(2)])
    build(model)

    assert sizes(model) == {"a": 5}
    assert_removal_is_exact(model)


def test_sequential_without_an_input_inside_another():
    inner = keras.Sequential([L.Conv2D(5, 3, name="c"), L.Conv2D(4, 1, name="p")], name="inner")
    image, other = L.Input((6, 6, 3)), L.Input((8, 8, 3))
    model = keras.Model([image, other], [L.GlobalMaxPooling2D()(inner(each)) for each in (image, other)])

    assert sizes(model) == {"inner/c": 5}
    assert_removal_is_exact(model)


def test_a_nested_model_called_twice_ties_what_it_reads():
    image = L.Input((6, 6, 3))
    inner = block(5, 3, "inner")
    model = keras.Model(image, L.Conv2D(2, 1)(inner(inner(L.Conv2D(3, 1, name="stem")(image)))))

    assert sizes(model) == {"stem": 3, "inner/c": 5}
    assert_removal_is_exact(model)


def test_a_nested_model_called_on_sizes_of_its_own():
    large, small = L.Input((8, 8, 3)), L.Input((4, 4, 3))
    inner = block(5, 4, "inner")
    stems = [L.Conv2D(3, 1, name=f"stem{place}")(each) for place, each in enumerate((large, small))]
    model = keras.Model([large, small], [L.Dense(2)(L.Flatten()(inner(each))) for each in stems])

    assert sizes(model) == {"stem0": 3, "inner/c": 5, "inner/p": 4}
    assert_removal_is_exact(model)


def test_a_nested_model_called_on_what_stays_and_on_what_may_leave():
    image = L.Input((6, 6, 3))
    inner = block(5, 4, "inner")
    parts = [inner(image), inner(L.Conv2D(3, 1, name="stem")(image))]
    model = keras.Model(image, L.Conv2D(2, 1)(L.Add()(parts)))

    assert reasons(model) == {"stem": ("model input",)}
    assert_removal_is_exact(model)


def test_a_siamese_model():
    left, right = L.Input((6, 6, 3)), L.Input((6, 6, 3))
    inner = block(5, 4, "inner")
    difference = tf.abs(inner(left) - inner(right))
    model = keras.Model([left, right], L.Dense(2)(L.GlobalAveragePooling2D()(difference)))

    assert sizes(model) == {"inner/c": 5, "inner/p": 4}
    assert_removal_is_exact(model, train=True)


def test_a_layer_called_twice_ties_its_inputs():
    x = L.Input((4,))
    shared = L.Dense(5, name="s")
    model = keras.Model(x, L.Dense(2)(shared(L.Dense(3, name="a")(x)) * shared(L.Dense(3, name="b")(x))))

    assert sizes(model) == {"a": 3, "s": 5}
    assert members(model, "a", "produce")["b.kernel[1]"] == [0, 1, 2]
    assert_removal_is_exact(model, train=True)


def test_a_layer_called_on_its_own_output():
    x = L.Input((4,))
    shared = L.Dense(5, activation="relu", name="s")
    hidden = L.Dense(5, name="a")(x)
    model = keras.Model(x, L.Dense(2)(shared(shared(shared(hidden)))))

    assert list(sizes(model).values()) == [5]
    assert_removal_is_exact(model)


def test_a_batch_normalization_called_twice():
    x = L.Input((4,))
    norm = L.BatchNormalization()
    model = keras.Model(x, L.Dense(2)(L.Concatenate()([norm(L.Dense(3, name="a")(x)), norm(L.Dense(3, name="b")(x))])))

    assert sizes(model) == {"a": 3}
    assert_removal_is_exact(model)


def test_a_layer_shared_by_a_model_and_the_one_around_it():
    shared = L.Conv2D(3, 1, name="s")
    image = L.Input((6, 6, 3))
    inner = keras.Model(image, shared(L.Conv2D(3, 1, name="c")(image)), name="inner")
    outer = L.Input((6, 6, 3))
    model = keras.Model(outer, L.Conv2D(2, 1)(inner(outer) + shared(L.Conv2D(3, 1, name="b")(outer))))

    assert sorted(sizes(model).values()) == [3, 3]
    assert_removal_is_exact(model)


def test_several_inputs_and_outputs():
    left, right = L.Input((4,), name="zebra"), L.Input((3,), name="ant")
    hidden = L.Concatenate()([L.Dense(5, name="a")(left), L.Dense(4, name="b")(right)])
    model = keras.Model([left, right], [L.Dense(2, name="y")(hidden), L.Dense(3, name="x")(L.ReLU()(hidden))])

    assert sizes(model) == {"a": 5, "b": 4}
    assert_removal_is_exact(model, save=True, tflite=True, train=True)


def test_dictionaries_of_inputs_and_outputs():
    inputs = {"zebra": L.Input((4,), name="zebra"), "ant": L.Input((3,), name="ant")}
    hidden = L.Concatenate()([L.Dense(5, name="a")(inputs["zebra"]), L.Dense(4, name="b")(inputs["ant"])])
    model = keras.Model(inputs, {"y": L.Dense(2, name="y")(hidden), "x": L.Dense(3, name="x")(hidden)})

    assert sizes(model) == {"a": 5, "b": 4}
    assert_removal_is_exact(model, save=True)


def test_a_nested_model_with_a_list_of_inputs_called_with_a_dictionary():
    """Keras goes by the names of the inputs, which sort the other way round."""
    zebra, ant = L.Input((3,), name="zebra"), L.Input((3,), name="ant")
    hidden = L.Concatenate()([L.Dense(4, name="z")(zebra), L.Dense(4, name="q")(ant)])
    inner = keras.Model([zebra, ant], L.Dense(3, name="o")(hidden), name="inner")
    x = L.Input((4,))
    given = {"ant": L.Dense(3, name="b")(x), "zebra": L.Dense(3, name="a")(x)}
    model = keras.Model(x, L.Dense(2)(inner(given)))

    assert list(members(model, "b", "consume")) == ["inner/q.kernel[0]"]
    assert list(members(model, "a", "consume")) == ["inner/z.kernel[0]"]
    assert_removal_is_exact(model)


def test_a_nested_model_with_several_outputs():
    x = L.Input((4,))
    hidden = L.Dense(5, name="h")(x)
    inner = keras.Model(x, {"b": L.Dense(3, name="b")(hidden), "a": hidden}, name="inner")
    y = L.Input((4,))
    found = inner(y)
    model = keras.Model(y, [L.Dense(2)(found["a"]), L.Dense(2)(found["b"])])

    assert sizes(model) == {"inner/h": 5, "inner/b": 3}
    assert_removal_is_exact(model)


def test_an_output_that_is_read_too_stays():
    x = L.Input((4,))
    hidden = L.Dense(5, name="h")(x)
    model = keras.Model(x, [hidden, L.Dense(2, name="y")(hidden)])

    assert sizes(model) == {}
    assert [barrier.layer for barrier in channel_groups(model).barriers] == ["h", "y"]


def test_an_input_that_nobody_reads():
    x, unread = L.Input((4,)), L.Input((3,))
    model = keras.Model([x, unread], L.Dense(2)(L.Dense(5, name="h")(x)))

    assert sizes(model) == {"h": 5}
    assert_removal_is_exact(model)


def test_a_model_called_with_a_mask():
    x, mask = L.Input((3, 4)), L.Input((3,), dtype="bool")
    inside = L.Input((3, 4))
    inner = keras.Model(inside, L.LSTM(5, name="r")(inside), name="inner")
    model = keras.Model([x, mask], L.Dense(2)(inner(L.Dense(4, name="a")(x), mask=mask)))

    assert sizes(model) == {"a": 4, "inner/r": 5}
    assert_removal_is_exact(model)


def test_a_training_flag_given_by_hand():
    x = L.Input((4,))
    model = keras.Model(x, L.Dense(2)(L.BatchNormalization()(L.Dense(5, name="a")(x), training=False)))

    assert sizes(model) == {"a": 5}
    assert_removal_is_exact(model, train=True)


def test_an_input_that_is_an_output():
    x = L.Input((4,))
    model = keras.Model(x, [x, L.Dense(2)(L.Dense(5, name="h")(x))])

    assert_removal_is_exact(model)


def test_a_model_that_starts_in_the_middle_of_another():
    x = L.Input((4,))
    hidden = L.Dense(5, name="h")(x)
    keras.Model(x, hidden)
    model = keras.Model(hidden, L.Dense(2)(L.Dense(6, name="g")(hidden)))

    assert sizes(model) == {"g": 6}
    assert_removal_is_exact(model)


def test_a_layer_outside_of_the_model_is_left_alone():
    x = L.Input((4,))
    hidden = L.Dense(5, name="h")(x)
    keras.Model(x, hidden * 2.0)
    model = keras.Model(x, L.Dense(2)(hidden))

    assert sizes(model) == {"h": 5}
    assert_removal_is_exact(model)


def test_a_last_axis_of_one_that_keras_adds():
    inner = keras.Sequential([L.Dense(5, input_shape=(1,), name="h"), L.Dense(3, name="o")], name="inner")
    x = L.Input((4,))
    single = tf.squeeze(L.Dense(1, name="a")(x), -1)
    model = keras.Model(x, L.Dense(2)(inner(single)))

    assert {"inner/h", "inner/o"} <= set(sizes(model))
    assert_removal_is_exact(model)


def test_a_nested_model_called_with_another_rank_is_an_error():
    inner = keras.Sequential([L.Dense(5), L.Dense(3)], name="inner")
    x, y = L.Input((4,)), L.Input((3, 4))
    model = keras.Model([x, y], [inner(x), inner(y)])

    with pytest.raises(ValueError, match=r"of the rank that it was built for.* Received: shape .* of 'inner'"):
        channel_groups(model)


@pytest.mark.parametrize("trainable", [True, False])
def test_frozen_models_and_layers(trainable):
    image = L.Input((6, 6, 3))
    inner = block(5, 4, "inner")
    inner.trainable = trainable
    frozen = L.Conv2D(3, 1, name="stem", trainable=False)
    model = keras.Model(image, L.Dense(2)(L.GlobalMaxPooling2D()(inner(frozen(image)))))

    small = assert_removal_is_exact(model, train=True)
    assert len(small.trainable_weights) == len(model.trainable_weights)


def test_frozen_as_a_whole():
    model = keras.Sequential([L.Dense(5, input_shape=(4,)), L.Dense(2)])
    model.trainable = False

    assert not assert_removal_is_exact(model).trainable_weights


def test_mixed_precision_keeps_its_policies_and_its_float32_head():
    policy = keras.mixed_precision.Policy("mixed_bfloat16")
    image = L.Input((6, 6, 3))
    x = L.BatchNormalization(dtype=policy)(L.Conv2D(5, 3, dtype=policy, name="a")(image))
    model = keras.Model(image, L.Dense(2, dtype="float32")(L.GlobalMaxPooling2D(dtype=policy)(x)))

    small = assert_removal_is_exact(model, tolerance=2e-2)
    assert small.get_layer("a").kernel.dtype == tf.bfloat16 or small.get_layer("a").dtype == "float32"
    assert small.get_layer("a").compute_dtype == "bfloat16"


def test_unknown_rank_is_a_barrier():
    image = L.Input((None, None, 3), batch_size=None)
    x = tf.squeeze(L.Conv2D(6, 1, name="a")(image))
    assert x.shape.rank is None
    model = keras.Model(image, tf.nn.relu(x))

    assert "of unknown rank" in reasons(model)["a"][0]
    assert_removal_is_exact(model)


class Doubled(keras.Model):
    """A functional model with a training step of the user's."""

    def train_step(self, data):
        return super().train_step(data)


class Rewired(keras.Model):
    def call(self, inputs, training=None, mask=None):
        return 2.0 * super().call(inputs, training=training, mask=mask)


def test_a_subclass_with_a_training_step_keeps_its_class():
    x = L.Input((4,))
    model = Doubled(x, L.Dense(2)(L.Dense(5)(x)))

    assert type(assert_removal_is_exact(model)) is Doubled


@pytest.mark.parametrize("nested", [True, False])
def test_a_model_that_computes_something_else_than_its_graph_is_an_error(nested):
    x = L.Input((4,))
    model = Rewired(x, L.Dense(2)(L.Dense(5)(x)), name="rewired")
    if nested:
        model = keras.Sequential([L.Dense(4, input_shape=(4,)), model])

    with pytest.raises(ValueError, match=r"this one has a call method of its own: .* Received: 'rewired'"):
        channel_groups(model)


def test_a_sequential_model_without_a_graph_is_an_error():
    class Eager(L.Layer):
        def call(self, x):
            if not tf.executing_eagerly():
                raise TypeError("not symbolic")
            return x

    model = keras.Sequential([L.Dense(3), Eager(dynamic=True), L.Dense(2)], name="eager")
    model(np.ones((2, 4), "float32"))

    with pytest.raises(ValueError, match=r"has no graph of layers.* Received: 'eager'"):
        channel_groups(model)


def test_two_layers_with_one_weight_are_an_error():
    first, second = L.Dense(4, name="one"), L.Dense(4, name="two")
    x = L.Input((4,))
    hidden = second(first(x))
    second.kernel = first.kernel
    second._trainable_weights[0] = first.kernel
    model = keras.Model(x, L.Dense(2)(hidden))

    with pytest.raises(ValueError, match=r"A weight of two layers .* Received: 'one/kernel:0' in 'one' and 'two'"):
        channel_groups(model)


def test_a_layer_inside_a_wrapper_and_outside_of_it_is_an_error():
    dense = L.Dense(4, name="inner")
    x = L.Input((3, 4))
    model = keras.Model(x, L.Dense(2)(L.TimeDistributed(dense, name="t")(x) + dense(x)))

    with pytest.raises(ValueError, match=r"A weight of two layers"):
        channel_groups(model)


def test_a_name_with_a_slash_that_is_the_path_of_another_layer_is_refused():
    inputs = keras.Input((6, 6, 3))
    x = L.Conv2D(4, 1, name="block/conv")(inputs)
    inner = block(4, 4, "block")
    inner.layers[1]._name = "conv"
    with pytest.raises(ValueError, match="rename one of them. Received: two layers at 'block/conv'"):
        channel_groups(keras.Model(inputs, inner(L.Conv2D(3, 1)(x))))
