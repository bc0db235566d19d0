"""A method of one's own, registered from outside the package: everything finds it."""

import ast
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from examples.acdc import AlternatingPhases, prune_acdc
from tfmot_swd.cli.main import main

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 8)).astype(np.float32)
Y = (X[:, :3] > 0).argmax(1)
SCHEDULE = AlternatingPhases(final_sparsity=0.75, begin_step=4, end_step=12, phase_steps=4)


def net():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.layers.Dense(8, "relu", input_shape=(8,)), keras.layers.Dense(3)])


def trained(callbacks, epochs=4):
    model = prune_acdc(net(), SCHEDULE)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit(X, Y, batch_size=16, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks)
    return model, history


@pytest.mark.parametrize(
    ("step", "begins", "compressed"), [(0, 0, 0), (3, 0, 0), (4, 1, 1), (7, 0, 1), (8, 1, 0), (12, 1, 1), (50, 0, 1)]
)
def test_phases_alternate_and_the_last_one_is_compressed(step, begins, compressed):
    step = tf.constant(step, tf.int64)
    assert bool(SCHEDULE.begins_phase(step)) == begins
    assert bool(SCHEDULE.is_compressed(step)) == compressed


def test_weights_are_pruned_and_set_free_in_turn():
    callback = tfmot_swd.UpdatePruningStep()
    model, history = trained([callback])
    # Of 64 + 8 + 24 + 3 weights int(0.75 · 99) are zero, biases of a dense layer among them.
    assert [round(each.sparsity * 99) for each in callback.history][1::2] == [74, 74]
    assert history.history["sparsity"][2] < 0.2
    stripped = tfmot_swd.strip_pruning(model, remove_channels=False)
    assert sum(int((each == 0).sum()) for each in stripped.get_weights()) == 74


def test_the_drop_in_knows_its_schedule():
    assert type(tfmot_swd.prune_low_magnitude(net(), SCHEDULE).layers[0]).__name__ == "PruneAlternating"


def test_it_ends_at_once():
    model = prune_acdc(net(), SCHEDULE)
    tfmot_swd.prune_now(model)
    assert sum(int((each == 0).sum()) for each in tfmot_swd.strip_pruning(model).get_weights()) > 0


def test_channels_leave_with_their_masks():
    model = prune_acdc(net(), SCHEDULE)
    groups = tfmot_swd.channels.channel_groups(model)
    (name,) = groups
    small = tfmot_swd.channels.remove_channels(model, {name: np.arange(8) < 5})
    assert small.layers[0].pruning_vars[0][1].shape == (8, 5)


def test_its_training_goes_on_from_a_file_and_from_a_backup(tmp_path):
    class Crash(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise InterruptedError

    whole, _ = trained([tfmot_swd.UpdatePruningStep()])
    with pytest.raises(InterruptedError):
        trained([tfmot_swd.UpdatePruningStep(backup_dir=tmp_path / "backup"), Crash()])
    again, history = trained([tfmot_swd.UpdatePruningStep(backup_dir=tmp_path / "backup")])
    half, _ = trained([tfmot_swd.UpdatePruningStep(partial_fit=True)], epochs=2)
    half.save(tmp_path / "half.keras")
    loaded = keras.models.load_model(tmp_path / "half.keras")
    loaded.fit(X, Y, batch_size=16, epochs=2, shuffle=False, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep()])
    assert history.epoch == [2, 3]
    for model in (again, loaded):
        for expected, found in zip(whole.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_report_draws_it(tmp_path):
    callback = tfmot_swd.UpdatePruningStep()
    model, history = trained([callback])
    report = tfmot_swd.device_report(net(), tfmot_swd.strip_pruning(model), history=history, statuses=callback.history)
    assert "weights that are zero" in [panel.title for panel in report.panels]


def test_the_command_line_finds_it(tmp_path, capsys):
    net().save(tmp_path / "net.keras")
    np.savez(tmp_path / "train.npz", x=X, y=Y)
    flags = ["--method=acdc", "--modules=examples.acdc", "--rate=0.5", "--epochs=2"]
    flags += [f"--data={tmp_path / 'train.npz'}", f"--output={tmp_path / 'small.keras'}"]
    assert main(["prune", str(tmp_path / "net.keras"), *flags]) == 0
    assert (tmp_path / "small.keras").exists()
    assert "kernel weights that are not zero" in capsys.readouterr().out


def test_it_imports_public_names_alone():
    folder = Path(__file__).parents[2] / "examples" / "acdc"
    modules = {
        node.module
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module.startswith("tfmot_swd")
    }
    assert modules == {"tfmot_swd", "tfmot_swd.pruning"}
