"""A model made smaller in place goes on training as the larger one would without the channels that went."""

import gc
import json
import weakref
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests import workers
from tests.keras2.test_optimizer_state import OPTIMIZERS
from tfmot_swd.channels.dead import plan_dead_removal
from tfmot_swd.channels.removal import plan_removal
from tfmot_swd.channels.shrink import Shrunk, shrink_model, shrink_to
from tfmot_swd.keras2.optimizer_state import sliced_optimizer

layers = keras.layers
FIRST, SECOND = np.array([True, False, True, True]), np.array([True, True, False])
# What is sliced is the same with each, which `tests/keras2/test_optimizer_state.py` holds for all.
OF_A_KIND = ("nesterov", "adam_ema", "rmsprop_centered", "schedule", "legacy_amsgrad", "legacy_schedule")
KINDS = ("functional", "sequential", "nested")


class Masked(keras.constraints.Constraint):
    """Holds slices of a consumer at zero, from the moment when its mask is set."""

    def __init__(self, shape):
        self.mask = tf.Variable(tf.ones(shape), trainable=False)

    def __call__(self, weight):
        return weight * self.mask


def network(kind: str = "functional", masked: bool = False):
    """conv (4 filters, made by `first`) → batch norm → relu → conv (3, `second`) → flatten → dense (2)."""
    keras.utils.set_random_seed(3)
    second, out = (Masked([2, 2, 4, 1]), Masked([12, 1])) if masked else (None, None)
    # Without a bias before the batch norm: its gradient is rounding only, which Adam would blow up.
    body = [
        layers.Conv2D(4, 3, use_bias=False, name="first"),
        layers.BatchNormalization(name="norm"),
        layers.ReLU(name="relu"),
        layers.Conv2D(3, 2, activation="tanh", kernel_constraint=second, name="second"),
    ]
    head = [layers.Flatten(name="flatten"), layers.Dense(2, kernel_constraint=out, name="out")]
    if kind == "sequential":
        return keras.Sequential([keras.Input((5, 5, 2)), *body, *head])
    if kind == "nested":
        return keras.Sequential([keras.Input((5, 5, 2)), keras.Sequential(body, name="body"), *head])
    tensor = inputs = keras.Input((5, 5, 2))
    for layer in body + head:
        tensor = layer(tensor)
    return keras.Model(inputs, tensor, name="net")


def find(model, name: str):
    return next(each for each in model._flatten_layers() if each.name == name)


def keep_of(kind: str) -> dict:
    prefix = "body/" if kind == "nested" else ""
    return {f"{prefix}first": FIRST, f"{prefix}second": SECOND}


def mask(model) -> None:
    """Zeroes in the larger model what reads the channels that go, by hand."""
    for name, value in (
        ("second", np.ones([2, 2, 4, 1]) * FIRST[:, None]),
        ("out", np.ones([4, 3, 1]) * SECOND[:, None]),
    ):
        layer = find(model, name)
        if layer.kernel_constraint is not None:
            value = value.reshape(layer.kernel_constraint.mask.shape)
            layer.kernel_constraint.mask.assign(value)
        layer.kernel.assign(layer.kernel * value.reshape([-1, 1] if name == "out" else value.shape))


def kept(model) -> list[np.ndarray]:
    """Returns the larger model's weights without the channels that go, by hand."""
    kernel, gamma, beta, second, bias, out, offset, mean, variance = (
        each.numpy() for each in model.trainable_weights + model.non_trainable_weights
    )
    of_norm = [each[FIRST] for each in (gamma, beta)]
    inner = [second[:, :, FIRST][..., SECOND], bias[SECOND], out.reshape(4, 3, 2)[:, SECOND].reshape(8, 2), offset]
    return [kernel[..., FIRST], *of_norm, *inner, mean[FIRST], variance[FIRST]]


def weights(model) -> list[np.ndarray]:
    return [each.numpy() for each in model.trainable_weights + model.non_trainable_weights]


def batches(count: int = 8):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(count * 4, 5, 5, 2)).astype(np.float32)
    return x, (x.mean(axis=(1, 2)) * 3 + rng.normal(size=(count * 4, 2)) / 10).astype(np.float32)


X, Y = batches()


def assert_close(first, second, rtol=1e-5, atol=1e-6) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


class At(keras.callbacks.Callback):
    """Does something to the model once, at the end of an epoch or of a batch, and notes the loss of each batch."""

    def __init__(self, do, epoch=None, batch=None):
        super().__init__()
        self.do, self.epoch, self.batch, self.losses, self.done = do, epoch, batch, [], None

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(logs["loss"])
        if self.epoch is None and batch == self.batch and self.done is None:
            self.done = self.do(self.model)

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            self.done = self.do(self.model)


def fit(model, at: At, epochs=3, **kwargs):
    return model.fit(X, Y, batch_size=4, epochs=epochs, shuffle=False, verbose=0, callbacks=[at], **kwargs)


def shrink_as(kind: str):
    return lambda model: shrink_model(model, keep_of(kind))


@pytest.mark.parametrize("name", OF_A_KIND)
def test_one_step_is_that_of_the_larger_model_with_nothing_read(name):
    larger, smaller = network(), network()
    for model in (larger, smaller):
        model.compile(OPTIMIZERS[name](), "mse", run_eagerly=True)
        for step in range(3):
            model.train_on_batch(X[4 * step : 4 * step + 4], Y[4 * step : 4 * step + 4])
    mask(larger)
    shrink_model(smaller, keep_of("functional"))
    assert_close(weights(smaller), kept(larger), rtol=0, atol=0)
    before = weights(smaller)
    losses = [model.train_on_batch(X[12:16], Y[12:16]) for model in (larger, smaller)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    assert_close(weights(smaller), kept(larger), rtol=1e-5, atol=2e-6)
    assert all((a != b).any() for a, b in zip(weights(smaller), before, strict=True))
    assert smaller.optimizer.iterations.numpy() == 4


@pytest.mark.parametrize(
    ("kind", "when"),
    [("functional", {"batch": 2}), ("sequential", {"epoch": 0}), ("nested", {"batch": 2})],
    ids=["functional-batch_end", "sequential-epoch_end", "nested-batch_end"],
)
def test_a_running_fit_goes_on(kind, when):
    larger, smaller = network(kind, masked=True), network(kind)
    runs = []
    for model, do in ((larger, mask), (smaller, shrink_as(kind))):
        model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
        at = At(do, **when)
        runs.append((fit(model, at, epochs=2, validation_data=(X[:8], Y[:8])), at))
    (history, at), (small_history, small_at) = runs
    assert isinstance(small_at.done, Shrunk)
    assert small_at.done.plan.removed_channels == 2
    assert smaller.history is small_history
    assert list(small_history.history) == ["loss", "mae", "val_loss", "val_mae"]
    np.testing.assert_allclose(small_at.losses, at.losses, rtol=1e-4)
    np.testing.assert_allclose(small_history.history["val_mae"], history.history["val_mae"], rtol=1e-4)
    assert_close(weights(smaller), kept(larger), rtol=1e-3, atol=1e-5)
    assert smaller.optimizer.iterations.numpy() == 16


def test_the_channels_matter():
    """Or equal losses would say nothing in the tests above."""
    found = []
    for do in (mask, lambda model: None):
        model = network(masked=True)
        model.compile(keras.optimizers.Adam(0.01), "mse")
        at = At(do, epoch=0)
        fit(model, at, epochs=2)
        found.append(at.losses)
    assert found[0][:8] == found[1][:8]
    assert np.abs(np.subtract(*found)).max() > 1e-2


@pytest.mark.parametrize("how", [{"steps_per_execution": 2}, {"steps_per_execution": "auto"}, {"jit_compile": True}])
def test_however_the_step_is_run(how):
    larger, smaller = network(masked=True), network()
    found = []
    for model, do in ((larger, mask), (smaller, shrink_as("functional"))):
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse", **how)
        at = At(do, epoch=0)
        found.append((fit(model, at, epochs=2).history["loss"], at.losses))
    assert len(found[0][1]) == len(found[1][1])
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-4)
    assert_close(weights(smaller), kept(larger), rtol=1e-3, atol=1e-5)
    if how.get("steps_per_execution") == "auto":
        assert smaller._steps_per_execution_tuner.optimizer is smaller.optimizer


def test_several_times_with_averages_of_weights():
    larger, smaller = network(masked=True), network()

    def shrink_twice(model):
        shrink_model(model, {"first": FIRST})
        return shrink_model(model, {"second": SECOND})

    for model, do in ((larger, mask), (smaller, shrink_twice)):
        model.compile(keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.8), "mse")
        fit(model, At(do, epoch=1), epochs=2)
    # At its end fit puts the averages in the place of the weights; those of what reads were not zero at first.
    averaged = kept(larger)
    assert [each.shape for each in weights(smaller)] == [each.shape for each in averaged]
    assert_close(weights(smaller), averaged, rtol=1e-4, atol=1e-6)


def test_mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = network()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    model.compile(keras.optimizers.Adam(0.01), "mse")
    seen = {}

    def shrink(model):
        optimizer = model.optimizer
        optimizer._loss_scale.current_loss_scale.assign(64.0)
        seen["slots"] = [each.numpy() for each in optimizer.variables]
        seen["weights"] = kept(model)
        shrink_model(model, keep_of("functional"))
        assert_close(weights(model), seen["weights"], rtol=0, atol=0)
        seen["scale"] = float(model.optimizer.loss_scale)
        first = [each.numpy() for each in model.optimizer.variables][1]
        np.testing.assert_array_equal(first, seen["slots"][1][..., FIRST])

    fit(model, At(shrink, epoch=0), epochs=2)
    assert type(model.optimizer).__name__ == "LossScaleOptimizerV3"
    assert (seen["scale"], float(model.optimizer.loss_scale)) == (64.0, 64.0)
    assert find(model, "first").dtype_policy.name == "mixed_float16"
    assert model.optimizer.variables[1].dtype == tf.float32
    assert all((a != b).any() for a, b in zip(weights(model), seen["weights"], strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_all_views_of_the_model_agree(kind):
    larger, smaller = network(kind), network(kind)
    smaller.compile("adam", "mse")
    smaller.predict(X, verbose=0)
    smaller.evaluate(X, Y, verbose=0)
    mask(larger)
    shrunk = shrink_model(smaller, keep_of(kind))
    wanted = larger.predict(X, verbose=0)
    np.testing.assert_allclose(smaller.predict(X, verbose=0), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(smaller(X), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(smaller.evaluate(X, Y, verbose=0), np.square(wanted - Y).mean(), rtol=1e-5)
    # 2 · 9 · 3, batch norm 4 · 3, 4 · 3 · 2 + 2, 8 · 2 + 2
    assert smaller.count_params() == 54 + 12 + 26 + 18
    lines = []
    smaller.summary(print_fn=lambda line, **_: lines.append(line))
    assert "Total params: 110 " in "\n".join(lines)
    assert (find(smaller, "first").filters, find(smaller, "second").filters) == (3, 2)
    clone = keras.models.clone_model(smaller)
    clone.set_weights(smaller.get_weights())
    np.testing.assert_allclose(clone.predict(X, verbose=0), wanted, rtol=1e-5, atol=1e-6)
    again = type(smaller).from_config(smaller.get_config())
    assert [each.shape for each in again.weights] == [each.shape for each in smaller.weights]
    assert smaller.compute_output_shape((7, 5, 5, 2)) == (7, 2)
    assert [each.name for each in smaller.weights] == [each.name for each in larger.weights]
    assert [each.source.shape for each in shrunk.slicings] == [each.shape for each in larger.weights]
    assert [id(each.target) for each in shrunk.slicings] == [id(each) for each in smaller.weights]


@pytest.mark.parametrize(
    ("kind", "ending"),
    [("functional", ".keras"), ("nested", ".keras"), ("sequential", ".h5"), ("nested", ".h5"), ("functional", "")],
)
def test_files_bring_back_the_smaller_model_in_training(kind, ending, tmp_path):
    model = network(kind)
    model.compile(keras.optimizers.Adam(0.01), "mse")
    fit(model, At(shrink_as(kind), batch=3), epochs=1)
    model.optimizer.learning_rate = 0.005
    path = str(tmp_path / f"model{ending}")
    model.save(path)
    loaded = keras.models.load_model(path)
    assert type(loaded) is type(model)
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))
    assert np.float32(loaded.optimizer.learning_rate) == np.float32(0.005)
    if not ending:
        # From a SavedModel Keras brings back no state of an optimizer, of a model that was never shrunk either.
        return
    assert loaded.optimizer.iterations.numpy() == 8
    for each in (model, loaded):
        each.train_on_batch(X[:4], Y[:4])
    assert_close(weights(loaded), weights(model), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("ending", [".weights.h5", ".h5", ""])
def test_weights_files_fit_the_smaller_model(ending, tmp_path):
    model, path = network(), str(tmp_path / f"weights{ending}")
    model.compile("adam", "mse")
    model.save_weights(str(tmp_path / f"larger{ending}"))
    shrink_model(model, keep_of("functional"))
    model.save_weights(path)
    wanted = weights(model)
    model.set_weights([np.zeros_like(each) for each in model.get_weights()])
    model.load_weights(path)
    assert_close(weights(model), wanted, rtol=0, atol=0)
    fresh = keras.Model.from_config(model.get_config())
    fresh.load_weights(path)
    assert_close(weights(fresh), wanted, rtol=0, atol=0)


def test_a_checkpoint_of_the_model_restores_its_sliced_optimizer(tmp_path):
    model = network()
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    fit(model, At(shrink_as("functional"), batch=3), epochs=1)
    checkpoint = tf.train.Checkpoint(model=model)
    path = checkpoint.write(str(tmp_path / "checkpoint"))
    slot, iterations = model.optimizer.momentums[0].numpy(), model.optimizer.iterations.numpy()
    fit(model, At(lambda model: None, epoch=0), epochs=1)
    checkpoint.read(path).assert_consumed()
    np.testing.assert_array_equal(model.optimizer.momentums[0], slot)
    assert model.optimizer.iterations.numpy() == iterations


def test_a_model_that_is_not_compiled():
    larger, smaller = network(), network()
    mask(larger)
    shrink_model(smaller, keep_of("functional"))
    np.testing.assert_allclose(smaller(X), larger(X), rtol=1e-5, atol=1e-6)
    assert smaller.optimizer is None
    smaller.compile("sgd", "mse")
    fit(smaller, At(lambda model: None, epoch=0), epochs=1)


def test_a_model_that_is_compiled_but_has_not_run():
    model = network()
    model.compile("sgd", "mse")
    shrink_model(model, keep_of("functional"))
    assert model.train_function is None
    assert fit(model, At(lambda model: None, epoch=0), epochs=1).history["loss"]
    assert model.optimizer.iterations.numpy() == 8


def test_a_sequential_model_of_open_input_shape():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([layers.Conv2D(4, 3, name="first"), layers.GlobalMaxPool2D(), layers.Dense(2)])
    model.compile("adam", "mse")
    # 30 rows: the last batch is smaller, at which Keras makes the graph anew.
    model.fit(X[:30], Y[:30], batch_size=8, verbose=0, callbacks=[At(lambda m: shrink_model(m, {"first": FIRST}), 0)])
    before = model.predict(X, verbose=0)
    assert model.predict(np.zeros([3, 9, 9, 2]), verbose=0).shape == (3, 2)
    np.testing.assert_allclose(model.predict(X, verbose=0), before, rtol=1e-6)
    assert model.get_layer("first").output_shape[-1] == 3
    model.fit(X[:30], Y[:30], batch_size=8, verbose=0)
    assert len(model.trainable_weights) == 4


class Trained(keras.Model):
    """A class with a training step of its own, and nothing else."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = 2.0 * self.compute_loss(x, y, self(x, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss}


def test_a_class_with_its_own_step():
    plain = network()
    model = Trained(plain.inputs, plain.outputs)
    model.compile(keras.optimizers.SGD(0.01), "mse")
    at = At(shrink_as("functional"), batch=3)
    fit(model, at, epochs=1)
    assert type(model) is Trained
    assert len(at.losses) == 8
    assert model.count_params() == 110


class Holder(keras.Model):
    """A backbone inside a subclassed model."""

    def __init__(self, backbone, head):
        super().__init__()
        self.backbone, self.head = backbone, head

    def call(self, inputs, training=None):
        return self.head(self.backbone(inputs, training=training))


def test_a_backbone_of_another_model():
    larger, smaller = (Holder(network(masked=masked), layers.Dense(1)) for masked in (True, False))
    keras.utils.set_random_seed(0)
    for model in (larger, smaller):
        keras.utils.set_random_seed(0)
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse")
        model.fit(X[:16], Y[:16, :1], batch_size=4, shuffle=False, verbose=0)
    mask(larger.backbone)
    backbone = smaller.backbone
    shrunk = shrink_model(backbone, keep_of("functional"))
    smaller.optimizer = sliced_optimizer(smaller.optimizer, shrunk.slicings)
    smaller.make_train_function(force=True)
    assert smaller.backbone is backbone
    losses = [model.fit(X, Y[:, :1], batch_size=4, shuffle=False, verbose=0) for model in (larger, smaller)]
    np.testing.assert_allclose(losses[1].history["loss"], losses[0].history["loss"], rtol=1e-4)
    assert_close(weights(backbone), kept(larger.backbone), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(smaller.head.kernel, larger.head.kernel, rtol=1e-4)


def test_a_loop_of_ones_own():
    larger, smaller = network(masked=True), network()
    optimizers = [keras.optimizers.Adam(0.01), keras.optimizers.Adam(0.01)]

    def stepping(model, optimizer):
        @tf.function
        def step(x, y):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(model(x, training=True) - y))
            optimizer.apply_gradients(
                zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
            )
            return loss

        return step

    def run(model, optimizer):
        step = stepping(model, optimizer)
        return [float(step(X[i : i + 4], Y[i : i + 4])) for i in range(0, 16, 4)]

    for model, optimizer in zip((larger, smaller), optimizers, strict=True):
        run(model, optimizer)
    mask(larger)
    shrunk = shrink_model(smaller, keep_of("functional"))
    optimizers[1] = sliced_optimizer(optimizers[1], shrunk.slicings)
    found = [run(model, optimizer) for model, optimizer in zip((larger, smaller), optimizers, strict=True)]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4)


def test_attributes_that_hold_layers_hold_the_new_ones():
    model = network()
    first = find(model, "first")
    model.entry, model.blocks, model.by_name = first, [first, find(model, "second")], {"norm": find(model, "norm")}
    model.aside = layers.Dense(1)
    model.aside.build([None, 3])
    model.temperature = tf.Variable(1.0)
    model.compile("sgd", "mse")
    shrunk = shrink_model(model, keep_of("functional"))
    assert model.entry is find(model, "first") is model.blocks[0]
    assert model.entry is not first
    assert model.blocks[1].filters == 2
    assert model.by_name["norm"] is find(model, "norm")
    # 7 of the layers, 2 aside, 1 of the model itself.
    assert len(model.trainable_weights) == 10
    own = {id(each) for each in (*model.aside.weights, model.temperature)}
    assert own == {id(each.source) for each in shrunk.slicings if each.source is each.target}


def test_losses_and_metrics_beside_the_outputs_stay():
    larger, smaller = network(masked=True), network()
    found = []
    for model, do in ((larger, mask), (smaller, shrink_as("functional"))):
        model.add_loss(tf.reduce_mean(tf.square(model.output)))
        model.add_metric(tf.reduce_sum(model.output), name="total", aggregation="mean")
        model.compile(keras.optimizers.SGD(0.05), "mse")
        found.append(fit(model, At(do, epoch=0), epochs=2).history)
    assert len(smaller.losses) == 1
    assert [type(each) for each in smaller.layers] == [type(each) for each in larger.layers]
    for key in ("loss", "total"):
        np.testing.assert_allclose(found[1][key], found[0][key], rtol=1e-4)


def test_a_vocabulary_stays():
    lookup = layers.IntegerLookup(vocabulary=[5, 6, 7], name="lookup")
    inputs = keras.Input([2], dtype="int64")
    tensor = layers.Flatten()(layers.Embedding(4, 3, name="table")(lookup(inputs)))
    model = keras.Model(inputs, layers.Dense(1)(tensor))
    model.compile("adam", "mse")
    x = np.array([[5, 6], [7, 8]])
    model.fit(x, np.ones([2, 1]), verbose=0)
    shrink_model(model, {"table": [True, False, True]})
    model.fit(x, np.ones([2, 1]), verbose=0)
    np.testing.assert_array_equal(model.get_layer("lookup")(x), [[1, 2], [3, 0]])
    assert model.get_layer("table").output_dim == 2


def test_what_is_trainable_stays_so():
    model = network()
    find(model, "second").trainable = False
    model.compile("sgd", "mse")
    shrink_model(model, keep_of("functional"))
    before = weights(find(model, "second"))
    fit(model, At(lambda model: None, epoch=0), epochs=1)
    assert_close(weights(find(model, "second")), before, rtol=0, atol=0)
    assert not find(model, "second").trainable
    # Keras counts what was frozen when the model was compiled, not what is since.
    find(model, "second").trainable = True
    shrink_model(model, {"second": [True, False]})
    before = weights(find(model, "second"))
    fit(model, At(lambda model: None, epoch=0), epochs=1)
    assert_close(weights(find(model, "second")), before, rtol=0, atol=0)


def test_the_optimizer_given_to_compile_is_succeeded_too():
    model, given = network(), keras.optimizers.SGD(0.1)
    model.compile(given, "mse")
    shrink_model(model, keep_of("functional"))
    assert model.optimizer is not given
    model.optimizer.learning_rate = 0.01
    saved = model.get_compile_config()["optimizer"]["config"]
    assert np.float32(saved["learning_rate"]) == np.float32(0.01)


def test_several_optimizers_of_one_model():
    model = network()
    model.compile([keras.optimizers.SGD(0.1), keras.optimizers.Adam(0.2)], "mse")
    for optimizer in model.optimizer:
        optimizer.build(model.trainable_variables)
    shrink_model(model, keep_of("functional"))
    assert [type(each).__name__ for each in model.optimizer] == ["SGD", "Adam"]
    assert [each.variables[1].shape[-1] for each in model.optimizer] == [3, 3]


def state_of(model) -> list:
    parts = [each for layer in model._flatten_layers() for each in (layer, *layer.weights)]
    return [*map(id, parts), id(model.optimizer), id(model.train_function), *map(id, model.outputs)]


@keras.utils.register_keras_serializable("tests")
class Liar(layers.Dense):
    """Comes back from its config with another size than it was given."""

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "units": config["units"] + 1})


def failing(case: str):
    optimizer, inner = keras.optimizers.SGD(0.1), layers.Dense(4, name="hidden")
    if case == "optimizer":
        optimizer = keras.optimizers.Adafactor()
    if case == "rule":
        inner = Liar(4, name="hidden")
    model = keras.Sequential([keras.Input((3,)), inner, layers.Dense(2)])
    model.compile(optimizer, "mse")
    model.train_on_batch(np.ones([2, 3]), np.ones([2, 2]))
    return model


@pytest.mark.parametrize(
    ("case", "keep", "error"),
    [
        ("plan", {"hiden": [True] * 4}, ValueError),
        ("plan", {"hidden": [False] * 4}, ValueError),
        ("rule", {"hidden": FIRST}, RuntimeError),
        ("optimizer", {"hidden": FIRST}, ValueError),
    ],
)
def test_what_fails_leaves_the_model_as_it_was(case, keep, error):
    model = failing(case)
    before, values = state_of(model), weights(model)
    with pytest.raises(error):
        shrink_model(model, keep)
    assert state_of(model) == before
    assert_close(weights(model), values, rtol=0, atol=0)
    model.train_on_batch(np.ones([2, 3]), np.ones([2, 2]))


def test_where_nothing_goes_nothing_is_touched():
    model = failing("plan")
    before = state_of(model)
    assert shrink_model(model, {"hidden": [True] * 4}).slicings == ()
    assert state_of(model) == before


def test_rounding_and_protection_are_those_of_the_plan():
    model = network()
    shrunk = shrink_model(model, keep_of("functional"), round_to=2, skip=["second"])
    assert [row.remaining_channels for row in shrunk.plan.rows] == [4, 3]
    assert shrunk.plan.removed_channels == 0
    shrink_model(model, {"first": [True, False, False, False]}, minimum=2)
    assert find(model, "first").filters == 2


def test_inside_a_function_is_refused():
    model = network()

    @tf.function(autograph=False)
    def step():
        shrink_model(model, keep_of("functional"))

    with pytest.raises(RuntimeError, match="between two steps"):
        step()
    assert find(model, "first").filters == 4


def test_a_plan_is_carried_out_once():
    model = network()
    plan = plan_removal(model, keep_of("functional"))
    assert shrink_to(plan).plan is plan
    with pytest.raises(ValueError, match="another one since .* 'net'"):
        shrink_to(plan)
    assert model.count_params() == 110


def dead(use_bias: bool):
    """The second hidden channel is 2 whatever comes in."""
    keras.utils.set_random_seed(0)
    hidden = layers.Dense(3, "relu", name="hidden")
    model = keras.Sequential([keras.Input((4,)), hidden, layers.Dense(2, use_bias=use_bias, name="out")])
    hidden.kernel.assign(hidden.kernel * [1.0, 0.0, 1.0])
    hidden.bias.assign([0.0, 2.0, 0.0])
    return model


def test_dead_channels_leave_in_place():
    model = dead(use_bias=True)
    model.compile("adam", "mse")
    x = np.random.default_rng(0).normal(size=[8, 4]).astype(np.float32)
    before = model.predict(x, verbose=0)
    shrink_to(plan_dead_removal(model))
    np.testing.assert_allclose(model.predict(x, verbose=0), before, rtol=1e-5, atol=1e-6)
    assert model.get_layer("hidden").units == 2
    model.fit(x, before, verbose=0)


def test_a_new_bias_is_refused_to_an_optimizer_in_use():
    model = dead(use_bias=False)
    x = np.random.default_rng(0).normal(size=[8, 4]).astype(np.float32)
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    before = state_of(model)
    with pytest.raises(ValueError, match="cannot take up a new bias.* Received: .* out/bias:0"):
        shrink_to(plan_dead_removal(model))
    assert state_of(model) == before
    other = dead(use_bias=False)
    wanted = other.predict(x, verbose=0)
    other.compile("adam", "mse")
    shrink_to(plan_dead_removal(other))
    np.testing.assert_allclose(other.predict(x, verbose=0), wanted, rtol=1e-5, atol=1e-6)
    other.fit(x, wanted, verbose=0)


def test_the_larger_variables_are_let_go():
    model = network()
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    fit(model, At(lambda model: None, epoch=0), epochs=1)
    gone = [weakref.ref(each) for each in (model.weights[0], model.optimizer, model.optimizer.variables[1])]
    shrink_model(model, keep_of("functional"))
    gc.collect()
    assert [each() for each in gone] == [None, None, None]


def train_distributed(strategy: tf.distribute.Strategy, kind: str, precision: str) -> dict:
    keras.mixed_precision.set_global_policy(precision)
    with strategy.scope():
        model = network()
        # It would normalize by the part of a batch that each replica has.
        find(model, "norm").trainable = False
        model.compile(OPTIMIZERS[kind](), "mse")
    at = At(shrink_as("functional"), batch=2)
    model.fit(X, Y, batch_size=8, epochs=1, shuffle=False, verbose=0, callbacks=[at])
    # Once more, out of the scope in which fit runs its callbacks.
    shrink_model(model, {"second": [True, False]})
    model.fit(X, Y, batch_size=8, epochs=1, shuffle=False, verbose=0, callbacks=[at])
    copied = sliced_optimizer(model.optimizer, ())
    return {
        "losses": [float(each) for each in at.losses],
        "weights": [each.tolist() for each in weights(model)],
        "slots": [np.asarray(each).tolist() for each in model.optimizer.variables[1:]],
        "replicas": [
            len(strategy.experimental_local_results(each))
            for each in (model.weights[0], model.optimizer.variables[1], copied.variables[1])
        ],
        "iterations": int(model.optimizer.iterations.numpy()),
    }


# Other optimizers have no variables of another kind than momentum, which the averages of weights come on top of.
DISTRIBUTED = [("ema", "float32"), ("nesterov", "mixed_float16")]


@pytest.fixture(scope="module")
def distributed() -> list[list[dict]]:
    return workers.results(workers.start(Path(__file__)), timeout=540)


@pytest.mark.parametrize(("kind", "precision"), DISTRIBUTED)
def test_two_replicas_go_on_as_one_device_does(kind, precision, distributed):
    one, two = distributed[DISTRIBUTED.index((kind, precision))]
    assert (one["replicas"], two["replicas"]) == ([1, 1, 1], [2, 2, 2])
    assert one["iterations"] == two["iterations"] == 8
    assert np.shape(two["weights"][0]) == (3, 3, 2, 3)
    rough = precision == "mixed_float16"
    for part in ("losses", "weights", "slots"):
        for a, b in zip(one[part], two[part], strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-2 if rough else 1e-4, atol=2e-3 if rough else 1e-5)


if __name__ == "__main__":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategies = (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
    for case in DISTRIBUTED:
        print("RESULT " + json.dumps([train_distributed(each, *case) for each in strategies]), flush=True)


def test_protect_is_the_deprecated_name_of_skip():
    layers = keras.layers.Dense(3, input_shape=(4,), name="hidden"), keras.layers.Dense(2)
    model = keras.Sequential(layers)

    with pytest.warns(DeprecationWarning, match=r"shrink_model\(protect=...\) is deprecated"):
        shrink_model(model, {"hidden": [True, False, True]}, protect=["hidden"])
    assert model.get_layer("hidden").units == 3
