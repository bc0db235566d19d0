"""Registered objects inside configs: criteria in the configs of wrappers, costs in those of budgets."""

from __future__ import annotations

import json
from typing import Any

from tfmot_swd.keras2.compat import keras


def as_entry(part: Any) -> dict[str, Any]:
    """Returns the entry of an object in another object's config: the registered name of its class, and its config.

    Plain dictionaries come back unchanged from JSON, `.keras` and HDF5 files; `from_entry` makes the object of them.

    Args:
      part: an object with `get_config`, of a class registered with `keras.utils.register_keras_serializable`.

    >>> @keras.utils.register_keras_serializable("docs")
    ... class Scale:
    ...     def __init__(self, factor):
    ...         self.factor = factor
    ...     def get_config(self):
    ...         return {"factor": self.factor}
    ...     @classmethod
    ...     def from_config(cls, config):
    ...         return cls(**config)
    >>> as_entry(Scale(2))
    {'class_name': 'docs>Scale', 'config': {'factor': 2}}
    >>> from_entry(as_entry(Scale(2))).factor
    2
    """
    return {"class_name": keras.utils.get_registered_name(type(part)), "config": part.get_config()}


def from_entry(entry: Any) -> Any:
    """Returns the object of an entry made by `as_entry`.

    Args:
      entry: a dictionary with "class_name" and "config".

    Raises:
      ValueError, TypeError: the class is not registered in this process: import the module that registers it.
    """
    return keras.utils.deserialize_keras_object(entry)


def config_key(item: Any) -> str:
    """Returns the config of an object as text, by which objects of one class are the same.

    As text, since tuples in a config come back from JSON as lists.
    """
    return json.dumps(item.get_config(), sort_keys=True, default=repr)


def check_registered(part: Any, name: str, why: str) -> None:
    """Raises a ValueError unless the class of `part` is registered with Keras.

    Checked early, as a model that holds the object would be saved and fail to load.

    Args:
      part: the object.
      name: its kind in the message, such as "criterion".
      why: the reason in the message: what is made from its config.
    """
    kind = type(part)
    if keras.utils.get_registered_object(keras.utils.get_registered_name(kind)) is not kind:
        raise ValueError(
            f"The class of a {name} must be registered, as {why}: decorate it with "
            f"@keras.utils.register_keras_serializable(package). Received: {kind.__name__}"
        )
