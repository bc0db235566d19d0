"""`compress`: a folder with the model of the Keras that went in, files and a report; nothing there is overwritten."""

import json
import re

import keras as keras3
import pytest

from tests.workflows.nets import Cut
from tfmot_swd.workflows.job import Job


@pytest.fixture
def net3(tmp_path):
    keras3.utils.set_random_seed(0)
    layers = [keras3.Input((6,), name="x"), keras3.layers.Dense(16, "relu", name="hidden"), keras3.layers.Dense(3)]
    path = tmp_path / "net.keras"
    keras3.Sequential(layers).save(path)
    return path


def test_a_folder_with_all_there_is_and_a_second_call_that_is_refused(run, net3, train, tmp_path, monkeypatch):
    monkeypatch.setattr(Job, "trained_to", Cut())
    output = tmp_path / "small"
    arguments = ["compress", net3, "--parameters=0.5", f"--data={train}", "--recipes=float32", f"--output={output}"]
    code, out, err = run(*arguments, "--nomeasure")
    assert code == 0, err
    assert "Training to parameters=0.5; the whole model has accuracy" in err
    assert f"{output}/files/model_float32.tflite" in out
    assert f"{output}/report.html" in out
    small = keras3.models.load_model(output / "model.keras")
    content = json.loads((output / "result.json").read_text())
    assert content["costs"]["parameters"] == [163, small.count_params()]
    assert small.count_params() <= 81
    assert content["files"][0]["metric"] == pytest.approx(content["value"])
    page = (output / "report.html").read_text()
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "--output holds a finished result" in err
    assert (output / "report.html").read_text() == page


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "or how good: --max_drop=1.0"),
        (["--macs=0.5", "--max_drop=1"], "not both"),
        (["--macs=0.5", "--floor=0.9"], "Give --floor, .*Received: --floor=0.9 and --macs=0.5"),
        (["--max_drop=1", "--floor=0.9"], "Received: --max_drop=1.0 and --floor=0.9"),
        (["--macs=0.5", "--recipes=int4"], "--recipes must be one of"),
        (["--macs=0.5", "--recipes="], "--recipes names what to export"),
        (["--macs=0.5"], "--data says what to train on"),
        (["--macs=0.5", "--data=x.npz"], "--output says where the files go"),
        (["--macs=0.5", "--data=x.npz", "--output=."], "--output must be a new or empty folder.*with net.keras"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_any_work(flags, message, run, net3, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run("compress", net3, *flags)
    assert (code, out) == (2, "")
    assert re.search(message, err), err
    assert [each.name for each in tmp_path.iterdir()] == ["net.keras"]


@pytest.mark.parametrize("command", ["compress", "prune"])
def test_a_budget_that_frozen_layers_keep_from_being_met_is_a_wrong_command_line(
    command, run, frozen_net, train, tmp_path, monkeypatch
):
    monkeypatch.setattr(Job, "trained_to", None)
    output = tmp_path / ("small" if command == "compress" else "small.keras")
    code, out, err = run(command, frozen_net, "--parameters=0.5", f"--data={train}", f"--output={output}")
    assert (code, out) == (2, "")
    text = " ".join(err.split())
    assert "Set layer.trainable = True on some of them in Python and save the model again, such as base" in text
    # 112, and a unit of the other: 16 + 1 + 3 + 3.
    assert "Received: --parameters=97 at most, where --parameters=135 is the least in reach" in text
    assert not list(tmp_path.iterdir())


def test_a_floor_is_searched_as_a_drop_is(run, net3, train, tmp_path, monkeypatch):
    monkeypatch.setattr(Job, "trained_to", Cut())
    flags = [f"--data={train}", "--recipes=float32", f"--output={tmp_path / 'small'}", "--nomeasure"]
    # Any model is as good as that.
    code, out, err = run("compress", net3, "--floor=0.0", *flags)
    assert code == 0, err
    assert "The smallest model found with accuracy 0.0000 or more" in " ".join(out.split())
