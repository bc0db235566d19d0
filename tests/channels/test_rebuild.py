"""The smaller model as a copy: what stands in no config and in no weight comes along too."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests.channels.exactness import assert_removal_is_exact, sizes
from tfmot_swd.channels.groups import channel_groups
from tfmot_swd.channels.rebuild import Slicing, rebuild
from tfmot_swd.channels.removal import plan_removal, remove_channels

L = keras.layers


def test_slices_along_several_axes():
    variable = tf.Variable([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    slicing = Slicing(variable, variable, {0: np.array([False, True]), 1: np.array([True, False, True])})

    assert slicing.of(variable.numpy()).tolist() == [[4.0, 6.0]]


def test_how_each_variable_follows():
    model = keras.Sequential([L.Dense(3, input_shape=(2,), name="a"), L.Dense(2, name="b")])
    plan = plan_removal(model, {"a": [True, False, True]})
    rebuilt = rebuild(model, plan.groups.trace, plan.stays)

    assert [each.source.name for each in rebuilt.slicings] == [weight.name for weight in model.weights]
    assert [id(each.target) for each in rebuilt.slicings] == [id(weight) for weight in rebuilt.model.weights]
    masks = [{axis: mask.tolist() for axis, mask in each.masks.items()} for each in rebuilt.slicings]
    kept = [True, False, True]
    assert masks == [{0: [True, True], 1: kept}, {0: kept}, {0: kept, 1: [True, True]}, {0: [True, True]}]


def test_nothing_removed_is_a_copy():
    model = keras.Sequential([L.Dense(3, input_shape=(2,)), L.Dense(2)])
    copy = remove_channels(model, {})

    for one, other in zip(model.weights, copy.weights, strict=True):
        assert one is not other
        np.testing.assert_array_equal(one, other)
    copy.set_weights([value * 0.0 for value in copy.get_weights()])
    assert np.abs(model.get_weights()[0]).max() > 0


def test_only_weights_of_the_copy_change_in_its_training():
    model = keras.Sequential([L.Dense(6, input_shape=(4,), name="a"), L.Dense(2)])
    small = remove_channels(model, {"a": [True, False] * 3})
    before = model.get_weights()
    small.compile("sgd", "mse")
    small.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)

    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_removal_can_go_on_with_what_is_left():
    model = keras.Sequential([L.Dense(6, input_shape=(4,), name="a"), L.BatchNormalization(), L.Dense(2)])
    small = assert_removal_is_exact(model, {"a": [True, False] * 3})
    smaller = assert_removal_is_exact(small, {"a": [False, True, True]})

    assert sizes(smaller) == {"a": 2}


@pytest.mark.parametrize("kind", ["string", "int64"])
def test_vocabularies(kind):
    words, lookup = (["a", "b", "c"], L.StringLookup()) if kind == "string" else ([5, 6, 7], L.IntegerLookup())
    lookup.adapt(words)
    inputs = L.Input((3,), dtype=kind)
    model = keras.Model(inputs, L.Dense(2)(L.Flatten()(L.Embedding(4, 6, name="e")(lookup(inputs)))))

    assert sizes(model) == {"e": 6}
    assert_removal_is_exact(model, inputs=tf.constant([words, words[::-1]], kind))


def test_boundaries():
    layer = L.Discretization(num_bins=4)
    layer.adapt(np.linspace(0, 1, 100))
    inputs = L.Input((3,))
    model = keras.Model(inputs, L.Dense(2)(L.Flatten()(L.Embedding(4, 6)(layer(inputs)))))

    assert_removal_is_exact(model, inputs=tf.constant([[0.1, 0.4, 0.9], [0.6, 0.2, 0.3]]))


def test_augmentation_at_the_input():
    image = x = L.Input((8, 8, 3))
    for layer in (L.RandomFlip(), L.RandomRotation(0.1), L.Rescaling(1 / 255), L.Conv2D(4, 3, name="a"), L.Flatten()):
        x = layer(x)
    model = keras.Model(image, L.Dense(2)(x))

    assert sizes(model) == {"a": 4}
    assert_removal_is_exact(model)


def scaled(x):
    return x * 3.0


@pytest.mark.parametrize("function", [scaled, lambda x: x * 3.0, tf.abs], ids=["named", "lambda", "tensorflow"])
def test_lambdas(function):
    x = L.Input((4,))
    hidden = L.Dense(5, name="b")(L.Lambda(function)(L.Dense(6, name="a")(x)))
    model = keras.Model(x, L.Dense(2)(hidden))

    assert sizes(model) == {"a": 6, "b": 5}
    assert_removal_is_exact(model)


def test_a_lambda_over_a_local():
    factor = 3.0
    x = L.Input((4,))
    hidden = L.Lambda(lambda given: given * factor)(x)
    assert_removal_is_exact(keras.Model(x, L.Dense(2)(L.Dense(6)(hidden))))


def make(factor):
    def scaled(x):
        return x * factor

    return scaled


def test_two_functions_of_one_name():
    x = L.Input((3, 4))
    hidden = L.Dense(6, activation=make(2.0))(L.Dense(5, activation=make(3.0))(x))
    hidden = L.SimpleRNN(3, activation=make(0.5))(hidden)

    assert_removal_is_exact(keras.Model(x, L.Dense(2)(hidden)))


def test_a_function_inside_a_wrapper():
    x = L.Input((3, 4))
    hidden = L.TimeDistributed(L.Dense(6, activation=scaled))(L.Dense(5, name="a")(x))
    assert_removal_is_exact(keras.Model(x, L.Dense(2)(hidden)))


class Fixed(keras.regularizers.Regularizer):
    """Not registered, and not known by its name to anybody."""

    def __call__(self, x):
        return tf.reduce_sum(tf.square(x))

    def get_config(self):
        return {}


class Positive(keras.constraints.Constraint):
    def __call__(self, x):
        return tf.abs(x)


def test_regularizers_and_constraints_of_ones_own():
    x = L.Input((4,))
    layer = L.Dense(6, kernel_regularizer=Fixed(), bias_constraint=Positive(), name="a")
    small = assert_removal_is_exact(keras.Model(x, L.Dense(2)(layer(x))))

    (loss,) = small.losses
    np.testing.assert_allclose(loss, np.square(small.get_layer("a").kernel).sum(), rtol=1e-6)
    assert type(small.get_layer("a").bias_constraint) is Positive


def test_losses_and_metrics_that_were_added():
    x = L.Input((4,))
    hidden = L.Dense(6, name="a")(x)
    y = L.Dense(2)(L.Dense(5, name="b")(hidden))
    model = keras.Model(x, y)
    model.add_loss(tf.reduce_mean(y))
    model.add_loss(tf.reduce_sum(hidden))
    model.add_metric(tf.reduce_max(y), name="largest")

    small = assert_removal_is_exact(model)
    assert sizes(model) == {"b": 5}
    found = small(tf.ones((2, 4)))
    np.testing.assert_allclose(small.losses[0], tf.reduce_mean(found))
    assert len(small.losses) == 2
    assert small.metrics_names == ["largest"]


def test_names_of_outputs_that_two_layers_share():
    x = L.Input((4,))
    hidden = L.Dense(5, name="h")(x)
    both = L.Dense(2, name="y")(hidden)
    assert_removal_is_exact(keras.Model(x, [both, both, tf.nn.softmax(both)]))


def test_ragged_inputs():
    words = L.Input((None,), dtype="int32", ragged=True)
    hidden = L.LSTM(5, name="r")(L.Embedding(4, 6, name="e")(words))
    model = keras.Model(words, L.Dense(2)(hidden))

    assert sizes(model) == {"e": 6, "r": 5}
    keep = {name: np.arange(size) % 2 == 0 for name, size in sizes(model).items()}
    assert_removal_is_exact(model, keep, inputs=tf.ragged.constant([[1, 2, 3], [2]], dtype=tf.int32))


def test_a_loss_of_a_single_number_beside_the_outputs_is_followed():
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(3, name="hidden")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(hidden))
    model.add_loss(0.1 * tf.reduce_mean(hidden, axis=[0, 1]))
    model.add_loss(0.1 * tf.reduce_sum(tf.square(inputs)))

    assert list(channel_groups(model)) == []


def test_a_loss_that_a_copy_would_lose_is_an_error():
    model = keras.Sequential([keras.layers.Dense(3, input_shape=(4,), name="hidden"), keras.layers.Dense(2)])
    layer = model.get_layer("hidden")
    layer.add_loss(lambda: tf.reduce_sum(layer.kernel))

    with pytest.raises(ValueError, match="add_loss from outside a layer.*Received: layer 'hidden'"):
        remove_channels(model, {"hidden": np.array([True, True, False])})


@pytest.mark.parametrize("as_list", [False, True])
def test_pretrained_embeddings_lose_their_columns(as_list):
    table = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    initializer = keras.initializers.Constant(table.tolist() if as_list else table)
    inputs = keras.Input((3,), dtype="int32")
    x = keras.layers.Embedding(5, 4, embeddings_initializer=initializer, name="embedding")(inputs)
    model = keras.Model(inputs, keras.layers.Conv1D(2, 1)(x))
    small = remove_channels(model, {"embedding": np.array([True, False, True, False])})
    np.testing.assert_array_equal(small.get_layer("embedding").embeddings, table[:, ::2])
