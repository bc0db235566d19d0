"""Trainings that end before their schedule, are cut at once, or cannot be pruned: what is said then."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tests.pgp.nets import X, Y, batches, begun, compiled, fit, layer_of, loss_of, sgd, small, step_of, widths, wrapped


class Stop(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = batch >= 1


def test_a_fit_that_ends_early_warns_and_is_not_stripped():
    model = compiled(wrapped(small(), rate=0.5, epochs=2), run_eagerly=True)
    with pytest.warns(tfmot_swd.PruningWarning, match="ended after 1 of 2 epochs.*Train on.*2 updates, 1 reported"):
        fit(model, 2, callbacks=[Stop()])
    with pytest.raises(ValueError, match="schedule is not finished.*prune_now.*Received: 1 of 2 epochs finished"):
        tfmot_swd.strip_pruning(model)
    tfmot_swd.prune_now(model)
    assert widths(tfmot_swd.strip_pruning(model))["a"] == 3


def test_a_loop_that_never_reports_the_end_of_an_epoch_is_told_so():
    model = wrapped(small(), rate=0.5, epochs=2)
    callback = begun(model)
    for x, y in batches(2):
        step_of(model)(x, y)
    with pytest.warns(tfmot_swd.PruningWarning, match=r"callback.on_epoch_end\(epoch\) after each.*0 reported ends"):
        callback.on_train_end()
    with pytest.raises(ValueError, match="on_epoch_end.epoch. called after each epoch of a custom loop.*0 of 2"):
        tfmot_swd.strip_pruning(model)


def test_one_of_several_fits_does_not_warn(recwarn):
    fit(compiled(wrapped(small(), rate=0.5, epochs=2), run_eagerly=True), partial_fit=True)
    assert not [each for each in recwarn if issubclass(each.category, tfmot_swd.PruningWarning)]


def test_cut_now_in_the_middle_of_a_fit(seen):
    class Cut(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1 and not seen:
                tfmot_swd.prune_now(self.model)

    model = compiled(wrapped(small(), rate=0.5, epochs=3))
    callback = fit(model, 3, callbacks=[Cut()])
    assert [(each.epoch, each.channels, each.done) for each in callback.history] == [(3, 4, True)]
    assert model.history.history["channels"] == [4, 4, 4]
    assert model.optimizer.iterations.numpy() == 12
    assert widths(tfmot_swd.strip_pruning(model))["a"] == 4
    # Both updates count, the last one too.
    assert len(seen) == 1
    assert seen[0]["a"].min() > 0


def test_cut_now_ranks_by_weights_where_nothing_has_been_seen():
    model = wrapped(small(), rate=0.5, epochs=3)
    norms = np.array([1, 8, 2, 7, 3, 6, 4, 5], np.float32)
    layer_of(model, "a").kernel.assign(np.broadcast_to(norms, (3, 3, 2, 8)))
    tfmot_swd.prune_now(model)
    np.testing.assert_array_equal(layer_of(model, "a").kernel[0, 0, 0], [8, 7, 6, 5])
    tfmot_swd.prune_now(model)
    assert widths(model)["a"] == 4


def test_a_schedule_longer_than_the_fit_is_an_error():
    model = compiled(wrapped(small(), epochs=3))
    with pytest.raises(ValueError, match=r"3 epochs left and this fit 2.*ProgressiveRate\(epochs=3\), fit\(epochs=2\)"):
        fit(model, 2)
    model = compiled(wrapped(small(), epochs=3, updates_per_epoch=3))
    with pytest.raises(ValueError, match="3 epochs left and this fit 2"):
        fit(model, 2)


def test_training_without_the_callback_says_what_to_do():
    with pytest.raises(
        ValueError, match=r"UpdatePruningStep\(\)\] to model.fit.*on_epoch_end\(epoch\) after each epoch"
    ):
        compiled(wrapped(small()), run_eagerly=True).fit(X, Y, verbose=0)


def test_a_criterion_that_sees_no_gradient_says_what_to_do():
    model = wrapped(small())
    callback = begun(model)
    with pytest.raises(ValueError, match="has received no gradient.*training=True.*with model.optimizer.*GradientNorm"):
        callback.on_epoch_end(0)


def test_a_loop_with_another_optimizer_says_what_to_do():
    model, other = wrapped(small()), sgd()
    callback = begun(model)
    for x, y in batches(2):
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True))
        other.minimize(loss, model.trainable_variables, tape=tape)
    with pytest.raises(ValueError, match="apply their gradients with model.optimizer"):
        callback.on_epoch_end(0)


@pytest.mark.parametrize("criterion", ["rpgp", "weight_change", "l1"])
def test_a_training_that_has_diverged_is_noticed(criterion):
    class Break(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            kernel = layer_of(self.model, "a").kernel
            kernel.assign(tf.fill(kernel.shape, np.nan))

    model = compiled(wrapped(small(), criterion=criterion), run_eagerly=True)
    with pytest.raises(ValueError, match="NaN or infinite: the training has diverged.*a/kernel after epoch 1"):
        fit(model, callbacks=[Break()])


def test_a_model_without_optimizer_is_refused():
    model = wrapped(small())
    callback = tfmot_swd.UpdatePruningStep()
    callback.set_model(model)
    with pytest.raises(ValueError, match="has no optimizer"):
        callback.on_train_begin()


def test_two_callbacks_in_one_fit_are_refused():
    model = compiled(wrapped(small(), rate=0.5, epochs=1), run_eagerly=True)
    with pytest.raises(ValueError, match="one UpdatePruningStep: .*Received: two of them"):
        fit(model, callbacks=[tfmot_swd.UpdatePruningStep()])
    # What such a fit leaves behind does not stand in the way of the next.
    assert fit(model).history[-1].done
