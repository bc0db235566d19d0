"""A training that is killed goes on where it was, and ends with the weights of one that was not."""

import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests.workers import results, start
from tfmot_swd import ProgressiveRate, UpdatePruningStep, prune_progressive_gradient, strip_pruning
from tfmot_swd.backup import TrainingBackup, _agree, _brief

WORKER = Path(__file__).with_name("backup_worker.py")
NEVER = (-1, -1)


# Method, optimizer, and at which batch of which epoch each start is killed.
TRAININGS = [
    ("rpgp", "sgd", [(1, 3), (3, 0)]),
    ("weight_change", "adam", [(4, 2)]),
    ("pgp", "sgd", [(2, 5)]),
    ("swd", "sgd", [(2, 1)]),
    ("structured", "adam", [(1, 4)]),
]


def test_killed_and_started_again_they_end_with_the_same_weights(tmp_path):
    def train(directory: Path | None) -> subprocess.Popen:
        backups = [directory / method if directory else "" for method, _, _ in TRAININGS]
        jobs = zip(TRAININGS, backups, strict=True)
        return start(WORKER, *(each for (method, name, _), backup in jobs for each in (method, name, backup, *NEVER)))

    whole = train(None)
    for method, optimizer, deaths in TRAININGS:
        for at in deaths:
            killed = start(WORKER, method, optimizer, tmp_path / method, *at)
            killed.communicate(timeout=240)
            assert killed.returncode == -signal.SIGKILL
            assert [path.name for path in (tmp_path / method).glob("epoch_*")] == [f"epoch_{at[0]:05d}"]
    outcomes = zip(TRAININGS, results(train(tmp_path)), results(whole), strict=True)
    for (method, _, deaths), resumed, expected in outcomes:
        assert resumed["epochs"] == 5 - deaths[-1][0], method
        for part in ("weights", "slots"):
            assert len(resumed[part]) == len(expected[part]), method
            for ours, theirs in zip(resumed[part], expected[part], strict=True):
                np.testing.assert_array_equal(ours, theirs, err_msg=method)
        # It has come to its end: the next start is a new training.
        assert not resumed["left"], method


def test_a_reason_of_pages_is_cut():
    assert _brief(ValueError("two\n  lines")) == "two lines"
    assert _brief(AssertionError("ab\n" * 4000)) == "ab " * 100 + " ..."


def wrapped(width: int = 8, rate: float = 0.5, criterion: str = "l1") -> keras.Model:
    net = keras.Sequential(
        [
            keras.layers.Conv2D(width, 3, input_shape=(6, 6, 1), name="conv"),
            keras.layers.Flatten(),
            keras.layers.Dense(1, name="head"),
        ],
        name="net",
    )
    model = prune_progressive_gradient(net, ProgressiveRate(rate, 4), criterion)
    model.compile(keras.optimizers.Adam(), "mse")
    return model


def after_two_epochs(directory: Path) -> keras.Model:
    model = wrapped()
    data = tf.data.Dataset.from_tensor_slices((np.ones((4, 6, 6, 1), "float32"), np.ones(4, "float32"))).batch(2)
    model.fit(data, epochs=2, verbose=0, callbacks=[UpdatePruningStep(partial_fit=True)])
    TrainingBackup(directory).save(model, 2)
    return model


def test_it_comes_back_with_the_channels_scores_and_slots_that_it_had(tmp_path):
    trained = after_two_epochs(tmp_path)
    fresh = wrapped()
    assert TrainingBackup(tmp_path).restore(fresh) == 2
    assert fresh.get_layer("prune_progressive_gradient_conv").layer.filters == 6
    for ours, theirs in zip(fresh.weights, trained.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    for ours, theirs in zip(fresh.optimizer.variables, trained.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"width": 4}, "filters"),
        ({"rate": 0.7}, "schedule was"),
        ({"criterion": "l2"}, "settings was"),
    ],
)
def test_a_backup_of_another_training_is_refused(other, message, tmp_path):
    after_two_epochs(tmp_path)
    model = wrapped(**other)
    before = model.get_weights()
    with pytest.raises(ValueError, match=f"(?s)is of another training.*Received: {message}"):
        TrainingBackup(tmp_path).restore(model)
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_parts_of_a_concatenation_come_back_as_they_were(tmp_path):
    def build() -> keras.Model:
        inputs = keras.Input((6, 6, 1))
        left = keras.layers.Conv2D(6, 3, padding="same")(inputs)
        right = keras.layers.Conv2D(6, 3, padding="same")(inputs)
        both = keras.layers.Concatenate()([left, right])
        both = keras.layers.Add()([both, keras.layers.Conv2D(12, 3, padding="same")(inputs)])
        grouped = keras.layers.Conv2D(8, 1, groups=4)(keras.layers.Conv2D(8, 3)(both))
        net = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(grouped)))
        model = prune_progressive_gradient(net, ProgressiveRate(0.6, 3), "random", seed=5)
        model.compile(keras.optimizers.SGD(0.01, 0.9), "mse")
        return model

    data = tf.data.Dataset.from_tensor_slices((np.ones((4, 6, 6, 1), "float32"), np.ones(4, "float32"))).batch(2)
    trained = build()
    trained.fit(data, epochs=2, verbose=0, callbacks=[UpdatePruningStep(partial_fit=True)])
    TrainingBackup(tmp_path).save(trained, 2)
    # Keras gives these layers other names than those in the backup.
    fresh = build()
    assert TrainingBackup(tmp_path).restore(fresh) == 2
    assert fresh.count_params() < build().count_params()
    for ours, theirs in zip(fresh.weights, trained.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_a_backup_that_was_not_finished_does_not_count(tmp_path):
    after_two_epochs(tmp_path)
    partial = tmp_path / "partial"
    partial.mkdir()
    (partial / "state.index").write_bytes(b"half")
    assert TrainingBackup(tmp_path).restore(wrapped()) == 2
    TrainingBackup(tmp_path).save(wrapped(), 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch_00003"]


def test_an_empty_directory_begins_at_the_beginning_and_is_removed_at_the_end(tmp_path):
    model = wrapped()
    data = tf.data.Dataset.from_tensor_slices((np.ones((4, 6, 6, 1), "float32"), np.ones(4, "float32"))).batch(2)
    model.fit(data, epochs=4, verbose=0, callbacks=[UpdatePruningStep(backup_dir=tmp_path / "new" / "backup")])
    assert strip_pruning(model).get_layer("conv").filters == 4
    assert not (tmp_path / "new" / "backup").exists()


def fitted(model: keras.Model, directory: Path, epochs: int, stop: int | None = None) -> None:
    data = tf.data.Dataset.from_tensor_slices((IMAGES, IMAGES.mean(axis=(1, 2, 3)))).batch(4)

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == stop:
                raise KeyboardInterrupt

    callbacks = [UpdatePruningStep(backup_dir=directory), Stop()]
    model.fit(data, epochs=epochs, verbose=0, callbacks=callbacks)


IMAGES = np.random.default_rng(0).normal(size=(8, 6, 6, 1)).astype(np.float32)


class Backwards(keras.Model):
    """A training step whose optimizer is built on the variables in an order of its own."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self(x, training=True)[:, 0] - y) ** 2)
        variables = self.trainable_variables[::-1]
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return {"loss": loss}


@pytest.mark.parametrize("kind", ["mixed precision", "an order of its own", "a part"])
def test_it_goes_on_with_the_optimizer_as_it_was_built(kind, tmp_path):
    def build() -> keras.Model:
        keras.utils.set_random_seed(0)
        if kind == "mixed precision":
            keras.mixed_precision.set_global_policy("mixed_float16")
        try:
            net = wrapped()
        finally:
            keras.mixed_precision.set_global_policy("float32")
        if kind == "mixed precision":
            return net
        model = Backwards(net.inputs, net.outputs)
        if kind == "a part":
            model.layers[-1].trainable = False
        model.compile(keras.optimizers.SGD(0.01, momentum=0.9))
        return model

    whole = build()
    fitted(whole, tmp_path / "whole", 4)
    with pytest.raises(KeyboardInterrupt):
        fitted(build(), tmp_path / "backup", 4, stop=2)
    resumed = build()
    fitted(resumed, tmp_path / "backup", 4)
    for ours, theirs in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_settings_that_are_newer_than_a_backup_are_left_aside():
    before = {"schedule": {"class_name": "SelectiveDecay", "config": {"final_sparsity": 0.8, "end_step": 10}}}
    now = {"schedule": {"class_name": "SelectiveDecay", "config": {"final_sparsity": 0.8, "end_step": 10, "new": 1}}}
    assert _agree(before, now)
    assert not _agree(now, before)
    now["schedule"]["config"]["end_step"] = 11
    assert not _agree(before, now)
