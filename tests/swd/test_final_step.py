"""Whoever makes the final pruning step, the callback, the graph or `prune_now`: the same is said of it."""

import warnings

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tfmot_swd.swd.structured.pool import ChannelPool
from tfmot_swd.swd.structured.run import over_budget

L = keras.layers
STEPS, BATCH = 8, 4
X = np.random.default_rng(0).normal(size=(STEPS * BATCH, 8)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, STEPS * BATCH)


def net(small: float = 0.01, frozen: bool = True) -> keras.Model:
    keras.utils.set_random_seed(1)
    start = keras.initializers.RandomUniform(-small, small)
    return keras.Sequential(
        [
            L.Dense(8, "relu", trainable=not frozen, input_shape=(8,), name="frozen"),
            L.Dense(8, "relu", kernel_initializer=start, name="small"),
            L.Dense(16, "relu", name="hidden"),
            L.Dense(3, name="head"),
        ]
    )


def compiled(model: keras.Model, steps_per_execution: int = 1) -> keras.Model:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # So slow that the small layer stays small.
    model.compile(keras.optimizers.SGD(1e-3), loss, steps_per_execution=steps_per_execution)
    return model


def fit(model: keras.Model, **options) -> tfmot_swd.UpdatePruningStep:
    callback = tfmot_swd.UpdatePruningStep(**options)
    model.fit(X, Y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[callback])
    return callback


def messages(told) -> list[str]:
    return [str(each.message) for each in told if each.category is tfmot_swd.PruningWarning]


def schedule(end: int = 6, **options) -> tfmot_swd.SelectiveDecay:
    return tfmot_swd.SelectiveDecay(0.7, end_step=end, **options)


def said_at_the_end(told) -> list[str]:
    starts = ("Layers that are wrapped", "Only minimum_kept", "The final pruning step")
    return [message for message in messages(told) if message.startswith(starts)]


@pytest.mark.parametrize("form", ["weights", "channels"])
def test_a_step_made_in_graph_is_reported_as_one_that_the_callback_makes(form):
    reports, said = [], []
    for steps_per_execution in (1, STEPS):
        if form == "channels":
            model = net(frozen=False)
            options = tfmot_swd.StructuredDecay(tfmot_swd.Budget(parameters=0.5), end_step=6)
        else:
            model, options = net(), schedule()
        model = tfmot_swd.prune_selective_decay(model, options)
        model.layers[0].trainable = False
        with pytest.warns(tfmot_swd.PruningWarning) as told:
            callback = fit(compiled(model, steps_per_execution), validation_data=(X, Y))
        reports.append(callback.final_step)
        said.append(said_at_the_end(told))
    outside, inside = reports
    # Of what is received only the threshold differs.
    titles = [[message.split(":")[0] for message in each] for each in said]
    assert titles[0] == titles[1]
    assert titles[0][0].startswith("Layers that are wrapped for pruning are frozen")
    assert inside.removed == outside.removed > 0
    assert (inside.step, outside.step) == (6, 6)
    assert inside.floored == outside.floored
    assert outside.before is not None
    assert inside.before is None
    assert set(inside.after) == {"loss"}
    assert set(inside.removed_shares) == set(outside.removed_shares)
    # The callback decays once more first, so that they differ by what one step of the decay takes.
    assert 0 <= outside.largest_removed <= inside.largest_removed


def test_what_is_noted_in_graph_by_hand():
    """Of weights that stand still, 3 and 4 stay, .3 and .4 leave: in numbers that can be computed by hand."""
    model = keras.Sequential([L.Dense(1, use_bias=False, input_shape=(4,), name="one")])
    model = tfmot_swd.prune_selective_decay(model, tfmot_swd.SelectiveDecay(0.5, 1, penalty="implicit", shrink_max=0.5))
    model.layers[0].layer.kernel.assign([[3.0], [0.3], [-4.0], [-0.4]])
    model.compile(keras.optimizers.SGD(0.0), "mse", steps_per_execution=2)
    callback = tfmot_swd.UpdatePruningStep()
    model.fit(X[:8, :4], Y[:8], batch_size=4, verbose=0, callbacks=[callback])
    report = callback.final_step
    assert (report.step, report.removed) == (1, 2)
    # The only update before it is the first of the schedule, which targets nothing yet.
    assert report.largest_removed == pytest.approx(0.4)
    assert report.removed_shares == {"one": pytest.approx(0.5 / 5.0)}
    assert report.removed_norm == pytest.approx(0.5 / np.hypot(0.5, 5.0))


def test_a_loop_that_reports_epochs_alone_is_told_at_the_end_of_one():
    model = tfmot_swd.prune_selective_decay(net(), schedule(end=6))
    model.optimizer = keras.optimizers.SGD(1e-3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True)) + sum(model.losses)
        model.optimizer.minimize(value, model.trainable_variables, tape=tape)

    callback = tfmot_swd.UpdatePruningStep()
    callback.set_model(model)
    callback.on_train_begin()
    for begin in range(0, len(X), BATCH):
        step(X[begin : begin + BATCH], Y[begin : begin + BATCH])
    with pytest.warns(tfmot_swd.PruningWarning) as told:
        callback.on_epoch_end(0)
    assert [message.split(" ")[0] for message in said_at_the_end(told)] == ["Layers", "Only"]
    assert callback.final_step.step == 6
    with warnings.catch_warnings():
        warnings.simplefilter("error", tfmot_swd.PruningWarning)
        callback.on_epoch_end(1)
        callback.on_train_end()


@pytest.mark.parametrize("in_training", [False, True])
def test_cut_now_says_the_same_once(in_training):
    model = compiled(tfmot_swd.prune_selective_decay(net(), schedule(end=100)))
    if not in_training:
        with pytest.warns(tfmot_swd.PruningWarning, match="stay dense.*Received: frozen, 64 of 304") as told:
            tfmot_swd.prune_now(model)
        assert len(said_at_the_end(told)) == 2
        return

    class Early(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 3:
                tfmot_swd.prune_now(self.model)

    callback = tfmot_swd.UpdatePruningStep(partial_fit=True)
    with pytest.warns(tfmot_swd.PruningWarning) as told:
        model.fit(X, Y, batch_size=BATCH, verbose=0, callbacks=[callback, Early()])
    assert len(said_at_the_end(told)) == 2
    assert callback.final_step.step == 4
    tfmot_swd.strip_pruning(model)


def test_cut_now_of_filters_tells_of_what_is_frozen():
    model = net(frozen=False)
    model = tfmot_swd.prune_progressive_gradient(model, tfmot_swd.ProgressiveRate(0.5, 2), "l1", layers="all")
    model.layers[0].trainable = False
    with pytest.warns(tfmot_swd.PruningWarning, match="stay dense.*Received: frozen, 64 of 304"):
        tfmot_swd.prune_now(compiled(model))


def test_channels_cut_now_over_their_budget_are_told():
    model = net(frozen=False)
    model = tfmot_swd.prune_selective_decay(model, tfmot_swd.StructuredDecay(tfmot_swd.Budget(parameters=0.3), 100))
    for layer in model.layers[:2]:
        layer.trainable = False
    with pytest.warns(tfmot_swd.PruningWarning, match="over its budget.*Received: {'parameters'"):
        tfmot_swd.prune_now(compiled(model))


def test_frozen_readers_are_counted_without_a_fixed_input_size(monkeypatch):
    inputs = keras.Input((None, None, 3))
    x = L.Conv2D(6, 3, activation="relu", name="one")(inputs)
    x = L.Conv2D(6, 3, activation="relu", trainable=False, name="reader")(x)
    x = L.Conv2D(6, 3, activation="relu", name="two")(x)
    model = keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(x)))
    model = tfmot_swd.prune_selective_decay(model, tfmot_swd.StructuredDecay(tfmot_swd.Budget(parameters=0.7), 2))
    images = np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype("float32")
    callback = tfmot_swd.UpdatePruningStep()
    compiled(model).fit(images, Y[:8], batch_size=4, verbose=0, callbacks=[callback])
    assert callback.final_step.removed > 0
    pool = ChannelPool.of(model)
    assert over_budget(pool) == ()

    def fail(model, **options):
        raise KeyError("a rule")

    monkeypatch.setattr("tfmot_swd.swd.structured.run.strip_pruning", fail)
    (said,) = over_budget(pool)
    assert "could not be built" in said
    assert said.endswith("Received: KeyError: 'a rule'")
