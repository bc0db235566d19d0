"""The pool of a model's scores: its clock, what it settles and when, and what it refuses."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tests.pgp.nets import BATCH, X, begun, compiled, fit, layer_of, network, sgd, wrapped, wrapper_of
from tfmot_swd.pgp.pool import ScorePool


def joined(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> ScorePool:
    pool = ScorePool.of(model)
    pool.join(optimizer)
    return pool


def pool_of(model: keras.Model) -> ScorePool:
    model.optimizer = sgd()
    model.optimizer.build(model.trainable_variables)
    return joined(model, model.optimizer)


def test_an_update_is_settled_when_the_next_one_begins():
    model = wrapped()
    pool = pool_of(model)
    scored = wrapper_of(model, "a").scored[0]
    ones = tf.ones((3, 3, 2, 8))
    pool.advance()
    scored.update.assign(ones)
    # Called again in the same update, by another layer or a micro-batch.
    pool.advance()
    np.testing.assert_array_equal(scored.total, np.zeros(8))
    scored.update.assign_add(-3 * ones)
    model.optimizer.iterations.assign_add(1)
    pool.advance()
    np.testing.assert_array_equal(scored.total, np.full(8, 36.0))
    np.testing.assert_array_equal(scored.update, np.zeros((3, 3, 2, 8)))
    model.optimizer.iterations.assign_add(1)
    pool.advance()
    np.testing.assert_array_equal(scored.total, np.full(8, 36.0))


def test_the_last_update_counts_if_it_was_made():
    model = wrapped()
    pool = pool_of(model)
    scored = wrapper_of(model, "a").scored[0]
    for made in (1, 0):
        pool.advance()
        scored.update.assign(tf.ones((3, 3, 2, 8)))
        model.optimizer.iterations.assign_add(made)
        pool.settle()
        np.testing.assert_array_equal(scored.total, np.full(8, 18.0))
        np.testing.assert_array_equal(scored.update, np.zeros((3, 3, 2, 8)))


def test_an_epoch_begins_with_nothing():
    model = wrapped(criterion="weight_change")
    pool = pool_of(model)
    assert not pool.has_seen_enough()
    pool.begin_epoch()
    np.testing.assert_array_equal(wrapper_of(model, "a").scored[0].start, layer_of(model, "a").kernel)
    # Weights that have not moved since tell nothing apart.
    assert not pool.has_seen_enough()
    layer_of(model, "a").kernel.assign_add(tf.ones((3, 3, 2, 8)))
    assert pool.has_seen_enough()
    model = wrapped()
    pool = pool_of(model)
    scored = wrapper_of(model, "a").scored[0]
    scored.total.assign(np.ones(8))
    scored.update.assign(tf.ones((3, 3, 2, 8)))
    assert pool.has_seen_enough()
    pool.begin_epoch()
    assert not pool.has_seen_enough()
    assert not scored.update.numpy().any()


def test_criteria_of_weights_need_to_see_nothing():
    assert pool_of(wrapped(criterion="l2")).has_seen_enough()


@pytest.mark.parametrize("criterion", ["l2", "weight_change", "pgp"])
def test_the_clock_stands_where_nothing_is_seen_in_training(criterion):
    model = wrapped(criterion=criterion)
    pool = pool_of(model)
    model(X[:BATCH], training=True)
    assert pool.leader.last_iterations.numpy() == -1
    assert not any(each.total.numpy().any() for each in pool.scored)


def test_the_first_trainable_layer_leads():
    model = wrapped()
    wrapper_of(model, "a").trainable = False
    pool = pool_of(model)
    assert pool.leader is wrapper_of(model, "b")
    assert pool.wrappers == (wrapper_of(model, "b"),)


def test_the_clock_is_that_of_the_layer_that_has_seen_most():
    model = wrapped()
    wrapper_of(model, "b").pruning_step.assign(3)
    assert pool_of(model).epochs == 3


def test_a_model_frozen_as_a_whole_is_refused():
    model = wrapped()
    model.trainable = False
    with pytest.raises(ValueError, match="No wrapped layer is trainable.*Received: 2 wrapped layers, all frozen"):
        fit(compiled(model))


def test_two_ways_of_pruning_in_one_model_are_refused():
    class Both(keras.Model):
        def __init__(self, *nets):
            super().__init__()
            self.nets = nets

        def call(self, inputs, training=None):
            return tf.add_n([net(inputs, training=training) for net in self.nets])

    model = compiled(Both(wrapped(criterion="l1"), wrapped(network(name="other"), criterion="l2")))
    with pytest.raises(ValueError, match="one schedule and one criterion: wrap them in one call. Received: "):
        fit(model)


def test_left_wrappers_belong_to_no_pool():
    model = wrapped()
    pool = pool_of(model)
    pool.leave()
    with pytest.raises(ValueError, match="trains only with its callback"):
        model(X[:BATCH], training=True)
    callback = begun(model)
    model(X[:BATCH], training=True)
    assert isinstance(callback, tfmot_swd.UpdatePruningStep)


def test_only_a_dynamic_loss_scale_skips():
    scaled = keras.mixed_precision.LossScaleOptimizer
    for optimizer, skips in ((scaled(sgd()), True), (scaled(sgd(), dynamic=False, initial_scale=8), False)):
        assert joined(wrapped(), optimizer).scales is skips
    assert not joined(wrapped(), sgd()).scales
