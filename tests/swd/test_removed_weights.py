"""What the final pruning step will change: foretold from the weights themselves, and reported."""

import warnings

import numpy as np
import pytest
import tf_keras as keras

import tfmot_swd
from tests.pgp.nets import BATCH, X, Y, compiled, network
from tfmot_swd.swd.removed_weights import VISIBLE_SHARE, RemovedSums, removed_shares, visible_shares

L = keras.layers
STEPS = 60
# mu · a is 1, and there is no ordinary decay: a weight with a gradient of .1 settles at -.1.
HELD = {"mu": 5e-4, "a_min": 2000.0, "a_max": 2000.0}


def test_shares_by_hand():
    keep = np.array([True, True, False, False])
    weights = [
        ("a", np.array([3.0, 4.0, 0.3, 0.4]), keep),
        ("a", np.array([3.0, 4.0, 0.0, 0.1]), keep),
        ("b", np.array([3.0, 4.0, 0.0, 0.0]), keep),
        # Nothing stays of it, and nothing stays of nothing.
        ("c", np.array([0.0, 0.0, 0.1, 0.1]), keep),
    ]
    assert removed_shares(weights) == {"a": pytest.approx(0.1), "b": 0.0}


def test_what_is_visible_is_named_largest_first():
    assert visible_shares({"a": VISIBLE_SHARE, "b": 0.03, "c": 0.123}) == "12.3% in layer 'c', 3.0% in layer 'b'"
    assert visible_shares({"a": VISIBLE_SHARE / 2}) == ""


def ours(caught):
    """Returns this package's among the warnings; on Python 3.13 TensorFlow's tracing has deprecations of its own."""
    return [each for each in caught if issubclass(each.category, tfmot_swd.PruningWarning)]


def trained(schedule, gradient=0.1):
    """A layer of weights 1, 2, .1, .1 whose last two have a constant gradient; returns the report and the warnings."""
    net = keras.Sequential([L.Dense(1, use_bias=False, input_shape=(4,), name="dense")])
    net.set_weights([np.array([[1.0], [2.0], [0.1], [0.1]])])
    model = tfmot_swd.prune_selective_decay(net, schedule)
    model.compile(keras.optimizers.SGD(0.5), lambda y, outputs: outputs)
    x = np.tile(np.float32([0.0, 0.0, gradient, gradient]), (STEPS, 1))
    told = []

    class Note(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            told.append(len(ours(caught)))

    callback = tfmot_swd.UpdatePruningStep()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(x, x, batch_size=1, verbose=0, callbacks=[callback, Note()])
    messages = [str(each.message) for each in ours(caught)]
    return callback.final_step, messages, told


def test_weights_that_a_gradient_holds_are_told_before_the_final_pruning_step():
    report, messages, told = trained(tfmot_swd.SelectiveDecay.paper(0.5, STEPS, penalty="coupled", **HELD))
    assert report.removed_shares == {"dense": pytest.approx(0.1 * 2**0.5 / 5**0.5, rel=1e-4)}
    (message,) = messages
    assert message.startswith("Pruning at update 60 would change the outputs, judged at update 54: gradients")
    assert message.endswith("with a norm of 6.3% in layer 'dense', relative to those that stay")
    # Once, with the tenth of the run before it that is left.
    assert [told[52], told[53], told[-1]] == [0, 1, 1]


def test_smaller_gradients_are_no_alarm():
    report, messages, _ = trained(tfmot_swd.SelectiveDecay.paper(0.5, STEPS, penalty="coupled", **HELD), gradient=0.01)
    assert report.removed_shares == {"dense": pytest.approx(0.01 * 2**0.5 / 5**0.5, rel=1e-4)}
    assert messages == []


def test_the_default_schedule_leaves_nothing_whatever_the_gradient():
    report, messages, _ = trained(tfmot_swd.SelectiveDecay(0.5, STEPS))
    assert report.removed_shares["dense"] < 1e-4
    assert messages == []


def test_whole_channels_are_measured_too():
    callback = tfmot_swd.UpdatePruningStep()
    model = compiled(tfmot_swd.prune_selective_decay(network(), tfmot_swd.StructuredDecay(0.5, 12)))
    model.fit(X, Y, batch_size=BATCH, epochs=3, verbose=0, callbacks=[callback])
    shares = callback.final_step.removed_shares
    assert {"a", "norm", "b", "head"} == set(shares)
    assert max(shares.values()) < VISIBLE_SHARE


def test_channels_that_a_gradient_holds_are_told():
    plan = tfmot_swd.StructuredDecay(0.5, 12, mu=1.0, a_min=0.5, a_max=0.5, penalty="implicit")
    model = compiled(tfmot_swd.prune_selective_decay(network(), plan))
    callback = tfmot_swd.UpdatePruningStep(learning_rate=lambda step: 1e9)
    with pytest.warns(tfmot_swd.PruningWarning, match="would change the outputs, judged at update 11.*in layer"):
        model.fit(X, Y, batch_size=BATCH, epochs=3, verbose=0, callbacks=[callback])
    assert max(callback.final_step.removed_shares.values()) > VISIBLE_SHARE


def test_sums_over_what_is_removed_and_what_stays_by_hand():
    values = np.float32([[3.0, -0.5], [4.0, 0.25]])
    # By columns, as the masks of channels are.
    sums = RemovedSums.of(values, np.array([[1.0, 0.0]]))
    assert sums == RemovedSums(removed=2, largest_removed=0.5, squares_removed=0.3125, squares_kept=25.0)


def test_sums_are_taken_in_float64():
    # In float32 2**24 + 1 is 2**24.
    values = np.ones(2, np.float32) * np.float32([4096.0, 1.0])
    assert RemovedSums.of(values, np.array([True, True])).squares_kept == 2.0**24 + 1.0


def test_sums_of_a_weight_without_entries_are_zero():
    assert RemovedSums.of(np.zeros((0, 3)), np.zeros((0, 3))) == RemovedSums(0, 0.0, 0.0, 0.0)
