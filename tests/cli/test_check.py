"""`check`: what a file is worth on a device, and whether it answers as its model does."""

import json

import numpy as np
import pytest
import tf_keras as keras

from tests.cli.conftest import make_net
from tfmot_swd.export import export_tflite
from tfmot_swd.export.graph import read_graph


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Returns a folder with the file of the net, and with that of another net of the same shapes."""
    folder = tmp_path_factory.mktemp("files")
    export_tflite(make_net(), folder / "own.tflite")
    other = make_net()
    other.set_weights([-weight for weight in other.get_weights()])
    export_tflite(other, folder / "other.tflite")
    export_tflite(make_net(), folder / "half.tflite", "float16")
    return folder


def test_a_file_alone_is_advised_on(run, files, tmp_path):
    code, out, err = run("check", files / "own.tflite", f"--json={tmp_path / 'found.json'}")
    assert (code, err) == (0, "")
    found = json.loads((tmp_path / "found.json").read_text())
    assert list(found) == ["advice"]
    told = found["advice"]
    # 6 · 16 and 16 · 3 weights, as they were initialized: none is zero, and there is nothing to compare channels with.
    assert (told["form"], told["weights"], told["zeros"]) == ("float32", 144, 0)
    assert told["bytes"] == (files / "own.tflite").stat().st_size
    said = {row["topic"]: row["verdict"] for row in told["advice"]}
    assert said["download size"] == said["speed on a phone"] == said["microcontroller flash"] == "does not help"
    # Only removed channels help with these, and one file does not tell of them.
    assert said["channels"] == said["memory"] == said["microcontroller RAM"] == said["speed on x86"] == "unknown"
    assert set(said.values()) == {"does not help", "unknown"}
    assert "--dense" in out
    shown = " ".join(out.replace("│", " ").split())
    assert f"float32, {told['bytes']:,} bytes" in shown
    assert "0% of 144 weights are zero" in shown
    assert all(topic.split()[0] in shown for topic in said)


def test_a_file_that_fails_where_it_is_to_run_ends_with_1(run, files):
    # TFLite Micro has no kernels that unpack float16.
    code, out, err = run("check", files / "half.tflite", "--target=microcontroller")
    assert code == 1
    assert "fails" in out
    assert "does not run on a microcontroller" in err
    code, out, _ = run("check", files / "own.tflite", f"--dense={files / 'other.tflite'}", "--target=microcontroller")
    assert code == 0
    assert "every kernel has the shape it had" in " ".join(out.replace("│", " ").split())


def test_a_file_is_run_against_its_model(run, net, train, files, tmp_path):
    record = tmp_path / "found.json"
    code, out, err = run("check", files / "own.tflite", f"--model={net}", f"--data={train}", f"--json={record}")
    assert code == 0, err
    parity = json.loads(record.read_text())["parity"]
    assert parity["relative_mean"] < 1e-5
    assert parity["accuracy"] == parity["keras_accuracy"]
    assert "100.00%" in out


def test_a_file_for_microcontrollers_is_run_where_it_can_be(run, tmp_path):
    pytest.importorskip("tflite_micro")
    generator = np.random.default_rng(0)
    model = keras.Sequential([keras.layers.Input((32,)), keras.layers.Dense(64), keras.layers.Dense(3)])
    model.set_weights([weight * (generator.random(weight.shape) > 0.9) for weight in model.get_weights()])
    model.save(tmp_path / "net.keras")
    x = generator.normal(size=(100, 32)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    export_tflite(model, tmp_path / "net.tflite", "int8_pruned", x)
    operators = {operator.name for operator in read_graph((tmp_path / "net.tflite").read_bytes()).operators}
    assert "TFLM_DECODE" in operators
    code, out, err = run(
        *("check", tmp_path / "net.tflite", f"--model={tmp_path / 'net.keras'}", f"--data={tmp_path / 'x.npy'}"),
        "--target=microcontroller",
    )
    assert code == 0, err
    assert "same class" in out
    assert run("check", tmp_path / "net.tflite", "--target=phone")[0] == 1


def test_a_file_of_another_model_ends_with_1(run, net, files):
    code, _, err = run("check", files / "other.tflite", f"--model={net}")
    assert code == 1
    assert "does not do what the model does" in err
    assert run("check", files / "other.tflite", f"--model={net}", "--tolerance=5")[0] == 0


def test_a_file_of_other_shapes_says_so(run, files, tmp_path):
    keras.Sequential([keras.layers.Input((4,), name="y"), keras.layers.Dense(2)]).save(tmp_path / "other.keras")
    code, _, err = run("check", files / "own.tflite", f"--model={tmp_path / 'other.keras'}")
    assert code == 1
    assert "may be of another model" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing.tflite"], 2, "There is no such file"),
        (["net.keras"], 1, "This is not a TFLite file"),
        (["net.keras", "--data=x.npz"], 2, "give --model too"),
    ],
)
def test_what_cannot_be_checked_says_so(arguments, code, message, run, net, monkeypatch):
    monkeypatch.chdir(net.parent)
    found, _, err = run("check", *arguments)
    assert found == code
    assert message in err
