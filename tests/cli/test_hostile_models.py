"""Model files that were made to do harm: one of each kind that was published, with harmless payloads.

Of the advisories on Keras of 2024 to 2026 those that can concern a file given to `tfmot-swd`, and their siblings.
"""

from __future__ import annotations

import io
import json
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from research.mutants import replaced
from tests.cli.conftest import make_net
from tests.cli.test_loading import edited
from tfmot_swd.cli import model_copy
from tfmot_swd.cli.model_copy import private_copy
from tfmot_swd.cli.safety import code_in

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
WEIGHTS = "model.weights.h5"


def saved(path: Path, change: Callable[[Any], None] = lambda config: None) -> Path:
    """Saves the tiny net as a graph, and has `change` alter its description."""
    x = keras.Input((6,), name="x")
    keras.Model(x, keras.layers.Dense(3)(keras.layers.Dense(16, activation="relu")(x))).save(path)
    if path.suffix == ".keras":
        edited(path, change)
    else:
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            change(config)
            file.attrs["model_config"] = json.dumps(config)
    return path


def with_weights(path: Path, change: Callable[[h5py.File], None]) -> Path:
    """Saves the tiny net, and has `change` alter the HDF5 file that holds its weights."""
    make_net().save(path)
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            change(file["model_weights"])
        return path
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    weights = io.BytesIO(content[WEIGHTS])
    with h5py.File(weights, "r+") as file:
        change(file)
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in {**content, WEIGHTS: weights.getvalue()}.items():
            archive.writestr(name, value)
    return path


def layer(kind: str, name: str = "evil", inbound: Any = (), **config: Any) -> dict[str, Any]:
    return {
        "module": "keras.layers",
        "class_name": kind,
        "registered_name": None,
        "name": name,
        "config": {"name": name, "trainable": True, "dtype": "float32", **config},
        "inbound_nodes": list(inbound),
    }


def function(module: str, name: str) -> dict[str, Any]:
    return {"module": module, "class_name": "function", "config": name, "registered_name": "function"}


def activation(value: Any) -> Callable[[Any], None]:
    return lambda config: config["config"]["layers"][1]["config"].update(activation=value)


def added(new: dict[str, Any]) -> Callable[[Any], None]:
    return lambda config: config["config"]["layers"].append(new)


CONSTANT = [[["_CONSTANT_VALUE", -1, 1.0, {}]]]
SAVE = {
    "constants": {"0": "marker", "1": ["a", "b"], "2": "text"},
    "node_def": {
        "name": "w",
        "op": "Save",
        "input": list("abcd"),
        "attr": {"T": {"list": {"type": ["DT_STRING", "DT_FLOAT"]}}},
    },
}
HOSTILE: dict[str, tuple[Callable[[Any], None], str]] = {
    "CVE-2024-3660, CVE-2025-9905": (added(layer("Lambda", function="bytecode")), "Lambda layer 'evil'"),
    "CVE-2025-1550": (activation(function("os", "mkdir")), "mkdir of module 'os'"),
    "CVE-2025-8747, CVE-2025-12060": (
        activation(function("keras.utils", "get_file")),
        "get_file of module 'keras.utils'",
    ),
    "CVE-2025-9906": (
        activation(function("keras.src.saving.serialization_lib", "enable_unsafe_deserialization")),
        "enable_unsafe_deserialization of module 'keras.src.saving.serialization_lib'",
    ),
    "CVE-2025-49655": (
        added({**layer("TorchModuleWrapper", module="pickle"), "module": "keras.src.utils.torch_utils"}),
        "TorchModuleWrapper of module",
    ),
    "CVE-2025-12058": (added(layer("StringLookup", vocabulary="/etc/hostname")), "a vocabulary from the file"),
    "the same in TextVectorization": (added(layer("TextVectorization", vocabulary="gs://x")), "a vocabulary from"),
    "the same in IntegerLookup": (added(layer("IntegerLookup", vocabulary="https://x")), "a vocabulary from the file"),
    "an operation of TensorFlow": (added(layer("TensorFlowOpLayer", inbound=CONSTANT, **SAVE)), "TensorFlowOpLayer"),
    "an operator that changes settings": (
        added(layer("TFOpLambda", function="keras.backend.set_floatx", inbound=CONSTANT)),
        "operator 'keras.backend.set_floatx'",
    ),
    "an operator that calls": (
        added(layer("TFOpLambda", function="map_fn", inbound=CONSTANT)),
        "operator 'map_fn'",
    ),
    "constants that are computed with at load": (
        added(layer("TFOpLambda", function="zeros", inbound=[["_CONSTANT_VALUE", -1, [100_000, 100_000], {}]])),
        "a layer that computes with constants alone",
    ),
    "a name behind another": (
        activation({"module": "builtins", "class_name": "function", "config": "zzz", "registered_name": "exec"}),
        "zzz of module 'builtins'",
    ),
    "an allowed name with another behind it": (
        activation({"module": "builtins", "class_name": "Dense", "config": {}, "registered_name": "eval"}),
        "Dense of module 'builtins'",
    ),
    "a class behind a registered name": (
        added({**layer("TensorFlowOpLayer", **SAVE), "registered_name": "tfmot_swd>Magnitude"}),
        "TensorFlowOpLayer of module 'keras.layers'",
    ),
    "a function by its name alone": (activation("deserialize"), "activation 'deserialize'"),
    "bytecode in a cell": (added(layer("ResidualWrapper", residual_fn_type="lambda")), "a lambda"),
    "feature columns": (added(layer("DenseFeatures", feature_columns=[])), "DenseFeatures of module 'keras.layers'"),
    "a module of TensorFlow": (
        added({**layer("X"), "module": "tensorflow.python.framework.load_library"}),
        "X of module 'tensorflow.python.framework.load_library'",
    ),
    "a type of input from any module": (
        lambda config: config["config"]["layers"][0]["config"].update(
            type_spec={"class_name": "__typespec__", "spec_name": "X", "module": "os", "registered_name": None}
        ),
        "__typespec__ of module 'os'",
    ),
}


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_not_known_to_be_harmless_is_refused(kind, ending, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    change, message = HOSTILE[kind]
    path = saved(tmp_path / f"net{ending}", change)
    assert any(message in found for found in code_in(path)), code_in(path)


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_an_operation_on_constants_would_write_and_does_not(ending, run, tmp_path):
    marker = tmp_path / "marker"
    operation = {**SAVE, "constants": {**SAVE["constants"], "0": str(marker)}}
    new = {**layer("TensorFlowOpLayer", "w", CONSTANT, **operation), "name": "tf_op_layer_w"}
    path = saved(tmp_path / f"net{ending}", added(new))
    code, _, err = run("profile", path)
    assert code == 1
    assert "TensorFlowOpLayer of module 'keras.layers'" in err
    assert "If you trust its author, add --unsafe" in err
    assert not marker.exists()
    # Without the refusal it would have been written.
    run("profile", path, "--unsafe")
    assert marker.exists()


class Resource(tf.saved_model.experimental.TrackableResource):
    """Writes a file when it is initialized, which TensorFlow does at load."""

    def __init__(self, marker: Path) -> None:
        super().__init__()
        self.marker = str(marker)

    def _create_resource(self) -> tf.Tensor:
        return tf.raw_ops.MutableHashTableV2(
            key_dtype=tf.string, value_dtype=tf.int64, shared_name="r", container="", use_node_name_sharing=False
        )

    def _initialize(self) -> None:
        data = tf.data.Dataset.from_tensors("text")._variant_tensor
        tf.raw_ops.DatasetToTFRecord(input_dataset=data, filename=self.marker, compression_type="")

    def _destroy_resource(self) -> None:
        pass


def test_what_a_saved_model_runs_at_load_is_refused(run, tmp_path):
    marker, path = tmp_path / "marker", tmp_path / "saved_model"
    net = make_net()
    net.resource = Resource(marker)
    assert net.resource.resource_handle is not None
    net.save(path)
    marker.unlink(missing_ok=True)
    code, _, err = run("profile", path)
    assert code == 1
    assert "graph operation DatasetToTFRecord" in err
    assert not marker.exists()
    run("profile", path, "--unsafe")
    assert marker.exists()


def test_what_saves_a_model_may_not_be_called_by_anything_else(tmp_path):
    class Saving(keras.layers.Layer):
        def call(self, x):
            tf.raw_ops.SaveV2(prefix="/dev/null/x", tensor_names=["x"], shape_and_slices=[""], tensors=[x])
            return x

    path = tmp_path / "saved_model"
    keras.Sequential([keras.layers.Input((4,)), Saving()]).save(path)
    assert code_in(path) == ["graph operation SaveV2"]


def test_a_link_in_a_saved_model_is_refused(run, tmp_path):
    path = tmp_path / "saved_model"
    make_net().save(path)
    (tmp_path / "secret").write_text("mine")
    (path / "assets").mkdir(exist_ok=True)
    (path / "assets" / "vocabulary.txt").symlink_to(tmp_path / "secret")
    code, _, err = run("profile", path)
    assert code == 1
    assert "with a link in it is not loaded" in err


def outside(file: h5py.File) -> str:
    """Returns the path of the first dataset with values."""
    found: list[str] = []
    file.visititems(
        lambda name, each: found.append(name) if isinstance(each, h5py.Dataset) and each.ndim == 2 else None
    )
    return found[0]


def external(file: h5py.File) -> None:
    name = outside(file)
    shape = file[name].shape
    del file[name]
    file.create_dataset(name, shape, "f4", external=[("/etc/hostname", 0, 4 * int(np.prod(shape)))])


def linked(file: h5py.File) -> None:
    name = outside(file)
    del file[name]
    file[name] = h5py.ExternalLink("other.h5", "/x")


def soft(file: h5py.File) -> None:
    name = outside(file)
    del file[name]
    file[name] = h5py.SoftLink("/elsewhere")


def virtual(file: h5py.File) -> None:
    name = outside(file)
    shape = file[name].shape
    del file[name]
    layout = h5py.VirtualLayout(shape, "f4")
    layout[...] = h5py.VirtualSource("other.h5", "x", shape)
    file.create_virtual_dataset(name, layout)


def bomb(file: h5py.File) -> None:
    name = outside(file)
    del file[name]
    file.create_dataset(name, (2**20, 2**20), "f4", chunks=(1024, 1024), compression="gzip")


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external, "takes data from elsewhere.*the data of"),  # CVE-2026-1669
        (virtual, "takes data from elsewhere.*the data of"),
        (linked, "takes data from elsewhere.*a link at"),
        (soft, "takes data from elsewhere.*a link at"),
        (bomb, "declares far more than it stores.*4,[0-9,]+ bytes in"),  # CVE-2026-0897
    ],
)
def test_weights_from_elsewhere_or_without_end_are_refused(change, message, ending, tmp_path):
    path = with_weights(tmp_path / f"net{ending}", change)
    with pytest.raises(ValueError, match=f"{message}.*"), private_copy(path):
        pass


def without_end(path: Path) -> Path:
    """Saves the tiny net with an empty entry in the middle of a heap of HDF5, at which libhdf5 reads for ever.

    In an .h5 file it is the name of a layer, at which Keras does so too.
    """

    def text(file: h5py.File) -> None:
        file.attrs["text"] = ["hidden"]

    with_weights(path, text)

    def emptied(content: bytes) -> bytes:
        # An entry has a head of 16 bytes, which ends with its size.
        place = content.index((6).to_bytes(8, "little") + b"hidden") - 8
        return content[:place] + bytes(16) + content[place + 16 :]

    if path.suffix == ".h5":
        path.write_bytes(emptied(path.read_bytes()))
    else:
        path.write_bytes(replaced(path.read_bytes(), WEIGHTS, emptied))
    return path


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_hdf5_that_is_read_without_end_is_given_up_in_time(ending, run, tmp_path):
    path = without_end(tmp_path / f"net{ending}")
    start = time.monotonic()
    code, _, err = run("profile", path)
    assert code == 1
    assert err.startswith("tfmot-swd profile: The HDF5 part of this file, which has the weights, is damaged: copy or")
    assert err.endswith(f"Received: {str(path)!r}, and libhdf5 had not read it after many times as long as it takes\n")
    # A second of processor time, which a busy machine stretches.
    assert time.monotonic() - start < 30


def test_hdf5_that_crashes_its_reader_is_damaged(run, net, tmp_path, monkeypatch):
    crashing = tmp_path / "crashing.py"
    crashing.write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setattr(model_copy, "_HDF5_WORKER", crashing)
    code, _, err = run("profile", net)
    assert code == 1
    assert "The HDF5 part of this file, which has the weights, is damaged: copy or download the file again" in err
    assert err.endswith(f"Received: {str(net)!r}, and it ended with SIGSEGV:\n")


def test_values_that_are_none_or_of_odd_types_are_read(tmp_path):
    def odd(file: h5py.File) -> None:
        file.attrs["empty"] = h5py.Empty("f4")
        file.attrs["none"] = np.zeros(0, "S1")
        file["empty"] = h5py.Empty("f4")
        file["type"] = np.dtype("f4")
        file["enum"] = np.zeros(2, h5py.enum_dtype({"a": 1}))
        file["reference"] = np.array([file.ref], h5py.ref_dtype)

    with private_copy(with_weights(tmp_path / "net.h5", odd)):
        pass


def test_groups_of_weights_that_hold_themselves_are_read_once(tmp_path):
    def cycle(file: h5py.File) -> None:
        group = file.create_group("again")
        group["again"] = group

    with private_copy(with_weights(tmp_path / "net.h5", cycle)) as copy:
        assert code_in(copy) == []


def rewritten(path: Path, more: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    make_net().save(path)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, value in {**content, **more}.items():
            archive.writestr(name, value)
    return path


def test_an_archive_that_unpacks_without_end_is_refused_by_its_declared_sizes(run, tmp_path):
    path = rewritten(tmp_path / "net.keras", {"assets/zeros": bytes(2**27)}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**20
    code, _, err = run("profile", path)
    assert code == 1
    assert "declares far more than it stores" in err


@pytest.mark.parametrize("name", ["model.weights.npz", "../outside", "lib.so"])
def test_an_archive_with_other_files_is_refused(name, run, tmp_path):
    code, _, err = run("profile", rewritten(tmp_path / "net.keras", {name: b"x"}))
    assert code == 1
    assert "holds what model.save does not write, and is not loaded" in err
    assert f"--unsafe if you trust its author. Received: {name!r}" in err


def test_weights_that_the_file_cannot_hold_are_not_made(run, tmp_path):
    path = saved(tmp_path / "net.keras", lambda config: config["config"]["layers"][1]["config"].update(units=10**11))
    code, _, err = run("profile", path)
    assert code == 1
    assert "declares more weights than its file can hold" in err
    assert "Received: a weight of shape (6, 100000000000)" in err


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize(
    "reads",
    [("a", "b"), ("b", "a"), ("b", "missing"), (["a", None, 0, {}], "a")],
    ids=["itself", "a cycle", "a layer that is not there", "a call without a number"],
)
def test_layers_that_wait_for_each_other_are_refused(reads, ending, run, tmp_path):
    path = tmp_path / f"net{ending}"
    x = keras.Input((4,))
    keras.Model(x, keras.layers.ReLU(name="b")(keras.layers.ReLU(name="a")(x))).save(path)

    def change(config: Any) -> None:
        for each, other in zip(config["config"]["layers"][1:], reads, strict=True):
            each["inbound_nodes"][0][0] = other if isinstance(other, list) else [other, 0, 0, {}]

    if ending == ".keras":
        edited(path, change)
    else:
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            change(config)
            file.attrs["model_config"] = json.dumps(config)
    code, _, err = run("profile", path)
    assert code == 1
    assert "cannot be called in any order" in err


def test_what_is_checked_is_what_is_loaded(tmp_path):
    path = saved(tmp_path / "net.keras")
    with private_copy(path) as copy:
        path.write_bytes(b"another file")
        assert code_in(copy) == []
        assert keras.models.load_model(copy, compile=False).count_params() == 163
        assert copy.parent.stat().st_mode & 0o077 == 0
    assert not copy.exists()


def test_a_pipe_is_not_waited_for(run, tmp_path):
    os.mkfifo(tmp_path / "net.keras")
    code, _, err = run("profile", tmp_path / "net.keras")
    assert code == 1
    assert "no device or pipe" in err


def lookup() -> keras.Model:
    words = keras.Input((1,), dtype="string")
    return keras.Model(words, keras.layers.Embedding(5, 3)(keras.layers.StringLookup(vocabulary=["a", "b"])(words)))


def shared() -> keras.Model:
    """Nested networks, called several times, one of which is not built before, and operators on constants."""
    image = keras.Input((8, 8, 3))
    inner = keras.Model(image, [keras.layers.Conv2D(2, 1)(image), keras.layers.ReLU()(image)])
    first, second = inner(image)
    second, _ = inner(second)
    later = keras.Sequential([keras.layers.Conv2D(2, 1), keras.layers.ReLU()])(image)
    vector = np.ones(2, np.float32)
    return keras.Model(image, vector * first + tf.maximum(second, [0.1, 0.2]) + tf.nn.relu(later[..., :2]))


def compiled_inside() -> keras.Model:
    inner = make_net()
    inner.compile(keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 9)), "mse", metrics=["mae", "acc"])
    x = keras.Input((6,))
    return keras.Model(x, inner(x))


def recurrent() -> keras.Model:
    rows = keras.Input((5, 4))
    cells = keras.layers.RNN([keras.layers.LSTMCell(3), keras.layers.GRUCell(2)], return_sequences=True)(rows)
    return keras.Model(rows, keras.layers.Bidirectional(keras.layers.LSTM(3))(cells))


def quantized() -> keras.Model:
    import tensorflow_model_optimization as tfmot

    return tfmot.quantization.keras.quantize_model(make_net())


def pruned() -> keras.Model:
    import tfmot_swd

    return tfmot_swd.prune_selective_decay(make_net(), tfmot_swd.SelectiveDecay(0.5, end_step=4))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("net.keras", compiled_inside),
        ("net.h5", lookup),
        ("saved_model", lookup),
        ("net.h5", shared),
        ("saved_model", shared),
        ("net.h5", recurrent),
        ("net.h5", quantized),
        ("net.h5", pruned),
        ("saved_model", pruned),
    ],
)
def test_models_as_people_save_them_load(name, make, run, tmp_path):
    make().save(tmp_path / name)
    code, _, err = run("profile", tmp_path / name)
    assert (code, err) == (0, "")


def test_nothing_in_a_model_of_keras_is_unknown(tmp_path):
    path = tmp_path / "net.keras"
    keras.applications.MobileNetV3Small(weights=None, input_shape=(32, 32, 3), include_top=False).save(path)
    assert code_in(path) == []
