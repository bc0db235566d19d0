"""What in a saved model would run code of its own, found in its description before anything is loaded.

Keras's safe mode covers `.keras` files alone, and there it refuses `lambda` but imports any module that the file
names. `.h5` files and SavedModels are loaded with their Lambda layers, bytecode and all, whatever the mode.
"""

from __future__ import annotations

import builtins
import json
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from tfmot_swd._compat import keras

# Modules that a file may name: what a saved class or function of these does is known.
_TRUSTED = frozenset({"keras", "tf_keras", "tensorflow_model_optimization", "tfmot_swd"})
# Modules of TensorFlow's operators that compute and do nothing else, as a model names them; "" are those at the top.
_OPERATORS = frozenset(
    {
        *("", "__operators__", "bitwise", "dtypes", "image", "keras.activations", "keras.backend", "linalg", "math"),
        *("nn", "quantization", "ragged", "random", "signal", "sparse", "strings"),
    }
)
_NOT_OPERATORS = frozenset(
    {
        *("Print", "function", "import_graph_def", "load_file_system_library", "load_library", "load_op_library"),
        *("matching_files", "numpy_function", "print", "py_func", "py_function", "read_file", "write_file"),
    }
)
_LAMBDAS = frozenset({"Lambda", "__lambda__"})
# Graph operations that reach out of the model; TensorFlow's own scan of SavedModels names the same.
_REACHING_OUT = frozenset({"PrintV2", "ReadFile", "WriteFile"})


def code_in(path: Path, trusted: Collection[str] = ()) -> list[str]:
    """Returns what would run code if the model at `path` were loaded, each in words; empty for a harmless one.

    Args:
      path: a `.keras` or HDF5 file, or a SavedModel folder.
      trusted: modules that may be named besides Keras's, TFMOT's and this package's.

    Raises:
      ValueError: no saved model, or a damaged one.
    """
    found: list[str] = []
    for config in _configs(path):
        found += _in_config(config, _TRUSTED | set(trusted))
    if path.is_dir():
        found += _in_graph(path / "saved_model.pb")
    return list(dict.fromkeys(found))


def saved_by(path: Path) -> str:
    """Returns the version of Keras that wrote a file, empty where it does not say."""
    if _is_keras_zip(path):
        with zipfile.ZipFile(path) as archive:
            version = json.loads(archive.read("metadata.json")).get("keras_version", "")
    elif path.is_file():
        version = _attributes(path).get("keras_version", "")
    else:
        version = ""
    return version.decode() if isinstance(version, bytes) else str(version)


def _configs(path: Path) -> list[Any]:
    """Returns the descriptions of the model, from where `keras.models.load_model` takes them."""
    import h5py

    if path.is_dir():
        return _configs_of_saved_model(path)
    if _is_keras_zip(path):
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
        # How it was compiled is not loaded.
        return [{key: value for key, value in config.items() if key != "compile_config"}]
    if h5py.is_hdf5(path):
        config = _attributes(path).get("model_config")
        if config is None:
            raise ValueError(
                "This file has weights and no model: save the whole model with model.save(path). "
                f"Received: {str(path)!r} without model_config"
            )
        return [json.loads(config)]
    raise ValueError(
        "This is no saved model: a .keras file, an .h5 file or a SavedModel folder is needed, as model.save writes "
        f"them. Received: {str(path)!r}"
    )


def _is_keras_zip(path: Path) -> bool:
    # Just as Keras decides it, so that no file is read here as one thing and there as another.
    return str(path).endswith(".keras") and zipfile.is_zipfile(path)


def _attributes(path: Path) -> dict[str, Any]:
    import h5py

    with h5py.File(path, "r") as file:
        return dict(file.attrs)


def _configs_of_saved_model(path: Path) -> list[Any]:
    from tf_keras.protobuf import saved_metadata_pb2

    metadata = path / "keras_metadata.pb"
    if not (path / "saved_model.pb").is_file() or not metadata.is_file():
        raise ValueError(
            "This folder is no model that Keras saved: it has no saved_model.pb with a keras_metadata.pb beside it. "
            f"Save it with model.save(path). Received: {str(path)!r}"
        )
    saved = saved_metadata_pb2.SavedMetadata.FromString(metadata.read_bytes())
    nodes = [json.loads(node.metadata) for node in saved.nodes]
    return [{key: value for key, value in node.items() if key != "training_config"} for node in nodes]


def _in_config(node: Any, trusted: Collection[str]) -> Iterator[str]:
    if isinstance(node, list):
        for each in node:
            yield from _in_config(each, trusted)
    if not isinstance(node, dict):
        return
    kind = node.get("class_name")
    if isinstance(kind, str):
        yield from _in_object(node, kind, trusted)
        if _plain(kind) in _LAMBDAS:
            return
    # So wrappers of recurrent cells mark bytecode.
    if any(str(key).endswith("_type") and value == "lambda" for key, value in node.items()):
        yield "a lambda"
    for value in node.values():
        yield from _in_config(value, trusted)


def _in_object(node: dict[str, Any], kind: str, trusted: Collection[str]) -> Iterator[str]:
    config = node.get("config")
    name = config.get("name", "") if isinstance(config, dict) else config
    if _plain(kind) in _LAMBDAS:
        yield f"Lambda layer {name!r}" if isinstance(config, dict) and "name" in config else "a lambda"
    elif isinstance(config, dict):
        yield from _called(config)
    module = node.get("module")
    if module is None or _is_registered(node, kind, name):
        return
    if module == "builtins" and kind == "function" and str(name).partition(".")[0] not in vars(builtins):
        # Keras's own functions: relu and the like.
        return
    if not any(f"{module}.".startswith(f"{each}.") for each in trusted):
        yield f"{kind if kind != 'function' else name!s} of module {module!r}"


def _called(config: dict[str, Any]) -> Iterator[str]:
    """Yields what the layers call that stand for TensorFlow's functions: `TFOpLambda`, `SlicingOpLambda` and their kin.

    Told by what is in their configuration, as Keras finds a class by `registered_name` too, whatever its `class_name`.
    """
    function, owner = config.get("function"), config.get("cls_symbol")
    if isinstance(function, str) and not _computes(function):
        yield f"operator {function!r}"
    # The only class whose methods Keras turns into layers.
    if owner not in (None, "RaggedTensor"):
        yield f"method {config.get('method_name')!r} of {owner!r}"
    for name in (config.get("method_name"), config.get("attr_name")):
        if isinstance(name, str) and name.startswith("_"):
            yield f"attribute {name!r}"


def _plain(kind: str) -> str:
    """Returns the name of a class; registered ones are saved as package>class."""
    return kind.rpartition(">")[2].rpartition(".")[2]


def _is_registered(node: dict[str, Any], kind: str, name: Any) -> bool:
    """Whether Keras takes it from what this process has registered, whatever module is named."""
    wanted = name if kind == "function" else node.get("registered_name", kind)
    return isinstance(wanted, str) and keras.utils.get_registered_object(wanted) is not None


def _computes(symbol: str) -> bool:
    module, _, name = symbol.removeprefix("compat.v1.").rpartition(".")
    return module in _OPERATORS and name not in _NOT_OPERATORS


def _in_graph(path: Path) -> Iterator[str]:
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for graph in (meta.graph_def for meta in saved.meta_graphs):
        for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
            for node in nodes:
                if node.op in _REACHING_OUT:
                    yield f"graph operation {node.op}"
