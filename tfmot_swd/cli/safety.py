"""Safety scan of a saved model: everything not known to be harmless, found before anything is loaded.

Keras's safe mode covers `.keras` files alone, and there it refuses `lambda` but imports any module that the file
names. `.h5` files and SavedModels are loaded with their Lambda layers, bytecode and all, whatever the mode. So what
a file may name is listed (`allowed_classes.py` and its neighbours), for all three formats, and all else is refused. A
file goes to the Keras that it says it was written by, and is judged by what that one does with it; what follows is on
files of tf_keras, `keras3_safety.py` has the rules of the other.
"""

from __future__ import annotations

import functools
import importlib
import json
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
from tf_keras.protobuf import saved_metadata_pb2
from tf_keras.src.layers import serialization

from tfmot_swd.cli.allowed_classes import (
    CLASSES,
    FUNCTIONS,
    KERAS_MODULES,
    METHODS,
    PACKAGES,
    TYPE_SPECS,
    VALUES,
)
from tfmot_swd.cli.allowed_operators import OPERATORS
from tfmot_swd.cli.keras3_safety import Keras3Scan, has_tensor, trusted_objects
from tfmot_swd.cli.layer_order import check_order, is_reference
from tfmot_swd.cli.model_copy import is_archive
from tfmot_swd.cli.saved_graph import in_graph
from tfmot_swd.cli.scan import Scan, given_to_keras3, is_in, is_lambda, lambda_in
from tfmot_swd.keras2.compat import keras

_SHORT = frozenset(name.lower().replace("_", "") for name in CLASSES | FUNCTIONS)


def code_in(path: Path, trusted: Collection[str] = ()) -> list[str]:
    """Describes everything in the model at `path` that is not known to be harmless; empty where all is.

    Args:
      path: a `.keras` or HDF5 file, or a SavedModel folder; nobody else may be able to change it before it is loaded.
      trusted: modules whose classes and functions may be named.

    Raises:
      ValueError: not a saved model, or a damaged one.
    """
    found: list[str] = []
    is_keras3 = saved_by_keras3(path)
    scan = Keras3Scan(frozenset(trusted)) if is_keras3 else _Scan(frozenset(trusted), path.is_dir())
    for config in _configs(path):
        # Halves of characters, which JSON can hold and nobody can print: UnicodeEncodeError is a ValueError.
        json.dumps(config, ensure_ascii=False).encode()
        check_order(config, path, is_keras3)
        if is_keras3 and not is_archive(path):
            # Keras 3 finds the model of an .h5 file by its class alone.
            config.pop("module", None)
        found += scan.unknown_in(config)
    if path.is_dir():
        found += in_graph(path / "saved_model.pb")
    return list(dict.fromkeys(found))


def saved_by_keras3(path: Path) -> bool:
    """Returns whether a file says that Keras 3 wrote it, and so whether Keras 3 is to load it."""
    return _version(path).startswith("3.")


def objects_of(path: Path, trusted: Collection[str]) -> dict[str, Any]:
    """Returns what a file of Keras 3 names of trusted modules, as `custom_objects` of `keras.saving.load_model`.

    Keras 3 itself finds there only what is registered.
    """
    return {name: each for config in _configs(path) for name, each in trusted_objects(config, trusted).items()}


def tensors_in(path: Path) -> int:
    """Returns how many tensors a file of Keras 3 describes as arguments of calls."""
    return json.dumps(_configs(path)).count('"__keras_tensor__"')


def register_counterparts(path: Path) -> None:
    """Registers what stands for classes and functions of the other Keras, where a file may name it."""
    text = json.dumps(_configs(path))
    if saved_by_keras3(path) or any(f"tfmot_swd>{each}" in text for each in ("Carried", "keras3_")):
        importlib.import_module("tfmot_swd.keras3.import_model")


def _version(path: Path) -> str:
    """Returns the version of Keras that wrote a file, empty where it does not say."""
    version: Any = ""
    if is_archive(path):
        with zipfile.ZipFile(path) as archive:
            metadata = json.loads(archive.read("metadata.json"))
        version = metadata.get("keras_version", "") if isinstance(metadata, dict) else ""
    elif path.is_file() and _is_hdf5(path):
        version = _attributes(path).get("keras_version", "")
    return version.decode() if isinstance(version, bytes) else str(version)


def _configs(path: Path) -> list[Any]:
    """Returns the descriptions of the model, from where `keras.models.load_model` takes them."""
    if path.is_dir():
        return _configs_of_saved_model(path)
    if is_archive(path):
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
        if not isinstance(config, dict):
            raise ValueError(f"This file has no model in its config.json. Received: {str(path)!r}")
        # How it was compiled is not loaded.
        return [{key: value for key, value in config.items() if key != "compile_config"}]
    if _is_hdf5(path):
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


def _is_hdf5(path: Path) -> bool:
    return bool(h5py.is_hdf5(path))


def _attributes(path: Path) -> dict[str, Any]:
    with h5py.File(path, "r") as file:
        return dict(file.attrs)


def _configs_of_saved_model(path: Path) -> list[Any]:
    metadata = path / "keras_metadata.pb"
    if not (path / "saved_model.pb").is_file() or not metadata.is_file():
        raise ValueError(
            "This folder is no model that Keras saved: it has no saved_model.pb with a keras_metadata.pb beside it. "
            f"Save it with model.save(path). Received: {str(path)!r}"
        )
    saved = saved_metadata_pb2.SavedMetadata.FromString(metadata.read_bytes())
    if not saved.nodes:
        # Keras would hand such a folder to TensorFlow, and no model would come of it.
        raise ValueError(f"This folder is no model that Keras saved: its metadata are empty. Received: {str(path)!r}")
    nodes = [json.loads(node.metadata) for node in saved.nodes]
    return [{key: value for key, value in node.items() if key != "training_config"} for node in nodes]


@dataclass(frozen=True)
class _Scan(Scan):
    """A walk over a description that tf_keras loads.

    Attributes:
      revives: whether Keras makes what it does not know of the graph that is saved with it, as in a SavedModel.
    """

    revives: bool

    def unknown_value(self, owner: dict[str, Any], key: str, value: Any) -> Iterator[str]:
        """Yields what is not allowed in what an object has under a key; some of it Keras 3 makes."""
        given = given_to_keras3(owner) if key == "config" else {}
        yield from Keras3Scan(self.trusted).unknown_in(list(given.values()))
        if "example" in given and not has_tensor(given["example"]):
            yield "a layer that computes with constants alone"
        # The rest; all of it where Keras may take the object for one of another class.
        is_sure = str(owner.get("registered_name") or owner.get("class_name")).startswith("tfmot_swd>Carried")
        yield from self.unknown_in({k: v for k, v in value.items() if k not in given} if given and is_sure else value)

    def unknown_object(self, node: dict[str, Any], kind: Any) -> Iterator[str]:
        """Yields what is not allowed of an object itself, whatever is inside."""
        config, module = node.get("config"), node.get("module")
        name = config.get("name", "") if isinstance(config, dict) else config
        if is_lambda(kind):
            yield lambda_in(node)
        elif isinstance(config, dict):
            yield from _called(config)
        if self._is_allowed(node, kind, config, module):
            return
        called = name if kind == "function" else kind
        if module is not None:
            yield f"{called} of module {module!r}"
        elif not is_lambda(kind):
            yield f"class {called!r}"

    def is_named(self, name: str) -> bool:
        """Returns whether a name alone stands for a function, initializer or the like that is allowed."""
        return name.lower().replace("_", "") in _SHORT or _is_registered(name)

    def is_call(self, node: Any) -> bool:
        """Returns whether the description of a layer's call has a tensor of another layer in it."""
        return is_reference(node)

    def _is_allowed(self, node: dict[str, Any], kind: Any, config: Any, module: Any) -> bool:
        """Returns whether all that Keras may take an object for is allowed.

        Which name it goes by, and whether it looks at the module, depends on the format and on where in a file it is.
        """
        if not isinstance(kind, str) or not isinstance(module, str | None):
            return False
        if is_lambda(kind):
            # Said already.
            return module is None or is_in(module, PACKAGES)
        if kind in VALUES:
            return kind != "TypeSpec" or str(node.get("type_spec")).rpartition(".")[2] in TYPE_SPECS
        if kind == "__typespec__":
            return node.get("spec_name") in TYPE_SPECS and is_in(str(module), {"tensorflow.python"})
        is_trusted = module is not None and is_in(module, self.trusted)
        fallback = node.get("registered_name")
        if kind == "function":
            if is_trusted or _is_registered(config):
                return True
            is_listed = fallback in (None, kind, config) and config in FUNCTIONS
            return is_listed and (module == "builtins" or _is_of_keras(module))
        if kind in CLASSES:
            return (fallback in (None, *CLASSES) or _is_registered(fallback)) and (is_trusted or _is_of_keras(module))
        if _is_registered(kind):
            return fallback in (None, kind) or _is_registered(fallback)
        # A name that Keras has no class for stands for that of the module, or for what is registered.
        is_own = is_trusted or _is_registered(fallback) or (self.revives and module is None)
        return is_own and kind not in _known_to_keras()


def _called(config: dict[str, Any]) -> Iterator[str]:
    """Yields what the layers call that stand for TensorFlow's functions: `TFOpLambda`, `SlicingOpLambda` and their kin.

    Told by what is in their configuration, as Keras finds a class by `registered_name` too, whatever its `class_name`.
    """
    function, owner = config.get("function"), config.get("cls_symbol")
    if isinstance(function, str) and function.removeprefix("compat.v1.") not in OPERATORS:
        yield f"operator {function!r}"
    # The only class whose methods Keras turns into layers.
    if owner not in (None, "RaggedTensor"):
        yield f"method {config.get('method_name')!r} of {owner!r}"
        return
    for name in (config.get("method_name"), config.get("attr_name")):
        if name is not None and name not in METHODS:
            yield f"attribute {name!r}"


def _is_of_keras(module: str | None) -> bool:
    """Returns whether a module is one of Keras or TFMOT with listed classes; files without modules mean these."""
    if module is None or module in PACKAGES:
        return True
    package, _, inside = module.removeprefix("tf_").partition(".")
    if package == "keras":
        return inside.removeprefix("src.").partition(".")[0] in KERAS_MODULES
    return package in PACKAGES


def _is_registered(name: Any) -> bool:
    """Returns whether Keras takes it from what this process has registered, whatever module is named."""
    return isinstance(name, str) and keras.utils.get_registered_object(name) is not None


@functools.cache
def _known_to_keras() -> frozenset[str]:
    """Returns all names that Keras finds a class or function for, in a format that names no modules."""
    serialization.populate_deserializable_objects()
    modules = [keras.activations, keras.constraints, keras.initializers, keras.losses, keras.metrics]
    modules += [keras.optimizers, keras.optimizers.legacy, keras.optimizers.schedules, keras.regularizers]
    modules += [keras.mixed_precision, keras.models, keras.experimental]
    return frozenset({*serialization.LOCAL.ALL_OBJECTS, *(name for module in modules for name in dir(module))})
