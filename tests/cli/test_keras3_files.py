"""Files of Keras 3 through every command, and out again as Keras 3."""

import json

import h5py
import keras
import numpy as np
import pytest
import tf_keras

from tests.cli.test_loading import edited
from tfmot_swd.cli.safety import code_in


def make_net():
    """Returns the net of the other tests, in Keras 3: 163 parameters, 144 MACs."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(16, activation="relu", name="hidden"), keras.layers.Dense(3, name="head")]
    return keras.Sequential([keras.layers.Input((6,), name="x"), *layers], name="net")


@pytest.fixture(scope="module", params=[".keras", ".h5"])
def net3(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / f"net{request.param}"
    make_net().save(path)
    return path


def test_a_file_is_read_and_written_as_keras_3(run, net3, tmp_path):
    code, out, err = run("profile", net3)
    assert (code, err) == (0, "")
    assert "163 parameters (163 trainable), 144 MACs" in out
    code, out, err = run("plan", net3)
    assert (code, err) == (0, "")
    assert "hidden" in out
    output = tmp_path / f"small{net3.suffix}"
    code, out, err = run("prune", net3, "--macs=0.5", "--round_to=2", f"--output={output}")
    assert (code, err) == (0, "")
    small = keras.saving.load_model(output, compile=False)
    assert type(small) is keras.Sequential
    # The units that stay are those of the larger filters.
    kernel = np.asarray(make_net().get_layer("hidden").kernel)
    kept = np.sort(np.linalg.norm(kernel, axis=0).argsort()[-8:])
    np.testing.assert_array_equal(np.asarray(small.get_layer("hidden").kernel), kernel[:, kept])


def test_a_training_ends_with_a_file_of_keras_3_or_of_keras_2_on_request(run, train, tmp_path):
    net = tmp_path / "net.keras"
    make_net().save(net)
    with np.load(train) as data:
        x, y = data["x"][:96], data["y"][:96]
    np.savez(tmp_path / "data.npz", x=x, y=y, x_val=x, y_val=y)
    arguments = ["prune", net, "--sparsity=0.5", f"--data={tmp_path / 'data.npz'}", "--epochs=2", "--batch_size=32"]
    code, _, err = run(*arguments, f"--output={tmp_path / 'small.keras'}", f"--json={tmp_path / 'record.json'}")
    assert code == 0, err
    accuracy = json.loads((tmp_path / "record.json").read_text())["compared"]["validation accuracy"]["after"]
    small = keras.saving.load_model(tmp_path / "small.keras", compile=False)
    assert small.count_params() <= 163 // 2
    assert (small.predict(x, verbose=0).argmax(axis=1) == y).mean() == pytest.approx(accuracy)
    code, _, err = run("prune", net, "--macs=0.5", "--keras2", f"--output={tmp_path / 'two.h5'}")
    assert (code, err) == (0, "")
    assert type(tf_keras.models.load_model(tmp_path / "two.h5", compile=False)) is tf_keras.Sequential


def test_a_file_is_exported_checked_and_reported_on(run, train, tmp_path):
    net, small = tmp_path / "net.keras", tmp_path / "small.keras"
    make_net().save(net)
    assert run("prune", net, "--macs=0.5", f"--output={small}")[0] == 0
    code, _, err = run("export", small, "--recipes=float32", f"--output={tmp_path}")
    assert code == 0, err
    file = tmp_path / "small_float32.tflite"
    code, out, err = run("check", file, f"--model={small}", f"--data={train}")
    assert (code, err) == (0, ""), out
    # Of another model it is not.
    assert run("check", file, f"--model={net}", f"--data={train}")[0] == 1
    page = tmp_path / "report.html"
    code, _, err = run("report", small, f"--dense={net}", f"--files={file}", "--nomeasure", f"--output={page}")
    assert code == 0, err
    assert "hidden" in page.read_text()


def everything():
    """Returns a net with what descriptions of Keras 3 have: operators, shared and nested networks, compiled inside."""
    ops, layers = keras.ops, keras.layers
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(4, 3, padding="same", activation=keras.activations.gelu, kernel_regularizer="l2")(x)
    y = ops.relu(y[..., :2]) * np.ones(2, "float32") + 1.0
    inner = keras.Sequential([keras.Input((8, 8, 2)), layers.Dense(3, activation=layers.LeakyReLU(0.1))])
    inner.compile(keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 9)), "mse", metrics=["mae"])
    y = inner(layers.Dense(2, kernel_constraint="max_norm")(inner(y)))
    rows = layers.Reshape((64, 3))(y)
    rows = layers.Bidirectional(layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], return_sequences=True))(rows)
    rows = layers.RMSNormalization()(layers.MultiHeadAttention(2, 3)(rows, rows))
    image = keras.Input((4,))
    twice = keras.Model(image, layers.Dense(4, dtype="mixed_bfloat16")(image))
    y = twice(twice(ops.mean(rows, axis=1)))
    return keras.Model(x, layers.Dropout(0.1, seed=3)(y))


def words():
    text = keras.Input((1,), dtype="string")
    vector = keras.layers.StringLookup(vocabulary=["a", "b"], output_mode="multi_hot")(text)
    return keras.Model(text, keras.layers.Dense(2)(vector))


@pytest.mark.parametrize("make", [everything, words])
def test_nothing_in_a_model_of_keras_3_is_unknown(make, tmp_path):
    make().save(tmp_path / "net.keras")
    assert code_in(tmp_path / "net.keras") == []


def test_nothing_in_an_application_of_keras_3_is_unknown(tmp_path):
    options = {"weights": None, "input_shape": (32, 32, 3), "include_top": False}
    for name in ("MobileNetV3Small", "ConvNeXtTiny"):
        keras.saving.save_model(getattr(keras.applications, name)(**options), tmp_path / "net.keras")
        assert code_in(tmp_path / "net.keras") == []


OWN = """
import keras
class Doubled(keras.layers.Layer):
    def call(self, x):
        return x * 2.0
def halved(x):
    return x / 2.0
"""


def test_layers_of_ones_own_load_once_their_module_is_named(run, tmp_path, monkeypatch):
    (tmp_path / "own_layers3.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import own_layers3 as own  # type: ignore[import-not-found]

    head = keras.layers.Dense(2, activation=own.halved)
    keras.Sequential([keras.Input((4,)), own.Doubled(name="twice"), head]).save("net.keras")
    code, _, err = run("profile", "net.keras")
    assert code == 1
    # Keras 3 does not write of which module a function is.
    assert "Doubled of module 'own_layers3', halved of module 'builtins'" in err
    code, out, err = run("profile", "net.keras", "--modules=own_layers3")
    assert (code, err) == (0, "")
    assert "twice" in out


def test_an_operator_that_keras_does_not_load_from_h5_is_its_own_error(run, tmp_path):
    x = keras.Input((4,))
    keras.Model(x, keras.ops.sin(x)).save(tmp_path / "net.h5")
    code, _, err = run("profile", tmp_path / "net.h5")
    assert code == 1
    assert "Unknown layer: 'Sin'" in err


def test_the_version_in_the_file_chooses_who_loads_it(run, tmp_path):
    path = tmp_path / "net.h5"
    make_net().save(path)
    with h5py.File(path, "r+") as file:
        file.attrs["keras_version"] = "2.21.0"
    # Judged and loaded as a file of tf_keras, which does not know what Keras 3 writes.
    code, _, err = run("profile", path)
    assert code == 1
    assert "DTypePolicy of module 'keras'" in err


def test_a_file_in_the_words_of_another_keras_is_refused(run, tmp_path):
    path = tmp_path / "net.keras"
    x = keras.Input((4,))
    keras.Model(x, keras.layers.ReLU(name="b")(x)).save(path)
    edited(path, lambda config: config["config"]["layers"][1].update(inbound_nodes=[[["x", 0, 0, {}]]]))
    code, _, err = run("profile", path)
    assert code == 1
    assert "computes with constants alone" in err
