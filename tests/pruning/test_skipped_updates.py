"""Updates that a loss scale has the optimizer skip: told from those that are made, not counted, and said."""

import warnings

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tfmot_swd.pruning.update_clock import SkippedUpdates
from tfmot_swd.pruning.wrapper import PruningWrapper

L = keras.layers
STEPS, BATCH = 12, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(STEPS * BATCH, 6)).astype(np.float32)
Y = RNG.integers(0, 3, STEPS * BATCH)
LEGACY = keras.optimizers.legacy


def scaled(optimizer=None, **options):
    return keras.mixed_precision.LossScaleOptimizer(optimizer or keras.optimizers.SGD(0.05), **options)


def wrapped(method="swd", **settings):
    keras.utils.set_random_seed(0)
    net = keras.Sequential([L.Dense(8, "relu", input_shape=(6,), name="hidden"), L.Dense(3, name="head")])
    if method == "progressive":
        schedule = tfmot_swd.ProgressiveRate(0.5, 1)
        return tfmot_swd.prune_progressive_gradient(net, schedule, layers="all", **settings)
    kind = {"swd": tfmot_swd.SelectiveDecay, "structured": tfmot_swd.StructuredDecay}[method]
    return tfmot_swd.prune_selective_decay(net, kind(0.5, STEPS))


def fit(model, overflowing=(), callback=None, optimizer=None, **options):
    x = X.copy().reshape(STEPS, BATCH, -1)
    x[list(overflowing)] = np.nan
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or scaled(), loss, **options)
    callback = callback or tfmot_swd.UpdatePruningStep(update_freq=1)
    model.fit(x.reshape(X.shape), Y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[callback])
    return callback


@pytest.mark.parametrize("inner", [keras.optimizers.SGD, keras.optimizers.Adam, LEGACY.SGD])
@pytest.mark.parametrize("options", [{}, {"initial_scale": 1.0}, {"dynamic_growth_steps": 1}])
def test_a_skipped_update_is_told_from_one_that_is_made(inner, options):
    optimizer, weight = scaled(inner(0.1), **options), tf.Variable([1.0])
    leader = PruningWrapper.__new__(PruningWrapper)
    object.__setattr__(leader, "unsaved", __import__("types").SimpleNamespace())
    skips = SkippedUpdates(optimizer, leader)
    told = []
    for gradient in (1.0, np.inf, np.nan, 1.0, 1.0, np.inf, 1.0):
        told.append(bool(skips.begin_update(tf.distribute.get_strategy())))
        # A second call within the update tells nothing new.
        assert not skips.begin_update(tf.distribute.get_strategy())
        optimizer.apply_gradients([(tf.constant([gradient]), weight)])
    assert told == [False, False, True, True, False, False, True]
    assert skips.count() == 3


@pytest.mark.parametrize("optimizer", [keras.optimizers.SGD(), scaled(dynamic=False, initial_scale=8.0)])
def test_only_a_dynamic_scale_skips(optimizer):
    skips = SkippedUpdates(optimizer, None)
    assert not skips.possible
    assert not skips.begin_update(tf.distribute.get_strategy())
    assert skips.count() == 0


def test_the_clock_does_not_count_them_and_the_fit_ends_pruned():
    callback = fit(model := wrapped(), overflowing=(1, 2))
    steps = [status.step for status in callback.history]
    assert steps == [1, 2, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert callback.final_step.step == 10
    report = tfmot_swd.sparsity_report(model)
    assert report.nonzero_prunable_weights == report.prunable_weights - report.prunable_weights // 2


def test_a_skipped_update_changes_nothing_that_follows():
    """Ten updates that are made give the weights that they give without two skipped ones between them."""
    without, between = wrapped(), wrapped()
    fit(between, overflowing=(1, 2))
    x, y = (np.delete(each.reshape(STEPS, BATCH, -1), (1, 2), axis=0) for each in (X, Y))
    without.compile(scaled(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    callback = tfmot_swd.UpdatePruningStep(partial_fit=True)
    without.fit(x.reshape(-1, 6), y.ravel(), batch_size=BATCH, shuffle=False, verbose=0, callbacks=[callback])
    callback._run._pool.join(without.optimizer)
    callback._run._pool.decay()
    tfmot_swd.prune_now(without)
    for a, b in zip(without.trainable_weights, between.trainable_weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", ["swd", "structured"])
def test_where_all_are_skipped_nothing_is_decayed_or_cut(method):
    model = wrapped(method)
    before = [weight.numpy() for weight in model.trainable_weights]
    with pytest.warns(tfmot_swd.PruningWarning) as told:
        callback = fit(model, overflowing=range(STEPS))
    messages = " ".join(str(each.message) for each in told)
    assert "Received: 12 of 12 updates skipped, loss scale 8" in messages
    assert "1 of 12 updates, before the final pruning step: the model is NOT pruned" in messages
    assert callback.final_step is None
    for old, new in zip(before, model.trainable_weights, strict=True):
        np.testing.assert_array_equal(old, new.numpy())


def test_progressive_pruning_by_weights_says_that_nothing_was_trained():
    with pytest.warns(tfmot_swd.PruningWarning, match="12 of 12 updates skipped"):
        fit(wrapped("progressive", criterion="l1"), overflowing=range(STEPS), callback=tfmot_swd.UpdatePruningStep())


def test_progressive_pruning_by_gradients_ends_with_the_cause_said_before():
    with (
        pytest.warns(tfmot_swd.PruningWarning, match="12 of 12 updates skipped"),
        pytest.raises(ValueError, match="has received no gradient"),
    ):
        fit(wrapped("progressive"), overflowing=range(STEPS), callback=tfmot_swd.UpdatePruningStep())


def test_several_steps_in_one_execution_count_the_same():
    callback = fit(wrapped(), overflowing=(1, 2), steps_per_execution=4)
    assert [status.step for status in callback.history] == [2, 6, 10]
    assert callback.final_step.step == 10


def test_a_few_at_the_start_are_no_warning():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fit(wrapped(), overflowing=(0, 1))
    assert not [each for each in told if "skipped" in str(each.message)]
