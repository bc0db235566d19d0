"""Registered objects inside the configs of others."""

from __future__ import annotations

import json
from typing import Any

from tfmot_swd.keras2.compat import keras


def as_entry(part: Any) -> dict[str, Any]:
    """Returns what a registered object is in the config of another, in a form that HDF5 files bring back too."""
    return {"class_name": keras.utils.get_registered_name(type(part)), "config": part.get_config()}


def from_entry(entry: Any) -> Any:
    """Returns the object of an entry that `as_entry` made.

    Raises:
      ValueError, TypeError: its class is not registered in this process.
    """
    return keras.utils.deserialize_keras_object(entry)


def config_key(item: Any) -> str:
    """Returns the config of an object as text, by which objects of one class are the same.

    As text, since tuples in a config come back from JSON as lists.
    """
    return json.dumps(item.get_config(), sort_keys=True, default=repr)


def check_registered(part: Any, name: str, why: str) -> None:
    """Raises a ValueError unless Keras finds the class of `part` by its registered name.

    Args:
      part: the object.
      name: what it is, for the message: "criterion".
      why: what needs its config, for the message.
    """
    kind = type(part)
    if keras.utils.get_registered_object(keras.utils.get_registered_name(kind)) is not kind:
        raise ValueError(
            f"The class of a {name} must be registered, as {why}: decorate it with "
            f"@keras.utils.register_keras_serializable(package). Received: {kind.__name__}"
        )
