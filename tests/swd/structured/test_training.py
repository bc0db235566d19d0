"""A model whose channels are decayed trains the same however it is driven, and ends within its budget."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tests.pgp.nets import BATCH, X, Y, batches, begun, compiled, layer_of, network, residual, step_of
from tfmot_swd import Budget, StructuredDecay, prune_selective_decay

EPOCHS = 3
STEPS = EPOCHS * len(X) // BATCH


def schedule(budget=0.5, **changes) -> StructuredDecay:
    return StructuredDecay(budget, **{"end_step": STEPS, **changes})


def paper(**changes) -> StructuredDecay:
    return StructuredDecay.paper(0.5, end_step=STEPS, mu=5e-4, **changes)


def trained(plan: StructuredDecay, net=None, callback=None, **options) -> keras.Model:
    model = compiled(prune_selective_decay(net or network(), plan), **options)
    callbacks = [callback or tfmot_swd.UpdatePruningStep()]
    model.fit(X, Y, batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0, callbacks=callbacks)
    return model


@functools.cache
def told(plan: StructuredDecay) -> tuple[keras.Model, tfmot_swd.UpdatePruningStep]:
    """Returns a trained model and its callback; tests only read them."""
    callback = tfmot_swd.UpdatePruningStep(validation_data=(X, Y))
    return trained(plan, callback=callback), callback


def trained_in_one(plan: StructuredDecay) -> keras.Model:
    return told(plan)[0]


def assert_same(first: keras.Model, second: keras.Model, tolerance: float = 1e-5) -> None:
    for a, b in zip(*(tfmot_swd.strip_pruning(each).get_weights() for each in (first, second)), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("build", "plan"),
    [
        (residual, schedule()),
        (network, paper()),
        (network, schedule(mode="scale")),
        (network, schedule(criterion="magnitude")),
        (residual, schedule(scope="layer", round_to=2)),
        (network, schedule(Budget(macs=0.4))),
        (residual, schedule(Budget(macs=0.7, parameters=500))),
    ],
    ids=["default", "paper", "scale", "magnitude", "layer", "macs", "both"],
)
def test_fit_ends_within_the_budget_and_the_small_net_predicts_the_same(build, plan):
    net = build()
    callback = tfmot_swd.UpdatePruningStep(validation_data=(X, Y))
    model = trained(plan, net, callback)
    small = tfmot_swd.strip_pruning(model)
    before, after = tfmot_swd.profile(net), tfmot_swd.profile(small)
    for cost, limit in plan.budget.limits({"parameters": before.parameters, "macs": before.macs}).items():
        assert getattr(after, cost) <= limit
    np.testing.assert_allclose(small(X), model(X), atol=1e-4)
    assert callback.history[-1].is_pruned
    assert callback.history[-1].costs == {cost: getattr(after, cost) for cost in plan.budget.costs}
    small.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    assert small.evaluate(X, Y, verbose=0)[0] == pytest.approx(callback.final_step.after["loss"], rel=1e-4)


def test_the_cut_changes_nothing():
    report = told(schedule())[1].final_step
    assert report.largest_removed < 1e-4
    assert report.after["loss"] == pytest.approx(report.before["loss"], rel=1e-4)
    assert report.removed > 0


@pytest.mark.parametrize("plan", [schedule(frequency=5), paper()], ids=["every fifth", "paper"])
def test_several_steps_in_one_execution_equal_one_at_a_time(plan):
    assert_same(trained_in_one(plan), trained(plan, steps_per_execution=2))


@pytest.mark.parametrize(("plan", "eager"), [(schedule(), True), (paper(), False)], ids=["implicit", "coupled"])
def test_a_custom_loop_equals_fit(plan, eager):
    model = prune_selective_decay(network(), plan)
    callback = begun(model)
    step = step_of(model) if eager else tf.function(step_of(model))
    for epoch in range(EPOCHS):
        for x, y in batches():
            step(x, y)
        callback.on_epoch_end(epoch)
    assert_same(trained_in_one(plan), model)


def test_mixed_precision_keeps_master_weights_in_full():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        net = network()
        model = trained(schedule(), net)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert layer_of(model, "a").kernel.dtype == tf.float32
    assert tfmot_swd.strip_pruning(model).count_params() <= net.count_params() / 2


@pytest.mark.parametrize(
    ("plan", "name"),
    [(schedule(), "model.keras"), (schedule(frequency=5), "model.h5"), (paper(), "model.keras")],
    ids=["default", "every fifth", "paper"],
)
def test_resumed_from_a_file_equals_uninterrupted(plan, name, tmp_path):
    def fit(model: keras.Model, epochs: int) -> None:
        callback = tfmot_swd.UpdatePruningStep(partial_fit=True)
        model.fit(X, Y, batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0, callbacks=[callback])

    stopped = compiled(prune_selective_decay(network(), plan))
    fit(stopped, 1)
    stopped.save(tmp_path / name)
    resumed = keras.models.load_model(tmp_path / name)
    fit(resumed, EPOCHS - 1)
    assert_same(trained_in_one(plan), resumed, 1e-6)


def test_what_the_optimizer_moves_after_the_cut_stays_out():
    model = trained(schedule(end_step=STEPS // 2), optimizer=keras.optimizers.Adam(0.1))
    small = tfmot_swd.strip_pruning(model)
    assert small.count_params() <= network().count_params() / 2
    np.testing.assert_allclose(small(X), model(X), atol=1e-4)


def test_cut_now_ends_a_training_early():
    model = compiled(prune_selective_decay(network(), schedule(end_step=1000)))
    callback = tfmot_swd.UpdatePruningStep(partial_fit=True)
    model.fit(X, Y, batch_size=BATCH, verbose=0, callbacks=[callback])
    with pytest.raises(ValueError, match="final pruning step has not been made"):
        tfmot_swd.strip_pruning(model)
    tfmot_swd.prune_now(model)
    assert tfmot_swd.strip_pruning(model).count_params() <= network().count_params() / 2


def test_epoch_logs_and_statuses_say_where_it_stands():
    model, callback = told(schedule())
    logs = model.history.history
    assert {"parameters_left", "channels_left", "threshold", "shrink"} < set(logs)
    assert [status.costs["parameters"] for status in callback.history] == logs["parameters_left"]
    limits = [status.limits["parameters"] for status in callback.history]
    assert limits == sorted(limits, reverse=True)
    assert limits[-1] == network().count_params() // 2
    last = callback.history[-1]
    assert sum(last.sizes.values()) == last.channels - last.targeted
    assert 0 < last.targeted_share < 1


def test_diverged_weights_are_told():
    model = compiled(prune_selective_decay(network(), schedule()), keras.optimizers.SGD(1e30))
    with pytest.raises(ValueError, match="have become NaN or infinite"):
        model.fit(X, Y, batch_size=BATCH, epochs=EPOCHS, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep()])


def test_training_without_the_callback_is_refused():
    with pytest.raises(ValueError, match="trains only with its callback"):
        compiled(prune_selective_decay(network(), schedule()), run_eagerly=True).fit(X, Y, verbose=0)


def test_a_wrapped_part_of_a_larger_model_is_refused():
    part = prune_selective_decay(network(), schedule())
    model = compiled(keras.Sequential([part, keras.layers.Dense(20), keras.layers.Dense(3)]))
    with pytest.raises(ValueError, match="this one is larger: wrap the whole model.*in place of"):
        model.fit(X, Y, batch_size=BATCH, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep(partial_fit=True)])


def test_a_layer_frozen_after_wrapping_keeps_its_channels():
    model = prune_selective_decay(network(), schedule(0.3))
    layer_of(model, "prune_structured_decay_b").trainable = False
    kernel = layer_of(model, "b").kernel.numpy()
    compiled(model)
    callbacks = [tfmot_swd.UpdatePruningStep()]
    model.fit(X, Y, batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0, callbacks=callbacks)
    np.testing.assert_array_equal(layer_of(model, "b").kernel, kernel)
    small = tfmot_swd.strip_pruning(model)
    assert small.get_layer("b").filters == 6
    assert small.get_layer("a").filters < 8


def test_what_a_layer_frozen_after_wrapping_keeps_of_others_counts():
    net = keras.Sequential(
        [
            keras.layers.Conv2D(8, 3, padding="same", input_shape=(6, 6, 2), name="a"),
            keras.layers.BatchNormalization(beta_initializer="ones", name="norm"),
            keras.layers.ReLU(),
            keras.layers.Conv2D(8, 3, padding="same", name="b"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, name="head"),
        ]
    )
    model = prune_selective_decay(net, schedule(Budget(macs=0.5)))
    for name in ("norm", "b"):
        layer_of(model, f"prune_structured_decay_{name}").trainable = False
    whole = tfmot_swd.profile(net).macs
    # Constants that reach a padded convolution cannot be folded into its bias: the channels stay.
    with pytest.warns(tfmot_swd.PruningWarning, match=rf"over its budget.*Received: \{{'macs': {whole}\}}"):
        compiled(model).fit(X, Y, batch_size=BATCH, epochs=EPOCHS, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep()])
    assert tfmot_swd.profile(tfmot_swd.strip_pruning(model)).macs == whole


def test_a_clone_of_a_wrapped_model_says_that_it_knows_no_channels():
    wrapped = prune_selective_decay(network(), schedule())
    clone = compiled(keras.models.clone_model(wrapped))
    with pytest.raises(ValueError, match="built from its config alone.*Received: 4 wrapped layers"):
        clone.fit(X, Y, batch_size=BATCH, epochs=EPOCHS, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep()])
    clone.set_weights(wrapped.get_weights())
    clone.fit(X, Y, batch_size=BATCH, epochs=EPOCHS, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep()])
    assert tfmot_swd.strip_pruning(clone).count_params() < network().count_params()


def test_nothing_is_penalised_after_an_early_cut():
    model = compiled(prune_selective_decay(network(), paper(penalty="coupled")))

    class Cut(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                tfmot_swd.prune_now(self.model)

    callback = tfmot_swd.UpdatePruningStep()
    model.fit(X, Y, batch_size=BATCH, epochs=EPOCHS, verbose=0, callbacks=[callback, Cut()])
    assert callback.history[0].penalty > 0
    assert [status.penalty for status in callback.history[1:]] == [0.0, 0.0]


def test_names_of_groups_are_those_before_wrapping():
    callback = tfmot_swd.UpdatePruningStep()
    trained(schedule(minimum=2, round_to=2), callback=callback)
    assert set(callback.history[-1].sizes) == {"a", "b"}


def test_a_product_whose_factors_are_not_zero_keeps_its_channels_and_that_is_said():
    steps = keras.Input((6, 5))
    q, k = (keras.layers.Dense(8, activation="sigmoid", name=name)(steps) for name in "qk")
    x = keras.layers.Dot(2)([q, k])
    net = keras.Model(steps, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
    schedule = tfmot_swd.StructuredDecay(tfmot_swd.Budget(parameters=0.6), end_step=6, layers="all")
    pruned = tfmot_swd.prune_selective_decay(net, schedule)
    pruned.compile("sgd", "mse")
    x, y = np.zeros((12, 6, 5), "float32"), np.zeros((12, 2), "float32")

    # The sigmoid of zero is a half, so the product is not without these channels what it is with them.
    with pytest.warns(tfmot_swd.PruningWarning, match="over its budget.*as the sigmoid of queries"):
        pruned.fit(x, y, batch_size=2, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep()])
