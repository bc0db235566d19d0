"""Files of Keras 3 that were made to do harm: one of each kind that was published, with harmless payloads, and more.

What its safe mode refuses by now an older version may make; a file is refused before any of them sees it.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tf_keras

from tests.cli.test_hostile_models import added, bomb, external, function, layer, linked, soft, virtual, with_weights
from tests.cli.test_loading import edited
from tfmot_swd.cli.load_limits import check_outputs
from tfmot_swd.cli.model_copy import private_copy
from tfmot_swd.cli.safety import code_in


def saved(path: Path, change: Callable[[Any], None] = lambda config: None) -> Path:
    """Saves a tiny graph of Keras 3, and has `change` alter its description."""
    x = keras.Input((6,), name="x")
    hidden = keras.layers.Dense(16, activation="relu", name="hidden")(x)
    keras.Model(x, keras.layers.Dense(3, name="head")(hidden)).save(path)
    if path.suffix == ".keras":
        edited(path, change)
    else:
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            change(config)
            file.attrs["model_config"] = json.dumps(config)
    return path


def hidden(**settings: Any) -> Callable[[Any], None]:
    return lambda config: config["config"]["layers"][1]["config"].update(settings)


def of(module: str, kind: str, **config: Any) -> dict[str, Any]:
    return {"module": module, "class_name": kind, "config": config, "registered_name": None}


CODE = {"class_name": "__lambda__", "config": {"value": ["4wAAAA==", None, None]}}
HOSTILE: dict[str, tuple[Callable[[Any], None], str]] = {
    "CVE-2024-3660, CVE-2025-9905: bytecode": (added(layer("Lambda", function=CODE)), "Lambda layer 'evil'"),
    "bytecode as an activation": (hidden(activation=CODE), "a lambda"),
    "CVE-2025-1550: a function of any module": (hidden(activation=function("os", "mkdir")), "mkdir of module 'os'"),
    "CVE-2025-8747: a function of Keras": (
        hidden(activation=function("keras.utils", "get_file")),
        "get_file of module 'keras.utils'",
    ),
    "CVE-2025-9906: safe mode off": (
        hidden(activation=function("keras.config", "enable_unsafe_deserialization")),
        "enable_unsafe_deserialization of module 'keras.config'",
    ),
    "CVE-2025-49655: a pickle": (added(layer("TorchModuleWrapper", module="x")), "TorchModuleWrapper of module"),
    "the same by the module that has it": (
        added({**layer("TorchModuleWrapper", module="x"), "module": "keras.src.utils.torch_utils"}),
        "TorchModuleWrapper of module 'keras.src.utils.torch_utils'",
    ),
    "a folder that is loaded": (added(layer("TFSMLayer", filepath="/x")), "TFSMLayer of module 'keras.layers'"),
    "a function of JAX": (added(layer("JaxLayer", call_fn=CODE)), "JaxLayer of module 'keras.layers'"),
    "a module of Flax": (added(layer("FlaxLayer", module=CODE)), "FlaxLayer of module 'keras.layers'"),
    "CVE-2025-12058: a file": (added(layer("StringLookup", vocabulary="/etc/hostname")), "a vocabulary from the file"),
    "a file by its address": (added(layer("TextVectorization", vocabulary="file:///x")), "a vocabulary from the file"),
    "a file of weights": (added(layer("TextVectorization", idf_weights="hf://x")), "a idf_weights from the file"),
    "a function by its name alone": (hidden(activation="deserialize"), "activation 'deserialize'"),
    "an initializer by its name alone": (hidden(kernel_initializer="get"), "kernel_initializer 'get'"),
    "a name behind another": (
        hidden(activation={**function("builtins", "relu"), "registered_name": "exec"}),
        "relu of module 'builtins'",
    ),
    "a class behind another": (
        added({**layer("Dense", units=2), "registered_name": "Lambda"}),
        "Dense of module 'keras.layers'",
    ),
    "a class behind a registered name": (
        added({**layer("TFSMLayer"), "module": None, "registered_name": "tfmot_swd>keras2_hard_sigmoid"}),
        "class 'TFSMLayer'",
    ),
    "a class without a module, as in older files": (
        added({"class_name": "TFSMLayer", "name": "evil", "config": {}, "inbound_nodes": []}),
        "class 'TFSMLayer'",
    ),
    "a function in the place of a class": (
        added({"class_name": "deserialize", "name": "evil", "config": {}, "inbound_nodes": []}),
        "class 'deserialize'",
    ),
    "a class of another module of Keras": (
        added({**layer("FeatureSpace"), "module": "keras.utils"}),
        "FeatureSpace of module 'keras.utils'",
    ),
    "a listed class of a module that is not": (
        added({**layer("Dense"), "module": "keras.src.layers.core.dense"}),
        "Dense of module 'keras.src.layers.core.dense'",
    ),
    "an operation that calls": (
        added({**layer("Map"), "module": "keras.src.ops.core"}),
        "Map of module 'keras.src.ops.core'",
    ),
    "constants that are computed with at load": (
        added({**layer("Tile", inbound=[{"args": [1.0, [9]], "kwargs": {}}]), "module": "keras.src.ops.numpy"}),
        "a layer that computes with constants alone",
    ),
    "a quantizer with a data set": (
        hidden(quantization_config=of("keras.quantizers", "GPTQConfig", dataset="x")),
        "GPTQConfig of module 'keras.quantizers'",
    ),
    "how a network inside was compiled": (
        lambda config: config["config"]["layers"][1].update(
            compile_config={"optimizer": of("os", "system"), "loss": "mse"}
        ),
        "system of module 'os'",
    ),
    "a type of input from any module": (
        hidden(spec={"class_name": "__typespec__", "spec_name": "X", "module": "os", "config": []}),
        "__typespec__ of module 'os'",
    ),
}


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_what_is_not_known_to_be_harmless_is_refused(ending, tmp_path):
    for number, (kind, (change, message)) in enumerate(HOSTILE.items()):
        path = saved(tmp_path / f"net{number}{ending}", change)
        found = code_in(path)
        assert any(each.startswith(message) for each in found), (kind, found)


def test_the_class_of_a_model_in_h5_is_judged_without_its_module(tmp_path):
    # Keras 3 looks at neither of the two.
    other = {"module": "own_module", "registered_name": "Harmless"}
    path = saved(tmp_path / "net.h5", lambda config: config.update(other, class_name="TFSMLayer"))
    assert code_in(path, ["own_module"]) == ["class 'TFSMLayer'"]


def test_a_file_is_refused_on_the_command_line_and_loaded_on_request(run, tmp_path):
    marker = tmp_path / "marker"
    text = str(marker)
    code = keras.layers.Lambda(lambda x: (open(text, "w").close(), x)[1])
    net = keras.Sequential([keras.Input((4,)), code])
    net.save(tmp_path / "net.keras")
    marker.unlink(missing_ok=True)
    ended, _, err = run("profile", tmp_path / "net.keras")
    assert ended == 1
    assert "Lambda layer" in err
    assert "If you trust its author, add --unsafe" in err
    assert not marker.exists()
    run("profile", tmp_path / "net.keras", "--unsafe")
    # Without the refusal it would have been written.
    assert marker.exists()


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_weights_that_the_file_cannot_hold_are_not_made(ending, run, tmp_path):
    path = saved(tmp_path / f"net{ending}", hidden(units=10**11))
    code, _, err = run("profile", path)
    assert code == 1
    assert "declares more weights than its file can hold" in err
    assert "Received: a weight of shape (6, 100000000000)" in err
    # The limit ends with the loading.
    keras.Variable(np.zeros(2))


def test_layers_that_wait_for_each_other_are_refused(run, tmp_path):
    def waiting(name: Any, call: Any = 0) -> Callable[[Any], None]:
        def change(config: Any) -> None:
            tensor = config["config"]["layers"][1]["inbound_nodes"][0]["args"][0]
            tensor["config"]["keras_history"] = [name, call, 0]

        return change

    for change in (waiting("hidden"), waiting("head"), waiting("missing"), waiting("x", -1), waiting("x", None)):
        code, _, err = run("profile", saved(tmp_path / "net.keras", change))
        assert code == 1
        assert "cannot be called in any order" in err


def test_a_call_that_never_succeeds_is_given_up_in_time(run, tmp_path, monkeypatch):
    def change(config: Any) -> None:
        # An output that is not there, at which Keras 3 up to 3.14 tries for ever.
        tensor = config["config"]["layers"][2]["inbound_nodes"][0]["args"][0]
        tensor["config"]["keras_history"] = ["hidden", 0, 9]

    path = saved(tmp_path / "net.keras", change)
    assert run("profile", path)[0] == 1
    # As many tries as in a whole file are none too many, and fewer are.
    monkeypatch.setattr("tfmot_swd.cli.load_limits._SLACK_TENSORS", 0)
    assert run("profile", saved(path))[0] == 0
    monkeypatch.setattr("tfmot_swd.cli.load_limits._MOST_TRIES", 1)
    code, _, err = run("profile", path)
    assert code == 1
    assert "Keras still tries after many times as many calls" in err


@pytest.mark.parametrize("change", [external, virtual, linked, soft, bomb])
def test_weights_from_elsewhere_or_without_end_are_refused(change, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.cli.test_hostile_models.make_net", lambda: keras.Sequential([keras.Input((6,)), *DENSE]))
    path = with_weights(tmp_path / "net.keras", change)
    with pytest.raises(ValueError, match="takes data from elsewhere|declares far more"), private_copy(path):
        pass


DENSE = [keras.layers.Dense(3)]


def carrying(path: Path, change: Callable[[Any], None] = lambda layer: None) -> Path:
    """Saves a tf_keras model with a layer of Keras 3 inside, and has `change` alter the description of that layer."""
    from tfmot_swd.keras3 import from_keras3

    layers = [keras.layers.RMSNormalization(name="norm"), keras.layers.Dense(2)]
    from_keras3(keras.Sequential([keras.Input((4,)), *layers])).save(path)
    edited(path, lambda config: change(next(each for each in config["config"]["layers"] if "Carried" in str(each))))
    return path


def test_what_a_file_of_tf_keras_gives_to_keras_3_is_judged_by_its_rules(run, tmp_path):
    path = carrying(tmp_path / "net.keras")
    assert type(tf_keras.models.load_model(path, compile=False)) is tf_keras.Sequential
    code, out, err = run("profile", path)
    assert (code, err) == (0, "")
    assert "norm" in out
    inner = {
        "TFSMLayer of module 'keras.layers'": of("keras.layers", "TFSMLayer", filepath="/x"),
        "Lambda layer 'evil'": layer("Lambda", function=CODE),
        "a vocabulary from the file '/x'": of("keras.layers", "StringLookup", vocabulary="/x"),
        # Harmless to tf_keras, which would take it for its own.
        "RandomHeight of module 'keras.layers'": of("keras.layers", "RandomHeight", factor=0.1),
    }
    for message, each in inner.items():
        carrying(path, lambda layer, each=each: layer["config"].update(inner=each))
        assert code_in(path) == [message]
    carrying(path, lambda layer: layer["config"].update(example=[[1.0], {}]))
    assert code_in(path) == ["a layer that computes with constants alone"]
    # By another name that Keras may go by.
    evil = of("keras.layers", "TFSMLayer", filepath="/x")
    carrying(path, lambda layer: (layer.update(class_name="Harmless"), layer["config"].update(inner=evil)))
    assert "TFSMLayer of module 'keras.layers'" in code_in(path)
    carrying(path, lambda layer: (layer.update(registered_name="Harmless"), layer["config"].update(inner=evil)))
    assert "TFSMLayer of module 'keras.layers'" in code_in(path)


def test_what_is_carried_makes_no_more_weights_than_the_file_has(run, tmp_path):
    def large(layer: Any) -> None:
        layer["config"]["inner"] = of("keras.layers", "Dense", units=10**11, name="norm")

    code, _, err = run("profile", carrying(tmp_path / "net.keras", large))
    assert code == 1
    assert "declares more weights than its file can hold" in err


def repeated(inside: bool) -> Any:
    """Returns a model without weights that makes 60 million numbers of two samples, in a model inside it or not."""
    repeat = keras.layers.RepeatVector(30_000_000)
    first = keras.Sequential([keras.Input((1,)), repeat]) if inside else repeat
    return keras.Sequential([keras.Input((1,)), first, keras.layers.GlobalAveragePooling1D()])


@pytest.mark.parametrize(
    "make",
    [
        lambda: repeated(inside=False),
        lambda: repeated(inside=True),
        lambda: keras.Sequential([keras.Input((None, None, 1)), keras.layers.UpSampling2D(2000)]),
    ],
    ids=["repeated", "in a model inside", "of an open size"],
)
def test_a_model_that_fills_the_memory_is_refused_before_it_runs(make, run, tmp_path, monkeypatch):
    monkeypatch.setattr("tfmot_swd.keras3.import_model.prove_equal", lambda *_: pytest.fail("it has run"))
    make().save(tmp_path / "net.keras")

    code, _, err = run("profile", tmp_path / "net.keras")

    assert code == 1
    assert "made to fill the memory. If you trust its author, add --unsafe. Received: a model of" in err


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras.applications.MobileNetV3Small((512, 512, 3), alpha=0.75, weights=None),
        # A super-resolution net: few weights, large outputs.
        lambda: keras.Sequential([keras.Input((256, 256, 1)), *(keras.layers.Conv2D(56, 3) for _ in range(4))]),
        lambda: keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(64, 3), keras.layers.Dense(2)]),
        lambda: keras.Sequential([keras.layers.Dense(2)]),
    ],
    ids=["mobilenet", "super-resolution", "open", "not built"],
)
def test_models_that_people_make_are_within_the_limit(make, tmp_path):
    model = make()
    check_outputs(model, 4 * model.count_params() if model.built else 0)
