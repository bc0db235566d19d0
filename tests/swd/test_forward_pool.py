"""The decay in the forward pass alone, by hand and against a second implementation."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from research.straight_through import ForwardPruning, StraightThrough
from tfmot_swd import SelectiveDecay, UpdatePruningStep, prune_selective_decay, strip_pruning
from tfmot_swd.swd.forward_pool import ForwardPool, used_weights, weight_pool_of

W = np.array([0.1, -0.2, 0.3, -0.4], np.float32)


def forward(rate=0.5, end_step=4, **changes) -> SelectiveDecay:
    return SelectiveDecay(rate, end_step, penalty="forward", **{"ramp": 0.0, **changes})


def one_layer(schedule, weights=W, optimizer=None) -> keras.Model:
    net = keras.Sequential([keras.layers.Dense(1, use_bias=False, input_shape=(len(weights),))])
    net.set_weights([np.reshape(weights, (-1, 1))])
    pruned = prune_selective_decay(net, schedule)
    # The loss is the output itself: with inputs of 1 the gradient of each weight is 1, whatever it is.
    pruned.compile(optimizer or keras.optimizers.SGD(0.1), lambda _, y: tf.reduce_mean(y))
    return pruned


def fit(pruned, updates: int, **options) -> UpdatePruningStep:
    size = pruned.input_shape[-1]
    callback = UpdatePruningStep(**{"partial_fit": True, **options})
    ones, zeros = np.ones((updates, size), np.float32), np.zeros((updates, 1), np.float32)
    pruned.fit(ones, zeros, batch_size=1, epochs=1, verbose=0, callbacks=[callback])
    return callback


def kernel(pruned) -> np.ndarray:
    return pruned.layers[0].layer.kernel.numpy().ravel()


def dense(pruned) -> np.ndarray:
    (target,) = pruned.layers[0].trained_targets()
    return target.dense.numpy().ravel()


@pytest.mark.parametrize(
    ("power", "used"),
    [
        (1.0, [0.0, 0.0, 0.0, -0.1]),
        (2.0, [0.0, 0.0, 0.0, -math.sqrt(0.16 - 0.09)]),
        (3.0, [0.0, 0.0, 0.0, -((0.064 - 0.027) ** (1 / 3))]),
        (math.inf, [0.0, 0.0, 0.3, -0.4]),
    ],
)
def test_what_is_used_of_four_weights(power, used):
    found = used_weights([tf.constant(W)], [None], tf.constant([0.3]), power)[0].numpy()

    # What is at the threshold stays, if only just, so that zeros can be counted.
    assert np.count_nonzero(found) == 2
    np.testing.assert_allclose(found, used, atol=3e-3 if 1 < power < math.inf else 1e-6)


def test_nothing_is_changed_before_anything_is_targeted():
    found = used_weights([tf.constant(W)], [None], tf.constant([0.0]), 1.0)[0].numpy()

    np.testing.assert_array_equal(found, W)


def test_updates_go_to_the_dense_weights_and_the_layer_uses_the_pruned_ones():
    pruned = one_layer(forward())

    fit(pruned, 1)
    # Threshold .3; the update of -.1 reached what is pruned, too.
    np.testing.assert_allclose(dense(pruned), W - 0.1, atol=1e-7)
    fit(pruned, 1)
    # |0, -.3, .2, -.5|: threshold .3, so the second weight has taken the place of the third.
    np.testing.assert_allclose(dense(pruned), W - 0.2, atol=1e-7)
    np.testing.assert_array_equal(kernel(pruned) != 0, [False, True, False, True])


def test_the_final_pruning_step_removes_nothing_that_is_not_zero():
    rng = np.random.default_rng(0)
    pruned = one_layer(forward(0.9, end_step=20, ramp=2 / 3), rng.normal(size=200).astype(np.float32))
    inputs, targets = np.ones((20, 200), np.float32), np.zeros((20, 1), np.float32)

    callback = fit(pruned, 20, validation_data=(inputs, targets))

    assert callback.final_step.removed == 180
    assert callback.final_step.largest_removed == 0.0
    assert callback.final_step.before == callback.final_step.after
    assert np.count_nonzero(strip_pruning(pruned, remove_channels=False).get_weights()[0]) == 20


def test_validation_sees_pruned_weights():
    pruned = one_layer(forward(end_step=8))

    class Zeros(keras.callbacks.Callback):
        def on_test_end(self, logs=None):
            seen.append(int(np.count_nonzero(kernel(self.model) == 0)))

    seen = []
    ones, zeros = np.ones((2, 4), np.float32), np.zeros((2, 1), np.float32)
    callbacks = [UpdatePruningStep(partial_fit=True), Zeros()]
    pruned.fit(ones, zeros, batch_size=1, epochs=2, verbose=0, validation_data=(ones, zeros), callbacks=callbacks)

    assert seen == [2, 2]


@pytest.mark.parametrize(("power", "theirs"), [(1.0, 1.0), (math.inf, 0.0)])
def test_training_equals_a_second_implementation(power, theirs):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((6,))
    decay = keras.regularizers.L2(0.01)
    x = keras.layers.Dense(12, "relu", use_bias=False, kernel_regularizer=decay, name="hidden")(inputs)
    outputs = keras.layers.Dense(3, use_bias=False, name="head")(x)
    net = keras.Model(inputs, outputs)
    x = np.random.default_rng(0).normal(size=(24 * 8, 6)).astype(np.float32)
    y = np.eye(3, dtype=np.float32)[np.abs(x[:, :3]).argmax(axis=1)]

    def train(model, *callbacks):
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True), loss)
        model.fit(x, y, batch_size=8, epochs=1, shuffle=False, verbose=0, callbacks=callbacks)

    pruned = prune_selective_decay(net, SelectiveDecay(0.75, 24, ramp=0.5, penalty="forward", threshold_power=power))
    train(pruned, UpdatePruningStep())
    other = StraightThrough(inputs, outputs)
    other.configure(ForwardPruning(power=theirs, end=0.5, decay_dense=False), 0.75, 24)
    train(other)
    other.finish()

    stripped = strip_pruning(pruned, remove_channels=False)
    for name in ("hidden", "head"):
        ours = stripped.get_layer(name).kernel.numpy()
        np.testing.assert_allclose(ours, other.get_layer(name).kernel.numpy(), atol=2e-6)


@pytest.mark.parametrize("optimizer", [keras.optimizers.Adam(0.01), keras.optimizers.legacy.SGD(0.1, momentum=0.9)])
def test_any_optimizer_ends_at_the_rate(optimizer):
    pruned = one_layer(forward(0.8, end_step=6, ramp=0.5), np.linspace(-1, 1, 50, dtype=np.float32), optimizer)

    fit(pruned, 6)

    assert np.count_nonzero(kernel(pruned)) == 10


def test_blocks_stand_or_fall_together():
    net = keras.Sequential([keras.layers.Dense(4, use_bias=False, input_shape=(8,))])
    net.set_weights([np.arange(1, 33, dtype=np.float32).reshape(8, 4)])
    pruned = prune_selective_decay(net, forward(end_step=1), block_size=(4, 1))
    pruned.compile(keras.optimizers.SGD(0.0), "mse")
    pruned.fit(np.ones((1, 8)), np.ones((1, 4)), verbose=0, callbacks=[UpdatePruningStep()])

    found = pruned.layers[0].layer.kernel.numpy()
    np.testing.assert_array_equal(found != 0, np.repeat([[False], [True]], 4, axis=0) @ np.ones((1, 4), bool))


def test_pruned_at_once():
    pruned = one_layer(forward(end_step=100, ramp=2 / 3))
    fit(pruned, 3)

    tfmot_swd.prune_now(pruned)

    assert np.count_nonzero(kernel(pruned)) == 2
    assert isinstance(weight_pool_of(pruned), ForwardPool)


@pytest.mark.parametrize("power", [1.0, 3.0, math.inf])
@pytest.mark.parametrize("again", ["fit", "load", "prune_now"])
def test_what_is_fine_tuned_after_the_final_pruning_step_stays(power, again, tmp_path):
    weights = np.linspace(-1, 1, 20, dtype=np.float32)
    pruned = one_layer(forward(0.6, end_step=4, threshold_power=power), weights, keras.optimizers.SGD(0.3))
    fit(pruned, 12)
    trained = kernel(pruned)
    if again == "load":
        pruned.save(tmp_path / "model.keras")
        pruned = keras.models.load_model(tmp_path / "model.keras", compile=False)
        pruned.compile(keras.optimizers.SGD(0.3), lambda _, y: tf.reduce_mean(y))
    if again == "prune_now":
        tfmot_swd.prune_now(pruned)
    else:
        pruned.optimizer.learning_rate.assign(0.0)
        fit(pruned, 2)

    np.testing.assert_allclose(kernel(pruned), trained, rtol=1e-6)
    assert np.count_nonzero(trained) == 8


def test_channels_of_a_wrapped_model_can_be_ranked():
    net = keras.Sequential([keras.layers.Dense(6, input_shape=(4,), name="hidden"), keras.layers.Dense(2)])

    plan = tfmot_swd.plan_channels(prune_selective_decay(net, forward()), layers="all")

    assert [row.channels for row in plan.ranked] == [6]


def test_a_status_between_two_updates_counts_zeros():
    pruned = one_layer(forward(0.5, end_step=8))

    callback = fit(pruned, 3, update_freq=1)

    assert [list(status.sparsity.values()) for status in callback.history] == [[0.5]] * 3


def test_channels_have_no_forward_form():
    with pytest.raises(ValueError, match="Received: penalty='forward'"):
        tfmot_swd.StructuredDecay(0.5, 10, penalty="forward")


@pytest.mark.parametrize("power", [0.5, "soft"])
def test_a_power_below_one_is_refused(power):
    with pytest.raises(ValueError, match="threshold_power must be in"):
        forward(threshold_power=power)
