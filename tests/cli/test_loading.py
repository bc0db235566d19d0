"""Models from every kind of file; code in a file does not run unless asked."""

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests.cli.conftest import make_net
from tfmot_swd.cli.safety import code_in

FORMATS = ("model.keras", "model.h5", "saved_model")


def with_code(marker: Path) -> Any:
    """Returns a net that writes a file when its Lambda layer is rebuilt."""
    return keras.Sequential(
        [
            keras.layers.Input((4,)),
            keras.layers.Lambda(lambda x, path=str(marker): (open(path, "w").close(), x)[1], name="code"),
            keras.layers.Dense(2),
        ]
    )


def edited(path: Path, change: Any) -> None:
    """Rewrites the description in a `.keras` file; `change` gets it."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(content["config.json"])
    change(config)
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in {**content, "config.json": json.dumps(config).encode()}.items():
            archive.writestr(name, value)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
@pytest.mark.parametrize("name", FORMATS)
def test_a_model_loads_from_every_format(name, run, tmp_path):
    make_net().save(tmp_path / name)
    code, out, err = run("profile", tmp_path / name)
    assert (code, err) == (0, "")
    assert "163 parameters (163 trainable), 144 MACs" in out


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
@pytest.mark.parametrize("name", FORMATS)
def test_a_lambda_layer_is_refused_in_every_format_and_runs_on_request(name, run, tmp_path):
    marker = tmp_path / "marker"
    with_code(marker).save(tmp_path / name)
    marker.unlink()
    code, out, err = run("profile", tmp_path / name)
    assert (code, out) == (1, "")
    assert "Lambda layer 'code'" in err
    assert "--unsafe" in err
    assert not marker.exists()

    assert run("profile", tmp_path / name, "--unsafe")[0] == 0
    # Without the refusal the file would have done what it wants.
    assert marker.exists()


def test_a_module_that_a_file_names_is_not_imported(run, tmp_path, monkeypatch):
    marker = tmp_path / "marker"
    (tmp_path / "stranger.py").write_text(
        f"import tf_keras\nopen({str(marker)!r}, 'w').close()\nclass Mine(tf_keras.Sequential): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "net.keras"
    make_net().save(path)
    edited(path, lambda config: config.update(module="stranger", class_name="Mine", registered_name="Mine"))
    code, _, err = run("profile", path)
    assert code == 1
    assert "Mine of module 'stranger'" in err
    assert not marker.exists()
    # Keras's safe mode imports it.
    keras.models.load_model(path, safe_mode=True)
    assert marker.exists()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            {"activation": {"module": "builtins", "class_name": "function", "config": "exec"}},
            "exec of module 'builtins'",
        ),
        ({"activation": {"class_name": "__lambda__", "config": {"value": "x"}}}, "a lambda"),
        ({"kernel_initializer": {"module": "os", "class_name": "X", "config": {}}}, "X of module 'os'"),
        ({"kernel_initializer": {"module": "keras_evil", "class_name": "X", "config": {}}}, "X of module 'keras_evil'"),
        ({"residual_type": "lambda"}, "a lambda"),
        ({"activation": {"module": "builtins", "class_name": "function", "config": "relu"}}, None),
        ({"kernel_initializer": {"module": "keras.initializers", "class_name": "Zeros", "config": {}}}, None),
    ],
)
def test_what_would_run_is_found_at_any_depth(change, found, tmp_path):
    path = tmp_path / "net.keras"
    make_net().save(path)
    edited(path, lambda config: config["config"]["layers"][1]["config"].update(change))
    assert code_in(path) == ([] if found is None else [found])


@pytest.mark.parametrize(
    ("function", "is_safe"),
    [
        ("math.multiply", True),
        ("reshape", True),
        ("__operators__.getitem", True),
        ("compat.v1.nn.relu", True),
        ("io.write_file", False),
        ("compat.v1.write_file", False),
        ("load_op_library", False),
        ("keras.utils.get_file", False),
    ],
)
def test_operators_compute_or_are_refused(function, is_safe, tmp_path):
    path = tmp_path / "net.keras"
    image = keras.Input((4,))
    keras.Model(image, tf.reshape(image, (-1, 2))).save(path)
    edited(path, lambda config: config["config"]["layers"][1]["config"].update(function=function))
    assert code_in(path) == ([] if is_safe else [f"operator {function!r}"])


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"class_name": "SlicingOpLambda"}, "operator 'keras.models.model_from_json'"),
        # Keras looks for the registered name in the module where there is no such class.
        ({"class_name": "Harmless", "registered_name": "TFOpLambda"}, "operator 'keras.models.model_from_json'"),
        (
            {"class_name": "ClassMethod", "config": {"cls_symbol": "keras.Model", "method_name": "from_config"}},
            "method 'from_config' of 'keras.Model'",
        ),
        ({"class_name": "InstanceProperty", "config": {"attr_name": "__class__"}}, "attribute '__class__'"),
        ({"class_name": "InstanceMethod", "config": {"attr_name": "with_values"}}, None),
        ({"class_name": "ClassMethod", "config": {"cls_symbol": "RaggedTensor", "method_name": "from_tensor"}}, None),
    ],
)
def test_other_layers_that_call_what_they_name(change, found, tmp_path):
    path = tmp_path / "net.keras"
    image = keras.Input((4,))
    keras.Model(image, tf.reshape(image, (-1, 2))).save(path)
    config = {"config": {"function": "keras.models.model_from_json"}} | change
    edited(path, lambda whole: whole["config"]["layers"][1].update(config))
    other = ["Harmless of module 'tf_keras.src.layers.core.tf_op_layer'"] if "Harmless" in change.values() else []
    assert code_in(path) == ([] if found is None else [found, *other])


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
def test_a_file_that_would_write_when_its_graph_is_rebuilt_does_not(run, tmp_path):
    path, marker = tmp_path / "net.h5", tmp_path / "marker"
    image = keras.Input((4,), name="image")
    keras.Model(image, keras.layers.Dense(2)(image)).save(path)
    layer = {
        "class_name": "SlicingOpLambda",
        "name": "op",
        "config": {"name": "op", "trainable": True, "dtype": "float32", "function": "io.write_file"},
        "inbound_nodes": [["_CONSTANT_VALUE", -1, str(marker), {"contents": "x"}]],
    }
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"].insert(1, layer)
        file.attrs["model_config"] = json.dumps(config)
    code, _, err = run("profile", path)
    assert code == 1
    assert "operator 'io.write_file'" in err
    assert not marker.exists()


def test_a_saved_model_that_writes_files_is_refused(tmp_path):
    class Writer(keras.layers.Layer):
        def call(self, x):
            tf.io.write_file("/dev/null", "x")
            return x

    path = tmp_path / "saved_model"
    keras.Sequential([keras.layers.Input((4,)), Writer()]).save(path)
    assert code_in(path) == ["graph operation WriteFile"]


def test_a_layer_of_ones_own_loads_once_its_module_is_named(run, tmp_path, monkeypatch):
    (tmp_path / "own_layers.py").write_text(
        "import tf_keras as keras\n"
        "@keras.utils.register_keras_serializable('own')\n"
        "class Doubled(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return 2 * x\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    from own_layers import Doubled  # type: ignore[import-not-found]

    keras.Sequential([keras.layers.Input((4,)), Doubled(name="twice"), keras.layers.Dense(2)]).save("net.keras")
    registered = keras.utils.get_custom_objects().pop("own>Doubled")
    try:
        code, _, err = run("profile", "net.keras")
        assert code == 1
        assert "Doubled of module 'own_layers'" in err
    finally:
        keras.utils.get_custom_objects()["own>Doubled"] = registered
    code, out, _ = run("profile", "net.keras", "--modules=own_layers")
    assert code == 0
    assert "twice" in out
    assert "--modules=not_there" in run("profile", "net.keras", "--modules=not_there")[2]


def test_what_is_no_model_says_so(run, tmp_path):
    folder, array, weights = tmp_path / "folder", tmp_path / "x.npy", tmp_path / "net.weights.h5"
    folder.mkdir()
    np.save(array, np.zeros(3))
    make_net().save_weights(weights)
    assert "no model that Keras saved" in run("profile", folder)[2]
    assert "This is no saved model" in run("profile", array)[2]
    code, _, err = run("profile", weights)
    assert code == 1
    assert "weights and no model" in err
