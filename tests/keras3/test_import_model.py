"""Where the two Keras differ without saying so."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from keras import layers as L

from tests.keras3.nets import randomize
from tfmot_swd.keras3 import from_keras3, to_keras3
from tfmot_swd.keras3.carried import CarriedLayer

RNG = np.random.default_rng(0)


def chain(*layers, shape=(4,), **kwargs):
    """Returns a Functional and a Sequential model of the same kind of layers."""
    x = inputs = keras.Input(shape, **kwargs)
    for layer in layers:
        x = type(layer).from_config(layer.get_config())(x)
    return keras.Model(inputs, x), keras.Sequential([keras.Input(shape, **kwargs), *layers])


class Noisy(L.Layer):
    """As people write it: with a default for `training`."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm, self.drop = L.BatchNormalization(), L.Dropout(0.5)

    def call(self, x, training=False):
        return self.drop(self.norm(x, training=training), training=training)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (L.Dropout(0.5), (8,)),
        (L.GaussianNoise(1.0), (8,)),
        (L.GaussianDropout(0.5), (8,)),
        (L.SpatialDropout1D(0.5), (5, 8)),
        (L.LSTM(8, dropout=0.5), (5, 8)),
        (L.RandomContrast(0.9), (6, 6, 3)),
        (L.RandomTranslation(0.4, 0.4), (6, 6, 3)),
        (Noisy(), (8,)),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_is_random_in_training_is_random_after_the_conversion(layer, shape):
    x = RNG.normal(size=(3, *shape)).astype("float32")
    for model in chain(layer, shape=shape):
        there = from_keras3(model)
        runs = [np.asarray(there(x, training=True)) for _ in range(2)]
        assert np.any(runs[0] != runs[1])
        np.testing.assert_array_equal(there(x, training=False), there(x))
        back = to_keras3(there)
        assert np.any(np.asarray(back(x, training=True)) != np.asarray(back(x, training=True)))


def test_fit_overrules_training_in_the_graph_as_in_keras_3():
    inputs = keras.Input((8,))
    base = keras.Sequential([keras.Input((8,)), L.BatchNormalization()])
    model = keras.Model(inputs, L.Dropout(0.5)(base(inputs, training=False), training=True))
    there = from_keras3(model)
    x = RNG.normal(3, 1, (64, 8)).astype("float32")
    for each in (model, there):
        each.compile("sgd", "mse")
        each.fit(x, x, verbose=0, batch_size=64)
    ours, theirs = (each.layers[1].layers[0].moving_mean for each in (model, there))
    np.testing.assert_allclose(theirs.numpy(), np.asarray(ours), rtol=1e-5)
    assert np.abs(theirs.numpy()).max() > 0.01
    np.testing.assert_allclose(there.predict(x, verbose=0), there(x, training=False), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16", "float64"])
def test_each_layer_keeps_its_policy_there_and_back(policy):
    inputs = keras.Input((4, 3))
    x = L.Normalization(mean=[1e5] * 3, variance=[1e8] * 3, dtype="float32")(inputs)
    # bfloat16 has no orthogonal initializer.
    lstm = L.LSTM(2, return_sequences=True, recurrent_initializer="glorot_uniform", dtype=policy)
    x = L.TimeDistributed(L.Dense(3, dtype=policy), dtype=policy)(L.Bidirectional(lstm, dtype=policy)(x))
    model = keras.Model(inputs, L.Lambda(lambda x: x * 2.0, dtype="float32")(x))
    there = from_keras3(model)
    back = to_keras3(there)
    wanted = [each.dtype_policy.name for each in model.layers[1:]]
    assert [each.dtype_policy.name for each in there.layers[1:]] == wanted
    assert [each.dtype_policy.name for each in back.layers[1:]] == wanted
    x = np.full((1, 4, 3), 1.1e5, "float32")
    assert np.isfinite(there(x)).all()


def test_a_model_keeps_its_policy_by_which_the_loss_is_scaled():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = keras.Sequential([keras.Input((4,)), L.Dense(2)])
    finally:
        keras.config.set_dtype_policy("float32")
    there = from_keras3(model)
    back = to_keras3(there)
    for each, optimizer in ((there, tf_keras.optimizers.SGD()), (back, keras.optimizers.SGD())):
        each.compile(optimizer, "mse")
        assert type(each.optimizer).__name__.startswith("LossScaleOptimizer")


def embedded(*layers):
    x = inputs = keras.Input((6,), dtype="int32")
    x = L.Embedding(20_000, 4, mask_zero=True)(x)
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


def with_unmasked(merge):
    x = inputs = keras.Input((6,), dtype="int32")
    x = L.Embedding(20_000, 4, mask_zero=True)(x)
    return keras.Model(inputs, L.LSTM(3)(merge([x, L.Conv1D(4, 3, padding="same")(x)])))


@pytest.mark.parametrize(
    ("model", "carried"),
    [
        (lambda: embedded(L.Identity(), L.GlobalAveragePooling1D()), ["Identity"]),
        (lambda: embedded(L.Rescaling(2.0), L.GlobalAveragePooling1D()), ["Rescaling"]),
        (lambda: embedded(L.GroupNormalization(2), L.GlobalAveragePooling1D()), ["GroupNormalization"]),
        (lambda: embedded(L.Dense(3), L.LayerNormalization(), L.LSTM(2)), []),
        (lambda: with_unmasked(L.Add()), ["Add"]),
        (lambda: with_unmasked(L.Concatenate()), ["Concatenate"]),
    ],
    ids=["Identity", "Rescaling", "GroupNormalization", "Dense", "Add", "Concatenate"],
)
@pytest.mark.filterwarnings("ignore:.*does not support masking")
def test_masks_reach_the_same_layers(model, carried):
    model = model()
    randomize(model)
    there = from_keras3(model)
    x = np.array([[5, 19_000, 3, 0, 0, 0], [1, 2, 3, 4, 5, 6]])
    np.testing.assert_allclose(there(x), np.asarray(model(x)), rtol=1e-4, atol=1e-5)
    assert [each.carried_class for each in there.layers if isinstance(each, CarriedLayer)] == carried


def test_a_masked_stack_too():
    stack = [L.Embedding(50, 4, mask_zero=True), L.Identity(), L.GlobalAveragePooling1D()]
    model = keras.Sequential([keras.Input((6,), dtype="int32"), *stack])
    there = from_keras3(model)
    x = np.array([[5, 40, 3, 0, 0, 0]])
    np.testing.assert_allclose(there(x), np.asarray(model(x)), rtol=1e-5)
    assert [type(each).__name__ for each in there.layers] == ["Embedding", "CarriedLayer", "GlobalAveragePooling1D"]
    np.testing.assert_allclose(np.asarray(to_keras3(there)(x)), np.asarray(model(x)), rtol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        L.SpatialDropout1D(0.5),
        L.SpatialDropout2D(0.5),
        L.SpatialDropout3D(0.5),
        L.SpectralNormalization(L.Dense(3)),
        L.AlphaDropout(0.5),
        L.ActivityRegularization(0.1),
        L.Dense(2, activation=L.PReLU()),
        L.Dense(2, activation=L.LeakyReLU()),
        L.GlobalAveragePooling1D(),
        L.Masking(),
        L.Softmax(),
        L.RepeatVector(2),
        L.Permute((1,)),
    ],
    ids=lambda each: f"{type(each).__name__}",
)
def test_rows_of_the_table_that_no_network_has(layer):
    rank = {"SpatialDropout1D": 2, "SpatialDropout2D": 3, "SpatialDropout3D": 4, "GlobalAveragePooling1D": 2}
    shape = (4,) * rank.get(type(layer).__name__, 2 if isinstance(layer, L.Masking) else 1)
    model = keras.Sequential([keras.Input(shape), layer])
    x = RNG.normal(size=(2, *shape)).astype("float32")
    # Keras 3 makes the weights of an activation in the first call.
    model(x)
    back = to_keras3(from_keras3(model))
    np.testing.assert_allclose(np.asarray(back(x)), np.asarray(model(x)), atol=1e-6)
    assert type(back.layers[0]) is type(layer)


def test_lookups_hash_and_encode_as_in_keras_3():
    words, ages = keras.Input((1,), dtype="string"), keras.Input((1,), dtype="int64")
    lookup = L.StringLookup()
    lookup.adapt(np.array([["a"], ["b"], ["b"]]))
    bins = L.Discretization(bin_boundaries=[2.0, 50.0])
    known = L.IntegerLookup(vocabulary=[7, 9], output_mode="one_hot")
    hashed = L.Hashing(5)
    model = keras.Model([words, ages], [lookup(words), hashed(words), bins(ages), known(ages)])
    there = from_keras3(model)
    data = [tf.constant([["b"], ["c"]]), tf.constant([[7], [60]], tf.int64)]
    for ours, theirs in zip(model(data), there(data), strict=True):
        np.testing.assert_array_equal(np.asarray(theirs), np.asarray(ours))
    assert [type(each).__name__ for each in there.layers[2:]] == [
        *("StringLookup", "Hashing", "Discretization", "IntegerLookup")
    ]


def test_constraints_of_carried_layers_hold():
    class Block(L.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = L.Dense(3, kernel_constraint="non_neg")

        def call(self, x):
            return self.dense(x)

    there = from_keras3(keras.Sequential([keras.Input((4,)), Block()]))
    there.compile(tf_keras.optimizers.SGD(1.0), "mse")
    there.fit(np.ones((8, 4)), -10 * np.ones((8, 3)), verbose=0)
    assert there.layers[0].trainable_weights[0].numpy().min() == 0.0


def test_custom_layers_with_small_vocabularies_inside_are_given_ids_that_they_know():
    class Tokens(L.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.tokens = L.Embedding(7, 4)

        def call(self, x):
            return self.tokens(x)

    model = keras.Sequential([keras.Input((5,), dtype="int32"), Tokens(), L.GlobalAveragePooling1D()])
    assert from_keras3(model).output_shape == (None, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: [L.Dense(2, name="my layer")], r"layer\.name = 'my_layer'.*Received: \['my layer'\]"),
        (lambda: [L.Dense(2, kernel_regularizer=Penalty())], r"write get_config.*Received: 'dense.*Penalty"),
        (lambda: [Random(name="random")], r"cannot be compared.*SeedGenerator.*'random' is random"),
    ],
    ids=["name", "regularizer", "random"],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        from_keras3(keras.Sequential([keras.Input((4,)), *make()]))


class Penalty(keras.regularizers.Regularizer):
    def __call__(self, x):
        return keras.ops.sum(x)


class Random(L.Layer):
    def call(self, x):
        return x + keras.random.normal(keras.ops.shape(x))


def test_an_optional_input_is_refused():
    first, second = keras.Input((4,)), keras.Input((4,), optional=True, name="maybe")
    with pytest.raises(ValueError, match="no counterpart of the optional input 'maybe'"):
        from_keras3(keras.Model([first, second], L.Add()([first, second])))


def test_nothing_is_left_in_the_users_model():
    model = keras.Sequential([keras.Input((4,)), L.Dense(2, activity_regularizer="l2")])
    from_keras3(model)
    assert model.losses == []
