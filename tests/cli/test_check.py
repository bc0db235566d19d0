"""`check`: what a file is worth on a device, and whether it answers as its model does."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests.cli.conftest import make_net
from tfmot_swd.channels import remove_channels
from tfmot_swd.tflite import RECIPES, export_tflite
from tfmot_swd.tflite.graph import read_graph


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
    code, _, err = run("check", files / "other.tflite", f"--model={net}", "--tolerance=5")
    assert code == 1
    assert "same class as Keras" in err
    assert run("check", files / "other.tflite", f"--model={net}", "--tolerance=5", "--min_agreement=0")[0] == 0


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


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Returns a folder with a net that takes pixels from 0 to 255, without a layer that scales them, and its files."""
    folder = tmp_path_factory.mktemp("pictures")
    keras.utils.set_random_seed(0)
    layers = keras.layers
    net = keras.Sequential(
        [
            layers.Input((8, 8, 3), name="image"),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(3, name="scores"),
        ]
    )
    net.layers[-1].bias.assign([0.0, 0.5, 1.0])
    net.save(folder / "net.keras")
    x = np.random.default_rng(0).uniform(0, 255, (60, 8, 8, 3)).astype("float32")
    np.save(folder / "x.npy", x)
    for recipe in ("int8", "int8_float_io"):
        export_tflite(net, folder / f"{recipe}.tflite", recipe, x, min_agreement=0.5)
    return folder


@pytest.mark.parametrize("recipe", ["int8", "int8_float_io"])
def test_a_net_of_pictures_needs_no_data_to_be_taken_for_what_it_is(recipe, run, pictures, tmp_path):
    record = tmp_path / "found.json"
    code, _, err = run("check", pictures / f"{recipe}.tflite", f"--model={pictures / 'net.keras'}", f"--json={record}")
    assert code == 0, err
    # Standard normal values would be of two of the 256 steps that the file knows of pixels.
    assert json.loads(record.read_text())["parity"]["relative_mean"] < 0.05


def test_random_inputs_of_an_int8_file_accuse_nobody(run, pictures, tmp_path):
    other = keras.models.load_model(pictures / "net.keras")
    other.set_weights([-weight for weight in other.get_weights()])
    other.save(tmp_path / "other.keras")
    arguments = ("check", pictures / "int8.tflite", f"--model={tmp_path / 'other.keras'}")
    code, out, _ = run(*arguments)
    assert code == 0
    assert "Unknown whether the file does what the model does, as inputs are random: give --data" in " ".join(
        out.split()
    )
    code, _, err = run(*arguments, f"--data={pictures / 'x.npy'}")
    assert code == 1
    assert "does not do what the model does" in err
    assert "in LiteRT its mean difference is" in err


def test_a_file_for_microcontrollers_is_proven_there_too(run, pictures, tmp_path, monkeypatch):
    pytest.importorskip("tflite_micro")
    record = tmp_path / "found.json"
    file, target = pictures / "int8.tflite", "--target=microcontroller"
    data = (f"--model={pictures / 'net.keras'}", f"--data={pictures / 'x.npy'}", "--min_agreement=0.5")
    code, _, err = run("check", file, target, *data, f"--json={record}")
    assert code == 0, err
    assert list(json.loads(record.read_text())["parity_by_runtime"]) == ["LiteRT", "TFLite Micro"]
    code, out, err = run("check", file, target)
    assert code == 0, err
    assert "TFLite Micro runs it on 16 random samples as LiteRT does" in " ".join(out.split())
    wrong = lambda content, inputs: ({"scores": np.full((len(inputs["image"]), 3), 9.0, "float32")}, "")  # noqa: E731
    monkeypatch.setattr("tfmot_swd.tflite.micro.agreement.run_tflite", wrong)
    code, _, err = run("check", file, target)
    assert code == 1
    assert "TFLite Micro computes something else than LiteRT" in err


def test_integers_are_not_guessed(run, tmp_path):
    net = keras.Sequential([keras.layers.Input((3,), dtype="int32", name="token"), keras.layers.Embedding(9, 2)])
    net.save(tmp_path / "net.keras")
    export_tflite(net, tmp_path / "net.tflite", check_data=np.ones((2, 3), "int32"))
    code, _, err = run("check", tmp_path / "net.tflite", f"--model={tmp_path / 'net.keras'}")
    assert code == 2
    assert "--data names samples" in err


def test_a_file_that_takes_the_interpreter_down_ends_with_1(run, tmp_path):
    net = keras.Sequential([keras.layers.Input((16,)), keras.layers.LayerNormalization(), keras.layers.Dense(3)])
    net.save(tmp_path / "net.keras")
    data = np.random.default_rng(0).normal(size=(20, 16)).astype("float32")
    converter = tf.lite.TFLiteConverter.from_keras_model(net)
    converter.representative_dataset = lambda: ([each[None]] for each in data)
    RECIPES["int16x8"].configure(converter)
    (tmp_path / "net.tflite").write_bytes(converter.convert())
    np.save(tmp_path / "x.npy", data)
    code, _, err = run(
        *("check", tmp_path / "net.tflite", f"--model={tmp_path / 'net.keras'}", f"--data={tmp_path / 'x.npy'}")
    )
    assert code == 1
    assert "it ended with SIGABRT" in err


def test_the_dense_file_is_measured_on_the_same_data(run, net, train, tmp_path):
    dense = keras.models.load_model(net)
    small = remove_channels(dense, {"hidden": [True] * 8 + [False] * 8})
    small.save(tmp_path / "small.keras")
    for name, model in (("net", dense), ("small", small)):
        export_tflite(model, tmp_path / f"{name}.tflite")
    file, record = tmp_path / "small.tflite", tmp_path / "found.json"
    both = (f"--dense={tmp_path / 'net.tflite'}", f"--model={tmp_path / 'small.keras'}")
    code, out, err = run("check", file, *both, f"--data={train}", f"--json={record}")
    assert code == 0, err
    x, y = (np.load(train)[name] for name in "xy")
    expected = (dense.predict(x, verbose=0).argmax(axis=1) == y).mean()
    assert json.loads(record.read_text())["dense_accuracy"] == pytest.approx(expected)
    assert f"{expected:.2%}" in next(line for line in out.splitlines() if "accuracy of the dense file" in line)
    # Random inputs have no labels.
    assert "accuracy" not in run("check", file, *both)[1]
    code, _, err = run("check", file, f"--dense={train}")
    assert code == 1
    assert "--dense: This is not a TFLite file" in err
    assert f" bytes of {str(train)!r} that begin with" in err
