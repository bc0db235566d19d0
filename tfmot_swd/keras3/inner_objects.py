"""Keras 3 objects inside tf_keras objects: where they run, and how they are saved."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

from tfmot_swd.keras2.compat import keras as tf_keras


def full_class_name(item: Any) -> str:
    """Returns the full name of the class of an object, for messages: "keras.losses.Dice" or "my_module.MyLoss"."""
    kind = type(item)
    module = kind.__module__.split(".")
    # The public name of a class of Keras 3, whose modules are private.
    parts = ["keras", *module[2:3]] if module[:2] == ["keras", "src"] else module
    return ".".join([*parts, kind.__qualname__])


def check_runs_in_tensorflow(item: Any, advice: str) -> None:
    """Raises unless the operations of a Keras 3 object can run inside a training step of TensorFlow.

    Args:
      item: the object.
      advice: what to write instead, an imperative without a full stop.

    Raises:
      TypeError: Keras 3 runs on another backend.
    """
    import keras

    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise TypeError(
            "The model trains in TensorFlow, and this object has no counterpart in tf_keras, so it runs only where "
            f"Keras 3 runs on TensorFlow too: set KERAS_BACKEND=tensorflow, or {advice}. "
            f"Received: {full_class_name(item)} on the backend {backend!r}"
        )


def entry_of(inner: Any) -> Any:
    """Returns the entry of a Keras 3 object in the config of the tf_keras object around it."""
    import keras

    return keras.saving.serialize_keras_object(inner)


def from_entry(entry: Any, base: str | None = None) -> Any:
    """Returns the Keras 3 object of an entry made by `entry_of`.

    It may be of classes and functions, at any depth, that Keras 3 exports, that are registered with it, or that
    tf_keras knows: by its own registry, or the `custom_objects` of `load_model`. All others are refused before anything
    is made, so that no file has modules imported, which Keras 3 does by itself in some versions.

    Args:
      entry: a dictionary with "class_name" and "config".
      base: the class of Keras 3 that the object must be of, such as "losses.Loss"; None for any.

    Raises:
      ValueError: it names what is not known in this process, or is of another class.
    """
    import keras

    known: dict[str, Any] = {}
    for node in _objects_in(entry):
        name = _registered_name(node)
        found = tf_keras.utils.get_registered_object(name) if node.get("registered_name") else None
        # While a layer is copied, tf_keras knows its own by names that both have.
        if found is not None and found.__module__.partition(".")[0] != "tf_keras":
            known[name] = found
        elif not (keras.saving.get_registered_object(name) or _is_stock(node)):
            raise _unknown(name)
    made = keras.saving.deserialize_keras_object(entry, custom_objects=known)
    if base is not None and not isinstance(made, operator.attrgetter(base)(keras)):
        raise _unknown(_registered_name(entry))
    return made


def _objects_in(config: Any) -> Iterator[dict[str, Any]]:
    """Yields the entries of classes and functions in a config, at any depth."""
    if isinstance(config, list | tuple):
        for each in config:
            yield from _objects_in(each)
    elif isinstance(config, dict):
        # Tensors, slices and the like are no classes.
        if "class_name" in config and "config" in config and not str(config["class_name"]).startswith("__"):
            yield config
        for each in config.values():
            yield from _objects_in(each)


def _registered_name(entry: dict[str, Any]) -> str:
    """Returns the name under which a class or function would be registered."""
    # A function is written as its name alone.
    name = entry["config"] if isinstance(entry["config"], str) else entry.get("registered_name")
    return str(name or entry["class_name"])


def _is_stock(entry: dict[str, Any]) -> bool:
    """Returns whether Keras 3 looks for a class or function among its own alone."""
    return str(entry.get("module")).partition(".")[0] in ("keras", "builtins")


def _unknown(name: str) -> ValueError:
    return ValueError(
        "The file names a class or function for Keras 3 that this process does not know: decorate it with "
        '@keras.saving.register_keras_serializable("my_package") and import its module before loading, or pass it in '
        f"custom_objects; what a model is compiled with may be left out by compile=False. Received: {name!r}"
    )
