"""`prune`: a smaller model, at once or trained; it is within what was asked, and nothing else is overwritten."""

import json
import shutil

import numpy as np
import pytest
import tf_keras as keras

from tests.workflows.nets import Cut
from tfmot_swd import profile
from tfmot_swd.pruning.methods import Target, method_named
from tfmot_swd.workflows.job import Job


def load(path):
    return keras.models.load_model(path, compile=False)


def test_without_data_the_weakest_channels_go_at_once(run, net, tmp_path):
    output = tmp_path / "new" / "small.keras"
    code, out, err = run("prune", net, "--macs=0.5", f"--output={output}", "--round_to=2")
    assert (code, err) == (0, "")
    assert "Nothing was trained" in out
    assert "144" in out
    small = load(output)
    assert profile(small).macs <= 72
    assert small.get_layer("hidden").units == 8
    # The units that stay are those of the larger filters.
    whole = load(net)
    norms = np.linalg.norm(whole.get_layer("hidden").kernel.numpy(), axis=0)
    kept = np.sort(norms.argsort()[-8:])
    np.testing.assert_array_equal(small.get_layer("hidden").kernel, whole.get_layer("hidden").kernel.numpy()[:, kept])
    assert [path.name for path in output.parent.iterdir()] == ["small.keras"]


def test_a_structured_training_is_within_its_budget(run, net, train, tmp_path):
    output, record = tmp_path / "small.keras", tmp_path / "record.json"
    code, out, err = run(
        *("prune", net, "--sparsity=0.5", f"--data={train}", f"--output={output}", f"--json={record}"),
        *("--epochs=3", "--batch_size=32", "--learning_rate=0.05"),
    )
    assert code == 0, err
    assert "sparse categorical crossentropy of logits (guessed" in err
    assert "288 samples to train on, 32 to validate on" in err
    assert "epoch 3 of 3: loss" in err
    assert "validation accuracy" in out
    small = load(output)
    assert profile(small).parameters <= 163 // 2
    content = json.loads(record.read_text())
    compared = content["compared"]
    assert compared["parameters"] == {"before": 163, "after": profile(small).parameters}
    assert compared["validation accuracy"]["after"] > 0.8 > compared["validation accuracy"]["before"]
    assert content["flags"]["sparsity"] == 0.5
    assert len(content["history"]["loss"]) == len(content["statuses"]) == 3
    assert content["final_step"]["before"] == content["final_step"]["after"]


def test_with_a_drop_the_smallest_is_searched_and_every_try_is_kept(run, net, train, tmp_path, monkeypatch):
    monkeypatch.setattr(Job, "trained_to", Cut())
    output, record = tmp_path / "small.keras", tmp_path / "record.json"
    arguments = [*("prune", net, "--max_drop=5", f"--data={train}"), f"--output={output}", f"--json={record}"]
    code, out, err = run(*arguments, "--by=macs", "--max_trials=2")
    assert code == 0, err
    assert "Searching for the least macs with accuracy" in err
    assert f"Every try is kept in {tmp_path / 'small.trials'}" in err
    content = json.loads(record.read_text())
    search = content["search"]
    assert 0 < len(search["trials"]) <= 2
    taken = search["trials"][search["best"]]
    assert profile(load(output)).macs == taken["cost"] == content["compared"]["MACs"]["after"]
    assert content["compared"]["validation accuracy"]["after"] == taken["metric"]
    assert "of the whole" in out
    assert "training" in out
    assert search["met"]
    assert content["history"] == {"loss": [1.0, 0.5], "val_mae": [2.0, 1.0]}


def test_a_drop_that_nothing_meets_is_exit_code_1_with_the_best_written(run, net, train, tmp_path, monkeypatch):
    monkeypatch.setattr(Job, "trained_to", Cut())
    monkeypatch.setattr("tfmot_swd.workflows.floor.Floor.holds", lambda self, metric: False)
    output = tmp_path / "small.keras"
    code, out, _ = run("prune", net, "--max_drop=0.1", f"--data={train}", f"--output={output}", "--max_trials=1")
    assert code == 1
    assert "The floor was not met" in out
    assert load(output).get_layer("hidden").units < 16


def test_a_rate_of_weights_is_for_the_whole_training(net):
    # It trains as above; only what is wrapped, and how, is another.
    pruned = method_named("swd").wrap_to(load(net), Target(0.75, None, 3, 10), skip=("head",))
    hidden, head = pruned.layers
    assert (hidden.pruning_schedule.final_sparsity, hidden.pruning_schedule.end_step) == (0.75, 30)
    assert type(head) is keras.layers.Dense


def test_filters_leave_while_it_trains_and_it_goes_on_after_a_crash(run, net, train, tmp_path, monkeypatch):
    output, backup = tmp_path / "small.keras", tmp_path / "backup"
    arguments = ["prune", net, "--method=pgp", "--rate=0.5", f"--data={train}", f"--output={output}"]
    arguments += ["--epochs=2", "--batch_size=64", f"--backup_dir={backup}", f"--json={tmp_path / 'record.json'}"]

    def crash(self, epoch, logs=None):
        if epoch == 1:
            raise RuntimeError("the power is gone")

    with monkeypatch.context() as broken:
        broken.setattr("tfmot_swd.workflows.progress.FitProgress.on_epoch_end", crash)
        code, _, err = run(*arguments)
    assert code == 1
    assert "the power is gone" in err
    assert not output.exists()

    code, _, err = run(*arguments)
    assert code == 0, err
    # The first epoch was not made twice.
    assert "epoch 1 of 2" not in err
    assert "epoch 2 of 2: loss" in err
    assert load(output).get_layer("hidden").units == 8
    assert not backup.exists()
    # The record says where its history begins.
    record = json.loads((tmp_path / "record.json").read_text())
    assert (record["first_epoch"], len(record["history"]["loss"])) == (1, 1)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "Say how small"),
        (["--macs=1.5"], "macs must be a count"),
        (["--macs=half"], "could not convert"),
        (["--rate=1"], "between 0 and 1"),
        (["--rate=0.5", "--macs=0.5"], "not both"),
        (["--sparsity=0.5", "--parameters=0.5"], "say the same"),
        (["--rate=0.5", "--method=swd"], "prunes while it trains"),
        (["--macs=0.5", "--method=swd", "--data=x.npz"], "takes --rate and no budget"),
        (["--macs=0.5", "--data=x.npz"], "--data names no file"),
        (["--macs=0.5", "--output=small.onnx"], "must end in .keras or .h5"),
        (["--macs=0.5", "--output="], "says where the result goes"),
        (["--max_drop=1", "--macs=0.5"], "not both. Received: --max_drop=1 and --macs=0.5"),
        (["--max_drop=0", "--data=x.npz"], "--max_drop must be a number of points above 0"),
        (["--max_drop=1"], "--max_drop=1 prunes while it trains"),
        (["--floor=0.9"], "--floor=0.9 prunes while it trains"),
        (["--floor=0.9", "--rate=0.5"], "not both. Received: --floor=0.9 and --rate=0.5"),
        (["--max_drop=1", "--data=x.npz", "--by=watts"], "no cost of this name"),
        (["--max_drop=1", "--data=x.npz", "--by=macs", "--method=swd"], "makes zeros"),
        (["--macs=0.5", "--by=macs"], "--by goes with --max_drop"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_any_work(flags, message, run, net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run("prune", net, "--output=small.keras", *flags)
    assert (code, out) == (2, "")
    assert message in err
    assert not list(tmp_path.iterdir())


def test_a_budget_that_cannot_be_met_says_what_can_be(run, net, tmp_path):
    code, _, err = run("prune", net, "--macs=1e-6", f"--output={tmp_path / 'small.keras'}")
    assert code == 2
    assert "the model still has macs=9" in err
    assert not list(tmp_path.iterdir())


def test_the_model_that_is_read_is_never_overwritten(run, net, tmp_path):
    path = tmp_path / "net.keras"
    shutil.copy(net, path)
    (tmp_path / "link.keras").symlink_to(path)
    for output in (path, tmp_path / "link.keras"):
        code, _, err = run("prune", path, "--macs=0.5", f"--output={output}")
        assert code == 2
        assert "would overwrite what is read" in err
    assert path.read_bytes() == net.read_bytes()


def test_a_model_that_is_not_saved_whole_leaves_the_older_one(run, net, tmp_path, monkeypatch):
    output = tmp_path / "small.keras"
    output.write_text("older")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tfmot_swd.io.atomic.os.fsync", full)
    code, _, err = run("prune", net, "--macs=0.5", f"--output={output}")
    assert code == 1
    assert "No space left on device" in err
    assert output.read_text() == "older"
    assert [path.name for path in tmp_path.iterdir()] == ["small.keras"]
