"""Safety scan of a saved model: everything not known to be harmless, found before anything is loaded.

Keras's safe mode covers `.keras` files alone, and there it refuses `lambda` but imports any module that the file
names. `.h5` files and SavedModels are loaded with their Lambda layers, bytecode and all, whatever the mode. So what
a file may name is listed (`allowed_classes.py` and its neighbours), for all three formats, and all else is refused.
"""

from __future__ import annotations

import contextlib
import functools
import json
import zipfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import tensorflow as tf
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
from tfmot_swd.cli.layer_order import check_order, is_reference
from tfmot_swd.cli.model_copy import is_archive
from tfmot_swd.cli.saved_graph import in_graph
from tfmot_swd.keras2.compat import keras

_LAMBDAS = frozenset({"Lambda", "__lambda__"})
# Strings under such keys are names of objects that Keras makes.
_NAMING = ("activation", "_initializer", "_regularizer", "_constraint")
# Layers make small weights that no file has, random generators for example.
_SLACK_BYTES, _SLACK_TIMES = 2**26, 8
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
    scan = _Scan(frozenset(trusted), path.is_dir())
    for config in _configs(path):
        # Halves of characters, which JSON can hold and nobody can print: UnicodeEncodeError is a ValueError.
        json.dumps(config, ensure_ascii=False).encode()
        check_order(config, path)
        found += scan.unknown_in(config)
    if path.is_dir():
        found += in_graph(path / "saved_model.pb")
    return list(dict.fromkeys(found))


def saved_by(path: Path) -> str:
    """Returns the version of Keras that wrote a file, empty where it does not say."""
    version: Any = ""
    if is_archive(path):
        with zipfile.ZipFile(path) as archive:
            metadata = json.loads(archive.read("metadata.json"))
        version = metadata.get("keras_version", "") if isinstance(metadata, dict) else ""
    elif path.is_file() and _is_hdf5(path):
        version = _attributes(path).get("keras_version", "")
    return version.decode() if isinstance(version, bytes) else str(version)


@contextlib.contextmanager
def limited_weights(stored: int) -> Iterator[None]:
    """Limits the weights that a model makes while it loads: no more than its file of `stored` bytes can fill.

    The block raises before variables are made that take far more. Weights that are stored in a smaller dtype, or
    compressed, may take eight times as much.

    Raises:
      ValueError: a model declares more weights than its file has.
    """
    limit, made = _SLACK_BYTES + _SLACK_TIMES * stored, 0

    def create(make: Callable[..., Any], **options: Any) -> Any:
        nonlocal made
        shape = tf.TensorShape(options.get("shape"))
        count = shape.num_elements()
        # Whatever the dtype: eight bytes are the most that weights have.
        made += 8 * (count or 0)
        if made > limit:
            raise ValueError(
                "This model declares more weights than its file can hold: it is damaged, or made to fill the memory. "
                f"Received: a weight of shape {tuple(shape.as_list())}, and a model of {stored:,} bytes"
            )
        return make(**options)

    with tf.variable_creator_scope(create):
        yield


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
class _Scan:
    """A walk over a description.

    Attributes:
      trusted: modules whose classes and functions may be named.
      revives: whether Keras makes what it does not know of the graph that is saved with it, as in a SavedModel.
    """

    trusted: frozenset[str]
    revives: bool

    def unknown_in(self, node: Any) -> Iterator[str]:
        """Yields what is not allowed, in words, at any depth."""
        if isinstance(node, list):
            for each in node:
                yield from self.unknown_in(each)
        if not isinstance(node, dict):
            return
        kind = node.get("class_name")
        if kind is not None:
            yield from self._in_object(node, kind)
            if isinstance(kind, str) and _plain(kind) in _LAMBDAS:
                return
        for key, value in node.items():
            yield from self._in_entry(str(key), value)
            yield from self.unknown_in(value)

    def _in_entry(self, key: str, value: Any) -> Iterator[str]:
        # So wrappers of recurrent cells mark bytecode.
        if key.endswith("_type") and value == "lambda":
            yield "a lambda"
        if key.endswith(("vocabulary", "vocabulary_file", "idf_weights")) and isinstance(value, str):
            yield f"a {key} from the file {value!r}"
        if key.endswith(_NAMING) and isinstance(value, str) and not _is_named(value):
            yield f"{key} {value!r}"
        # Keras runs such a layer at once, while it puts the model together.
        if key == "inbound_nodes" and isinstance(value, list) and not all(map(is_reference, value)):
            yield "a layer that computes with constants alone"

    def _in_object(
        self,
        node: dict[str, Any],
        kind: Any,
    ) -> Iterator[str]:
        config, module = node.get("config"), node.get("module")
        name = config.get("name", "") if isinstance(config, dict) else config
        if isinstance(kind, str) and _plain(kind) in _LAMBDAS:
            yield f"Lambda layer {name!r}" if isinstance(config, dict) and "name" in config else "a lambda"
        elif isinstance(config, dict):
            yield from _called(config)
        if self._is_allowed(node, kind, config, module):
            return
        called = name if kind == "function" else kind
        if module is not None:
            yield f"{called} of module {module!r}"
        elif not isinstance(kind, str) or _plain(kind) not in _LAMBDAS:
            yield f"class {called!r}"

    def _is_allowed(self, node: dict[str, Any], kind: Any, config: Any, module: Any) -> bool:
        """Returns whether all that Keras may take an object for is allowed.

        Which name it goes by, and whether it looks at the module, depends on the format and on where in a file it is.
        """
        if not isinstance(kind, str) or not isinstance(module, str | None):
            return False
        if _plain(kind) in _LAMBDAS:
            # Said already.
            return module is None or _is_in(module, PACKAGES)
        if kind in VALUES:
            return kind != "TypeSpec" or str(node.get("type_spec")).rpartition(".")[2] in TYPE_SPECS
        if kind == "__typespec__":
            return node.get("spec_name") in TYPE_SPECS and _is_in(str(module), {"tensorflow.python"})
        is_trusted = module is not None and _is_in(module, self.trusted)
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


def _plain(kind: str) -> str:
    """Returns the name of a class; registered ones are saved as package>class."""
    return kind.rpartition(">")[2].rpartition(".")[2]


def _is_in(module: str, packages: Collection[str]) -> bool:
    return any(f"{module}.".startswith(f"{each}.") for each in packages)


def _is_of_keras(module: str | None) -> bool:
    """Returns whether a module is one of Keras or TFMOT with listed classes; files without modules mean these."""
    if module is None or module in PACKAGES:
        return True
    package, _, inside = module.removeprefix("tf_").partition(".")
    if package == "keras":
        return inside.removeprefix("src.").partition(".")[0] in KERAS_MODULES
    return package in PACKAGES


def _is_named(name: str) -> bool:
    """Returns whether a name alone stands for a function, initializer or the like that is allowed."""
    return name.lower().replace("_", "") in _SHORT or _is_registered(name)


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
