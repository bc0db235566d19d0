"""A training that is killed goes on where it was, and ends with the weights of one that was not."""

import errno
import functools
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests.workers import results, start
from tfmot_swd import (
    ProgressiveRate,
    PruningWarning,
    SelectiveDecay,
    UpdatePruningStep,
    prune_progressive_gradient,
    prune_selective_decay,
    strip_pruning,
)
from tfmot_swd.pruning.backup import TrainingBackup, _brief
from tfmot_swd.pruning.backup_metadata import difference

WORKER = Path(__file__).with_name("backup_worker.py")
NEVER = (-1, -1)


# Optimizer, and at which batch of which epoch each start ends: that of the last method with its process, twice.
TRAININGS = {
    "weight_change": ("adam", (3, 1)),
    "swd": ("sgd", (2, 1)),
    "structured": ("adam", (1, 2)),
    "rpgp": ("sgd", (1, 3), (2, 0)),
}


def test_killed_and_started_again_they_end_with_the_same_weights(tmp_path):
    def job(method: str, which: int, directory: Path | str = tmp_path) -> list[object]:
        optimizer, *ends = TRAININGS[method]
        return [method, optimizer, directory and directory / method, *[*ends, NEVER][which]]

    def left(method: str) -> list[str]:
        return [path.name for path in (tmp_path / method).glob("epoch_*")]

    def jobs(which: int, *directory: str) -> list[object]:
        return [each for method in TRAININGS for each in job(method, which, *directory)]

    killed = start(WORKER, *jobs(-1, ""), *jobs(0))
    expected = results(killed)
    assert killed.returncode == -signal.SIGKILL
    assert {method: left(method) for method in TRAININGS} == {
        method: [f"epoch_{ends[0][0]:05d}"] for method, (_, *ends) in TRAININGS.items()
    }
    killed_again = start(WORKER, *jobs(1))
    resumed = results(killed_again)
    assert killed_again.returncode == -signal.SIGKILL
    assert left("rpgp") == ["epoch_00002"]
    resumed += results(start(WORKER, *job("rpgp", 2)))
    for (method, (_, *ends)), ours, theirs in zip(TRAININGS.items(), resumed, expected, strict=True):
        assert ours["epochs"] == 4 - ends[-1][0], method
        for part in ("weights", "slots"):
            assert len(ours[part]) == len(theirs[part]), method
            for first, second in zip(ours[part], theirs[part], strict=True):
                np.testing.assert_array_equal(first, second, err_msg=method)
        # It has come to its end: the next start is a new training.
        assert not ours["left"], method


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


@functools.cache
def trained_for_two_epochs() -> keras.Model:
    model = wrapped()
    data = tf.data.Dataset.from_tensor_slices((np.ones((4, 6, 6, 1), "float32"), np.ones(4, "float32"))).batch(2)
    model.fit(data, epochs=2, verbose=0, callbacks=[UpdatePruningStep(partial_fit=True)])
    return model


def after_two_epochs(directory: Path) -> keras.Model:
    """Backs a model up that many tests share, and none changes."""
    model = trained_for_two_epochs()
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
        ({"rate": 0.7}, "schedule.config.final_rate was 0.5, and is 0.7"),
        ({"criterion": "l2"}, "settings.config.criterion.config.order was 1, and is 2"),
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
    assert difference(before, now) is None
    assert difference(now, before) == "schedule.config.new was 1, and there is no such setting now"
    now["schedule"]["config"]["end_step"] = 11
    assert difference(before, now) == "schedule.config.end_step was 10, and is 11"


def test_where_a_class_was_found_is_no_setting():
    before = {"settings": {"module": "tfmot_swd.pgp.settings", "class_name": "Settings", "config": {"a": 1}}}
    now = {"settings": {"module": "tfmot_swd.settings", "class_name": "Settings", "config": {"a": 1}}}
    assert difference(before, now) is None
    assert difference([before], [{"settings": {"class_name": "Other", "config": {"a": 1}}}]) == (
        "[0].settings.class_name was Settings, and is Other"
    )


def test_a_backup_from_before_there_were_checksums_comes_back(tmp_path):
    trained = after_two_epochs(tmp_path)
    path = tmp_path / "epoch_00002" / "training.json"
    note = json.loads(path.read_text())
    path.write_text(json.dumps({name: note[name] for name in ("epoch", "training", "filters", "optimizers")}, indent=1))
    fresh = wrapped()
    assert TrainingBackup(tmp_path).begin(fresh) == 2
    np.testing.assert_array_equal(fresh.get_weights()[0], trained.get_weights()[0])


def flip(path: Path, place: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "training.json").unlink(), "no training.json"),
        (lambda path: (path / "training.json").write_text("{"), "training.json, and JSONDecodeError"),
        (lambda path: (path / "training.json").write_text("[" * 100_000), "training.json, and RecursionError"),
        (lambda path: (path / "training.json").write_bytes(b"\xff"), "training.json, and UnicodeDecodeError"),
        (lambda path: (path / "training.json").write_text("{}"), "training.json with other content"),
        (lambda path: flip(path / "state.index", 0.5), "state.index with other content"),
        (lambda path: (path / "state.data-00000-of-00001").unlink(), "no state.data-00000-of-00001"),
        (lambda path: flip(path / "state.data-00000-of-00001", 0.3), "state.data-00000-of-00001 with other content"),
    ],
)
def test_a_damaged_backup_is_called_damaged(damage, message, tmp_path):
    after_two_epochs(tmp_path)
    damage(tmp_path / "epoch_00002")
    with pytest.raises(ValueError, match=f"epoch_00002 is damaged: put a copy .*remove this.*Received: {message}"):
        TrainingBackup(tmp_path).restore(wrapped())


def test_a_note_that_was_edited_is_damaged(tmp_path):
    after_two_epochs(tmp_path)
    path = tmp_path / "epoch_00002" / "training.json"
    path.write_text(path.read_text().replace('"epoch": 2', '"epoch": 1'))
    with pytest.raises(ValueError, match="is damaged.*Received: training.json with other content"):
        TrainingBackup(tmp_path).restore(wrapped())


def test_damaged_weights_of_a_backup_without_checksums_are_called_damaged(tmp_path):
    after_two_epochs(tmp_path)
    path = tmp_path / "epoch_00002" / "training.json"
    note = json.loads(path.read_text())
    path.write_text(json.dumps({name: note[name] for name in ("epoch", "training", "filters", "optimizers")}))
    (path.parent / "state.data-00000-of-00001").write_bytes(b"short")
    with pytest.raises(ValueError, match="is damaged.*Received: the checkpoint state"):
        TrainingBackup(tmp_path).restore(wrapped())


def small(activation: str = "relu", rate: float = 0.01, crossed: bool = False, pool: str = "Max") -> keras.Model:
    inputs = keras.Input((6, 6, 1))
    x = keras.layers.Conv2D(4, 3, activation=activation)(inputs)
    y = keras.layers.Conv2D(4, 1)(x)
    z = getattr(keras.layers, f"{pool}Pooling2D")()(x if crossed else y)
    outputs = keras.layers.Dense(1)(keras.layers.Flatten()(keras.layers.Add()([z, keras.layers.MaxPooling2D()(y)])))
    model = prune_progressive_gradient(keras.Model(inputs, outputs), ProgressiveRate(0.5, 4), "l1")
    model.compile(keras.optimizers.SGD(rate, 0.9), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def test_the_same_script_started_again_is_not_warned(tmp_path, recwarn):
    backup = TrainingBackup(tmp_path)
    backup.begin(small())
    backup.save(small(), 1)
    # In the same process Keras gives its layers other names.
    assert TrainingBackup(tmp_path).begin(small()) == 1
    assert not [each for each in recwarn if issubclass(each.category, PruningWarning)]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"crossed": True}, "is of another training.*the model's connections"),
        ({"pool": "Average"}, "is of another training.*the model's classes.*was MaxPooling2D, and is AveragePooling2D"),
    ],
)
def test_another_model_of_the_same_shapes_is_refused(other, message, tmp_path):
    backup = TrainingBackup(tmp_path)
    backup.begin(small())
    backup.save(small(), 1)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        TrainingBackup(tmp_path).begin(small(**other))


@pytest.mark.parametrize(
    ("other", "message"),
    [({"activation": "tanh"}, "activation was relu, and is tanh"), ({"rate": 0.5}, "learning_rate was 0.0")],
)
def test_other_settings_of_the_same_model_are_warned_of(other, message, tmp_path):
    backup = TrainingBackup(tmp_path)
    backup.begin(small())
    backup.save(small(), 1)
    with pytest.warns(PruningWarning, match=f"other settings than it began with.*Received: .*{message}"):
        assert TrainingBackup(tmp_path).begin(small(**other)) == 1


def test_another_method_is_another_training(tmp_path):
    after_two_epochs(tmp_path)
    net = keras.Sequential([keras.layers.Dense(2, input_shape=(3,))])
    model = prune_selective_decay(net, SelectiveDecay(0.5, end_step=4))
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match="is of another training.*Received: "):
        TrainingBackup(tmp_path).begin(model)


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_file_in_the_way_is_said_before_the_first_epoch(where, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match="must be a directory.*Received: backup_dir=.*a file is in the way"):
        fitted(wrapped(), tmp_path / where, 4)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_is_said_before_the_first_epoch(tmp_path, monkeypatch):
    asked = []

    def full(descriptor: int, offset: int, size: int) -> None:
        asked.append(size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="The disk has no space for a backup, which takes about .*Received: backup_dir="):
        fitted(wrapped(), tmp_path, 4)
    # Conv2D of 8 filters and Dense on 4 * 4 * 8 values, and more than that in wrappers and optimizer.
    assert asked[0] >= 4 * (8 * 9 + 8 + 128 + 1)


class Killed(BaseException):
    """In the place of SIGKILL: no handler of errors sees it."""


def killed_at(monkeypatch: pytest.MonkeyPatch, number: int) -> list[str]:
    """Has the file operation of that number be the last; a tree is half removed then. Returns what was done."""
    done: list[str] = []

    def dying(name: str, call: object, half: object) -> object:
        def operation(*args: object, **options: object) -> object:
            done.append(name)
            if len(done) > number:
                half(*args)
                raise Killed
            return call(*args, **options)

        return operation

    def half_removed(path: Path, *_: object) -> None:
        if Path(path).is_dir():
            next(iter(sorted(Path(path).iterdir()))).unlink()

    monkeypatch.setattr(shutil, "rmtree", dying("rmtree", shutil.rmtree, half_removed))
    monkeypatch.setattr(os, "replace", dying("replace", os.replace, lambda *_: None))
    monkeypatch.setattr(Path, "write_text", dying("write", Path.write_text, lambda path, _: path.write_bytes(b"{")))
    monkeypatch.setattr(Path, "unlink", dying("unlink", Path.unlink, lambda *_: None))
    monkeypatch.setattr(Path, "rmdir", dying("rmdir", Path.rmdir, lambda *_: None))
    return done


@pytest.mark.parametrize("task", ["save", "save again", "delete"])
def test_a_kill_at_any_file_operation_leaves_the_old_one_or_the_new_one(task, tmp_path):
    model = small()
    for number in range(100):
        directory = tmp_path / str(number)
        backup = TrainingBackup(directory)
        backup.begin(model)
        backup.save(model, 1)
        survived = True
        with pytest.MonkeyPatch.context() as monkeypatch:
            done = killed_at(monkeypatch, number)
            try:
                backup.delete() if task == "delete" else backup.save(model, 2 if task == "save" else 1)
            except Killed:
                survived = False
        again = TrainingBackup(directory)
        epoch = again.begin(small())
        assert epoch in {"save": (1, 2), "save again": (1,), "delete": (1, 0)}[task], (number, done)
        # What was left is removed, and the next run goes on.
        again.save(model, 3)
        assert sorted(path.name for path in directory.iterdir()) == ["epoch_00003", "owner.lock"]
        again.delete()
        assert not directory.exists()
        if survived:
            break
    assert survived
    assert number >= 4
