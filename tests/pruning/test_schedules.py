import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfmot_swd import (
    SelectiveDecay,
    StructuredDecay,
    UpdatePruningStep,
    prune_now,
    prune_selective_decay,
    strip_pruning,
)

X, Y = np.ones((12, 3), np.float32), np.ones((12, 2), np.float32)
KINDS = [SelectiveDecay, StructuredDecay]


def wrapped(schedule: SelectiveDecay | StructuredDecay) -> keras.Model:
    net = keras.Sequential([keras.layers.Dense(4, input_shape=(3,)), keras.layers.Dense(2)])
    model = prune_selective_decay(net, schedule)
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_epochs_become_updates_when_the_first_fit_begins(kind):
    model = wrapped(kind(0.5, epochs=2))
    callback = UpdatePruningStep()
    model.fit(X, Y, batch_size=4, epochs=3, verbose=0, callbacks=[callback])
    assert [each.is_pruned for each in callback.history] == [False, True, True]
    layer = model.layers[0]
    assert layer.pruning_schedule == layer.pruning_obj._pruning_schedule == kind(0.5, end_step=6)


def test_epochs_of_all_phases_count_as_long_as_those_of_the_first():
    model = wrapped(SelectiveDecay(0.5, epochs=4))
    model.fit(X, Y, batch_size=4, epochs=2, verbose=0, callbacks=[UpdatePruningStep(partial_fit=True)])
    callback = UpdatePruningStep()
    model.fit(X, Y, batch_size=6, epochs=3, verbose=0, callbacks=[callback])
    # 2 · 3 updates, and 2 an epoch: 12 after three more.
    assert [(each.step, each.is_pruned) for each in callback.history] == [(8, False), (10, False), (12, True)]


def test_a_killed_training_goes_on_and_files_keep_the_epochs(tmp_path):
    class Killed(Exception):
        pass

    def kill(epoch, logs):
        if epoch == 1:
            raise Killed

    for callbacks in ([keras.callbacks.LambdaCallback(on_epoch_end=kill)], []):
        model = wrapped(SelectiveDecay(0.5, epochs=3))
        callbacks = [UpdatePruningStep(backup_dir=tmp_path / "backup"), *callbacks]
        try:
            model.fit(X, Y, batch_size=4, epochs=3, verbose=0, callbacks=callbacks)
        except Killed:
            continue
    assert [each.step for each in callbacks[0].history] == [6, 9]
    strip_pruning(model)
    wrapped(SelectiveDecay(0.5, epochs=3)).save(tmp_path / "untrained.keras")
    loaded = keras.models.load_model(tmp_path / "untrained.keras")
    assert loaded.layers[0].pruning_schedule == SelectiveDecay(0.5, epochs=3)


def test_a_training_that_is_refused_leaves_the_epochs():
    model = wrapped(SelectiveDecay(0.5, epochs=4))
    with pytest.raises(ValueError, match="The schedule ends at update 12 and this fit at 6"):
        model.fit(X, Y, batch_size=4, epochs=2, verbose=0, callbacks=[UpdatePruningStep()])
    callback = UpdatePruningStep()
    model.fit(X, Y, batch_size=2, epochs=4, verbose=0, callbacks=[callback])
    assert [(each.step, each.is_pruned) for each in callback.history[-2:]] == [(18, False), (24, True)]


def test_weights_that_were_trained_for_longer_are_told(tmp_path):
    model = wrapped(SelectiveDecay(0.5, epochs=4))
    model.fit(X, Y, batch_size=2, epochs=2, verbose=0, callbacks=[UpdatePruningStep(partial_fit=True)])
    model.save_weights(tmp_path / "half.h5")
    other = wrapped(SelectiveDecay(0.5, epochs=4))
    other.load_weights(tmp_path / "half.h5")
    with pytest.raises(ValueError, match="Received: epochs=4 of 3 steps, 12 updates made$"):
        other.fit(X, Y, batch_size=4, epochs=4, verbose=0, callbacks=[UpdatePruningStep()])
    prune_now(other)


def test_where_nobody_knows_the_steps_it_is_said_at_once():
    data = tf.data.Dataset.from_generator(
        lambda: [(X, Y)], output_signature=(tf.TensorSpec((12, 3)), tf.TensorSpec((12, 2)))
    )
    with pytest.raises(
        ValueError, match=r"pass steps_per_epoch to fit.*or give the schedule an end_step.*epochs=2, steps"
    ):
        wrapped(SelectiveDecay(0.5, epochs=2)).fit(data, epochs=2, verbose=0, callbacks=[UpdatePruningStep()])
    callback = UpdatePruningStep()
    callback.set_model(wrapped(SelectiveDecay(0.5, epochs=2)))
    with pytest.raises(ValueError, match="an end_step in a custom loop. Received: epochs=2, steps=None$"):
        callback.on_train_begin()


def test_before_a_fit_it_has_no_end_yet():
    schedule = SelectiveDecay(0.5, epochs=2)
    for ask in (schedule, schedule.sparsity, schedule.a, schedule.is_due):
        with pytest.raises(
            ValueError, match=r"not known before a fit.*with_steps\(steps_per_epoch\).*Received: epochs=2$"
        ):
            ask(tf.constant(1))
    assert schedule.with_steps(5) == SelectiveDecay(0.5, end_step=10) == SelectiveDecay(0.5, 10).with_steps(7)
    assert float(schedule.with_steps(5).sparsity(10)) == 0.5
    with pytest.raises(ValueError, match="Received: 0 of the updates of 2 epochs made$"):
        strip_pruning(wrapped(schedule))


@pytest.mark.parametrize("kind", KINDS)
def test_pruning_at_once_needs_no_end(kind):
    model = wrapped(kind(0.5, epochs=2))
    prune_now(model)
    weights = np.concatenate([each.ravel() for each in strip_pruning(model, remove_channels=False).get_weights()])
    # Half of 26 parameters: single ones, or channels of 6.
    assert np.count_nonzero(weights == 0) >= 13


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("given", "received"),
    [
        ({}, "end_step=0, epochs=None"),
        ({"end_step": 5, "epochs": 2}, "end_step=5, epochs=2"),
        ({"epochs": 0}, "epochs=0"),
        ({"epochs": 1.5}, "epochs=1.5"),
        ({"epochs": 2, "begin_step": 1.5}, "begin_step=1.5"),
    ],
)
def test_the_end_is_given_once(kind, given, received):
    with pytest.raises(ValueError, match=f"Received: {received}$"):
        kind(0.5, **given)


def test_a_phase_without_pruning_that_is_as_long_as_all_is_said():
    with pytest.raises(ValueError, match="Received: begin_step=6, end_step=6"):
        SelectiveDecay(0.5, epochs=2, begin_step=6).with_steps(3)


def test_sizes_of_datasets_are_counts():
    data = tf.data.Dataset.range(20).batch(4)
    assert SelectiveDecay(0.5, 3 * data.cardinality()) == SelectiveDecay(0.5, np.float64(15)) == SelectiveDecay(0.5, 15)
    for unknown in (data.repeat(), data.filter(lambda each: True)):
        with pytest.raises(ValueError, match="unknown or infinite size has no cardinality$"):
            SelectiveDecay(0.5, unknown.cardinality())


def test_the_published_presets_take_epochs_too():
    assert SelectiveDecay.paper(0.5, epochs=2).with_steps(5) == SelectiveDecay.paper(0.5, 10)
    assert StructuredDecay.paper(0.5, epochs=2).with_steps(5) == StructuredDecay.paper(0.5, 10)
    assert dataclasses.asdict(SelectiveDecay.paper(0.5, 10))["epochs"] is None
