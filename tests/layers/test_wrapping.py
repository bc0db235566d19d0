"""Layers around layers: TFMOT's wrappers and TimeDistributed."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras

import tfmot_swd
from tests.channels.exactness import assert_removal_is_exact, members, reasons, sizes
from tfmot_swd.channels.groups import channel_groups
from tfmot_swd.layers.macs import CallShapes, macs_by_weight
from tfmot_swd.swd.wrapper import PruneSelectiveDecay

L = keras.layers
SCHEDULE = tfmot_swd.SelectiveDecay(final_sparsity=0.5, end_step=4)


def small_net() -> keras.Model:
    image = L.Input((6, 6, 3))
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(6, 3, name="a")(image)))
    x = L.DepthwiseConv2D(2, name="d")(x)
    x = L.Conv2D(6, 1, groups=2, name="g")(x)
    return keras.Model(image, L.Dense(2, name="out")(L.Flatten()(x)))


def test_selective_decay():
    model = tfmot_swd.prune_selective_decay(small_net(), SCHEDULE)
    name = "prune_selective_decay_a"
    assert type(model.get_layer(name)) is PruneSelectiveDecay
    # Masks are random zeros and ones here, as the smaller one must take over what they are.
    generator = np.random.default_rng(0)
    for weight in model.weights:
        if "mask" in weight.name:
            weight.assign(generator.integers(0, 2, weight.shape).astype("float32"))

    assert list(sizes(model).values()) == [3, 3]
    produce = members(model, name, "produce")
    assert produce[f"{name}.layer.kernel[3]"] == [0, 1, 2, 0, 1, 2]
    state = members(model, name, "state")
    assert state[f"{name}.layer.kernel:{name}/mask:0[3]"] == [0, 1, 2, 0, 1, 2]
    assert_removal_is_exact(model, save=True)


def test_tfmots_own_wrapper():
    model = tfmot.sparsity.keras.prune_low_magnitude(small_net())

    assert list(sizes(model).values()) == [3, 3]
    assert_removal_is_exact(model)


def test_all_targets_under_selective_decay():
    schedule = tfmot_swd.SelectiveDecay.paper(0.5, end_step=4, mu=0.01, a_min=1.0, a_max=1.0)
    model = tfmot_swd.prune_selective_decay(small_net(), schedule)

    assert any("batch_norm" in layer.name for layer in model.layers if isinstance(layer, PruneSelectiveDecay))
    assert_removal_is_exact(model)


@pytest.mark.parametrize("kind", [L.LSTM, L.GRU])
def test_recurrent_layers_under_selective_decay(kind):
    x = L.Input((3, 4))
    hidden = L.Bidirectional(kind(3, name="r2"), name="b")(kind(5, return_sequences=True, name="r")(x))
    model = tfmot_swd.prune_selective_decay(keras.Model(x, L.Dense(2)(hidden)), SCHEDULE)

    assert list(sizes(model).values()) == [5, 3]
    assert_removal_is_exact(model)


def test_attention_under_selective_decay():
    x = L.Input((4, 3))
    hidden = L.Dense(6, name="a")(x)
    hidden = L.MultiHeadAttention(3, 2, name="m")(hidden, hidden)
    model = tfmot_swd.prune_selective_decay(keras.Model(x, L.Dense(2)(hidden)), SCHEDULE)

    assert list(sizes(model).values()) == [6, 3, 2, 2, 6]
    assert_removal_is_exact(model)


def test_a_wrapped_class_without_a_rule():
    image = L.Input((6, 6, 3))
    x = L.LocallyConnected2D(4, 3, name="local")(L.Conv2D(5, 1, name="a")(image))
    model = tfmot_swd.prune_selective_decay(keras.Model(image, L.Dense(2)(L.Flatten()(x))), SCHEDULE)

    reason = "prune_selective_decay_local: no channel rule for LocallyConnected2D"
    assert reasons(model) == {"prune_selective_decay_a": (reason,)}
    assert_removal_is_exact(model)


@pytest.mark.parametrize(
    "layer", [lambda: L.Conv1D(5, 3, name="inner"), lambda: L.Dense(5, name="inner"), lambda: L.LSTM(5, name="inner")]
)
def test_time_distributed(layer):
    x = L.Input((3, 6, 4))
    hidden = L.TimeDistributed(layer(), name="t")(L.Dense(4, name="a")(x))
    hidden = L.TimeDistributed(L.Flatten())(L.TimeDistributed(L.BatchNormalization())(hidden))
    model = keras.Model(x, L.Dense(2)(L.SimpleRNN(3, name="r")(hidden)))

    assert sizes(model) == {"a": 4, "t": 5, "r": 3}
    assert_removal_is_exact(model, save=True, train=True)


def test_time_distributed_reshape():
    x = L.Input((3, 4))
    hidden = L.TimeDistributed(L.Reshape((2, 3)))(L.Dense(6, name="a")(x))
    model = keras.Model(x, L.Dense(2)(L.TimeDistributed(L.Flatten())(hidden)))

    assert sizes(model) == {"a": 3}
    assert_removal_is_exact(model)


def test_time_distributed_over_channels_is_a_barrier():
    x = L.Input((4, 6))
    hidden = L.TimeDistributed(L.Dense(3), name="t")(L.Permute((2, 1))(L.Dense(5, name="a")(x))[..., None])
    model = keras.Model(x, L.Dense(2)(L.Flatten()(hidden)))

    assert reasons(model) == {"a": ("t: no channel rule for Dense at each step",)}
    assert_removal_is_exact(model)


def steps(inner, shape=(3, 6, 6, 2), filters=4) -> keras.Model:
    """A video, each image of which goes through a model."""
    x = L.Input(shape)
    hidden = L.Dense(filters, name="a")(x)
    return keras.Model(x, L.Dense(2)(L.SimpleRNN(3, name="r")(L.TimeDistributed(inner, name="t")(hidden))))


def block() -> keras.Model:
    x = image = L.Input((6, 6, 4))
    x = L.Conv2D(5, 3, name="c1")(x)
    x = L.BatchNormalization()(x) * 2.0
    x = L.Add()([x, L.Conv2D(5, 3, name="c2")(image)])
    return keras.Model(image, L.Dense(3, activation="relu", name="d")(L.GlobalAveragePooling2D()(x)))


INNER = {
    "sequential": lambda: keras.Sequential(
        [L.Conv2D(5, 3, input_shape=(6, 6, 4)), L.BatchNormalization(), L.GlobalMaxPooling2D(), L.Dense(3)]
    ),
    "sequential built later": lambda: keras.Sequential([L.Conv2D(5, 3), L.ReLU(), L.Flatten(), L.Dense(3)]),
    "functional": block,
    "nested": lambda: keras.Sequential([block(), L.Dense(4)]),
}


@pytest.mark.parametrize("name", INNER)
def test_time_distributed_model(name):
    model = steps(INNER[name]())

    assert sum(sizes(model).values()) == 4 + 5 + 3 + 3 + (4 if name == "nested" else 0)
    assert_removal_is_exact(model, save=True, train=True)


@pytest.mark.parametrize(
    ("inner", "reason"),
    [
        (lambda: keras.Sequential([L.Conv2D(5, 3), L.LocallyConnected2D(3, 3), L.Flatten()]), "LocallyConnected2D"),
        (lambda: keras.Sequential([L.Conv2D(5, 3), L.LayerNormalization(), L.Flatten()]), "across channels"),
    ],
)
def test_a_model_at_each_step_with_a_layer_without_a_rule_is_a_barrier(inner, reason):
    model = steps(inner())

    assert sizes(model) == {"r": 3}
    assert reason in reasons(model)["a"][0]
    assert_removal_is_exact(model)


def test_weights_of_a_model_at_each_step_are_used_differently_often():
    layer = steps(INNER["sequential"]()).get_layer("t")

    pairs, fixed = macs_by_weight(layer, CallShapes(((1, 3, 6, 6, 4),), ((1, 3, 3),)))

    # A kernel of 3 at all 16 places of 3 images; a matrix once for each image.
    assert [(tuple(weight.shape), times) for weight, times in pairs] == [((3, 3, 4, 5), 48), ((5, 3), 3)]
    assert fixed == 0


def at_each_step(function, shape=(6, 6, 4)) -> keras.Model:
    """Calls a function of a tensor at each step, as a model."""
    x = L.Input(shape)
    inner, video = keras.Model(x, function(x)), L.Input((3, *shape[:-1], 2))
    hidden = L.TimeDistributed(inner, name="t")(L.Dense(shape[-1], name="a")(video))
    return keras.Model(video, L.Dense(2)(L.Flatten()(hidden)))


def scaled_by_its_size(x):
    y = L.Dense(5, name="y")(x)
    return L.GlobalAveragePooling2D()(L.Dense(3, name="z")(y) * tf.cast(tf.shape(y), tf.float32)[-1])


def masked_by_a_tensor(x):
    mask = L.Dense(6, name="m")(L.Flatten()(x)) > 0.0
    return L.LSTM(3)(L.Dense(4)(x), mask=mask)


def shared(x):
    dense = L.Dense(5, name="d")
    return L.GlobalAveragePooling2D()(L.Concatenate()([dense(x), keras.Sequential([dense, L.Dense(3)])(x)]))


@pytest.mark.parametrize(
    ("function", "shape", "staying"),
    [(scaled_by_its_size, (6, 6, 4), 5), (masked_by_a_tensor, (6, 4), 6)],
)
def test_what_must_stay_in_a_model_at_each_step(function, shape, staying):
    model = at_each_step(function, shape)

    assert staying not in sizes(model).values()
    assert_removal_is_exact(model)


def test_a_layer_at_two_places_in_a_model_at_each_step_cannot_be_copied():
    """Keras would make two of it."""
    model = at_each_step(shared)

    assert 5 not in sizes(model).values()
    with pytest.raises(ValueError, match="this one has other weights than its config says"):
        assert_removal_is_exact(model)


def test_a_function_in_a_model_at_each_step():
    model = at_each_step(lambda x: L.Flatten()(L.Lambda(lambda y: 2.0 * y, name="l")(L.Dense(5, name="d")(x))))

    assert sorted(sizes(model).values()) == [4, 5]
    assert_removal_is_exact(model, train=True)


class Slope(L.Layer):
    """A layer of the user's that no rule is registered for."""

    def build(self, shape):
        self.slope = self.add_weight("slope", (shape[-1],), initializer="ones")

    def call(self, x):
        return x * self.slope


@pytest.mark.parametrize("inside", [lambda: Slope(), lambda: keras.Sequential([L.Dense(5), Slope(), L.Dense(3)])])
def test_a_custom_layer_at_each_step(inside):
    x = L.Input((3, 4))
    model = keras.Model(x, L.Dense(2)(L.Flatten()(L.TimeDistributed(inside(), name="t")(L.Dense(4, name="a")(x)))))

    assert sizes(model)["a"] == 4
    assert_removal_is_exact(model, train=True)


def test_a_subclassed_model_at_each_step_is_a_barrier():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs[:, 0, 0]

    assert reasons(steps(Own()))["a"] == ("t: no channel rule for Own at each step",)


def test_products_in_a_model_at_each_step_keep_what_they_sum_over():
    x = L.Input((6, 4))
    q, k = L.Dense(5, name="q")(x), L.Dense(5, name="k")(x)
    inner = keras.Model(x, L.Dense(3, name="d")(L.Flatten()(tf.matmul(q, k, transpose_b=True))))
    model = steps(inner, (3, 6, 2))

    assert sorted(sizes(model).values()) == [3, 3, 4]
    assert_removal_is_exact(model, train=True)


class Around(L.Wrapper):
    """A wrapper of one's own."""

    def call(self, inputs):
        return self.layer(inputs)


def test_a_wrapper_without_a_rule_is_a_barrier():
    image = L.Input((6, 6, 3))
    x = Around(L.Conv2D(4, 1), name="s")(L.Conv2D(5, 1, name="a")(image))
    model = keras.Model(image, L.Dense(2)(L.Flatten()(x)))

    assert reasons(model) == {"a": ("s: no channel rule for Around",)}


@pytest.fixture
def legacy_keras(monkeypatch):
    """SpectralNormalization of tf_keras asks tf.keras for a class, which is Keras 3 without TF_USE_LEGACY_KERAS."""
    monkeypatch.setattr(tf.keras.layers, "InputSpec", L.InputSpec)


@pytest.mark.usefixtures("legacy_keras")
@pytest.mark.parametrize(
    "layer",
    [
        lambda: L.Conv2D(8, 3, name="inner", activation="relu"),
        lambda: L.Conv2D(8, 1, groups=2, name="inner"),
        lambda: L.Conv2DTranspose(8, 3, name="inner"),
        lambda: L.Dense(8, name="inner"),
    ],
)
def test_spectral_normalization(layer):
    image, inner = L.Input((5, 5, 3)), layer()
    x = L.SpectralNormalization(inner, name="s")(L.Conv2D(4, 1, name="a")(image))
    model = keras.Model(image, L.Dense(2)(L.GlobalAveragePooling2D()(x)))

    assert set(sizes(model).values()) == ({2} if getattr(inner, "groups", 1) == 2 else {4, 8})
    # Keras itself cannot load it from a file.
    small = assert_removal_is_exact(model)
    assert small.get_layer("s").vector_u.shape[1] == small.get_layer("s").layer.kernel.shape[-1]


@pytest.mark.usefixtures("legacy_keras")
def test_spectral_normalization_of_what_has_no_rule_is_a_barrier():
    class Own(L.Dense):
        def call(self, inputs):
            return tf.nn.softmax(super().call(inputs))

    x = L.Input((5,))
    model = keras.Model(x, L.Dense(2)(L.SpectralNormalization(Own(4), name="s")(L.Dense(3, name="a")(x))))

    assert reasons(model)["a"] == ("s: no channel rule for Own",)
    assert_removal_is_exact(model)


def test_a_first_layer_without_a_rule_is_listed_with_the_reason():
    video = L.Input((3, 8, 8, 3))
    inner = keras.Sequential(
        [L.Conv2D(6, 3, input_shape=(8, 8, 3)), L.LocallyConnected2D(5, 3), L.GlobalAveragePooling2D()]
    )
    model = keras.Model(video, L.Dense(2)(L.TimeDistributed(inner, name="t")(video)))

    (barrier,) = [each for each in channel_groups(model).barriers if each.layer == "t"]
    assert (barrier.total_channels, barrier.reasons) == (5, ("t: no channel rule for LocallyConnected2D at each step",))
    assert_removal_is_exact(model)
