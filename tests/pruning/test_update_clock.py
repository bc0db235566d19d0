"""Every way of training by every method: the wrapped layers are pruned, or the first epoch says what is wrong."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tfmot_swd.keras2 import optimizers

L = keras.layers
EPOCHS, BATCHES = 2, 4
X = np.random.default_rng(0).normal(size=(BATCHES * 4, 4)).astype(np.float32)


def generator() -> keras.Model:
    keras.utils.set_random_seed(0)
    return keras.Sequential([L.Dense(8, activation="relu", input_shape=(4,), name="hidden"), L.Dense(4, name="made")])


def wrapped(method: str, net: keras.Model) -> keras.Model:
    steps = EPOCHS * BATCHES
    if method == "progressive":
        return tfmot_swd.prune_progressive_gradient(
            net, tfmot_swd.ProgressiveRate(0.5, EPOCHS), hard_share=1.0, layers="all"
        )
    schedules: dict[str, Any] = {
        "swd": tfmot_swd.SelectiveDecay(0.5, end_step=steps),
        "structured": tfmot_swd.StructuredDecay(0.5, end_step=steps),
    }
    return tfmot_swd.prune_selective_decay(net, schedules[method])


def check_pruned(method: str, model: keras.Model) -> None:
    """The rate is reached: half of the weights are zero, half of the parameters or of the hidden units are gone."""
    # Of the wrapped model: what is dead then leaves as well.
    report = tfmot_swd.sparsity_report(model)
    small = tfmot_swd.strip_pruning(model)
    whole = generator()
    if method == "swd":
        assert report.nonzero_prunable_weights == report.prunable_weights - report.prunable_weights // 2
    elif method == "structured":
        assert small.count_params() <= whole.count_params() / 2
    else:
        assert small.get_layer("hidden").units == 3
    assert np.isfinite(small.predict(X, verbose=0)).all()


def adam() -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(0.01)


class Adversarial(keras.Model):
    """The generator is wrapped and has an optimizer of its own; `model.optimizer` is what `main` says."""

    def __init__(self, net: keras.Model, main: str = "discriminator") -> None:
        super().__init__()
        self.generator = net
        self.discriminator = keras.Sequential([L.Dense(8, activation="relu", input_shape=(4,)), L.Dense(1)])
        self.g_opt, self.d_opt = adam(), adam()
        self.compile({"default": "rmsprop", "discriminator": self.d_opt, "generator": self.g_opt}[main])

    def call(self, inputs: Any, training: Any = None) -> Any:
        return self.discriminator(self.generator(inputs, training=training))

    def train_step(self, real: Any) -> dict[str, Any]:
        loss_of = keras.losses.BinaryCrossentropy(from_logits=True)
        noise = tf.random.normal(tf.shape(real))
        with tf.GradientTape() as tape:
            fake = self.generator(noise, training=True)
            answers = tf.concat([self.discriminator(real), self.discriminator(fake)], 0)
            d_loss = loss_of(tf.concat([tf.ones((4, 1)), tf.zeros((4, 1))], 0), answers)
        weights = self.discriminator.trainable_weights
        self.d_opt.apply_gradients(zip(tape.gradient(d_loss, weights), weights, strict=True))
        with tf.GradientTape() as tape:
            g_loss = loss_of(tf.ones((4, 1)), self.discriminator(self.generator(noise, training=True)))
        weights = self.generator.trainable_weights
        self.g_opt.apply_gradients(zip(tape.gradient(g_loss, weights), weights, strict=True))
        return {"d": d_loss, "g": g_loss}


def fit_adversarial(model: keras.Model, callback: Any) -> None:
    data = tf.data.Dataset.from_tensor_slices(X).batch(4)
    model.fit(data, epochs=EPOCHS, verbose=0, callbacks=[callback])


# Each method, and both ways for the one that sees batches and epochs otherwise.
LOOPS = pytest.mark.parametrize(
    ("method", "reports_batches"),
    [("swd", True), ("structured", False), ("progressive", True), ("progressive", False)],
)


class Batches(keras.callbacks.Callback):
    seen = 0

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1


@pytest.mark.parametrize(
    ("method", "main"),
    [("swd", "default"), ("structured", "discriminator"), ("progressive", "default"), ("progressive", "discriminator")],
)
def test_the_wrong_optimizer_is_told_within_two_batches_and_the_right_one_named(method, main):
    model, batches = Adversarial(wrapped(method, generator()), main), Batches()
    data = tf.data.Dataset.from_tensor_slices(X).batch(4)
    match = r"UpdatePruningStep\(optimizer=model.g_opt\).*they are trained by model.g_opt \(Adam\)"
    with pytest.raises(ValueError, match=match):
        model.fit(data, epochs=EPOCHS, verbose=0, callbacks=[batches, tfmot_swd.UpdatePruningStep()])
    assert batches.seen <= 2


@pytest.mark.parametrize("method", ["swd", "progressive"])
def test_a_generator_is_pruned_by_the_optimizer_that_is_named(method):
    model = Adversarial(wrapped(method, generator()))
    fit_adversarial(model, tfmot_swd.UpdatePruningStep(optimizer=model.g_opt))
    assert int(model.g_opt.iterations) == int(model.d_opt.iterations) == EPOCHS * BATCHES
    check_pruned(method, model.generator)


def test_an_optimizer_in_two_attributes_stays_one():
    model = Adversarial(wrapped("progressive", generator()), "generator")
    fit_adversarial(model, tfmot_swd.UpdatePruningStep())
    assert model.optimizer is model.g_opt
    assert optimizers.trains(model.g_opt, model.generator.trainable_variables)
    check_pruned("progressive", model.generator)


class TwoOptimizers(keras.Model):
    """The wrapped body and the head learn by optimizers of their own, the body's is `model.optimizer`."""

    def __init__(self, body: keras.Model) -> None:
        super().__init__()
        self.body, self.head = body, L.Dense(1)
        self.optimizers = {"head": keras.optimizers.SGD(0.01)}
        self.compile(adam(), "mse")

    def call(self, inputs: Any, training: Any = None) -> Any:
        return self.head(self.body(inputs, training=training))

    def train_step(self, data: Any) -> dict[str, Any]:
        with tf.GradientTape(persistent=True) as tape:
            loss = self.compute_loss(data[0], data[1], self(data[0], training=True))
        for part, optimizer in ((self.body, self.optimizer), (self.head, self.optimizers["head"])):
            weights = part.trainable_weights
            optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return {"loss": loss}


@pytest.mark.parametrize("method", ["structured", "progressive"])
def test_a_training_step_with_two_optimizers(method):
    model = TwoOptimizers(wrapped(method, generator()))
    callback = tfmot_swd.UpdatePruningStep()
    model.fit(X, X[:, :1], batch_size=4, epochs=EPOCHS, verbose=0, callbacks=[callback])
    check_pruned(method, model.body)


@pytest.mark.parametrize("method", ["swd", "progressive"])
def test_a_siamese_net_calls_its_wrapped_base_twice(method):
    base = wrapped(method, generator())
    first, second = keras.Input((4,)), keras.Input((4,))
    model = keras.Model([first, second], L.Subtract()([base(first), base(second)]))
    model.compile(adam(), "mse")
    callback = tfmot_swd.UpdatePruningStep()
    model.fit([X, X[::-1]], X, batch_size=4, epochs=EPOCHS, verbose=0, callbacks=[callback])
    # When filters leave, models inside a model are new ones.
    check_pruned(method, model.get_layer(base.name))


def loop(model: keras.Model, callback: Any, optimizer_of: Callable[[], Any], reports_batches: bool) -> None:
    callback.set_model(model)
    callback.on_train_begin()
    for epoch in range(EPOCHS):
        for batch in range(BATCHES):
            x = X[4 * batch : 4 * batch + 4]
            with tf.GradientTape() as tape:
                loss = tf.add_n([tf.reduce_mean((model(x, training=True) - x) ** 2), *model.losses])
            weights = model.trainable_variables
            optimizer_of().apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
            if reports_batches:
                callback.on_train_batch_end(batch)
        callback.on_epoch_end(epoch)
    callback.on_train_end()


@LOOPS
def test_a_custom_loop_with_the_optimizer_in_an_attribute(method, reports_batches):
    model = wrapped(method, generator())
    model.mine = adam()
    loop(model, tfmot_swd.UpdatePruningStep(optimizer=model.mine), lambda: model.mine, reports_batches)
    check_pruned(method, model)


@LOOPS
def test_a_custom_loop_with_another_optimizer_is_told_before_its_first_epoch_ends(method, reports_batches):
    model, other = wrapped(method, generator()), adam()
    model.compile(adam())
    with pytest.raises(ValueError, match=r"Adam as the clock, with 0 updates in this training, none of the wrapped"):
        loop(model, tfmot_swd.UpdatePruningStep(), lambda: other, reports_batches)
    assert int(other.iterations) <= BATCHES


def test_progressive_pruning_needs_an_optimizer_that_the_model_holds():
    model, other = wrapped("progressive", generator()), adam()
    with pytest.raises(ValueError, match="only as an attribute of the model.*Received: Adam that 'seq.*not hold"):
        loop(model, tfmot_swd.UpdatePruningStep(optimizer=other), lambda: other, True)


def test_an_optimizer_of_other_layers_is_told_though_it_makes_updates():
    """The whole model is wrapped, and its training step trains none of it."""
    model = TwoOptimizers(wrapped("swd", generator()))
    model.optimizer = model.optimizers["head"]
    model.optimizers = {"head": model.optimizer, "body": adam()}
    model.train_step = lambda data: head_alone(model, data)
    with pytest.raises(ValueError, match="SGD as the clock, with 1 updates in this training, none of the wrapped"):
        model.fit(X, X[:, :1], batch_size=4, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep(partial_fit=True)])


def head_alone(model: TwoOptimizers, data: Any) -> dict[str, Any]:
    with tf.GradientTape() as tape:
        loss = model.compute_loss(data[0], data[1], model(data[0], training=True))
    weights = model.head.trainable_weights
    model.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
    return {"loss": loss}


@pytest.mark.parametrize("schedule", ["default", "paper"])
def test_accumulated_gradients_are_no_other_optimizer(schedule):
    class Accumulating(keras.Model):
        def train_step(self, data):
            with tf.GradientTape() as tape:
                loss = tf.add_n([self.compute_loss(data[0], data[1], self(data[0], training=True)), *self.losses])
            for total, gradient in zip(totals, tape.gradient(loss, self.trainable_variables), strict=True):
                total.assign_add(gradient)
            seen.assign_add(1)
            if seen % 4 == 0:
                self.optimizer.apply_gradients(zip(totals, self.trainable_variables, strict=True))
            return {"loss": loss}

    plans = {
        "default": tfmot_swd.SelectiveDecay(0.5, end_step=2),
        "paper": tfmot_swd.SelectiveDecay.paper(0.5, end_step=2, mu=5e-4, penalty="implicit"),
    }
    plain = generator()
    model = tfmot_swd.prune_selective_decay(Accumulating(plain.inputs, plain.outputs), plans[schedule])
    model.compile(keras.optimizers.SGD(0.01), "mse", run_eagerly=True)
    totals, seen = [tf.Variable(tf.zeros_like(each)) for each in model.trainable_variables], tf.Variable(0)
    model.fit(X, X, batch_size=2, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep()])
    check_pruned("swd", model)


@pytest.mark.parametrize("make", [keras.optimizers.legacy.SGD, keras.optimizers.legacy.Adam])
def test_legacy_optimizers_that_are_named(make):
    model = Adversarial(wrapped("progressive", generator()))
    model.g_opt = make(0.01)
    fit_adversarial(model, tfmot_swd.UpdatePruningStep(optimizer=model.g_opt))
    check_pruned("progressive", model.generator)


@pytest.mark.parametrize("bad", ["adam", keras.optimizers.Adam, 3])
def test_what_is_no_optimizer_is_refused(bad):
    with pytest.raises(TypeError, match="optimizer must be the tf_keras optimizer.*Received: "):
        tfmot_swd.UpdatePruningStep(optimizer=bad)


def test_a_backup_holds_the_optimizers_in_attributes(tmp_path):
    model, resumed = (Adversarial(wrapped("progressive", generator())) for _ in range(2))

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    callback = tfmot_swd.UpdatePruningStep(optimizer=model.g_opt, backup_dir=tmp_path)
    data = tf.data.Dataset.from_tensor_slices(X).batch(4)
    with pytest.raises(KeyboardInterrupt):
        model.fit(data, epochs=EPOCHS, verbose=0, callbacks=[callback, Stop()])
    callback = tfmot_swd.UpdatePruningStep(optimizer=resumed.g_opt, backup_dir=tmp_path)
    resumed.fit(data, epochs=EPOCHS, verbose=0, callbacks=[callback])
    assert int(resumed.g_opt.iterations) == EPOCHS * BATCHES
    check_pruned("progressive", resumed.generator)


@pytest.mark.parametrize("method", ["swd", "progressive"])
def test_a_generator_inside_a_compiled_model_that_is_trained_batch_by_batch(method):
    """The classical recipe: the discriminator learns on its own, and is frozen where the generator learns."""
    discriminator = keras.Sequential([L.Dense(8, activation="relu", input_shape=(4,)), L.Dense(1)])
    discriminator.compile(adam(), keras.losses.BinaryCrossentropy(from_logits=True))
    discriminator.trainable = False
    both = keras.Sequential([wrapped(method, generator()), discriminator])
    both.compile(adam(), keras.losses.BinaryCrossentropy(from_logits=True))
    callback = tfmot_swd.UpdatePruningStep()
    callback.set_model(both)
    callback.on_train_begin()
    for epoch in range(EPOCHS):
        for batch in range(BATCHES):
            x = X[4 * batch : 4 * batch + 4]
            discriminator.train_on_batch(np.concatenate([x, both.layers[0](x)]), np.repeat([1.0, 0.0], 4))
            both.train_on_batch(x, np.ones(4))
            callback.on_train_batch_end(batch)
        callback.on_epoch_end(epoch)
    callback.on_train_end()
    check_pruned(method, both.layers[0])


def test_another_optimizer_for_the_second_fit_becomes_the_clock_without_a_new_compile():
    model = wrapped("swd", generator())
    model.compile(adam(), "mse")
    for partial in (True, False):
        callback = tfmot_swd.UpdatePruningStep(partial_fit=partial)
        model.fit(X, X, batch_size=4, verbose=0, callbacks=[callback])
        model.optimizer, earlier = adam(), model.optimizer
        assert int(earlier.iterations) == BATCHES
    assert callback.final_step.step == EPOCHS * BATCHES
    check_pruned("swd", model)
