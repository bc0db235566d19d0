import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from keras import ops

import tfmot_swd
from tests.keras3.nets import Scale
from tfmot_swd.keras3 import from_keras3, to_keras3
from tfmot_swd.keras3.carried import CarriedLayer, CarriedOperation
from tfmot_swd.layers.prunable import counted_weights

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 4)).astype("float32")
Y = (X.sum(axis=1) > 0).astype("int32")
LOSS = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture
def model():
    layers = keras.layers
    return keras.Sequential([keras.Input((4,)), layers.Dense(8), Scale(3.0, name="mine"), layers.Dense(2)])


def mine(model):
    return next(each for each in model.layers if each.name == "mine")


def test_it_trains_keeps_its_statistics_and_adds_its_losses(model):
    there = from_keras3(model)
    layer = mine(there)
    assert [weight.shape.as_list() for weight in layer.trainable_weights] == [[8], [8], [8]]
    assert [weight.shape.as_list() for weight in layer.non_trainable_weights] == [[8], [8]]
    # L2(0.1) of eight ones.
    there(X)
    np.testing.assert_allclose(sum(float(each) for each in there.losses), 0.8, rtol=1e-6)

    before = [each.numpy() for each in layer.weights]
    there.compile("sgd", LOSS)
    there.fit(X, Y, batch_size=32, epochs=1, verbose=0)
    assert all(np.any(each.numpy() != old) for each, old in zip(layer.weights, before, strict=True))
    np.testing.assert_array_equal(np.asarray(mine(model).scale), np.ones(8))

    back = to_keras3(there)
    assert type(mine(back)) is Scale
    assert mine(back).factor == 3.0
    np.testing.assert_allclose(np.asarray(back(X)), there(X, training=False), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(mine(back).norm.moving_mean), mine(there).inner.norm.moving_mean)


def test_training_as_keras_3_trains_it(model):
    """One step of gradient descent, with the regularization of the carried layer, leads to the same weights."""
    there = from_keras3(model)
    there.compile(tf_keras.optimizers.SGD(0.1), LOSS)
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for each in (model, there):
        each.fit(X, Y, batch_size=64, epochs=2, shuffle=False, verbose=0)
    for ours, theirs in zip(model.trainable_variables, there.trainable_weights, strict=True):
        np.testing.assert_allclose(theirs.numpy(), np.asarray(ours), rtol=1e-4, atol=1e-6)


def test_freezing_reaches_the_layers_inside():
    """A batch normalization that is frozen normalizes by its statistics and leaves them."""
    model = keras.Sequential([keras.Input((4,)), Scale(3.0, name="mine")])
    there = from_keras3(model)
    layer = mine(there)
    order = [each.name for each in layer.weights]
    layer.trainable = False
    assert layer.trainable_weights == []
    assert [each.name for each in layer.weights] == order
    assert there.losses == []
    statistics = [each.numpy() for each in layer.non_trainable_weights]
    there(X, training=True)
    for before, after in zip(statistics, layer.non_trainable_weights, strict=True):
        np.testing.assert_array_equal(before, after.numpy())
    layer.trainable = True
    assert [each.name for each in layer.weights] == order
    assert len(layer.trainable_weights) == 3

    # A layer inside that its class has frozen stays frozen.
    layer.inner.norm.trainable = False
    assert not mine(to_keras3(there)).norm.trainable
    assert len(layer.trainable_weights) == 1
    assert len(layer.non_trainable_weights) == 4


def test_a_layer_that_comes_frozen_can_be_unfrozen():
    model = keras.Sequential([keras.Input((4,)), Scale(3.0, name="mine", trainable=False)])
    layer = mine(from_keras3(model))
    assert not layer.trainable_weights
    layer.trainable = True
    assert len(layer.trainable_weights) == 3


def test_the_penalty_of_a_shared_layer_counts_once():
    shared = Scale(1.0)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, shared(shared(inputs)))
    there = from_keras3(model)
    there(X)
    model(X)
    # L2(0.1) of four ones.
    np.testing.assert_allclose([sum(map(float, each.losses)) for each in (there, model)], [0.4, 0.4], rtol=1e-6)


def test_random_states_come_along():
    model = keras.Sequential([keras.Input((2, 2, 3)), keras.layers.RandomBrightness(0.5, seed=3)])
    there = from_keras3(model)
    assert isinstance(there.layers[0], CarriedLayer)
    image = np.full((1, 2, 2, 3), 100.0, "float32")
    np.testing.assert_array_equal(there.layers[0].get_weights()[0], model.layers[0].generator.state)
    first, second = (np.asarray(there.layers[0](image, training=True)) for _ in range(2))
    assert np.any(first != second)
    np.testing.assert_array_equal(np.asarray(there.layers[0](image, training=False)), image)


def test_kernels_of_keras_inside_are_prunable_and_pruned():
    inputs = keras.Input((6, 8))
    model = keras.Model(inputs, keras.layers.GroupQueryAttention(4, 4, 2, name="gqa")(inputs, inputs))
    (layer,) = [each for each in from_keras3(model).layers if isinstance(each, CarriedLayer)]
    # Biases of projections stay, which begin at zero, as those of tf_keras's MultiHeadAttention do.
    assert [weight.shape.as_list() for weight in counted_weights(layer)] == [
        [8, 4, 4],
        [8, 2, 4],
        [8, 2, 4],
        [4, 4, 8],
    ]

    pruned = tfmot_swd.prune_selective_decay(from_keras3(model), tfmot_swd.SelectiveDecay(0.75, end_step=4))
    pruned.compile("sgd", "mse")
    data = RNG.normal(size=(8, 6, 8)).astype("float32")
    pruned.fit(data, data, batch_size=4, epochs=2, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep()])
    small = tfmot_swd.strip_pruning(pruned)
    # A quarter of the 384 weights in kernels.
    assert tfmot_swd.sparsity_report(small).nonzero_prunable_weights == 96
    assert sum(np.count_nonzero(each) for each in to_keras3(small).get_weights() if each.ndim == 3) == 96


def test_attention_inside_a_layer_of_the_users_counts_as_attention_does():
    @keras.saving.register_keras_serializable("tests_carried")
    class Block(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.attention, self.dense = keras.layers.MultiHeadAttention(2, 4), keras.layers.Dense(8)

        def call(self, x):
            return self.dense(self.attention(x, x))

    inputs = keras.Input((6, 8))
    inside = from_keras3(keras.Model(inputs, Block()(inputs)))
    plain = from_keras3(
        keras.Model(inputs, keras.layers.Dense(8)(keras.layers.MultiHeadAttention(2, 4)(inputs, inputs)))
    )
    counted = [tfmot_swd.plan_pruning(each).prunable_weights for each in (inside, plain)]
    assert counted == [4 * 64 + 8 * 8 + 8] * 2


def test_a_class_may_name_its_own_prunable_weights():
    class Mine(Scale):
        def get_prunable_weights(self):
            return [self.scale]

    layer = CarriedLayer(Mine(), [[keras.KerasTensor((None, 4))], {}])
    assert layer.get_prunable_weights()[0] is layer.inner.scale.value


def test_a_carried_net_loses_channels_is_exported_and_comes_back(tmp_path):
    layers = keras.layers
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, name="free", padding="same", activation="relu")(inputs)
    x = layers.Conv2D(8, 3, name="held")(x)
    x = ops.roll(Scale(1.5, name="mine")(x), 1, axis=1)
    x = layers.Dense(16, activation="relu", name="hidden")(layers.Flatten()(x))
    model = keras.Model(inputs, layers.Dense(2)(x))
    there = from_keras3(model)
    assert any(isinstance(each, CarriedOperation) for each in there.layers)

    groups = tfmot_swd.channels.channel_groups(there)
    assert set(groups) == {"free", "hidden"}
    keep = {name: np.arange(group.size) % 2 == 0 for name, group in groups.items()}
    small = tfmot_swd.channels.remove_channels(there, keep)
    back = to_keras3(small)
    assert {each.name: each.filters for each in back.layers if hasattr(each, "filters")} == {"free": 4, "held": 8}
    result = tfmot_swd.export_tflite(small, tmp_path / "net.tflite", "float32")
    assert result.recipe == "float32"


def test_a_config_makes_the_same_layer_and_shares_nothing(model):
    layer = mine(from_keras3(model))
    config = layer.get_config()
    twin = CarriedLayer.from_config(config)
    assert [each.shape for each in twin.weights] == [each.shape for each in layer.weights]
    twin.weights[0].assign_add(tf.ones(8))
    assert np.any(twin.weights[0].numpy() != layer.weights[0].numpy())


def test_what_cannot_be_copied_is_refused_by_name():
    class NoConfig(keras.layers.Layer):
        def __init__(self, size):
            super().__init__()
            self.size = size

        def call(self, x):
            return x * self.size

    with pytest.raises(ValueError, match=r"write get_config.*Received: 'no_config' of class NoConfig"):
        from_keras3(keras.Sequential([keras.Input((4,)), NoConfig(2)]))


def test_quantized_and_lora_layers_are_refused_by_name():
    model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(8, name="dense")])
    model.layers[0].enable_lora(2)
    with pytest.raises(ValueError, match=r"low-rank adaptation.*Received: 'dense' on the tensorflow backend"):
        from_keras3(model)
    model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(8, name="dense")])
    model.quantize("int8")
    with pytest.raises(ValueError, match="has no counterpart of"):
        from_keras3(model)
