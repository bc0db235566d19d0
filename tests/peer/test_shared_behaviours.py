"""What TFMOT's own wrapper promises and ours must keep: each test runs over both.

Named after the behaviour; README.md in this directory says which of TFMOT's tests each one stands for,
and where the two differ on purpose.
"""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras
from tensorflow_model_optimization.python.core.sparsity.keras.pruning_policy import (
    PruneForLatencyOnXNNPack,
)
from tensorflow_model_optimization.python.core.sparsity.keras.pruning_wrapper import (
    PruneLowMagnitude,
    collect_prunable_layers,
)

import tfmot_swd

L = keras.layers
theirs = tfmot.sparsity.keras
CallbackMissing = (ValueError, tf.errors.InvalidArgumentError)


@dataclasses.dataclass(frozen=True)
class Pruner:
    """One of the two packages: `prune(model, sparsity, steps)`, callbacks, and how to get out again."""

    wrapper: type
    prefix: str
    prune: Callable[..., Any]
    callback: Callable[[], Any]
    summaries: Callable[..., Any]
    strip: Callable[[Any], Any]


def _their_prune(model, sparsity=0.5, steps=1, **options):
    schedule = theirs.ConstantSparsity(sparsity, 0, -1, 1)
    return theirs.prune_low_magnitude(model, pruning_schedule=schedule, **options)


def _our_prune(model, sparsity=0.5, steps=1, **options):
    schedule = tfmot_swd.SelectiveDecay(sparsity, end_step=steps)
    return tfmot_swd.prune_selective_decay(model, schedule, **options)


PRUNERS = {
    "tfmot": Pruner(
        PruneLowMagnitude,
        "prune_low_magnitude_",
        _their_prune,
        theirs.UpdatePruningStep,
        theirs.PruningSummaries,
        theirs.strip_pruning,
    ),
    "tfmot_swd": Pruner(
        tfmot_swd.swd.PruneSelectiveDecay,
        "prune_selective_decay_",
        _our_prune,
        tfmot_swd.UpdatePruningStep,
        tfmot_swd.PruningSummaries,
        tfmot_swd.strip_pruning,
    ),
}


@pytest.fixture(params=PRUNERS)
def pruner(request) -> Pruner:
    return PRUNERS[request.param]


def simple_dense() -> keras.Model:
    return keras.Sequential([L.Dense(8, "relu", input_shape=(10,)), L.Dense(5, "softmax")])


def two_inputs() -> keras.Model:
    first, second = keras.Input((10,)), keras.Input((10,))
    return keras.Model([first, second], L.Add()([L.Dense(10)(first), L.Dense(10)(second)]))


def batch(model, size=4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x, y = ((size, *tensor.shape[1:]) for tensor in (model.input, model.output))
    return rng.normal(size=x).astype(np.float32), rng.normal(size=y).astype(np.float32)


def train(model, pruner, steps=1, data=None, **options) -> None:
    x, y = data or batch(model)
    model.compile("sgd", "mse", **{"run_eagerly": True, **options})
    model.fit(x, y, batch_size=len(x), epochs=steps, verbose=0, callbacks=[pruner.callback()])


def sparsity(model) -> float:
    """Zeros among all prunable weights of the model."""
    weights = [weight.numpy() for layer in collect_prunable_layers(model) for weight in layer.prunable_weights]
    return sum(int((weight == 0).sum()) for weight in weights) / sum(weight.size for weight in weights)


def wrapped(model, pruner) -> int:
    return sum(type(layer) is pruner.wrapper and bool(layer.layer.get_prunable_weights()) for layer in model.submodules)


class Scale(L.Layer):
    def build(self, input_shape):
        self.kernel = self.add_weight("kernel", shape=(input_shape[-1],), initializer="uniform")

    def call(self, inputs):
        return inputs * self.kernel


class PrunableScale(Scale):
    def get_prunable_weights(self):
        return [self.kernel]


# --- the wrapper -----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [simple_dense, two_inputs])
def test_every_prunable_weight_has_a_mask_of_ones_of_its_shape(pruner, make):
    for wrapper in collect_prunable_layers(pruner.prune(make())):
        assert len(wrapper.pruning_vars) == len(wrapper.prunable_weights)
        for weight, mask, threshold in wrapper.pruning_vars:
            np.testing.assert_array_equal(mask, np.ones(weight.shape))
            assert threshold.shape == ()


def test_a_wrapper_is_named_after_its_class_and_layer(pruner):
    # The last layer gives the output its name, which ours keeps: see the deliberate differences.
    first = pruner.prune(simple_dense()).layers[0]

    assert first.name.startswith(pruner.prefix + "dense")


def test_a_layer_that_names_its_prunable_weights_is_wrapped(pruner):
    model = keras.Sequential([L.Dense(3, input_shape=(4,)), PrunableScale()])
    last = pruner.prune(model).layers[1]

    assert type(last) is pruner.wrapper
    assert last.prunable_weights == [last.layer.kernel]


def test_a_config_comes_back_equal(pruner):
    model = pruner.prune(simple_dense())
    with theirs.prune_scope():
        again = type(model).from_config(json.loads(model.to_json())["config"])

    configs = [json.loads(net.to_json()) for net in (model, again)]
    assert configs[0] == configs[1]
    assert again.built


def test_tfmot_finds_the_wrappers_of_nested_models(pruner):
    inner = keras.Sequential([L.Dense(10, input_shape=(10,))])
    model = pruner.prune(keras.Sequential([inner, L.Dense(10)]))

    assert len(collect_prunable_layers(model)) == 2


# --- wrapping a model ------------------------------------------------------------------------------


def test_sequential_and_functional_models_are_wrapped(pruner):
    assert wrapped(pruner.prune(simple_dense()), pruner) == 2
    assert wrapped(pruner.prune(two_inputs()), pruner) == 2


def test_a_layer_used_twice_is_wrapped_once(pruner):
    inputs = keras.Input((10,))
    dense = L.Dense(10)
    model = pruner.prune(keras.Model(inputs, dense(dense(inputs))))

    assert wrapped(model, pruner) == 1


def test_the_original_model_stays_built(pruner):
    model = simple_dense()
    pruned = pruner.prune(model)

    assert model.built
    assert pruned.built


def test_wrapping_removes_the_optimizer(pruner):
    model = simple_dense()
    model.compile("sgd", "mse")

    assert pruner.prune(model).optimizer is None


@pytest.mark.parametrize("thing", [object(), 3])
def test_what_is_no_model_is_refused(pruner, thing):
    with pytest.raises((TypeError, ValueError), match=f"{type(thing).__name__}"):
        pruner.prune(thing)


def test_a_subclassed_model_is_refused_with_its_class(pruner):
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises((TypeError, ValueError), match="Subclassed"):
        pruner.prune(Subclassed())


# --- weights and inference -------------------------------------------------------------------------


def test_inference_needs_no_callback_and_gives_the_same_predictions(pruner):
    model = simple_dense()
    pruned = pruner.prune(model)
    pruned.compile("sgd", "mse", run_eagerly=True)
    x, y = batch(model)

    np.testing.assert_array_equal(model.predict(x, verbose=0), pruned.predict(x, verbose=0))
    pruned.evaluate(x, y, verbose=0)


def test_weights_loaded_before_wrapping_are_kept(pruner, tmp_path):
    trained, fresh = simple_dense(), simple_dense()
    trained.save_weights(str(tmp_path / "weights"))
    fresh.load_weights(str(tmp_path / "weights"))
    x, _ = batch(trained)

    np.testing.assert_array_equal(trained(x), pruner.prune(fresh)(x))


def test_h5_weights_of_the_dense_model_do_not_fit_the_wrapped_one(pruner, tmp_path):
    path = str(tmp_path / "dense.h5")
    simple_dense().save_weights(path)

    with pytest.raises(ValueError, match=r"[Ww]eight"):
        pruner.prune(simple_dense()).load_weights(path)


@pytest.mark.parametrize("name", ["pruned.h5", "pruned"])
def test_a_checkpoint_of_a_wrapped_model_fits_another(pruner, tmp_path, name):
    first, second = pruner.prune(simple_dense()), pruner.prune(simple_dense())
    train(first, pruner)
    first.save_weights(str(tmp_path / name))
    second.load_weights(str(tmp_path / name))

    x, _ = batch(first)
    np.testing.assert_array_equal(first(x), second(x))
    assert sparsity(second) == sparsity(first) == pytest.approx(0.5, abs=0.01)


def test_a_wrapped_model_saves_as_a_saved_model_and_loads_as_one(pruner, tmp_path):
    model = pruner.prune(simple_dense())
    tf.saved_model.save(model, str(tmp_path / "model"))

    tf.saved_model.load(str(tmp_path / "model"))


# --- training --------------------------------------------------------------------------------------


@pytest.mark.parametrize("eager", [False, True])
def test_training_without_a_callback_is_an_error(pruner, eager):
    model = pruner.prune(simple_dense())
    model.compile("sgd", "mse", run_eagerly=eager)

    with pytest.raises(CallbackMissing, match="UpdatePruningStep"):
        model.fit(*batch(model), verbose=0)


def test_a_custom_loop_without_a_callback_is_an_error(pruner):
    model = pruner.prune(simple_dense())

    with pytest.raises(CallbackMissing, match=r"callback|on_train_begin"):
        model(batch(model)[0], training=True)


def test_sparsity_zero_trains_like_the_dense_model(pruner):
    """Without momentum: what is decayed by nothing must not differ by a bit."""
    dense = simple_dense()
    pruned = pruner.prune(simple_dense(), sparsity=0.0, steps=3)
    for ours, dense_weight in zip(pruned.trainable_weights, dense.trainable_weights, strict=True):
        ours.assign(dense_weight)
    data = batch(dense)
    dense.compile("sgd", "mse", run_eagerly=True)
    dense.fit(*data, batch_size=4, epochs=3, verbose=0)
    train(pruned, pruner, steps=3, data=data)

    for ours, dense_weight in zip(pruned.trainable_weights, dense.trainable_weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), dense_weight.numpy())


# The weights of all other classes that are prunable: tests/layers/test_prunable.py.
LAYERS = {
    "Conv2D": (lambda: L.Conv2D(4, 2), (4, 6, 1)),
    "Conv3DTranspose": (lambda: L.Conv3DTranspose(2, 3), (4, 4, 4, 3)),
    "SeparableConv2D": (lambda: L.SeparableConv2D(4, 2), (4, 6, 1)),
    "Dense": (lambda: L.Dense(4, use_bias=False), (6,)),
    "LocallyConnected2D": (lambda: L.LocallyConnected2D(4, 2), (4, 6, 1)),
    "GRU": (lambda: L.GRU(10), (3, 4)),
    "StackedCells": (lambda: L.RNN([L.LSTMCell(10), L.GRUCell(10), L.SimpleRNNCell(10)]), (3, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_single_layer_reaches_its_sparsity_and_strips_to_the_same_predictions(pruner, name):
    make, shape = LAYERS[name]
    model = pruner.prune(keras.Sequential([keras.Input(shape), make()]))
    assert sparsity(model) == 0.0

    train(model, pruner)

    assert sparsity(model) == 0.5
    stripped = pruner.strip(model)
    x, _ = batch(model)
    np.testing.assert_allclose(model(x, training=False), stripped(x, training=False), atol=1e-6)
    assert not any(isinstance(layer, PruneLowMagnitude) for layer in stripped.submodules)


def test_an_embedding_reaches_its_sparsity(pruner):
    net = keras.Sequential([L.Embedding(10, 3, input_length=5), L.Flatten(), L.Dense(1, use_bias=False)])
    model = pruner.prune(net)
    ids = np.random.default_rng(0).integers(0, 10, (32, 5))
    train(model, pruner, data=(ids, np.ones((32, 1))))

    # 30 and 15 weights; TFMOT cuts int(.5 · size) or one less in each, we in all together.
    assert sparsity(model) == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose(model(ids), pruner.strip(model)(ids), atol=1e-6)


@pytest.mark.parametrize("nested", [False, True])
def test_a_small_image_net_reaches_its_sparsity_compiled(pruner, nested):
    features = [
        L.Conv2D(4, 3, padding="same", activation="relu", input_shape=(8, 8, 1)),
        L.MaxPooling2D(),
        L.BatchNormalization(),
        L.Flatten(),
    ]
    head = [L.Dense(16, "relu"), L.Dropout(0.4), L.Dense(4)]
    net = keras.Sequential([keras.Sequential(features), *head] if nested else [*features, *head])
    model = pruner.prune(net, steps=2)
    train(model, pruner, steps=2, run_eagerly=False)

    assert sparsity(model) == pytest.approx(0.5, abs=0.01)
    x, _ = batch(model)
    np.testing.assert_allclose(model(x), pruner.strip(model)(x), atol=1e-5)


def test_a_saved_and_loaded_model_goes_on_and_keeps_its_sparsity(pruner, tmp_path):
    model = pruner.prune(simple_dense(), sparsity=0.6, steps=2)
    train(model, pruner, steps=2)
    before = sparsity(model)
    model.save(str(tmp_path / "model.h5"))
    with theirs.prune_scope():
        model = keras.models.load_model(str(tmp_path / "model.h5"))
    assert sparsity(model) == before == pytest.approx(0.6, abs=0.02)

    train(model, pruner, steps=2)

    assert sparsity(model) == pytest.approx(0.6, abs=0.02)


def test_a_custom_training_loop_reaches_its_sparsity(pruner):
    model = pruner.prune(simple_dense(), steps=3)
    x, y = batch(model)
    callback = pruner.callback()
    callback.set_model(model)
    model.optimizer = optimizer = keras.optimizers.SGD()
    callback.on_train_begin()
    for epoch in range(3):
        callback.on_train_batch_begin(batch=0)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(keras.losses.mse(y, model(x, training=True)))
        optimizer.apply_gradients(
            zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
        )
        callback.on_epoch_end(epoch)

    assert sparsity(model) == pytest.approx(0.5, abs=0.01)


@pytest.mark.filterwarnings("ignore")
def test_summaries_write_event_files(pruner, tmp_path):
    pytest.importorskip("tensorboard")
    model = pruner.prune(simple_dense(), steps=2)
    model.compile("sgd", "mse")
    callbacks = [pruner.callback(), pruner.summaries(log_dir=str(tmp_path))]
    model.fit(*batch(model), batch_size=4, epochs=2, verbose=0, callbacks=callbacks)

    assert any(tmp_path.rglob("events.out.tfevents.*"))


def test_a_model_made_under_a_strategy_reaches_its_sparsity(pruner):
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        model = pruner.prune(simple_dense(), steps=2)
    data = batch(model)
    with model.distribute_strategy.scope():
        model.compile("sgd", "mse")
    model.fit(*data, batch_size=4, epochs=2, verbose=0, callbacks=[pruner.callback()])
    model.predict(data[0], verbose=0)

    assert sparsity(model) == pytest.approx(0.5, abs=0.01)


# --- policies --------------------------------------------------------------------------------------


def latency_net(*, start=True, end=True, middle=()) -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = L.ZeroPadding2D(1)(inputs) if start else inputs
    x = L.Conv2D(8, 3, 2, "valid" if start else "same")(x)
    pointwise = L.Conv2D(8, 1)
    x = pointwise(pointwise(x))
    for layer in middle:
        x = layer(x)
    x = tf.identity((x + L.DepthwiseConv2D(3, padding="same")(x)) * x)
    return keras.Model(inputs, L.GlobalAveragePooling2D()(x) if end else L.AveragePooling2D()(x))


def test_the_latency_policy_takes_pointwise_convolutions_once_and_passes_tf_operations(pruner):
    model = pruner.prune(latency_net(), pruning_policy=PruneForLatencyOnXNNPack())

    assert wrapped(model, pruner) == 1


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ({"start": False}, "Could not find `Conv2D 3x3` layer"),
        ({"end": False}, "Could not find a `GlobalAveragePooling2D`"),
        ({"middle": [L.MaxPooling2D(1)]}, "Layer MaxPooling2D is not supported"),
    ],
    ids=["start", "end", "middle"],
)
def test_the_latency_policy_refuses_what_it_cannot_speed_up(pruner, net, message):
    with pytest.raises(ValueError, match=message):
        pruner.prune(latency_net(**net), pruning_policy=PruneForLatencyOnXNNPack())
