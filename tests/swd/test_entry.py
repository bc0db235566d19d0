"""The entry function: a wrapped copy of any graph of layers, and an original left as it was."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tensorflow_model_optimization.python.core.sparsity.keras.pruning_policy import (
    PruneForLatencyOnXNNPack,
)
from tensorflow_model_optimization.sparsity.keras import PrunableLayer, prune_low_magnitude

from tfmot_swd import SelectiveDecay, StructuredDecay, UpdatePruningStep, prune_selective_decay, strip_pruning
from tfmot_swd.swd import PruneSelectiveDecay
from tfmot_swd.swd.weight_pool import WeightPool

L = keras.layers
SCHEDULE = SelectiveDecay(final_sparsity=0.5, end_step=2)
IMAGE, SERIES, VECTOR = (8, 8, 3), (6, 3), (4,)


@keras.utils.register_keras_serializable("test_selective_decay")
class MyDense(L.Dense):
    """A subclass of a built-in: TFMOT rejects the whole model for it."""


@keras.utils.register_keras_serializable("test_selective_decay")
class Half(L.Layer, PrunableLayer):
    def build(self, input_shape):
        self.used = self.add_weight("used", shape=(input_shape[-1],))
        self.other = self.add_weight("other", shape=(input_shape[-1],))

    def call(self, inputs):
        return inputs * self.used + self.other

    def get_prunable_weights(self):
        return [self.used]


@keras.utils.register_keras_serializable("test_selective_decay")
class Composite(L.Layer, PrunableLayer):
    """Its part has no weights before the first call."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.layers = [L.Dense(3), L.Dense(2)]

    def call(self, inputs):
        return self.layers[1](self.layers[0](inputs))

    def get_prunable_weights(self):
        return [part.kernel for part in self.layers]


def between(layer, shape) -> keras.Model:
    """`layer` in front of a dense head."""
    inputs = keras.Input(shape)
    return keras.Model(inputs, L.Dense(2, name="head")(L.Flatten()(layer(inputs))))


def data_for(model) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(3, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs]


def wrapped_names(model) -> list[str]:
    found = []
    for layer in model.layers:
        if isinstance(layer, PruneSelectiveDecay):
            found.append(layer.layer.name)
        elif isinstance(layer, keras.Model):
            found += wrapped_names(layer)
    return found


def assert_same_predictions(first, second) -> None:
    data = data_for(first)
    for one, other in zip(
        tf.nest.flatten(first(data, training=False)),
        tf.nest.flatten(second(data, training=False)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def assert_nothing_shared(first, second) -> None:
    assert {id(variable) for variable in first.variables}.isdisjoint(map(id, second.variables))


def sequential() -> keras.Model:
    return keras.Sequential([L.Dense(3, input_shape=VECTOR, name="first"), L.ReLU(), L.Dense(2, name="last")])


def late_sequential() -> keras.Model:
    model = keras.Sequential([L.Dense(3, name="first"), L.Dense(2, name="last")])
    model.build((None, *VECTOR))
    return model


def functional() -> keras.Model:
    left, right = keras.Input(VECTOR), keras.Input((3,))
    x = L.Concatenate()([L.Dense(3, name="left")(left), L.Dense(2, name="right")(right)])
    return keras.Model([left, right], {"a": L.Dense(1, name="a")(x), "b": L.Dense(2, name="b")(x)})


def nested() -> keras.Model:
    deepest = keras.Sequential([L.Dense(3, input_shape=(3,), name="deepest")])
    inner = keras.Sequential([L.Dense(3, input_shape=VECTOR, name="inner"), deepest])
    return keras.Sequential([inner, L.Dense(2, name="outer")])


def shared() -> keras.Model:
    dense, inner = (
        L.Dense(4, name="dense"),
        keras.Sequential([L.Dense(4, input_shape=VECTOR, name="inner")]),
    )
    inputs = keras.Input(VECTOR)
    return keras.Model(inputs, L.Add()([inner(dense(dense(inputs))), inner(inputs)]))


def tf_ops() -> keras.Model:
    inputs = keras.Input(VECTOR)
    x, y = L.Dense(3, name="x")(inputs), L.Dense(3, name="y")(inputs)
    return keras.Model(inputs, tf.nn.relu(x + y * 2.0)[:, 1:] - tf.reduce_mean(x, axis=1, keepdims=True))


GRAPHS = {
    "sequential": (sequential, ["first", "last"]),
    "late_sequential": (late_sequential, ["first", "last"]),
    "functional": (functional, ["left", "right", "a", "b"]),
    "nested": (nested, ["inner", "deepest", "outer"]),
    "shared": (shared, ["dense", "inner"]),
    "tf_ops": (tf_ops, ["x", "y"]),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_is_copied_and_wrapped(name):
    build, expected = GRAPHS[name]
    model = build()
    pruned = prune_selective_decay(model, SCHEDULE)

    assert type(pruned) is type(model)
    assert sorted(wrapped_names(pruned)) == sorted(expected)
    assert_same_predictions(model, pruned)
    assert_nothing_shared(model, pruned)
    assert pruned.optimizer is None


@pytest.mark.parametrize("name", ["sequential", "shared", "nested"])
def test_training_the_copy_leaves_the_original_untouched(name):
    model = GRAPHS[name][0]()
    before = model.get_weights()
    layers = list(model.layers)
    pruned = prune_selective_decay(model, SCHEDULE)
    (x,) = data_for(model)
    pruned.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    pruned.fit(x, model(x) + 1.0, batch_size=2, verbose=0, callbacks=[UpdatePruningStep()])

    trained = [weight.numpy() for weight in pruned.trainable_weights]
    assert not any(
        np.array_equal(old.numpy(), new)
        for old, new in zip(model.trainable_weights, trained, strict=True)
        if new.ndim > 1
    )
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert model.layers == layers
    assert not any(hasattr(layer, "get_prunable_weights") for layer in model.layers)


WHOLE = {
    "PReLU": (L.PReLU, IMAGE),
    "GroupNormalization": (lambda: L.GroupNormalization(3), IMAGE),
    "DepthwiseConv1D": (lambda: L.DepthwiseConv1D(3), SERIES),
    "DepthwiseConv2D": (lambda: L.DepthwiseConv2D(3), IMAGE),
    "Rescaling": (lambda: L.Rescaling(1 / 255), IMAGE),
    "Normalization": (L.Normalization, VECTOR),
    "LayerNormalization": (L.LayerNormalization, VECTOR),
    "Lambda": (lambda: L.Lambda(lambda x: x * 2), VECTOR),
}
PRUNED = {
    "Bidirectional": (lambda: L.Bidirectional(L.LSTM(2)), SERIES, 2 * (3 * 8 + 2 * 8)),
    "TimeDistributed": (lambda: L.TimeDistributed(L.Dense(2)), SERIES, 8),
    "Conv1DTranspose": (lambda: L.Conv1DTranspose(2, 3), SERIES, 18),
    "EinsumDense": (lambda: L.EinsumDense("ab,bc->ac", 3), VECTOR, 12),
    "MyDense": (lambda: MyDense(3), VECTOR, 15),
    "Half": (Half, VECTOR, 4),
    "Composite": (Composite, VECTOR, 12 + 6),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_layer_that_cannot_be_pruned_stays_whole(name):
    make, shape = WHOLE[name]
    model = between(make(), shape)
    pruned = prune_selective_decay(model, SCHEDULE)

    assert wrapped_names(pruned) == ["head"]
    assert_same_predictions(model, pruned)
    assert_nothing_shared(model, pruned)


@pytest.mark.parametrize("name", PRUNED)
def test_layers_that_tfmot_rejects_are_pruned(name):
    make, shape, counted = PRUNED[name]
    model = between(make(), shape)
    head = model.get_layer("head").count_params()
    pruned = prune_selective_decay(model, SCHEDULE)
    wrapper = next(layer for layer in pruned.layers if isinstance(layer, PruneSelectiveDecay))

    assert wrapped_names(pruned)[-1] == "head"
    assert sum(int(np.prod(weight.shape)) for weight in wrapper.prunable_weights) == counted
    assert head > 0
    assert_same_predictions(model, pruned)
    assert_nothing_shared(model, pruned)


def test_attention_is_pruned_and_trains():
    inputs = keras.Input(SERIES)
    model = keras.Model(inputs, L.MultiHeadAttention(2, 4, name="mha")(inputs, value=inputs))
    pruned = prune_selective_decay(model, SCHEDULE)
    assert_same_predictions(model, pruned)

    (x,) = data_for(model)
    pruned.compile("sgd", "mse", run_eagerly=True)
    pruned.fit(x, x, batch_size=2, verbose=0, callbacks=[UpdatePruningStep()])
    kernels = [weight.numpy() for weight in pruned.layers[-1].prunable_weights]
    assert sum(int((kernel == 0).sum()) for kernel in kernels) == sum(kernel.size for kernel in kernels) // 2


def test_a_mask_of_padded_steps_reaches_the_layers_behind():
    model = keras.Sequential(
        [L.Embedding(5, 3, mask_zero=True, input_length=4), L.LSTM(2, return_sequences=True), L.GRU(2)]
    )
    pruned = prune_selective_decay(model, SCHEDULE)
    x = np.array([[1, 2, 0, 0], [4, 0, 0, 0]])

    np.testing.assert_array_equal(model(x), pruned(x))


def test_an_adapted_normalization_keeps_its_statistics():
    normalization = L.Normalization()
    normalization.adapt(np.array([[1.0, 2, 3, 40], [5, 6, 7, -80]]))
    model = between(normalization, VECTOR)

    assert_same_predictions(model, prune_selective_decay(model, SCHEDULE))


def test_what_stays_whole_is_listed_in_the_log(caplog):
    with caplog.at_level("INFO", logger="absl"):
        prune_selective_decay(between(L.PReLU(name="slope"), VECTOR), SCHEDULE)

    assert "leaves dense: slope (PReLU: no prunable weights known of this class)" in caplog.text


def test_skip_by_name():
    pruned = prune_selective_decay(nested(), SCHEDULE, skip=["deepest", "outer"])

    assert wrapped_names(pruned) == ["inner"]


def test_frozen_layers_stay_frozen_and_are_wrapped_for_when_they_are_not():
    model = keras.Sequential(
        [
            L.Dense(3, input_shape=VECTOR, name="base", trainable=False),
            keras.Sequential([L.Dense(3, input_shape=(3,), name="inner")], name="frozen_model"),
            L.BatchNormalization(trainable=False),
            L.Dense(2, name="head"),
        ]
    )
    model.layers[1].trainable = False
    pruned = prune_selective_decay(model, SCHEDULE)

    assert wrapped_names(pruned) == ["base", "inner", "head"]
    assert [each.layer.name for each in WeightPool.of(pruned).wrappers] == ["head"]
    assert len(model.trainable_weights) == len(pruned.trainable_weights) == 2
    assert [layer.trainable for layer in pruned.layers] == [False, False, False, True]


class NotTheHead(PruneForLatencyOnXNNPack):
    def allow_pruning(self, layer):
        return layer.name != "last"

    def ensure_model_supports_pruning(self, model):
        if len(model.layers) > 3:
            raise ValueError("too deep for this policy")


def test_a_tfmot_policy_is_asked():
    assert wrapped_names(prune_selective_decay(sequential(), SCHEDULE, pruning_policy=NotTheHead())) == ["first"]


def test_a_policy_may_refuse_the_model():
    with pytest.raises(ValueError, match="too deep for this policy"):
        prune_selective_decay(functional(), SCHEDULE, pruning_policy=NotTheHead())


def test_tfmots_latency_policy_takes_only_the_pointwise_convolutions():
    inputs = keras.Input(IMAGE)
    x = L.Conv2D(4, 3, 2, "valid", name="stem")(L.ZeroPadding2D(1)(inputs))
    x = L.Conv2D(4, 1, name="pointwise")(x)
    model = keras.Model(inputs, L.GlobalAveragePooling2D()(x))

    pruned = prune_selective_decay(model, SCHEDULE, pruning_policy=PruneForLatencyOnXNNPack())
    assert wrapped_names(pruned) == ["pointwise"]


@pytest.mark.parametrize("schedule", [None, 0.5, {"final_sparsity": 0.5}])
def test_what_is_no_schedule_is_refused(schedule):
    with pytest.raises(TypeError, match=rf"SelectiveDecay\(.*Received: {type(schedule).__name__}"):
        prune_selective_decay(sequential(), schedule)


def test_nothing_to_prune_names_every_layer_and_why():
    model = between(L.PReLU(name="slope"), VECTOR)
    message = r"Nothing in this model can be pruned.*Received: slope \(PReLU: .*head \(Dense: left out by name\)"
    with pytest.raises(ValueError, match=message):
        prune_selective_decay(model, SCHEDULE, skip=["head"])


def test_a_model_without_weights_has_nothing_to_prune():
    with pytest.raises(ValueError, match="Received: a model without weights"):
        prune_selective_decay(keras.Sequential([L.ReLU(input_shape=VECTOR)]), SCHEDULE)


@pytest.mark.parametrize("wrap", [lambda m: prune_selective_decay(m, SCHEDULE), prune_low_magnitude])
def test_a_wrapped_model_is_refused(wrap):
    with pytest.raises(ValueError, match=r"already wrapped for pruning: strip it first.*Received: 'sequential"):
        prune_selective_decay(wrap(sequential()), SCHEDULE)


def test_nan_weights_are_refused():
    model = sequential()
    model.layers[0].bias.assign([np.nan, 0, 0])

    with pytest.raises(ValueError, match=r"Received: first/bias:0"):
        prune_selective_decay(model, SCHEDULE)


@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize("schedule", [SelectiveDecay(0.5, 4), StructuredDecay(0.5, 4)], ids=["weights", "channels"])
def test_outputs_keep_their_names(schedule, as_dict, tmp_path):
    inputs = keras.Input((8, 8, 1))
    x = L.Flatten()(L.Conv2D(8, 3, activation="relu")(inputs))
    cls, box = L.Dense(3, name="cls")(x), L.Dense(1, name="box")(x)
    net = keras.Model(inputs, {"cls": cls, "box": box} if as_dict else [cls, box])
    x, y = np.ones((8, 8, 8, 1), np.float32), {"cls": np.zeros(8), "box": np.ones((8, 1))}
    model = prune_selective_decay(net, schedule)
    loss = {"cls": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "box": "mse"}
    model.compile("adam", loss, metrics={"cls": "accuracy"})
    callback = UpdatePruningStep(partial_fit=True)
    history = model.fit(x, y, batch_size=4, epochs=1, validation_data=(x, y), verbose=0, callbacks=[callback]).history
    assert {"cls_loss", "box_loss", "cls_accuracy", "val_cls_accuracy"} <= set(history)
    model.save(tmp_path / "half.keras")
    loaded = keras.models.load_model(tmp_path / "half.keras")
    assert loaded.output_names == model.output_names == net.output_names
    loaded.fit(x, y, batch_size=4, epochs=1, verbose=0, callbacks=[UpdatePruningStep()])
    assert strip_pruning(loaded).output_names == net.output_names
