"""RPGP's scores however a model is trained: sums of L1 norms of gradients that another tape has taken."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tests.pgp.nets import (
    BATCH,
    L,
    X,
    Y,
    batches,
    begun,
    compiled,
    fit,
    layer_of,
    loss_of,
    network,
    sgd,
    step_of,
    wrapped,
)
from tfmot_swd.keras2.layer_weights import weight_at


def reference(
    net: keras.Model,
    optimizer: keras.optimizers.Optimizer | None = None,
    clip: float | None = None,
    updates: list[list[int]] | None = None,
    names: tuple[str, ...] = ("a", "b"),
) -> dict[str, np.ndarray]:
    """Trains a plain model and returns, by layer, the sum over updates of ‖dL/dW_j‖_1; L without regularizers.

    Args:
      clip: a norm to which the loop clips each gradient before it is applied.
      updates: the batches of each update; by default each batch is one.
    """
    optimizer = optimizer or sgd()
    x, y = (each.reshape(-1, BATCH, *each.shape[1:]) for each in (X, Y))
    found = dict.fromkeys(names, 0.0)
    for used in updates or [[each] for each in range(len(x))]:
        with tf.GradientTape(persistent=True) as tape:
            task = sum(tf.cast(loss_of(y[each], net(x[each], training=True)), tf.float32) for each in used)
            loss = task + sum(net.losses)
        for name in names:
            gradient = tape.gradient(task, layer_of(net, name).kernel)
            found[name] += np.abs(gradient).sum(axis=(0, 1, 2))
        gradients = tape.gradient(loss, net.trainable_variables)
        if clip is not None:
            gradients = [tf.clip_by_norm(each, clip) for each in gradients]
        optimizer.apply_gradients(zip(gradients, net.trainable_variables, strict=True))
    return found


def assert_scores(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray], rtol: float = 1e-4) -> None:
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        assert values.min() > 1e-4
        np.testing.assert_allclose(found[name], values, rtol=rtol)


def assert_trained_alike(model: keras.Model, net: keras.Model, rtol: float = 1e-4, atol: float = 1e-6) -> None:
    for a, b in zip(model.trainable_variables, net.trainable_variables, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def decayed() -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True, clipnorm=0.1, weight_decay=0.01)


@pytest.mark.parametrize("optimizer", [sgd, decayed, keras.optimizers.Adam, keras.optimizers.legacy.SGD])
def test_in_fit(optimizer, seen):
    net, model = network(), compiled(wrapped(), optimizer())
    fit(model)
    assert_scores(seen[0], reference(net, optimizer()))
    assert_trained_alike(model, net)


@pytest.mark.parametrize(
    "options",
    [{"steps_per_execution": 4}, {"steps_per_execution": 3}, {"run_eagerly": True}, {"jit_compile": True}],
)
def test_however_fit_runs_the_step(options, seen):
    net, model = network(), compiled(wrapped(), **options)
    fit(model)
    assert_scores(seen[0], reference(net))
    assert_trained_alike(model, net)


def test_each_epoch_has_its_own(seen):
    net, model = network(), compiled(wrapped(epochs=2))
    fit(model, 3)
    optimizer = sgd()
    for scores in seen:
        assert_scores(scores, reference(net, optimizer))
    # Nothing is ranked behind the schedule's end.
    assert len(seen) == 2


def test_regularizers_of_kernels_are_left_out(seen):
    regularizer = keras.regularizers.L1L2(0.05, 0.05)
    net, model = network(regularizer), compiled(wrapped(network(regularizer)))
    fit(model)
    assert_scores(seen[0], reference(net))
    # They were in the loss all the same.
    assert_trained_alike(model, net)


class Clipping(keras.Model):
    """A training step of its own, which clips gradients itself."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        gradients = [tf.clip_by_norm(each, 0.1) for each in tape.gradient(loss, self.trainable_variables)]
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss}


@pytest.mark.parametrize("eager", [False, True])
def test_in_a_training_step_of_ones_own(eager, seen):
    net, plain = network(), network()
    model = compiled(wrapped(Clipping(plain.inputs, plain.outputs)), run_eagerly=eager)
    assert type(model) is Clipping
    fit(model)
    assert_scores(seen[0], reference(net, clip=0.1))
    assert_trained_alike(model, net)


class Twice(keras.Model):
    """Calls the model for two batches and sums their losses."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            halves = zip(tf.split(x, 2), tf.split(y, 2), strict=True)
            loss = tf.add_n([loss_of(labels, self(half, training=True)) for half, labels in halves])
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        return {"loss": loss}


@pytest.mark.parametrize("eager", [False, True])
def test_two_calls_of_one_update_are_one_gradient(eager, seen):
    net, plain = network(), network()
    model = compiled(wrapped(Twice(plain.inputs, plain.outputs)), run_eagerly=eager)
    fit(model, batch_size=2 * BATCH)
    wanted = reference(net, updates=[[0, 1], [2, 3]])
    assert_scores(seen[0], wanted)
    # The norm of the sum is not the sum of the norms.
    apart = reference(network(), updates=[[0], [1], [2], [3]])
    assert not np.allclose(wanted["a"], apart["a"], rtol=1e-2)


def test_micro_batches_of_one_update_are_one_gradient(seen):
    net, model = network(), wrapped()
    callback = begun(model)
    x, y = (each.reshape(2, 2, BATCH, *each.shape[1:]) for each in (X, Y))
    for update in range(2):
        total = None
        for micro in range(2):
            with tf.GradientTape() as tape:
                loss = loss_of(y[update, micro], model(x[update, micro], training=True))
            gradients = tape.gradient(loss, model.trainable_variables)
            total = gradients if total is None else [a + b for a, b in zip(total, gradients, strict=True)]
        model.optimizer.apply_gradients(zip(total, model.trainable_variables, strict=True))
    callback.on_epoch_end(0)
    assert_scores(seen[0], reference(net, updates=[[0, 1], [2, 3]]))


@pytest.mark.parametrize("eager", [False, True])
def test_in_a_loop_of_ones_own(eager, seen):
    net, model = network(), wrapped()
    callback = begun(model)
    step = step_of(model) if eager else tf.function(step_of(model))
    for x, y in batches():
        step(x, y)
    callback.on_epoch_end(0)
    assert_scores(seen[0], reference(net))


def test_a_layer_called_twice_has_one_gradient(seen):
    keras.utils.set_random_seed(3)
    first, second = keras.Input((6, 6, 2)), keras.Input((6, 6, 2))
    a = L.Conv2D(4, 3, name="a")
    joined = L.Concatenate()([a(first), a(second)])
    net = keras.Model([first, second], L.Dense(3)(L.Flatten()(L.Conv2D(4, 2, activation="relu", name="b")(joined))))
    model = compiled(wrapped(net))
    twin = keras.models.clone_model(net)
    twin.set_weights(net.get_weights())
    fit(model, data=([X, X[::-1]], Y))
    wanted = {"a": 0.0, "b": 0.0}
    optimizer = sgd()
    for start in range(0, len(X), BATCH):
        x = [X[start : start + BATCH], X[::-1][start : start + BATCH]]
        with tf.GradientTape() as tape:
            loss = loss_of(Y[start : start + BATCH], twin(x, training=True))
        gradients = tape.gradient(loss, twin.trainable_variables)
        for name in wanted:
            place = next(n for n, each in enumerate(twin.trainable_variables) if each is layer_of(twin, name).kernel)
            wanted[name] += np.abs(gradients[place]).sum(axis=(0, 1, 2))
        optimizer.apply_gradients(zip(gradients, twin.trainable_variables, strict=True))
    assert_scores(seen[0], wanted)


def test_an_epoch_of_updates_has_the_scores_of_these_updates(seen):
    net, model = network(), compiled(wrapped(epochs=2, updates_per_epoch=2), run_eagerly=True)
    fit(model)
    optimizer = sgd()
    for scores, updates in zip(seen, ([[0], [1]], [[2], [3]]), strict=True):
        assert_scores(scores, reference(net, optimizer, updates=updates))


def one_of_each_kind() -> tuple[keras.Model, dict[str, tuple[str, int]]]:
    """Returns a model, and layer → (path of a scored weight, axis of the filters)."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((6, 6, 2))
    x = L.Conv2DTranspose(4, 2, activation="relu", name="transposed")(inputs)
    x = L.SeparableConv2D(3, 2, activation="relu", name="separable")(x)
    x = L.Conv2D(4, 2, groups=1, activation="relu", name="plain")(x)
    x = L.TimeDistributed(L.Conv1D(5, 2, activation="relu"), name="each")(x)
    x = L.LSTM(3, name="lstm")(L.Reshape((5, 20))(x))
    net = keras.Model(inputs, L.Dense(3)(L.Dense(4, activation="tanh", name="hidden")(x)))
    return net, {
        "transposed": ("kernel", -2),
        "separable": ("pointwise_kernel", -1),
        "plain": ("kernel", -1),
        "each": ("layer.kernel", -1),
        "lstm": ("cell.kernel", -1),
        "lstm/cell.recurrent_kernel": ("cell.recurrent_kernel", -1),
        "hidden": ("kernel", -1),
    }


@pytest.mark.parametrize("eager", [False, True])
def test_all_kinds_of_layers(eager, seen):
    net, weights = one_of_each_kind()
    model = compiled(wrapped(net, layers="all"), keras.optimizers.SGD(0.0), run_eagerly=eager)
    fit(model)
    wanted = dict.fromkeys(weights, 0.0)
    for x, y in batches():
        with tf.GradientTape(persistent=True) as tape:
            loss = loss_of(y, net(x, training=True))
        for name, (path, axis) in weights.items():
            gradient = tape.gradient(loss, weight_at(layer_of(net, name.split("/")[0]), path)).numpy()
            wanted[name] += np.abs(np.moveaxis(gradient, axis, 0)).reshape(gradient.shape[axis], -1).sum(axis=1)
    assert_scores(seen[0], wanted, rtol=1e-3)


def test_evaluation_in_between_is_not_seen(seen):
    net, model = network(), compiled(wrapped())

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            with tf.GradientTape() as tape:
                loss = loss_of(Y, self.model(X, training=False))
            assert tape.gradient(loss, self.model.trainable_variables)[0] is not None

    fit(model, callbacks=[Look()], validation_data=(X, Y))
    assert_scores(seen[0], reference(net))


class Half:
    """A policy of mixed precision, for as long as models are made."""

    def __enter__(self):
        keras.mixed_precision.set_global_policy("mixed_float16")

    def __exit__(self, *_):
        keras.mixed_precision.set_global_policy("float32")


def half(optimizer=None, **scale):
    with Half():
        net, model = network(), wrapped(network())
    return net, compiled(model, keras.mixed_precision.LossScaleOptimizer(optimizer or sgd(), **scale))


class Spoil(keras.callbacks.Callback):
    """Makes the scaled gradient of one batch overflow, and notes which batches have changed the weights."""

    def __init__(self, spoilt: int):
        super().__init__()
        self.spoilt, self.made, self.before = spoilt, [], np.zeros(0)

    def on_train_batch_begin(self, batch, logs=None):
        self.before = layer_of(self.model, "b").kernel.numpy()
        self.model.optimizer._loss_scale.current_loss_scale.assign(2.0**60 if batch == self.spoilt else 64.0)

    def on_train_batch_end(self, batch, logs=None):
        if (layer_of(self.model, "b").kernel.numpy() != self.before).any():
            self.made.append(batch)


@pytest.mark.parametrize("scale", [{"dynamic": False, "initial_scale": 64.0}, {"initial_scale": 64.0}])
def test_a_loss_scale_is_taken_off(scale, seen):
    net, model = half(**scale)
    fit(model)
    assert_scores(seen[0], reference(net), rtol=0.03)


@pytest.mark.parametrize("spoilt", [0, 1, 3])
@pytest.mark.parametrize("eager", [False, True])
def test_an_update_that_is_skipped_does_not_count(spoilt, eager, seen):
    net, model = half(initial_scale=64.0)
    model.run_eagerly = eager
    spoil = Spoil(spoilt)
    # First, or the epoch would have ended before it looks.
    model.fit(X, Y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[spoil, tfmot_swd.UpdatePruningStep()])
    assert spoil.made == [each for each in range(4) if each != spoilt]
    assert model.optimizer.iterations.numpy() == 4
    assert_scores(seen[0], reference(net, updates=[[each] for each in spoil.made]), rtol=0.03)


def test_an_update_that_is_skipped_at_the_smallest_scale_does_not_count(seen):
    _, model = half(initial_scale=1.0)

    class Overflow(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            layer_of(self.model, "head").bias.assign([np.inf if batch == 2 else 0.0] * 3)

    model.run_eagerly = True
    fit(model, callbacks=[Overflow()])
    assert model.optimizer.loss_scale.numpy() == 1.0
    assert np.isfinite(seen[0]["a"]).all()
