"""Keras 3 objects inside tf_keras objects: where they run, and how they are saved."""

from __future__ import annotations

import operator
from typing import Any

from tfmot_swd.keras2.compat import keras as tf_keras

# The base of the classes that a module of Keras 3 holds.
_BASES = {"losses": "Loss", "metrics": "Metric", "optimizers.schedules": "LearningRateSchedule"}


def is_keras3_class(item: Any) -> bool:
    """Returns whether an object is itself a class of Keras 3, or a subclass of one."""
    return isinstance(item, type) and any(base.__module__.partition(".")[0] == "keras" for base in item.__mro__)


def class_name(item: Any) -> str:
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
            f"Received: {class_name(item)} on the backend {backend!r}"
        )


def entry_of(inner: Any) -> dict[str, Any]:
    """Returns the entry of a Keras 3 object in the config of the tf_keras object around it."""
    import keras

    return {
        "class_name": keras.saving.get_registered_name(type(inner)),
        "config": keras.saving.serialize_keras_object(inner)["config"],
    }


def from_entry(entry: dict[str, Any], home: str) -> Any:
    """Returns the Keras 3 object of an entry made by `entry_of`.

    Only classes that Keras 3 exports, that are registered, or that `custom_objects` names are made, so that a file
    cannot have other modules imported.

    Args:
      entry: a dictionary with "class_name" and "config".
      home: the module of Keras 3 with the stock classes: "losses", "metrics" or "optimizers.schedules".

    Raises:
      ValueError: the class is not known in this process.
    """
    import keras

    name, stock = entry["class_name"], operator.attrgetter(home)(keras)
    kind = (
        keras.saving.get_registered_object(name)
        or tf_keras.utils.get_registered_object(name)
        or getattr(stock, name, None)
    )
    if not (isinstance(kind, type) and issubclass(kind, getattr(stock, _BASES[home]))):
        raise ValueError(
            "The file names a class of Keras 3 that this process does not know: decorate it with "
            '@keras.saving.register_keras_serializable("my_package") and import its module before loading, or load '
            f"with compile=False. Received: {name!r}"
        )
    made: Any = kind
    return made.from_config(dict(entry["config"]))
